"""Pools of candidates whose traces and answers are recorded: checkpoints, programs, people."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .agreements import Agreements


@dataclass(frozen=True)
class Record:
    """What one candidate gave for one input. A trace is compared as a whole; None is no trace at all."""

    trace: Hashable
    answer: Hashable


@dataclass(frozen=True)
class RecordedPool:
    """A class of hypotheses that is known by its records on a list of inputs.

    Traces are compared exactly: one that is longer than another is different, and nothing is padded.
    """

    names: tuple[str, ...]
    """A name for each candidate."""
    records: tuple[tuple[Record, ...], ...]
    """Of each candidate, one record an input, in the same order."""

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("A pool needs at least one candidate.")
        lengths = {name: len(rows) for name, rows in zip(self.names, self.records, strict=True)}
        if len(set(lengths.values())) > 1:
            listing = ", ".join(f"{name}: {count}" for name, count in lengths.items())
            raise ValueError(f"The candidates were recorded on different numbers of inputs ({listing}).")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"Two candidates have the same name: {', '.join(self.names)}.")

    def __len__(self) -> int:
        return len(self.names)

    def agreements(self, reference: str | Sequence[Record], agnostic: bool = False) -> Agreements:
        """Compare all candidates with one of them, or with the records of a reference from elsewhere.

        Raises:
            ValueError: the reference is not in the pool (and not `agnostic`), has another number of records,
                or there are none.
        """
        if isinstance(reference, str):
            if reference not in self.names:
                raise ValueError(f"There is no candidate {reference!r}; there are {', '.join(self.names)}.")
            row: int | None = self.names.index(reference)
            labels: Sequence[Record] = self.records[self.names.index(reference)]
        else:
            row, labels = None, reference
        if len(labels) != len(self.records[0]) or not labels:
            raise ValueError(
                f"The reference has {len(labels)} records, the candidates have {len(self.records[0])}; give"
                " one an input, and at least one."
            )
        answers = np.array(
            [[_same(a.answer, b.answer) for a, b in zip(rows, labels, strict=True)] for rows in self.records]
        )
        traces = np.array(
            [[_same(a.trace, b.trace) for a, b in zip(rows, labels, strict=True)] for rows in self.records]
        )
        counts: dict[Hashable, int] = {}
        for record in labels:
            counts[record.answer] = counts.get(record.answer, 0) + 1
        found = Agreements.of(answers & traces, answers, max(counts.values()) / len(labels))
        if not (agnostic or found.realizable()):
            best = int(found.count(found.both).argmax())
            raise ValueError(
                f"No candidate of {len(self)} gives the reference's trace and answer on all {len(labels)}"
                f" inputs (the nearest, {self.names[best]}, does on {found.count(found.both)[best]}). CoT"
                " information needs the reference in the class."
            )
        return replace(found, reference=row)


@dataclass(frozen=True)
class CheckpointPool:
    """Candidates that answer prompts: trained checkpoints that are decoded greedily, say.

    Args:
        decoders: for each name a function from a list of prompts to a list of replies. Decode greedily: a
            hypothesis is a function, so the same prompt must give the same reply.
        parse: takes a reply apart into trace and answer; by default at the last "####".
    """

    decoders: Mapping[str, Callable[[list[str]], Sequence[str]]]
    parse: Callable[[str], Record] | None = None

    def record(self, prompts: Sequence[str]) -> RecordedPool:
        """Ask every candidate; each one writes its own trace before its answer."""
        parse = self.parse or split_reply
        records = []
        for name, decode in self.decoders.items():
            replies = decode(list(prompts))
            if len(replies) != len(prompts):
                raise ValueError(f"{name} gave {len(replies)} replies to {len(prompts)} prompts.")
            records.append(tuple(parse(reply) for reply in replies))
        return RecordedPool(tuple(self.decoders), tuple(records))


def split_reply(reply: str, separator: str = "####") -> Record:
    """Take a text apart at the last separator: the trace before it, the answer after it, both canonical.

    A reply without the separator has no answer; it is then wrong, whatever it says.
    """
    trace, mark, answer = reply.rpartition(separator)
    return Record(canonical(trace), canonical(answer)) if mark else Record(canonical(reply), None)


def canonical(value: Any) -> Hashable:
    """Return what is compared: texts with single spaces, numbers as texts, lists item by item.

    Traces in natural language need more than this; only the user knows when two of them are the same.
    """
    if isinstance(value, list | tuple):
        return tuple(canonical(item) for item in value)
    if isinstance(value, dict):
        return tuple((str(key), canonical(item)) for key, item in sorted(value.items()))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value is None else re.sub(r"\s+", " ", str(value)).strip()


def _same(mine: Hashable, theirs: Hashable) -> bool:
    """An answer or trace that is missing agrees with none."""
    return mine is not None and mine == theirs
