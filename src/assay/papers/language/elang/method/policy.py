"""The routing policy: what calibration found, as an object that is kept and says which models it is for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Num
from numpy import ndarray
from scipy import stats
from torch import Tensor

from assay.artefact import Artefact

from .cost import Costs
from .curve import RoutingCurve
from .head import EncoderEnergyHead
from .observations import Measured, Observations, clopper_pearson
from .scores import score_logits

Target = Literal["match_super", "budget", "share"]


@dataclass(frozen=True)
class DriftReport:
    """Whether live traffic is routed as the calibration rows were."""

    rows: int
    """Rows seen."""
    invalid: int
    """Rows whose score is not finite."""
    super_share: float
    """Share of them that goes to Super."""
    interval: tuple[float, float]
    """95 % Clopper-Pearson interval of that share."""
    calibrated_share: float
    """Share of Super on the calibration rows."""
    p_value: float
    """Fisher's exact test that both shares are the same."""
    largest_gap: float
    """Largest distance between the two distribution functions of the score, at the curve's thresholds."""
    drifted: bool
    """The p-value is below the level: calibrate again on fresh rows."""


@dataclass(frozen=True)
class RoutingPolicy(Artefact):
    """A calibrated rule: Swift keeps a row if its score is finite and ≥ `threshold`; else Super answers.

    A policy belongs to the pair of models that it was calibrated on: `check_models` compares fingerprints,
    and `EnergyRouter` calls it.
    """

    threshold: float = math.inf
    """t, on the scale of the score; −∞ is Swift only, +∞ Super only."""
    score: str = "negative_free_energy"
    """Name of the score; the higher it is, the more readily Swift keeps the row."""
    temperature: float = 1.0
    """T of the score."""
    read_from: Literal["swift", "encoder"] = "swift"
    """Whose logits are scored: Swift's, or those of the head on Swift's encoder."""
    num_classes: int | None = None
    """Logits a row; None for a vocabulary or a custom score."""
    label_names: tuple[str, ...] | None = None
    """Class names in the order of the logits, where the models name them."""
    target: Target = "match_super"
    """What the threshold was chosen for."""
    target_value: float = 0.0
    """The tolerance, the budget (as a share of Super's cost) or the share of Super."""
    swift_fingerprint: str | None = None
    """Identifies Swift."""
    super_fingerprint: str | None = None
    """Identifies Super."""
    costs: Costs | None = None
    """FLOPs a row of each part."""
    wall_time: Costs | None = None
    """Seconds a row of each part, on the machine that calibrated."""
    calibration: Measured | None = None
    """What the threshold gives on the rows that chose it (optimistic)."""
    held_out: Measured | None = None
    """What it gives on rows that had no say in it: the number to quote."""
    curve: dict[str, list[float]] = field(default_factory=dict, repr=False)
    """The curve on the calibration rows, thinned: threshold, super_share, quality and, if known, cost."""
    head: EncoderEnergyHead | None = field(default=None, compare=False, repr=False)
    """The head whose logits are scored, where they are read from the encoder."""

    def route(
        self,
        logits: Float[Tensor, "batch classes"] | Float[Tensor, "batch steps vocabulary"],
        mask: Bool[Tensor, "batch steps"] | None = None,
    ) -> Bool[Tensor, " batch"]:
        """Return True for the rows that Super should answer.

        The logits are Swift's, before any softmax; of a sequence, those of each step in `mask`.

        Raises:
            ValueError: The logits carry no energy or have another number of classes than the calibrated ones.
        """
        if self.num_classes is not None and logits.shape[-1] != self.num_classes:
            raise ValueError(
                f"This policy is for {self.num_classes} classes, the logits have {logits.shape[-1]}."
                " Calibrate a policy for this model."
            )
        return self.route_scores(score_logits(logits, self.score, self.temperature, mask))

    def route_scores(self, scores: Float[Tensor, " batch"]) -> Bool[Tensor, " batch"]:
        """Return True where the score is below the threshold or not finite."""
        # Compared as doubles: float32 would round the threshold.
        return ~(torch.isfinite(scores) & (scores.double() >= self.threshold))

    def check_models(self, swift_fingerprint: str | None, super_fingerprint: str | None) -> None:
        """Raise a ValueError for other models than the calibrated pair; without a fingerprint, pass."""
        pairs = {
            "Swift": (self.swift_fingerprint, swift_fingerprint),
            "Super": (self.super_fingerprint, super_fingerprint),
        }
        for name, (mine, given) in pairs.items():
            if mine is not None and given is not None and mine != given:
                raise ValueError(
                    f"This policy was calibrated with another {name} ({mine}, not {given}). A threshold holds"
                    " only for the models that it was calibrated on: calibrate again."
                )

    def drift(self, scores: Num[ndarray, " rows"], level: float = 0.01) -> DriftReport:
        """Compare the scores of live rows with the calibration rows.

        The routed share counts as changed where the p-value is below `level`.

        Raises:
            ValueError: No rows, or a policy without calibration data.
        """
        if self.calibration is None or len(scores) == 0:
            raise ValueError("A drift report needs live scores and a policy that was calibrated.")
        finite = np.isfinite(scores)
        routed, rows = int(np.count_nonzero(~(finite & (scores >= self.threshold)))), len(scores)
        before, total = round(self.calibration.super_share * self.calibration.rows), self.calibration.rows
        p_value = float(stats.fisher_exact([[routed, rows - routed], [before, total - before]]).pvalue)
        return DriftReport(
            rows=rows,
            invalid=rows - int(np.count_nonzero(finite)),
            super_share=routed / rows,
            interval=clopper_pearson(routed, rows),
            calibrated_share=self.calibration.super_share,
            p_value=p_value,
            largest_gap=self._largest_gap(np.where(finite, scores, -np.inf)),
            drifted=p_value < level,
        )

    def _largest_gap(self, scores: Num[ndarray, " rows"]) -> float:
        """Return the Kolmogorov distance, read at the finite thresholds of the thinned curve."""
        thresholds, share = np.array(self.curve["threshold"]), np.array(self.curve["super_share"])
        finite = np.isfinite(thresholds)
        below = np.searchsorted(np.sort(scores), thresholds[finite], side="left") / len(scores)
        return float(np.abs(below - share[finite]).max(initial=0.0))


