"""What the user brings: prompts in the forms that people have them, and models with their tokenizers."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from assay import files
from assay.data import Table, read_json_file, read_json_lines, read_rows, read_text
from assay.errors import InputError, MissingExtraError
from assay.models import ModelSource, load_model, load_tokenizer
from assay.papers.language.eft.config import Adapt, Emulate, PromptFile, adapter_folder
from assay.papers.language.eft.method import Delta, EmulatedFineTuning

# --- models -------------------------------------------------------------------------------------

ADAPTER_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Setup:
    """What an emulated model is made of."""

    base: str
    """Source of the large model."""
    tuned: tuple[str, ...]
    """Sources of the small fine-tuned models."""
    reference: tuple[str, ...]
    """Sources of what they were tuned from: one, or one each."""
    weights: tuple[float, ...] = (1.0,)
    amplify: float = 1.0
    delta_top_p: float | None = None
    reference_floor: float | None = None
    base_template: str = "{prompt}"
    """What base and references are given; `chat` for the chat template."""
    tuned_template: str = "{prompt}"
    """What the tuned models are given."""
    extra_tokens: str = "refuse"
    allow_negative: bool = False
    dtype: str = "auto"

    @property
    def sources(self) -> tuple[str, ...]:
        """All sources, each once."""
        return tuple(dict.fromkeys([self.base, *self.tuned, *self.reference]))

    @classmethod
    def of(cls, config: Emulate | Adapt) -> Setup | None:
        """Return what the user's options say, with sources that mean the same from every folder.

        Returns:
            None where no model is given.
        """
        parts = {name: getattr(config, name) for name in ("base", "tuned", "reference", "upper")}
        given = [name for name, part in parts.items() if part.source]
        if not given:
            return None
        for name in ("base", "tuned", "reference"):
            if name not in given:
                raise InputError(
                    f"--{name} is missing: give --base, --tuned and --reference, or none of them."
                )
        for name in ("base", "upper"):
            if len(parts[name].sources) > 1:
                raise InputError(f"--{name} takes one model, got {parts[name].source!r}.")
        tuned, reference = config.tuned.sources, config.reference.sources
        if len(reference) not in (1, len(tuned)):
            raise InputError(
                f"There are {len(tuned)} tuned models and {len(reference)} references: give one reference for"
                " all or one each."
            )
        same = sorted(set(tuned) & set(reference))
        if same:
            raise InputError(
                f"{same[0]} is given as --tuned and as --reference, which would take nothing of its"
                " fine-tuning: --reference is the model before it was fine-tuned."
            )
        return cls(
            located(config.base.sources[0]),
            tuple(map(located, tuned)),
            tuple(map(located, reference)),
            **shared_settings(config),
        )


def shared_settings(config: Emulate | Adapt) -> dict[str, Any]:
    """Return the options that are named as the fields of `Setup` are."""
    names = {field.name for field in dataclasses.fields(Setup)} - {"base", "tuned", "reference"}
    return {name: getattr(config, name) for name in names if hasattr(config, name)}


def located(source: str) -> str:
    """Return a source that means the same from every folder."""
    known = ModelSource(source)
    return f"folder:{files.user_path(known.name).absolute()}" if known.kind == "folder" else source


def load_language_model(source: str, device: torch.device, dtype: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """Load a causal language model with its tokenizer.

    Args:
        source: folder:DIR or hub:NAME.
        device: where it goes.
        dtype: float32, bfloat16, or auto.
    """
    known = ModelSource(source)
    model = load_model(known, AutoModelForCausalLM, device=device, dtype=None if dtype == "auto" else dtype)
    return model, load_tokenizer(known)


def load_emulated(
    setup: Setup, device: torch.device | str = "cpu"
) -> tuple[EmulatedFineTuning, dict[str, PreTrainedTokenizerBase]]:
    """Load a base and small pairs, each model once, and put them together.

    Returns:
        The emulated model, and the tokenizers by `base`, `tuned`, `tuned.1`, ... and `reference`, ...
    """
    tuned, count = setup.tuned, len(setup.tuned)
    if len(setup.weights) != count:
        raise InputError(
            f"--weights has {len(setup.weights)} numbers for {count} tuned models: give one each, such as"
            f" --weights {' '.join(['1.0'] * count)}."
        )
    references = list(setup.reference) * count if len(setup.reference) == 1 else list(setup.reference)

    @functools.cache
    def loaded(source: str) -> tuple[Any, PreTrainedTokenizerBase]:
        return load_language_model(source, torch.device(device), setup.dtype)

    adapted: dict[str, Any] = {}  # references with all the adapters that were put on them
    base, tokenizer = loaded(setup.base)
    tokenizers = {"base": tokenizer}
    experts = []
    for place, (source, before, weight) in enumerate(zip(tuned, references, setup.weights, strict=True)):
        ending = f".{place}" if place else ""
        folder, (reference, tokenizers[f"reference{ending}"]) = adapter_folder(source), loaded(before)
        if folder is None:
            small, tokenizers[f"tuned{ending}"] = loaded(source)
            experts.append(Delta(small, reference, weight))
        else:
            if before == setup.base:
                raise InputError(
                    f"{source} is an adapter of {before}, which is also the --base: give a small model."
                )
            tokenizers[f"tuned{ending}"] = tokenizers[f"reference{ending}"]
            name = f"expert{place}"
            adapted[before] = put_on(folder, name, adapted.get(before, reference), before)
            experts.append(Delta(adapted[before], None, weight, name))
    pairs = zip(tuned, references, strict=True)
    whole = sorted(
        set(adapted).intersection(before for source, before in pairs if not adapter_folder(source))
    )
    if whole:
        raise InputError(
            f"{whole[0]} is the reference of an adapter and of a whole model: merge the adapter into a"
            " separate model first."
        )
    model = EmulatedFineTuning(
        base,
        experts,
        amplify=setup.amplify,
        delta_top_p=setup.delta_top_p,
        reference_floor=setup.reference_floor,
        tokenizers=tokenizers,
        extra_tokens=setup.extra_tokens,
        allow_negative=setup.allow_negative,
    )
    return model, tokenizers


def put_on(folder: Path, name: str, model: Any, reference: str) -> Any:
    """Return the model with the adapter of a folder put on it under `name`."""
    try:
        from peft import PeftModel
    except ModuleNotFoundError:
        raise MissingExtraError("peft", "language") from None
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise InputError(
            f"{folder} has no {ADAPTER_WEIGHTS}: save the adapter with safetensors, not as a pickle."
        )
    described = read_json_file(folder / "adapter_config.json")
    named = described.get("base_model_name_or_path") if isinstance(described, dict) else None
    if named and Path(str(named)).name != Path(ModelSource(reference).name).name:
        warnings.warn(
            f"The adapter in {folder} was trained on {named!r}; the reference given is {reference}.",
            stacklevel=2,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers in an old way
        try:
            if isinstance(model, PeftModel):
                model.load_adapter(str(folder), adapter_name=name)
                return model.eval()
            return PeftModel.from_pretrained(model, str(folder), adapter_name=name).eval()
        except (RuntimeError, ValueError, KeyError) as error:
            first = str(error).strip().splitlines()[0]
            raise InputError(f"The adapter in {folder} does not fit {reference}: {first}") from error


# --- prompts ------------------------------------------------------------------------------------

TURN = "\n\nAssistant:"
"""What comes before a reply in hh-rlhf."""
COLUMNS = ("prompt", "text", "question", "title")


@dataclass(frozen=True)
class PromptRow:
    """One prompt, and what is known of its answer."""

    prompt: str
    answer: str | None = None
    """A reply that is to be scored: the chosen one of hh-rlhf, the solution of HumanEval."""
    check: str | None = None
    """A program that tests a completion, after which it stands."""


def read_prompts(source: PromptFile, limit: int | None = None) -> list[PromptRow]:
    """Read prompts from a text file, JSON lines or a table.

    | rows have | prompt | answer |
    |---|---|---|
    | chosen, rejected (hh-rlhf) | the dialogue up to the last "\\n\\nAssistant:" | the rest of `chosen` |
    | prompt, canonical_solution, test, entry_point (HumanEval) | prompt | canonical_solution |
    | title, selftext (ELI5) | both, with an empty line between | none |
    | prompt, text, question or title | that | answer, if there is such a column |
    """
    named = str(source.source)
    rows = list(itertools.islice(_prompt_rows(source), limit))
    if not rows:
        raise InputError(f"{named} has no prompts.")
    for number, row in enumerate(rows, 1):
        if not row.prompt.strip():
            raise InputError(f"{named}, prompt {number} is empty: a model needs something to reply to.")
    return rows


def _prompt_rows(source: PromptFile) -> Iterator[PromptRow]:
    named = str(source.source)
    path, table = files.user_path(named), source.table()
    ending = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if table is None and ending not in ("jsonl", "ndjson", "json", "csv", "tsv", "parquet"):
        lines = read_text(path).replace("\r\n", "\n").split("\n")
        while lines and not lines[-1].strip():
            lines.pop()
        yield from map(PromptRow, lines)
        return
    if table is None and ending == "parquet":
        table = Table(f"parquet:{named}")
    if table is not None:
        records: Iterator[tuple[int, Mapping[str, Any]]] = enumerate(table.load(needs=()).rows, 1)
    elif ending in ("csv", "tsv"):
        records = iter(read_rows(path))
    else:
        records = read_json_lines(path)
    for number, (_, record) in enumerate(records, 1):
        yield _row(record, f"{named}, row {number}")


def _row(record: Mapping[str, Any], where: str) -> PromptRow:
    """Return a record of any of the known forms as a prompt."""
    if isinstance(record.get("chosen"), str):
        dialogue = record["chosen"]
        start = dialogue.rfind(TURN)
        if start < 0:
            raise InputError(
                f"{where}: 'chosen' has no reply after {TURN!r}: this is no dialogue of hh-rlhf."
            )
        end = start + len(TURN)
        return PromptRow(dialogue[:end], dialogue[end:] or None)
    if isinstance(record.get("canonical_solution"), str):
        test, entry = record.get("test"), record.get("entry_point")
        check = f"{test}\n\ncheck({entry})\n" if test and entry else None
        return PromptRow(_text(record, ("prompt",), where), record["canonical_solution"], check)
    if isinstance(record.get("title"), str) and not isinstance(record.get("prompt"), str):
        told = record.get("selftext")
        return PromptRow(record["title"] + (f"\n\n{told}" if isinstance(told, str) and told.strip() else ""))
    answer = record.get("answer")
    return PromptRow(_text(record, COLUMNS, where), answer if isinstance(answer, str) and answer else None)


def _text(record: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    for name in names:
        if isinstance(record.get(name), str):
            return str(record[name])
    raise InputError(
        f"{where}: no column is a prompt. Name one {', '.join(names)}; it has {', '.join(map(str, record))}."
    )
