"""The circuit: a source, an induced voltage, resistors in series and parallel, and the power at the output.

I = (U + U_icl) / (R_0 + R)        P = I^2 R_0 = (U + U_icl)^2 R_0 / (R_0 + R)^2
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Numbers = float | int | Sequence[Any] | np.ndarray[Any, np.dtype[Any]]
"""A number, or numbers of any shape."""

OUTPUT = 2.5
"""The output resistor R_0 of the authors' code. P depends on ratios of resistances alone."""

VOLTAGES = {
    "gpt-3.5-turbo": 60.0,
    "gemini-1.5-pro": 85.0,
    "gemini-1.5-flash": 65.0,
    "glm-3-turbo": 50.0,
    "glm-4": 52.0,
    "o1-mini": 85.0,
    "o1-preview": 95.0,
    "Qwen2.5-7B": 60.0,
    "Qwen2.5-14B": 60.0,
    "Qwen2.5-32B": 65.0,
    "Qwen2.5-72B": 70.0,
    "claude-3.5-sonnet": 80.0,
    "claude-3-haiku": 65.0,
    "claude-3-opus": 85.0,
    "claude-3-sonnet": 80.0,
}
"""U of each language model, set by hand in the authors' code."""

INDUCTIONS = {"bert": 0.15, "roberta": 0.5, "bge-m3": 0.1, "skill": 100.0}
"""U_W of each embedder, set by hand in the authors' code."""

Task = Literal["math", "multihop", "medical", "plan"]

BOUNDS: dict[str, tuple[float, float, float]] = {
    "math": (7.0, 1.6e5, 2e4),
    "multihop": (10.0, 10.0, 0.2),
    "medical": (10.0, 10.0, 0.2),
    "plan": (7.0, 7.0, 0.2),
}
"""M, N and sigma of each task, set by hand in the authors' code."""


@dataclass(frozen=True)
class CircuitConstants:
    """What is the same for all questions.

    Args:
        voltage: U, the model's own skill.
        induction: U_W, volts for one unit of flux.
        output: R_0, the output resistor.
        steps: M, the steps that the model can plan.
        load: N, the largest product that it can compute.
        offset: sigma, added to the load.
    """

    voltage: float = 60.0
    induction: float = 0.1
    output: float = OUTPUT
    steps: float = 7.0
    load: float = 1.6e5
    offset: float = 2e4

    def __post_init__(self) -> None:
        for name in ("voltage", "output", "steps", "load"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}.")
        if self.induction < 0 or self.offset < 0:
            raise ValueError(f"induction and offset must be at least 0, not {self.induction}, {self.offset}.")

    @classmethod
    def paper(
        cls,
        model: str = "gpt-3.5-turbo",
        embedder: str = "bge-m3",
        task: Task = "math",
        distance: Literal["projection", "manhattan"] = "projection",
    ) -> CircuitConstants:
        """Return the constants of the authors' code; Blocksworld has another U_W.

        Raises:
            ValueError: the model, the embedder or the task has none.
        """
        for name, known in ((model, VOLTAGES), (embedder, INDUCTIONS), (task, BOUNDS)):
            if name not in known:
                raise ValueError(f"There are no constants for {name!r}; known: {', '.join(known)}.")
        steps, load, offset = BOUNDS[task]
        induction = 1.5 if task == "plan" else INDUCTIONS[embedder]
        induction = induction / 200 if distance == "manhattan" else induction
        return cls(VOLTAGES[model], induction, OUTPUT, steps, load, offset)

    def with_(self, **changes: float) -> CircuitConstants:
        """Return a copy with other values."""
        return replace(self, **changes)


def induced_voltage(
    flux_sum: Numbers, induction: float, negative: Literal["clamp", "raise"] = "clamp"
) -> Array:
    """Return U_icl = U_W sum_i Phi_i, where a sum below 0 is not a reversed source.

    P is a square, so that a large negative voltage would count as help. The sum is set to 0 with a warning,
    or refused.

    Raises:
        ValueError: a sum is negative and `negative` is "raise", or one is not finite.
    """
    sums = np.asarray(flux_sum, dtype=np.float64)
    if not np.isfinite(sums).all():
        raise ValueError("The flux is not finite; look at the embeddings.")
    below = int((sums < 0).sum())
    if below:
        said = f"The flux of {below} of {sums.size} items is negative (least {sums.min():.3g})"
        if negative == "raise":
            raise ValueError(f"{said}: choose other demonstrations, or clamp it at 0.")
        warnings.warn(f"{said}; it counts as 0.", stacklevel=2)
    return induction * np.maximum(sums, 0.0)


def power(voltage: Numbers, resistance: Numbers, output: float = OUTPUT) -> Array:
    """Return P = V^2 R_0 / (R_0 + R)^2, the power at the output.

    Args:
        voltage: V = U + U_icl, any shape.
        resistance: R, broadcast with it.
        output: R_0.

    Raises:
        ValueError: a voltage or a resistance is negative, or R_0 is not above 0.
    """
    volts, ohms = np.asarray(voltage, dtype=np.float64), np.asarray(resistance, dtype=np.float64)
    if output <= 0:
        raise ValueError(f"The output resistor must be above 0, not {output}.")
    if (volts < 0).any() or (ohms < 0).any():
        raise ValueError("Voltage and resistance must be at least 0; P is a square and would hide the sign.")
    return np.asarray(volts**2 * output / (output + ohms) ** 2)


def series(*resistances: Numbers) -> Array:
    """Return R_1 + R_2 + ..."""
    return np.asarray(sum(np.asarray(each, dtype=np.float64) for each in resistances))


def parallel(resistance: Numbers, paths: Numbers) -> Array:
    """Return R / k: k equal paths, of which any may succeed (pass@k).

    Raises:
        ValueError: there is no path.
    """
    count = np.asarray(paths, dtype=np.float64)
    if (count < 1).any():
        raise ValueError(f"There must be at least one path, not {count.min():g}.")
    return np.asarray(np.asarray(resistance, dtype=np.float64) / count)


def majority_vote(resistance: Numbers, paths: Numbers, output: float = OUTPUT) -> Array:
    """Return R / k + R_0: k equal paths and a resistor that decides between them (self-consistency)."""
    return series(parallel(resistance, paths), output)