def calibrate(
    observed: Observations,
    target: Target = "match_super",
    value: float | None = None,
    *,
    held_out: Observations | None = None,
    policy: RoutingPolicy | None = None,
) -> RoutingPolicy:
    """Choose the threshold on some rows and measure it on others.

    Args:
        observed: The rows that choose.
        target: `match_super`: the cheapest threshold whose quality is at least Super's minus `value`.
            `budget`: the best quality at a mean cost of at most `value`, a share of Super's, Swift included.
            `share`: the largest share of Super that is at most `value`.
        value: The number of the target. For match_super in units of the quality (0.005 is half a point of
            accuracy), by default 0.
        held_out: Rows that had no say, for the metric to quote and its interval.
        policy: Says what the new policy is for: the score, the temperature, the models.

    Raises:
        ValueError: A target without its number, or one that cannot be met.
    """
    if target not in get_args(Target):
        raise ValueError(f"There is no target {target!r}. Known: {', '.join(get_args(Target))}.")
    if value is None and target != "match_super":
        raise ValueError(f"target={target!r} needs a value: a share of Super's cost, or of the rows.")
    curve, number = observed.curve(), value or 0.0
    threshold = curve.threshold(_choose(curve, observed.costs, target, number))
    return replace(
        policy or RoutingPolicy(),
        threshold=threshold,
        target=target,
        target_value=number,
        costs=observed.costs,
        calibration=observed.measure(threshold),
        held_out=held_out.measure(threshold) if held_out else None,
        curve=curve.points(),
    )


def _choose(curve: RoutingCurve, costs: Costs | None, target: Target, value: float) -> int:
    """Return how many rows to route."""
    if target == "share":
        return curve.at_most(value)
    if target == "match_super":
        if value < 0:
            raise ValueError(f"The tolerance must be at least 0, got {value}.")
        return curve.match(curve.super_quality - value)
    if costs is None:
        raise ValueError("target='budget' needs the costs of both models.")
    if value * costs.super_ < costs.always:
        least = costs.always / costs.super_
        raise ValueError(
            f"A budget of {value:g} of Super's cost is less than Swift alone costs, {least:.3g}."
        )
    return curve.afford(value * costs.super_)
