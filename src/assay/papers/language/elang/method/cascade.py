"""More than two models: the rule applied level by level."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from torch import Tensor

from assay.models import count_flops, live
from assay.models.live import Answers, Inputs, Model

from .curve import RoutingCurve
from .observations import Observations, mean_interval
from .policy import RoutingPolicy
from .reading import CustomScore, ScoredModel
from .router import Quality, exact_match


@dataclass(frozen=True)
class CascadeOutput:
    """Answers to a batch, in its order."""

    prediction: Shaped[Tensor, "batch ..."] | list[str]
    """Class numbers or texts."""
    level: Int[Tensor, " batch"]
    """Which model answered; 0 is the cheapest."""


@dataclass(frozen=True)
class CascadeMeasured:
    """What a cascade gave on some rows."""

    quality: float
    """Mean quality of the joint answers."""
    interval: tuple[float, float]
    """95 % interval of the quality."""
    shares: tuple[float, ...]
    """Share of rows that each model answered."""
    speedup: float | None
    """Cost of the last model alone over the joint cost; None where torch counts no FLOPs."""


class EnergyCascade:
    """Models from cheap to accurate: a row climbs while its score at a level is below that level's threshold.

    Args:
        models: Two or more; the last answers whatever reaches it.
        score: A name in `SCORES`, or a function from a model's output to one number a row.
        temperature: T of the score.
        policies: One for each model but the last, from `calibrate` or `load`.

    Raises:
        ValueError: Too few models, models that order their labels differently, or policies for other models.
    """

    def __init__(
        self,
        models: Sequence[Model],
        *,
        score: str | CustomScore = "negative_free_energy",
        temperature: float = 1.0,
        policies: Sequence[RoutingPolicy] = (),
    ) -> None:
        if len(models) < 2 or (policies and len(policies) != len(models) - 1):
            raise ValueError("A cascade needs two models or more, and a policy for each but the last.")
        for model in models[:-1]:
            live.same_labels(live.label_names(model), live.label_names(models[-1]))
        self.levels = [ScoredModel(model, score, temperature) for model in models[:-1]]
        self.last = models[-1]
        for level, policy in enumerate(policies):
            policy.check_models(self.levels[level].fingerprint, self._above(level))
        self.policies = tuple(policies)

    def predict(self, inputs: Inputs) -> CascadeOutput:
        """Answer one batch; each model sees only the rows that reach it."""
        if not self.policies:
            raise ValueError(
                "This cascade has no thresholds. Call .calibrate(batches), or give it policies=."
            )
        self._check_ready()
        rows = torch.arange(live.count(inputs))
        level_of = torch.full((len(rows),), len(self.levels))
        answered: list[tuple[Tensor, Answers]] = []
        for number, (level, policy) in enumerate(zip(self.levels, self.policies, strict=True)):
            if not len(rows):
                break
            reading = level.read(live.take(inputs, rows))
            route = policy.route_scores(level.scores(reading)).cpu()
            kept = (~route).nonzero().flatten()
            answered.append((rows[kept], reading.keep(kept)))
            level_of[rows[kept]] = number
            rows = rows[route]
        if len(rows):
            answered.append((rows, live.ask(self.last, live.take(inputs, rows))))
        return CascadeOutput(live.assemble(len(level_of), answered).prediction, level_of)

    def calibrate(
        self, batches: Iterable[tuple[Inputs, Any]], tolerance: float = 0.0, quality: Quality | None = None
    ) -> tuple[RoutingPolicy, ...]:
        """Choose the thresholds, last level first, each the cheapest that keeps the quality of the whole.

        To each level, all that lies above it, already calibrated, is one Super whose cost differs from row to
        row. Every model answers every row; arguments are those of `EnergyRouter.calibrate`, and `tolerance`
        is the quality that may be lost against the last model, over all levels together.
        """
        seen = self._observe(batches, quality or exact_match)
        *cheap, above_quality = seen.quality
        floor, above_cost = above_quality.mean() - tolerance, np.full(len(above_quality), seen.costs[-1])
        policies: list[RoutingPolicy] = []
        for number in reversed(range(len(cheap))):
            level, scores, mine, cost = (
                self.levels[number],
                seen.scores[number],
                cheap[number],
                seen.costs[number],
            )
            curve = RoutingCurve.measure(scores, mine, above_quality, cost, above_cost)
            threshold = curve.threshold(curve.match(floor))
            policies.append(
                RoutingPolicy(
                    threshold=threshold,
                    score=level.score_name,
                    temperature=level.temperature,
                    target_value=tolerance,
                    swift_fingerprint=level.fingerprint,
                    super_fingerprint=self._above(number),
                    calibration=Observations(scores, mine, above_quality).measure(threshold),
                    curve=curve.points(),
                )
            )
            kept = np.isfinite(scores) & (scores >= threshold)
            above_quality = np.where(kept, mine, above_quality)
            above_cost = cost + np.where(kept, 0.0, above_cost)
        self.policies = tuple(reversed(policies))
        return self.policies

    def measure(
        self, batches: Iterable[tuple[Inputs, Any]], quality: Quality | None = None
    ) -> CascadeMeasured:
        """Return what the calibrated cascade gives on rows with known answers."""
        seen = self._observe(batches, quality or exact_match)
        level_of = np.full(len(seen.quality[-1]), len(self.levels))
        for number in reversed(range(len(self.levels))):
            scores = seen.scores[number]
            level_of[np.isfinite(scores) & (scores >= self.policies[number].threshold)] = number
        joint = np.choose(level_of, seen.quality)
        spent = np.cumsum(seen.costs)[level_of].mean()  # a row pays for every level up to its own
        return CascadeMeasured(
            quality=float(joint.mean()),
            interval=mean_interval(joint),
            shares=tuple((np.bincount(level_of, minlength=len(seen.costs)) / len(joint)).tolist()),
            speedup=float(seen.costs[-1] / spent) if all(seen.costs) else None,
        )

    def save(self, folder: str | Path) -> None:
        """Write the policy of each level into a folder of its own."""
        for number, policy in enumerate(self.policies):
            policy.save(Path(folder) / f"level-{number}")

    @staticmethod
    def load_policies(folder: str | Path) -> tuple[RoutingPolicy, ...]:
        """Read what `save` wrote, for the argument `policies`."""
        paths = sorted(Path(folder).glob("level-*"), key=lambda path: int(path.name.removeprefix("level-")))
        if not paths:
            raise FileNotFoundError(f"{folder} holds no policies of a cascade.")
        return tuple(RoutingPolicy.load(path) for path in paths)

    def _observe(self, batches: Iterable[tuple[Inputs, Any]], quality: Quality) -> _CascadeReadings:
        self._check_ready()
        columns: list[list[ndarray]] = []
        costs: list[float] = []
        for inputs, labels in batches:
            rows = live.count(inputs)
            asked: list[Callable[..., Any]] = [
                *(level.read for level in self.levels),
                partial(live.run, self.last),
            ]
            costs = costs or [count_flops(each, inputs) / rows for each in asked]
            readings = [level.read(inputs) for level in self.levels]
            given = [reading.keep(torch.arange(rows)) for reading in readings] + [live.ask(self.last, inputs)]
            scores = [level.scores(each) for level, each in zip(self.levels, readings, strict=True)]
            qualities = [np.asarray(quality(each.prediction, labels)) for each in given]
            columns.append([*(score.double().cpu().numpy() for score in scores), *qualities])
        if not columns:
            raise ValueError("There is no batch to calibrate on.")
        joined = [np.concatenate(parts) for parts in zip(*columns, strict=True)]
        return _CascadeReadings(joined[: len(self.levels)], joined[len(self.levels) :], costs)

    def _above(self, level: int) -> str:
        """Identify the models above a level."""
        above = [each.fingerprint for each in self.levels[level + 1 :]] + [live.fingerprint(self.last)]
        return " + ".join(map(str, above))

    def _check_ready(self) -> None:
        for number, level in enumerate(self.levels):
            level.check_ready(f"Model {number}")
        live.check_ready(self.last, f"Model {len(self.levels)}")


@dataclass(frozen=True)
class _CascadeReadings:
    """What all models gave on the same rows; costs are 0 where torch counts none."""

    scores: list[Float[ndarray, " rows"]]
    quality: list[Shaped[ndarray, " rows"]]
    costs: list[float]
