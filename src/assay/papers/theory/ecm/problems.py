"""Word problems in a made-up unit, whose value in steps only worked examples reveal.

A journey has a first leg and some changes; its last equation converts the unit. Answers are annotated as
those of GSM8K and BigGSM are: one `<<7*4=28>>` a line, then `#### 84`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNITS = ("zib", "wug", "dax")
WORDINGS = (
    ("A hiker walks {a} {unit}", ", {b} days", ", then {c} {unit}"),
    ("A fox runs {a} {unit}", " in {b} nights each", " and {c} {unit}"),
    ("A boat sails {a} {unit}", " for {b} hours", ", drifts {c} {unit}"),
    ("A ferry crosses {a} {unit}", " on {b} trips", " plus {c} {unit}"),
    ("A bird flies {a} {unit}", " over {b} weeks", ", glides {c} {unit}"),
    ("A goose flaps {a} {unit}", " per flight, {b} flights", ", adds {c} {unit}"),
    ("A cart rolls {a} {unit}", " times {b} rounds", " with {c} {unit} more"),
    ("A snail crawls {a} {unit}", " all {b} mornings", ", creeps {c} {unit}"),
)
"""The wordings: how a journey begins, is repeated, and goes on."""
ENDING = ". Steps?"


@dataclass(frozen=True)
class Problem:
    """One journey, in words and solved."""

    wording: int
    unit: int
    question: str
    solution: str
    answer: int


@dataclass(frozen=True)
class World:
    """What each unit is worth: one world for each seed, and for each row that the solver learns from."""

    values: tuple[int, ...]
    largest: int = 9

    @classmethod
    def draw(cls, random: np.random.Generator, largest: int = 9) -> World:
        """Draw a value of its own for each unit, from 2 to `largest`; below 9 no leg is longer either."""
        return cls(tuple((2 + random.permutation(largest - 1))[: len(UNITS)].tolist()), largest)

    def problem(self, random: np.random.Generator, steps: int, unit: int | None = None) -> Problem:
        """Draw a problem of so many equations."""
        wording = int(random.integers(len(WORDINGS)))
        chosen = int(random.integers(len(UNITS))) if unit is None else unit
        opening, times, plus = WORDINGS[wording]
        total = self._leg(random, (0.8, 0.15, 0.05))
        question = opening.format(a=total, unit=UNITS[chosen])
        lines = [f"A {UNITS[chosen]} is {self.values[chosen]}."]
        for _ in range(steps - 1):
            if random.random() < 0.4:
                factor = int(random.integers(2, min(self.largest, 5) + 1))
                question += times.format(b=factor)
                lines.append(f"<<{total}*{factor}={total * factor}>>")
                total *= factor
            else:
                more = self._leg(random, (0.7, 0.3))
                question += plus.format(c=more, unit=UNITS[chosen])
                lines.append(f"<<{total}+{more}={total + more}>>")
                total += more
        value = self.values[chosen]
        lines += [f"<<{total}*{value}={total * value}>>", f"#### {total * value}"]
        return Problem(wording, chosen, question + ENDING, "\n".join(lines), total * value)

    def _leg(self, random: np.random.Generator, shares: tuple[float, ...]) -> int:
        """Draw a whole number with one digit, two, ..., in these shares."""
        if self.largest < 9:
            return int(random.integers(2, self.largest + 1))
        digits = int(random.choice(len(shares), p=shares))
        return int(random.integers(max(2, 10**digits), 10 ** (digits + 1)))
