"""Two systems on the same utterances: the paired bootstrap of the difference of their error rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from assay.errors import InputError


@dataclass(frozen=True)
class PairedCounts:
    """Errors of two systems on the utterances of one set."""

    first: np.ndarray
    """Edits of the first system, [n]."""
    second: np.ndarray
    """Edits of the second system, [n]."""
    words: np.ndarray
    """Reference words, [n]."""
    recordings: Sequence[str | None] | None = None
    """What utterances share; without it, or where it is None, each stands alone."""

    def table(self) -> np.ndarray:
        """Return the three sums of each recording: float64 [recordings, 3]."""
        counts = np.stack([self.first, self.second, self.words], axis=1).astype(np.float64)
        if self.recordings is None:
            return counts
        names = [f"r{name}" if name is not None else f"u{row}" for row, name in enumerate(self.recordings)]
        _, groups = np.unique(names, return_inverse=True)
        sums = np.zeros((groups.max() + 1, 3))
        np.add.at(sums, groups, counts)
        return sums if len(sums) > 1 else counts


@dataclass(frozen=True)
class Difference:
    """First minus second: below 0, the first system makes fewer errors. Fractions, not points."""

    value: float
    low: float
    high: float
    better: float
    """Share of the draws in which the first system is better."""

    def __str__(self) -> str:
        return f"{100 * self.value:+.2f} points [{100 * self.low:+.2f}, {100 * self.high:+.2f}]"


@dataclass(frozen=True)
class Comparison:
    """The difference in word error rate of each set and of the macro average."""

    sets: dict[str, Difference]
    macro: Difference
    draws: int
    first: str = "first"
    """The first system, and the second one."""
    second: str = "second"
    rendering: str = "orthographic"
    """What of the texts was compared."""

    def table(self) -> str:
        """Return the differences as Markdown."""
        rows = [*self.sets.items(), ("macro average", self.macro)]
        body = [f"| {name} | {found} | {100 * found.better:.0f} % |" for name, found in rows]
        head = [
            "| set | first minus second, 95 % interval | draws in which the first is better |",
            "|---|---|---|",
        ]
        return "\n".join([*head, *body]) + "\n"


def paired_bootstrap(
    sets: Mapping[str, PairedCounts], draws: int = 2000, seed: int = 0, level: float = 0.95
) -> Comparison:
    """Draw utterances (recordings, where they are known) with replacement inside each set, the same for both.

    A draw's error rate is its edits over its words, pooled; the macro average is the mean over the sets of
    one draw. Nothing is aligned again.

    Raises:
        InputError: there is no set, or one without words.
    """
    if not sets:
        raise InputError("There is no set to compare on.")
    random = np.random.default_rng(seed)
    drawn: dict[str, np.ndarray] = {}
    values: dict[str, float] = {}
    for name, counts in sets.items():
        table = counts.table()
        total = table.sum(axis=0)
        if not total[2]:
            raise InputError(f"The set {name!r} has no words to compare on.")
        values[name] = float((total[0] - total[1]) / total[2])
        drawn[name] = _draw(table, draws, random)

    def summary(value: float, sample: np.ndarray) -> Difference:
        low, high = np.quantile(sample, [(1 - level) / 2, (1 + level) / 2])
        return Difference(value, float(low), float(high), float((sample < 0).mean()))

    macro = np.mean(list(drawn.values()), axis=0)
    return Comparison(
        {name: summary(values[name], drawn[name]) for name in sets},
        summary(float(np.mean(list(values.values()))), macro),
        draws,
    )


def _draw(table: np.ndarray, draws: int, random: np.random.Generator) -> np.ndarray:
    """Return the difference of the two rates in each draw, a block of draws at a time."""
    rows = len(table)
    block = max(1, 4_000_000 // rows)
    found = []
    for start in range(0, draws, block):
        chosen = random.integers(rows, size=(min(block, draws - start), rows))
        sums = np.stack([table[:, column][chosen].sum(axis=1) for column in range(3)], axis=1)
        found.append((sums[:, 0] - sums[:, 1]) / np.maximum(sums[:, 2], 1))
    return np.concatenate(found)
