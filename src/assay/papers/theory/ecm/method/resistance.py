"""Resistors: from the steps r1 and the load r2 of a question, and the way it is answered, to R."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, get_args, runtime_checkable

import numpy as np

from .arithmetic import DifficultyUnavailable, arithmetic_difficulty
from .circuit import BOUNDS, Array, Numbers

Way = Literal["direct", "cot", "tool", "program"]
"""How a question is answered: at once, with a chain of thought, with a calculator, by a program."""
WAYS: tuple[Way, ...] = get_args(Way)

CountEntities = Callable[[str], int]
"""Gives the number of named entities in a text."""


@runtime_checkable
class Resistance(Protocol):
    """Turns steps and load into resistance."""

    def __call__(self, steps: Numbers, load: Numbers, way: str = "cot") -> Array:
        """Return R, with the shape of `steps` and `load` broadcast."""
        ...


def _fold(value: Numbers, clip: bool) -> Array:
    """Return |value|, the authors' formula, or 0 where it is negative."""
    return np.asarray(np.maximum(value, 0.0) if clip else np.abs(value))


def _refuse(way: str, known: Sequence[str]) -> ValueError:
    return ValueError(f"There is no resistance for the way {way!r}; known: {', '.join(known)}.")


@dataclass(frozen=True)
class MathResistance:
    """Annotated arithmetic: R = 2 |r1/M + (r2 + sigma)/N - 0.4| with a chain of thought.

    Without one, R = 2 |4.5 r1/M + 5.2 (r2 + sigma)/N - 0.1|. A calculator takes the second term away,
    R = 2 |r1/M - 0.2|, and a program divides that by 1.2. Below the constant R grows again as questions get
    easier; `clip` gives 0 there.
    """

    steps: float = BOUNDS["math"][0]
    load: float = BOUNDS["math"][1]
    offset: float = BOUNDS["math"][2]
    clip: bool = False
    drop_trivial: bool = False

    def __call__(self, steps: Numbers, load: Numbers, way: str = "cot") -> Array:
        """Return R."""
        planning = np.asarray(steps, dtype=np.float64) / self.steps
        calculation = (np.asarray(load, dtype=np.float64) + self.offset) / self.load
        if way == "cot":
            return np.asarray(2 * _fold(planning + calculation - 0.4, self.clip))
        if way == "direct":
            return np.asarray(2 * _fold(4.5 * planning + 5.2 * calculation - 0.1, self.clip))
        if way not in WAYS:
            raise _refuse(way, WAYS)
        alone = 2 * _fold(planning - 0.2 + 0 * calculation, self.clip)
        return np.asarray(alone if way == "tool" else alone / 1.2)

    def difficulty(self, solution: str) -> tuple[float, float]:
        """Return r1 and r2 of an annotated solution; see `arithmetic_difficulty`."""
        return arithmetic_difficulty(solution, drop_trivial=self.drop_trivial)


@dataclass(frozen=True)
class _TextResistance:
    """R = scale |k r1/M + (r2 + sigma)/N - constant|; k is 2 without a chain of thought, else 1.

    Args:
        steps: M.
        load: N.
        offset: sigma.
        clip: give 0 where the difference is negative, instead of the authors' absolute value.
    """

    steps: float = BOUNDS["multihop"][0]
    load: float = BOUNDS["multihop"][1]
    offset: float = BOUNDS["multihop"][2]
    clip: bool = False

    scale: ClassVar[float] = 1.0
    constant: ClassVar[float] = 0.4

    def __call__(self, steps: Numbers, load: Numbers, way: str = "cot") -> Array:
        """Return R."""
        factors = {"cot": 1.0, "direct": 2.0}
        if way not in factors:
            raise _refuse(way, list(factors))
        planning = factors[way] * np.asarray(steps, dtype=np.float64) / self.steps
        loaded = planning + (np.asarray(load, dtype=np.float64) + self.offset) / self.load
        return np.asarray(self.scale * _fold(loaded - self.constant, self.clip))


