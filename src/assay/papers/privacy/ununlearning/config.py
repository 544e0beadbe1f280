"""The options of the audit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from assay import files
from assay.bounds import PositiveFloat, PositiveInt
from assay.data import Table, hash_file
from assay.errors import InputError, unknown
from assay.models import OwnModel

Level = Literal[
    "closed_book", "irrelevant", "direct", "paraphrase", "derivation", "demonstrations", "wrong_fact"
]
Method = Literal["gradient_ascent", "gradient_difference", "npo", "rmu"]
Audited = Literal["original", "retrained", "unlearned", "second_unlearned"]
SCREENS = ("exact", "words", "similarity", "none")
FORMS = "FILE.jsonl, tofu:forget10 (or 05, 01), tofu:FOLDER/forget10, rwku:level1 or rwku:level2"


@dataclass(frozen=True)
class Facts:
    """Facts to forget and to retain. `--facts SOURCE` is short for `--facts.source SOURCE`."""

    source: str | None = None
    """FILE.jsonl (a line a fact: question, answer, entity, and fact, paraphrases, axioms, choices, split);
    tofu:forget10 or tofu:FOLDER/forget10; rwku:level1. None: they are invented."""

    def __post_init__(self) -> None:
        if self.source is None or self.path is not None or self.tables() is not None:
            return
        raise InputError(f"{self.source!r} does not say where the facts are: write {FORMS}.")

    @property
    def path(self) -> Path | None:
        """The file of JSON lines."""
        path = files.user_path((self.source or "").removeprefix("json:"))
        return path if path.suffix in (".jsonl", ".ndjson", ".json") else None

    def tables(self) -> tuple[Table, Table] | None:
        """Return where the published facts to forget and to retain are."""
        kind, _, place = (self.source or "").partition(":")
        folder, _, name = place.rpartition("/")
        if kind == "tofu" and name in ("forget01", "forget05", "forget10"):
            if folder:
                forget, retain = (f"parquet:{folder}/{part}_perturbed.parquet" for part in (name, "retain"))
            else:
                forget, retain = (f"hub:locuslab/TOFU/{part}_perturbed" for part in (name, "retain"))
            return Table(forget), Table(retain)
        if kind == "rwku" and place in ("level1", "level2"):
            forget, retain = (f"hub:jinzhuoran/RWKU/{part}_{place}" for part in ("forget", "neighbor"))
            return Table(forget), Table(retain)
        return None

    def fingerprint(self) -> str:
        """Identify the facts by their content."""
        tables = self.tables()
        if tables is not None:
            return " ".join(table.fingerprint() for table in tables)
        if self.path is None:
            return "made here"
        if not self.path.is_file():
            raise InputError(f"There is no file {self.path}.")
        return hash_file(self.path)


@dataclass(frozen=True)
class Screen:
    """A filter. `--screen NAME` is short for `--screen.source NAME`."""

    source: str | None = "exact"
    """exact (a forget fact is in the text), words (eight words in a row of one are), similarity (a line is
    similar to one, by MiniLM), none, or MODULE:FUNCTION: (prompt, completion) -> whether to block."""

    def __post_init__(self) -> None:
        if self.source not in SCREENS and ":" not in str(self.source):
            raise unknown("filter", str(self.source), (*SCREENS, "MODULE:FUNCTION"))

    def fingerprint(self) -> str:
        """Identify the filter; a function of the working folder by its module's content."""
        module = Path(str(self.source).partition(":")[0].replace(".", "/") + ".py")
        return hash_file(module) if module.is_file() else str(self.source)


@dataclass(frozen=True)
class SmallModels:
    """The small Llamas that are trained where no models are given, on invented facts."""

    entities: PositiveInt = 32
    """Entities with one fact each."""
    forgotten: PositiveInt = 8
    """How many of them are to be forgotten."""
    values: PositiveInt = 32
    """Different answers; chance is 1 over this."""
    width: PositiveInt = 64
    """Numbers in a hidden state; each model has two layers."""
    facts: PositiveInt = 3
    """Facts that a reading document states, and questions that it asks."""
    first_steps: PositiveInt = 500
    """Gradient steps on documents of two facts."""
    reader_steps: PositiveInt = 1500
    """Gradient steps on documents of `facts` facts."""
    reader_seed: int = 1
    """Of the reader, which all seeds of a check share: facts and further training are drawn per seed."""
    learn_steps: PositiveInt = 300
    """Gradient steps in which a reader learns facts, half of each batch being reading documents."""
    methods: tuple[Method, Method] = ("npo", "gradient_difference")
    """How the model `unlearned` and the model `second_unlearned` unlearn."""
    unlearn_steps: PositiveInt = 60
    """Gradient steps of an approximate unlearning."""
    unlearn_rate: PositiveFloat = 1e-3
    """Learning rate of an approximate unlearning."""
    learning_rate: PositiveFloat = 2e-3
    """Learning rate of AdamW elsewhere."""
    batch_size: PositiveInt = 128
    """Documents a gradient step."""


@dataclass(frozen=True)
class Audit:
    """Options of `audit`."""

    original: OwnModel = OwnModel()
    """The model before unlearning: folder:DIR or hub:NAME. By default small models are trained."""
    unlearned: OwnModel = OwnModel()
    """The model after unlearning, with the same tokenizer."""
    second_unlearned: OwnModel = OwnModel()
    """Another model after unlearning, to audit beside the first."""
    retrained: OwnModel = OwnModel()
    """A model that never saw the facts to forget: exact unlearning, the reference for the others."""
    facts: Facts = Facts()
    """What was to be forgotten and what to be retained. By default facts of invented entities."""
    levels: tuple[Level, ...] = ("direct", "paraphrase", "derivation", "demonstrations", "wrong_fact")
    """What is put into the context; closed_book and irrelevant are always measured."""
    distractors: tuple[int, ...] = (2,)
    """Statements of other facts in a context; each number is measured."""
    placements: PositiveInt = 5
    """Random contexts a fact, level and number of distractors."""
    scoring: Literal["auto", "greedy", "choices", "rouge"] = "auto"
    """What counts as an answer: greedy decoding begins with it, it is the likeliest of the choices, or the
    ROUGE-L recall of a reply; auto takes the choices where all facts have them, else greedy."""
    chat: Literal["auto", "on", "off"] = "auto"
    """Whether prompts go into the chat template; auto: where the tokenizer has one."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of given models."""
    batch_size: PositiveInt = 64
    """Prompts that go through a model at once."""
    screen: Screen = Screen()
    """The filter."""
    screen_on: Literal["input", "output"] = "input"
    """What the filter reads: the prompt, or what the model says."""
    similarity: float = 0.8
    """Cosine above which the filter `similarity` blocks."""
    show_facts: bool = False
    """Whether the report holds questions, answers and names; by default it holds hashes."""
    small_models: SmallModels = SmallModels()
    """The models that are trained where none are given."""
    audited: tuple[Audited, ...] = ("retrained", "unlearned", "second_unlearned")
    """Whose numbers are the metrics: the first of these that there is."""
    level: Level = "direct"
    """The level whose numbers are the metrics."""
    answers: Literal["model", "screened", "guess"] = "model"
    """Who answers for the metrics: the model, the model behind the filter, or one who picks at random
    among the answers in the context."""
