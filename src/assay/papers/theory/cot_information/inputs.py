"""From files to traces: examples with an input, a trace and an answer, and candidates that were recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay import files
from assay.data import Table
from assay.errors import InputError, unknown
from assay.models import ModelSource, open_text_model
from assay.papers.theory.cot_information.config import Estimate, Finetune, Traces
from assay.papers.theory.cot_information.method import (
    CheckpointPool,
    Record,
    RecordedPool,
    Traced,
    base_rate,
    canonical,
    split_reply,
)
from assay.papers.theory.cot_information.synthetic import FILLER
from assay.trial import Trial

RECORD_FILES = {".jsonl": "json", ".json": "json", ".ndjson": "json", ".csv": "csv", ".parquet": "parquet"}
"""Files of a candidate folder that hold records, and how a table of that kind is written."""


@dataclass(frozen=True)
class Row:
    """One example as it stands in the file."""

    input: str
    record: Record


def read_rows(traces: Traces, source: str, test: bool = False) -> list[Row]:
    """Read examples; with `test`, those of the published test split, and none where there is none.

    Raises:
        InputError: a column is missing, or a row lacks its input, trace or answer.
    """
    table = Table(source).load(needs=())
    rows = table.test if test else table.rows
    if rows is None:
        return []
    for role, column in traces.columns.items():
        if column not in rows.column_names:
            error = unknown(f"column with the {role} in {source}:", column, rows.column_names)
            raise InputError(f"{error} Name it with --traces.{role}.")
    cells = [rows[column][:] for column in traces.columns.values()]
    return [
        _row(traces, source, number, *row) for number, row in enumerate(zip(*cells, strict=True), start=1)
    ]


def _row(traces: Traces, source: str, number: int, given: Any, cot: Any, answer: Any) -> Row:
    columns = traces.columns
    for column, cell in zip(columns.values(), (given, cot, answer), strict=True):
        if cell is None or cell == "":
            raise InputError(
                f"{source}, row {number}, has no {column!r}. Every row needs an input, a trace and an answer;"
                " fill it in or leave the row out."
            )
    if columns["cot"] != columns["answer"]:
        return Row(str(canonical(given)), Record(canonical(cot), canonical(answer)))
    record = split_reply(str(cot), traces.mark)
    if record.answer is None:
        raise InputError(
            f"{source}, row {number}: {columns['cot']!r} holds trace and answer, but there is no"
            f" {traces.mark!r} between them. Say what is with --traces.separator."
        )
    return Row(str(canonical(given)), record)


@dataclass(frozen=True)
class Examples:
    """Examples for a language model: to train, to choose the learning rate, and to measure.

    `texts` has all of them, for a tokenizer.
    """

    train: list[Traced]
    validation: list[Traced]
    test: list[Traced]
    texts: list[str]
    base_rate: float

    @classmethod
    def of(cls, examples: list[Traced], counts: tuple[int, int, int]) -> Examples:
        """Divide examples into parts of these sizes, in turn."""
        first, second = counts[0], counts[0] + counts[1]
        test = examples[second : second + counts[2]]
        texts = [f"{each.input} {each.trace} {each.answer} {FILLER}" for each in examples]
        rate = base_rate(np.array([example.answer for example in test]))
        return cls(examples[:first], examples[first:second], test, texts, rate)


def own_examples(config: Finetune, trial: Trial) -> Examples:
    """Divide a table's rows; a published test split stays what it is."""
    traces = config.traces
    assert traces.source is not None
    if config.labels == "independent":
        raise InputError("Traces of another program are for words; use --labels own or filler with --traces.")
    rows = read_rows(traces, traces.source)
    tests = read_rows(traces, traces.source, test=True)
    if len(rows) < 8:
        raise InputError(f"{traces.source} has {len(rows)} rows; give 8 or more.")
    numbers = trial.numpy("rows").permutation(len(rows))
    shuffled = [rows[number] for number in numbers]
    held = min(config.test_examples, len(rows) // 2) if not tests else 0
    held_out = tests[: config.test_examples] or shuffled[:held]
    rest = shuffled[held:]
    chosen = max(1, min(config.test_examples // 2, len(rest) // 4))
    train = rest[chosen : chosen + config.examples]
    if not tests:
        trial.resplit = max(trial.resplit, held / len(train))
    made = [_traced(row, config.labels) for row in (*train, *rest[:chosen], *held_out)]
    return Examples.of(made, (len(train), chosen, len(held_out)))


def _traced(row: Row, labels: str) -> Traced:
    steps = row.record.trace if isinstance(row.record.trace, tuple) else str(row.record.trace).split(" ")
    trace = " ".join(FILLER if labels == "filler" else str(step) for step in steps)
    return Traced(row.input, trace, str(row.record.answer))


def read_pool(config: Estimate, trial: Trial) -> tuple[RecordedPool, list[Record], dict[str, Any]]:
    """Return the candidates' records on the inputs of your examples, the examples' own, and what was read.

    Raises:
        InputError: there is no candidate, or one lacks an input.
    """
    assert config.traces.source is not None
    rows = read_rows(config.traces, config.traces.source)
    inputs = [row.input for row in rows]
    names, records = [], []
    for path in candidate_paths(config.candidate_folder):
        trial.progress(f"candidate {path.name}")
        names.append(path.stem if path.is_file() else path.name)
        if path.is_file():
            records.append(records_of_file(config.traces, path, inputs))
        else:
            records.append(records_of_checkpoint(config, path, inputs, trial))
    about = {"examples": config.traces.source, "candidates": len(names)}
    return RecordedPool(tuple(names), tuple(records)), [row.record for row in rows], about


def candidate_paths(folder: str) -> list[Path]:
    """Return the files of records and the checkpoints of a folder, in the order of their names.

    Raises:
        InputError: there is no such folder, or nothing of this kind in it.
    """
    if not folder:
        raise InputError(
            "--traces needs --candidate-folder: a folder with one candidate in each JSON-lines file or each"
            " checkpoint's folder. Without --traces a class by name is used."
        )
    path = files.user_path(folder)
    if not path.is_dir():
        raise InputError(f"--candidate-folder: there is no folder {path}.")
    found = [
        item
        for item in sorted(path.iterdir())
        if (item.is_file() and item.suffix in RECORD_FILES) or (item / "config.json").exists()
    ]
    if not found:
        raise InputError(
            f"{path} has no candidates: expected files of records ({', '.join(RECORD_FILES)}) or folders as"
            " save_pretrained(...) writes them."
        )
    return found


def records_of_file(traces: Traces, path: Path, inputs: Sequence[str]) -> tuple[Record, ...]:
    """Return a candidate's recorded trace and answer on each input.

    Raises:
        InputError: it has no record of an input, or two that differ.
    """
    source = f"{RECORD_FILES[path.suffix]}:{path}"
    known: dict[str, Record] = {}
    for row in read_rows(traces, source):
        if known.setdefault(row.input, row.record) != row.record:
            raise InputError(
                f"{source} has two different records of the input {row.input[:60]!r}. A candidate is a"
                " function: decode it greedily."
            )
    for given in inputs:
        if given not in known:
            raise InputError(f"{source} has no record of the input {given[:60]!r}. Record it on every input.")
    return tuple(known[given] for given in inputs)


def records_of_checkpoint(
    config: Estimate, path: Path, inputs: Sequence[str], trial: Trial
) -> tuple[Record, ...]:
    """Let a checkpoint write its own traces and answers, greedily."""
    pool = CheckpointPool(
        {path.name: _greedy(config, path, trial)},
        parse=lambda reply: split_reply(reply, config.traces.mark),
    )
    return pool.record([prompt_of(config.prompt, given) for given in inputs]).records[0]


def _greedy(config: Estimate, path: Path, trial: Trial) -> Callable[[list[str]], list[str]]:
    model = open_text_model(ModelSource(f"folder:{path}"), str(trial.device), cache=trial.replies)

    def decode(prompts: list[str]) -> list[str]:
        replies = model.generate(prompts, max_new_tokens=config.max_new_tokens, temperature=0.0)
        return [reply.text for reply in replies]

    return decode


def prompt_of(template: str, given: str) -> str:
    """Put an input into a prompt.

    Raises:
        InputError: the prompt has no place for it.
    """
    if "{input}" not in template:
        raise InputError(f"--prompt {template!r} has no {{input}}, so every prompt would be the same.")
    return template.replace("{input}", given)
