"""What both models did on the same rows, and what a threshold makes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int, Num, Shaped
from numpy import ndarray
from scipy import stats

from .cost import Costs
from .curve import RoutingCurve


@dataclass(frozen=True)
class Observations:
    """What both models did on the same rows: enough to calibrate a policy, or to measure one."""

    scores: Num[ndarray, " rows"]
    """Routing score of each row, higher means "keep in Swift"."""
    swift_quality: Shaped[ndarray, " rows"]
    """Quality of Swift's answer: correct or not, or a number where more is better."""
    super_quality: Shaped[ndarray, " rows"]
    """Quality of Super's answer."""
    costs: Costs | None = None
    """Cost a row of each part, for instance FLOPs."""

    def __repr__(self) -> str:
        """Return one line, not the arrays."""
        return f"Observations({len(self.scores)} rows, costs={self.costs})"

    def take(self, rows: Int[ndarray, " taken"]) -> Observations:
        """Return the observations of some rows."""
        return replace(
            self,
            scores=self.scores[rows],
            swift_quality=self.swift_quality[rows],
            super_quality=self.super_quality[rows],
        )

    def curve(self) -> RoutingCurve:
        """Return quality and cost at every threshold."""
        always, routed = (self.costs.always, self.costs.routed) if self.costs else (None, None)
        return RoutingCurve.measure(self.scores, self.swift_quality, self.super_quality, always, routed)

    def measure(self, threshold: float) -> Measured:
        """Return what a threshold gives on these rows."""
        finite = np.isfinite(self.scores)
        kept = finite & (self.scores >= threshold)
        quality = np.where(kept, self.swift_quality, self.super_quality)
        rows = len(kept)
        share = (rows - int(np.count_nonzero(kept))) / rows
        return Measured(
            rows=rows,
            invalid=rows - int(np.count_nonzero(finite)),
            super_share=share,
            quality=float(quality.mean()),
            interval=mean_interval(quality),
            swift_quality=float(self.swift_quality.mean()),
            super_quality=float(self.super_quality.mean()),
            speedup=self.costs.speedup(share) if self.costs else None,
        )


@dataclass(frozen=True)
class PairReadings:
    """What both models gave on the same rows, with every score that was asked for."""

    scores: dict[tuple[str, float], Num[ndarray, " rows"]]
    """By the score's name and temperature."""
    swift_quality: Shaped[ndarray, " rows"]
    super_quality: Shaped[ndarray, " rows"]
    costs: Costs | None
    """FLOPs a row; None where torch sees none."""
    seconds: Costs
    """Seconds a row."""
    num_classes: int | None
    """Logits a row of what is scored; None for sequences."""

    def observations(self, scores: Num[ndarray, " rows"]) -> Observations:
        """Return the observations with some scores."""
        return Observations(scores, self.swift_quality, self.super_quality, self.costs)


@dataclass(frozen=True)
class Measured:
    """What a threshold gave on some rows."""

    rows: int
    """Number of rows."""
    invalid: int
    """Rows whose score was not finite and that went to Super for that reason."""
    super_share: float
    """Share of rows that Super answered."""
    quality: float
    """Mean quality of the joint answers."""
    interval: tuple[float, float]
    """95 % interval of the quality: Clopper-Pearson for a share of correct answers, else Student."""
    swift_quality: float
    """Mean quality of Swift alone."""
    super_quality: float
    """Mean quality of Super alone."""
    speedup: float | None
    """Cost of Super alone over the joint cost; None where costs are unknown."""


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share k/n."""
    exact = stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return float(exact.low), float(exact.high)


def mean_interval(values: Shaped[ndarray, " rows"], confidence: float = 0.95) -> tuple[float, float]:
    """Return an interval of a mean: Clopper-Pearson where every value is 0 or 1, else Student's.

    A single value that is not 0 or 1 says nothing about its spread: (−∞, ∞).
    """
    if values.dtype == bool or ((values == 0) | (values == 1)).all():
        return clopper_pearson(int(np.count_nonzero(values)), len(values), confidence)
    if len(values) < 2:
        return -math.inf, math.inf
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * error
    return mean - half, mean + half
