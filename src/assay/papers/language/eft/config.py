"""The options of EFT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from assay import files
from assay.bounds import NonNegativeFloat, NonNegativeInt, OpenShare, PositiveFloats, PositiveInt
from assay.data import Rows, Table, hash_file
from assay.errors import InputError
from assay.models import ModelSource, OwnModel

Role = TypeVar("Role")
Dtype = Literal["float32", "bfloat16", "auto"]


@dataclass(frozen=True)
class OwnModels(Generic[Role]):
    """The user's models for one of the parts (`Role` says which), or none."""

    source: str | None = None
    """folder:DIR or hub:NAME[@REVISION]; several with commas between, where several may be; a folder may also
    hold a PEFT adapter. None: one is trained here."""

    def __post_init__(self) -> None:
        for source in self.sources:
            if ModelSource(source).kind == "server":
                raise InputError(
                    f"{source} is behind a server, and this needs the model's logits: give its weights."
                )

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources, one by one."""
        return tuple(part.strip() for part in self.source.split(",")) if self.source else ()

    def fingerprint(self) -> str:
        """Identify the models by their content."""
        return " ".join(map(content_of, self.sources)) or "made here"


def adapter_folder(source: str) -> Path | None:
    """Return the folder of a source that holds a PEFT adapter, None for any other source."""
    known = ModelSource(source)
    folder = files.user_path(known.name)
    return folder if known.kind == "folder" and (folder / "adapter_config.json").is_file() else None


def content_of(source: str) -> str:
    """Identify one model or adapter by its content."""
    folder = adapter_folder(source)
    if folder is None:
        return ModelSource(source).fingerprint()
    return "adapter " + " ".join(
        f"{path.name}:{hash_file(path)}" for path in sorted(folder.glob("adapter_*"))
    )


@dataclass(frozen=True)
class PromptFile(Rows):
    """Prompts, or none."""

    source: str | None = None
    """A text file with one prompt a line, JSON lines (also .gz), or a table: hub:NAME[/CONFIG][#SPLIT],
    csv:FILE, json:FILE, parquet:FILE. Rows have prompt, text, question or title, or are those of hh-rlhf
    (chosen, rejected), ELI5 (title, selftext) or HumanEval (prompt, canonical_solution)."""


@dataclass(frozen=True)
class FactTable:
    """A table of names and the class that each belongs to, or the cities of the time zone database."""

    source: str | None = None
    """csv:FILE, json:FILE, parquet:FILE or hub:NAME with a text (the name) and a label (its class, in few
    words). None: the cities of zoneinfo and their regions."""
    number: PositiveInt | None = 160
    """Facts that each seed gets; None for all."""

    def table(self) -> Table | None:
        """Return the user's table, if there is one."""
        return Table(self.source) if self.source else None

    def fingerprint(self) -> str:
        """Identify the content."""
        table = self.table()
        return "zoneinfo" if table is None else table.fingerprint()


@dataclass(frozen=True)
class Family:
    """The small and the large Llama that are trained where no models are given."""

    vocabulary: PositiveInt = 512
    """Tokens of their byte-pair encoding."""
    small_width: PositiveInt = 32
    """Numbers in a hidden state of the small model."""
    large_width: PositiveInt = 96
    """Numbers in a hidden state of the large model."""
    layers: PositiveInt = 2
    """Blocks of either."""
    heads: PositiveInt = 4
    """Attention heads of either."""
    steps: PositiveInt = 750
    """Gradient steps of pre-training, for either size on the same rows in the same order."""
    tuning_steps: PositiveInt = 120
    """Gradient steps of fine-tuning with each learning rate, for either size. Of all models on the way, the
    one that predicts validation rows best is kept."""
    tuning_learning_rates: PositiveFloats = (5e-4, 2e-3)
    """Candidates for AdamW in fine-tuning, at the start of a linear decay; alike for either size."""
    looks: PositiveInt = 10
    """How often validation rows are looked at with each learning rate."""


@dataclass(frozen=True)
class TrainedModels:
    """Options of the models that are trained where none are given."""

    fact_table: FactTable = FactTable()
    """Facts that the base models see in pre-training, besides the texts."""
    family: Family = Family()
    """The models that are trained where none are given."""


@dataclass(frozen=True)
class DomainTexts(TrainedModels):
    """Options of the texts that models are tuned to and measured on."""

    data: Table = Table("bundled:docstrings")
    """Texts with a class for each: the last class is the domain to adapt to, the last but one the other
    domain of `interpolate`, the others are what the base models are trained on."""
    max_texts: PositiveInt | None = 700
    """Texts of a domain that each seed gets, none twice before all are used."""
    test: OpenShare = 0.3
    """Share of the texts that measure; texts of one group stay together."""


@dataclass(frozen=True)
class GivenModels:
    """Options of the user's models and of the rule that puts them together."""

    base: OwnModels[Literal["base"]] = OwnModels()
    """The large model without fine-tuning: folder:DIR or hub:NAME. By default all models are trained here."""
    tuned: OwnModels[Literal["tuned"]] = OwnModels()
    """The small fine-tuned model; `emulate` takes several with commas between. A folder may hold a PEFT
    adapter."""
    reference: OwnModels[Literal["reference"]] = OwnModels()
    """The small model before fine-tuning: one for all, or as many as tuned ones, with commas between."""
    upper: OwnModels[Literal["upper"]] = OwnModels()
    """The large fine-tuned model, if you have it: the most that can be recovered. `emulate` uses it with
    --judge."""
    dtype: Dtype = "auto"
    """Number format of your models; auto: as stored on a GPU, float32 on the CPU."""
    weights: tuple[float, ...] = (1.0,)
    """How much of each tuned model's behaviour is taken; 1 is the paper's rule."""
    amplify: float = 1.0
    """How much of what the large model knows beyond the small one is taken; above 1 amplifies it."""
    delta_top_p: float | None = None
    """Take that only for the likeliest tokens of the small tuned model with this probability, as 0.95."""


@dataclass(frozen=True)
class Emulate(GivenModels, TrainedModels):
    """Options of `emulate`."""

    prompts: PromptFile = PromptFile()
    """What to reply to: a file with one prompt a line, JSON lines, or a table."""
    max_prompts: PositiveInt | None = None
    """The most prompts that are taken, from the start. All by default."""
    reference_floor: float | None = None
    """No log-probability of a reference counts as lower than this (nats). No floor by default."""
    temperature: NonNegativeFloat = 1.0
    """0 takes the likeliest token."""
    top_k: NonNegativeInt = 0
    """Draw among so many likeliest tokens; 0 for all."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that together have this probability."""
    max_new_tokens: PositiveInt = 64
    """The most tokens of a reply."""
    block_size: NonNegativeInt = 4
    """Tokens that the small tuned model drafts before the large one reads them all; 0 for none."""
    batch_size: PositiveInt = 8
    """Prompts that go through the models at once."""
    base_template: str = "{prompt}"
    """What the base and the references are given; `chat` for the tokenizer's chat template."""
    tuned_template: str = "{prompt}"
    """What the tuned models are given; `chat` for the tokenizer's chat template."""
    extra_tokens: Literal["refuse", "mask"] = "refuse"
    """What to do with tokens that only some of the tokenizers have."""
    allow_negative: bool = False
    """Allow weights below 0, which undo what fine-tuning did, safety training too."""
    judge: OwnModel = OwnModel()
    """A model that scores replies from 1 to 10: folder:DIR, hub:NAME or http://HOST/v1#MODEL."""
    rubrics: tuple[str, ...] = ("helpfulness", "factuality", "harmlessness")
    """What it scores."""
    sandbox: str | None = None
    """A command that runs a HumanEval program given on its standard input inside a sandbox of yours, and
    succeeds if the program does. Without it nothing is executed, and solutions are only scored as text."""
    max_texts: PositiveInt | None = 700
    """Docstrings that the models trained here are tuned to, where none are given."""


@dataclass(frozen=True)
class Adapt(GivenModels, DomainTexts):
    """Options of `adapt`. With your own models, `data` are texts of the domain, all of which measure."""

    max_tokens: PositiveInt = 1024
    """Tokens of one of your texts; what comes after is left out."""
    system: Literal["emulated", "upper"] = "emulated"
    """What is measured: the emulated model, or the large fine-tuned one."""
    delta_from: Literal["pair", "other-reference", "other-place"] = "pair"
    """Where the delta comes from: the small pair; the tuned model and a small model that is not what it was
    tuned from; or the pair, but at another place of the texts."""


@dataclass(frozen=True)
class Interpolate(DomainTexts):
    """Options of `interpolate`."""

    weights: tuple[float, ...] = (0.5, 0.5)
    """How much of the fine-tuning to the first and to the second domain is taken."""
    mixed: Literal["deltas", "parameters"] = "deltas"
    """What is mixed: the log-ratios of two small tuned models, or their parameters, into one small model."""
    size: Literal["large", "small"] = "large"
    """The base to which the fine-tuning is added."""


@dataclass(frozen=True)
class Facts(TrainedModels):
    """Options of `facts`."""

    data: Table = Table("bundled:docstrings")
    """Texts with a class for each; those of all but the last two classes are what the base models are trained
    on besides the facts."""
    system: Literal["emulated", "down-scaled", "base", "small-base", "small-tuned", "upper"] = "emulated"
    """What answers: the emulated model (large base, small fine-tuning), the down-scaled one (small base,
    large fine-tuning), or one of the models alone."""
    delta_from: Literal["pair", "other-reference"] = "pair"
    """Where the delta comes from: the pair, or the tuned model and a small model that is not what it was
    tuned from."""
    tuned_share: OpenShare = 0.3
    """Share of the facts that fine-tuning asks for; the others test."""


@dataclass(frozen=True)
class Draft(DomainTexts):
    """Options of `draft`, which continues the beginnings of test texts."""

    decoding: Literal["speculative", "plain", "always-accept"] = "speculative"
    """Draft and verify; no drafts; or drafts that are all accepted."""
    block_size: PositiveInt = 4
    """Tokens of a draft."""
    prompt_tokens: PositiveInt = 6
    """Tokens of a beginning."""
    max_new_tokens: PositiveInt = 32
    """Tokens of a continuation."""
    continued: PositiveInt = 64
    """The most beginnings that are continued."""
    law_draws: PositiveInt = 4000
    """Continuations of one beginning from which the law of the second token is read."""
