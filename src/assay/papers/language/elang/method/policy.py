"""The routing policy: what calibration found, as a JSON file that says which models it is for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Num
from numpy import ndarray
from scipy import stats
from torch import Tensor

from assay import files

from .cost import Costs
from .curve import RoutingCurve
from .head import EncoderEnergyHead, has_head
from .observations import Measured, Observations, clopper_pearson
from .scores import score_logits

Target = Literal["match_super", "budget", "share"]

FILE = "policy.json"
FORMAT = 1


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
class RoutingPolicy:
    """A calibrated rule: Swift keeps a row if its score is finite and ≥ `threshold`; else Super answers.

    The file is JSON. A policy belongs to the pair of models that it was calibrated on: `check_models`
    compares fingerprints, and `EnergyRouter` calls it.
    """

    threshold: float
    """t, on the scale of the score; −∞ is Swift only, +∞ Super only."""
    score: str = "negative_free_energy"
    """Name of the score; the higher it is, the more readily Swift keeps the row."""
    temperature: float = 1.0
    """T of the score."""
    read_from: Literal["swift", "encoder"] = "swift"
    """Whose logits are scored: Swift's, or those of the head on Swift's encoder."""
    num_classes: int | None = None
    """Logits a row; None for a vocabulary or a score of the user's own."""
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
    curve: dict[str, list[float]] = field(default_factory=dict)
    """The curve on the calibration rows, thinned: threshold, super_share, quality and, if known, cost."""
    head: EncoderEnergyHead | None = field(default=None, compare=False, repr=False)
    """The head whose logits are scored, where they are read from the encoder; kept as safetensors."""

    def route(
        self,
        logits: Float[Tensor, "batch classes"] | Float[Tensor, "batch steps vocabulary"],
        mask: Bool[Tensor, "batch steps"] | None = None,
    ) -> Bool[Tensor, " batch"]:
        """Return True for the rows that Super should answer.

        Args:
            logits: Swift's raw logits, before any softmax; of a sequence, those of each step.
            mask: True where a step belongs to the sequence.

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
        return ~(
            torch.isfinite(scores) & (scores.double() >= self.threshold)
        )  # float32 would round the threshold

    def check_models(self, swift_fingerprint: str | None, super_fingerprint: str | None) -> None:
        """Refuse other models than the calibrated pair. What has no fingerprint cannot be checked.

        Raises:
            ValueError: Says which of the two differs.
        """
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

        Args:
            scores: Scores of rows as they came in.
            level: The p-value below which the routed share counts as changed.

        Raises:
            ValueError: No rows, or a policy without calibration data.
        """
        if self.calibration is None or len(scores) == 0:
            raise ValueError("A drift report needs live scores and a policy that was calibrated.")
        kept = np.isfinite(scores) & (scores >= self.threshold)
        routed, rows = int(np.count_nonzero(~kept)), len(scores)
        before, total = round(self.calibration.super_share * self.calibration.rows), self.calibration.rows
        p_value = float(stats.fisher_exact([[routed, rows - routed], [before, total - before]]).pvalue)
        return DriftReport(
            rows=rows,
            invalid=int(np.count_nonzero(~np.isfinite(scores))),
            super_share=routed / rows,
            interval=clopper_pearson(routed, rows),
            calibrated_share=self.calibration.super_share,
            p_value=p_value,
            largest_gap=self._largest_gap(scores),
            drifted=p_value < level,
        )

    def _largest_gap(self, scores: Num[ndarray, " rows"]) -> float:
        """Return the Kolmogorov distance, read at the finite thresholds of the thinned curve."""
        thresholds, share = np.array(self.curve["threshold"]), np.array(self.curve["super_share"])
        finite = np.isfinite(thresholds)
        live = np.sort(np.where(np.isfinite(scores), scores, -np.inf))
        below = np.searchsorted(live, thresholds[finite], side="left") / len(live)
        return float(np.abs(below - share[finite]).max(initial=0.0))

    def save(self, folder: str | Path) -> None:
        """Write `policy.json` into a folder, and the weights of the head beside it if there is one."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        plain = asdict(replace(self, head=None))
        del plain["head"]
        content = json.dumps(files.spell_infinities({"format": FORMAT} | plain), indent=1, allow_nan=False)
        if self.head is not None:
            self.head.save(path)
        temporary = path / f".{FILE}.new"
        temporary.write_text(content + "\n", encoding="utf-8")
        temporary.replace(path / FILE)

    @classmethod
    def load(cls, folder: str | Path) -> RoutingPolicy:
        """Read a policy from its folder.

        Raises:
            FileNotFoundError: There is no `policy.json`.
            ValueError: It is not one, or one of a later version.
        """
        path = Path(folder) / FILE
        try:
            content = files.read_infinities(json.loads(path.read_text(encoding="utf-8")))
            if content.pop("format") != FORMAT:
                raise ValueError(f"it is not of format {FORMAT}")
            policy = cls(**_typed(content))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a routing policy: {error}.") from error
        return replace(policy, head=EncoderEnergyHead.load(folder)) if has_head(folder) else policy


def calibrate(
    observed: Observations,
    target: Target = "match_super",
    *,
    tolerance: float = 0.0,
    budget: float | None = None,
    share: float | None = None,
    held_out: Observations | None = None,
    **identity: Any,
) -> RoutingPolicy:
    """Choose the threshold on some rows and measure it on others.

    Args:
        observed: The rows that choose.
        target: `match_super`: the cheapest threshold whose quality is at least Super's minus `tolerance`.
            `budget`: the best quality at a mean cost of at most `budget`. `share`: the largest share of Super
            that is at most `share`.
        tolerance: In units of the quality (0.005 is half a point of accuracy).
        budget: Mean cost a row as a share of Super's, Swift included.
        share: Between 0 and 1.
        held_out: Rows that had no say, for the metric to quote and its interval.
        identity: Other fields of `RoutingPolicy`: the score, the temperature, the models.

    Raises:
        ValueError: A target without its number, or one that cannot be met.
    """
    curve = observed.curve()
    routed, value = _choose(curve, observed.costs, target, tolerance, budget, share)
    threshold = curve.threshold(routed)
    return RoutingPolicy(
        threshold=threshold,
        target=target,
        target_value=value,
        costs=observed.costs,
        calibration=observed.measure(threshold),
        held_out=held_out.measure(threshold) if held_out else None,
        curve=curve.points(),
        **identity,
    )


def _choose(
    curve: RoutingCurve,
    costs: Costs | None,
    target: Target,
    tolerance: float,
    budget: float | None,
    share: float | None,
) -> tuple[int, float]:
    """Return how many rows to route, and the number that the target was given."""
    if target == "match_super":
        if tolerance < 0:
            raise ValueError(f"The tolerance must be at least 0, got {tolerance}.")
        return curve.match(curve.super_quality - tolerance), tolerance
    if target == "budget":
        if budget is None or costs is None:
            raise ValueError(
                "target='budget' needs budget=, a share of Super's cost, and the costs of both models."
            )
        if budget * costs.super_ < costs.always:
            least = costs.always / costs.super_
            raise ValueError(
                f"budget={budget:g} of Super's cost is less than Swift alone costs, {least:.3g}."
            )
        return curve.afford(budget * costs.super_), budget
    if target == "share":
        if share is None:
            raise ValueError("target='share' needs share=, the share of rows that Super may answer.")
        return curve.at_most(share), share
    raise ValueError(f"There is no target {target!r}. Known: {', '.join(get_args(Target))}.")


def _typed(content: dict[str, Any]) -> dict[str, Any]:
    """Rebuild the nested dataclasses and refuse what a policy does not have."""
    unknown = set(content) - {each.name for each in fields(RoutingPolicy)}
    if unknown:
        raise ValueError(f"it has the unknown fields {', '.join(sorted(unknown))}")
    if not isinstance(content["threshold"], float | int):
        raise ValueError(f"its threshold is {content['threshold']!r}, not a number")
    for name in ("costs", "wall_time"):
        if content.get(name) is not None:
            content[name] = Costs(**content[name])
    if content.get("label_names") is not None:
        content["label_names"] = tuple(content["label_names"])
    for name in ("calibration", "held_out"):
        if content.get(name) is not None:
            measured: dict[str, Any] = content[name]
            content[name] = Measured(**measured | {"interval": tuple(measured["interval"])})
    return content
