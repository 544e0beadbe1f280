"""Word problems in a made-up unit, whose value in steps only worked examples reveal, and rows to learn them.

A journey has a first leg and some changes; its last equation converts the unit. Answers are annotated as
those of GSM8K and BigGSM are: one `<<7*4=28>>` a line, then `#### 84`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assay.papers.theory.ecm.method import render_prompt
from assay.training.language import IGNORED

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
"""The wordings: how a journey begins, is repeated, and continues."""
ENDING = ". Steps?"
STEPS = (0.3, 0.3, 0.2, 0.1, 0.1)
"""Shares of problems with 1, 2, ..., 5 equations."""
DEMO_STEPS = (0.7, 0.3)
"""Shares of demonstrations with 1 and 2 equations."""


@dataclass(frozen=True)
class Journey:
    """One journey, in words and solved."""

    wording: int
    unit: int
    question: str
    solution: str
    answer: int


@dataclass(frozen=True)
class UnitValues:
    """What each unit is worth: drawn for each seed, and for each row that the solver learns from."""

    values: tuple[int, ...]
    largest: int = 9

    @classmethod
    def draw(cls, random: np.random.Generator, largest: int = 9) -> UnitValues:
        """Draw a different value for each unit, from 2 to `largest`; below 9 no leg is longer either."""
        return cls(tuple((2 + random.permutation(largest - 1))[: len(UNITS)].tolist()), largest)

    def journey(self, random: np.random.Generator, steps: int, unit: int | None = None) -> Journey:
        """Draw a journey of so many equations."""
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
        return Journey(wording, chosen, question + ENDING, "\n".join(lines), total * value)

    def _leg(self, random: np.random.Generator, shares: tuple[float, ...]) -> int:
        """Draw a whole number with one digit, two, ..., in these shares."""
        if self.largest < 9:
            return int(random.integers(2, self.largest + 1))
        digits = int(random.choice(len(shares), p=shares))
        return int(random.integers(max(2, 10**digits), 10 ** (digits + 1)))


def draw_steps(random: np.random.Generator, shares: Sequence[float]) -> int:
    """Draw 1, 2, ... in these shares."""
    return 1 + int(random.choice(len(shares), p=shares))


# --- tokens -------------------------------------------------------------------------------------

PAD, END = 0, 1
_FIXED = ("[QUESTION]\n", "\n[ANSWER]\n", "\nLet's think step-by-step!", "\n\n", "\n", "#### ", "<<", ">>")
_PIECE = re.compile("|".join([*map(re.escape, _FIXED), r"\d", r"\w+", r"[^\w\s]"]))


def _vocabulary() -> tuple[str, ...]:
    """Return every token: markers, digits, signs and the words of the problems."""
    texts = [
        part.format(a="", b="", c="", unit=unit) for parts in WORDINGS for part in parts for unit in UNITS
    ]
    words = {piece for text in (*texts, ENDING, "A is.") for piece in _PIECE.findall(text)}
    return ("<pad>", "<end>", *_FIXED, *"+*=0123456789", *sorted(words - {*"+*="}))


TOKENS = _vocabulary()
_IDS = {token: number for number, token in enumerate(TOKENS)}


def encode(text: str) -> list[int]:
    """Return the tokens of a text in the problems' own words."""
    return [_IDS[piece] for piece in _PIECE.findall(text)]


def decode(tokens: Sequence[int]) -> str:
    """Return the text of a reply, with spaces between words."""
    text = ""
    for token in tokens:
        piece = TOKENS[token]
        spaced = text[-1:].isalnum() and piece.isalnum() and not (text[-1] + piece).isdigit()
        text += f" {piece}" if spaced else piece
    return text


# --- rows to learn from -------------------------------------------------------------------------

Row = tuple[list[int], list[int]]
"""Tokens, and those of them that are learned."""


def prompt_row(random: np.random.Generator, shots: int, largest: int) -> Row:
    """Return a prompt with so many demonstrations, and all answers in it to learn."""
    units, unit = UnitValues.draw(random, largest), int(random.integers(len(UNITS)))
    tokens: list[int] = []
    labels: list[int] = []
    for _ in range(shots):
        about = unit if random.random() < 0.5 else None
        demo = units.journey(random, draw_steps(random, DEMO_STEPS), about)
        asked = encode(f"[QUESTION]\n{demo.question}\n[ANSWER]\n")
        answered = encode(f"{demo.solution}\n\n")
        tokens += asked + answered
        labels += [IGNORED] * len(asked) + answered
    problem, reason = units.journey(random, draw_steps(random, STEPS), unit), random.random() < 0.7
    asked = encode(render_prompt(problem.question, reason=reason))
    answered = [*encode(problem.solution if reason else f"#### {problem.answer}"), END]
    return tokens + asked + answered, labels + [IGNORED] * len(asked) + answered


def equations_row(random: np.random.Generator) -> Row:
    """Return a few bare equations."""
    text = ""
    for _ in range(9):
        low, high = ((2, 10), (10, 100), (100, 1000))[draw_steps(random, (0.4, 0.45, 0.15)) - 1]
        first = int(random.integers(low, high))
        if random.random() < 0.7:
            second = int(random.integers(2, 10))
            text += f"<<{first}*{second}={first * second}>>\n"
        else:
            second = int(random.integers(2, 100))
            text += f"<<{first}+{second}={first + second}>>\n"
    tokens = encode(text)
    return tokens, tokens


def values_row(random: np.random.Generator, largest: int) -> Row:
    """Return a list of what units are worth, to learn where a unit is named again."""
    units = UnitValues.draw(random, largest)
    seen: set[int] = set()
    tokens: list[int] = []
    labels: list[int] = []
    for unit in random.integers(len(UNITS), size=12).tolist():
        said = encode(f"A {UNITS[unit]} is {units.values[unit]}.\n")
        tokens += said
        labels += [token if unit in seen and TOKENS[token].isdigit() else IGNORED for token in said]
        seen.add(unit)
    return tokens, labels


def copied_rows(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return random tokens that come twice, and as labels what comes the second time."""
    half = random.integers(2, len(TOKENS), (32, int(random.integers(7, 29))))
    tokens = np.concatenate([half, half], axis=1)
    labels = tokens.copy()
    labels[:, : half.shape[1] + 1] = IGNORED
    return tokens, labels