class MultiHopResistance(_TextResistance):
    """Several texts: R = |k r1/M + (r2 + sigma)/N - 0.4|; k is 2 without a chain of thought, else 1."""

    @staticmethod
    def difficulty(
        hops: Sequence[str], count_entities: CountEntities, known: int | float | None = None
    ) -> tuple[float, float]:
        """Return r1, the most named entities of a hop's text, and r2, the number of hops.

        Args:
            hops: the supporting texts.
            count_entities: gives the number of named entities in a text.
            known: r1, where it was counted before.

        Raises:
            DifficultyUnavailable: there is no hop.
        """
        if not hops:
            raise DifficultyUnavailable("The question names no hop; give its supporting texts.")
        most = max(count_entities(hop) for hop in hops) if known is None else known
        return float(most), float(len(hops))


class MedicalResistance(_TextResistance):
    """Medical questions: R = 0.4 |k r1/M + (r2 + sigma)/N - 0.1|; k as for `MultiHopResistance`."""

    scale = 0.4
    constant = 0.1

    @staticmethod
    def difficulty(
        explanation: str, count_entities: CountEntities, known: int | float | None = None
    ) -> tuple[float, float]:
        """Return r1, the sentences of the explanation, and r2, the most entities of one (`known` if counted).

        Raises:
            DifficultyUnavailable: there is no explanation.
        """
        if not explanation.strip():
            raise DifficultyUnavailable("The question has no explanation, so that its steps are not known.")
        sentences = explanation.strip().split(". ")
        most = max(count_entities(sentence) for sentence in sentences) if known is None else known
        return float(len(sentences)), float(most)


@dataclass(frozen=True)
class PlanResistance(_TextResistance):
    """Plans, one action a line: R = 2 |k r1/M + (r2 + sigma)/N - 0.4|; k as for `MultiHopResistance`."""

    steps: float = BOUNDS["plan"][0]
    load: float = BOUNDS["plan"][1]

    scale = 2.0

    @staticmethod
    def difficulty(plan: str) -> tuple[float, float]:
        """Return r1, the lines of the plan, and r2, the most arguments of a step.

        An empty line counts, as the one after a last line break: the published constants were set so.

        Raises:
            DifficultyUnavailable: the plan is empty.
        """
        if not plan.strip():
            raise DifficultyUnavailable("The plan is empty, so that its steps are not known.")
        lines = plan.split("\n")
        return float(len(lines)), float(max(len(line.split()) - 1 for line in lines))


@dataclass(frozen=True)
class CallableResistance:
    """Your own resistance: `function(steps, load, way)` gives R."""

    function: Callable[[Array, Array, str], Numbers]

    def __call__(self, steps: Numbers, load: Numbers, way: str = "cot") -> Array:
        """Return R.

        Raises:
            ValueError: the function gave a negative resistance, or one that is not finite.
        """
        given = self.function(np.asarray(steps, dtype=np.float64), np.asarray(load, dtype=np.float64), way)
        found = np.asarray(given, dtype=np.float64)
        if not np.isfinite(found).all() or (found < 0).any():
            raise ValueError("The resistance must be finite and at least 0.")
        return found


@dataclass(frozen=True)
class LinearResistance:
    """What calibration finds: R = a r1 + b r2 + c, with a, b and c of each way."""

    coefficients: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)

    def __call__(self, steps: Numbers, load: Numbers, way: str = "cot") -> Array:
        """Return R.

        Raises:
            ValueError: the calibration had no item that was answered this way.
        """
        if way not in self.coefficients:
            raise _refuse(way, list(self.coefficients) or ["none"])
        a, b, c = self.coefficients[way]
        return np.asarray(
            a * np.asarray(steps, dtype=np.float64) + b * np.asarray(load, dtype=np.float64) + c
        )
