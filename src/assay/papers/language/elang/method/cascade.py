"""More than two models: the rule applied level by level."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from torch import Tensor

from .batches import Answers, Inputs, Model, answers, assemble, count, run, take
from .cost import count_flops
from .curve import RoutingCurve
from .identity import check_ready, fingerprint, label_names, same_labels
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
            same_labels(label_names(model), label_names(models[-1]))
        self.levels = [ScoredModel(model, score, temperature) for model in models[:-1]]
        self.last = models[-1]
        for level, policy in enumerate(policies):
            policy.check_models(self.levels[level].fingerprint, self._above(level))
        self.policies = tuple(policies)

    def predict(self, inputs: Inputs) -> CascadeOutput:
        """Answer one batch; each model sees only the rows that reach it.

        Raises:
            ValueError: Not calibrated, or a model in training mode.
        """
        if not self.policies:
            raise ValueError(
                "This cascade has no thresholds. Call .calibrate(batches), or give it policies=."
            )
        self._check_ready()
        rows = torch.arange(count(inputs))
        level_of = torch.full((len(rows),), len(self.levels))
        answered: list[tuple[Tensor, Answers]] = []
        for number, (level, policy) in enumerate(zip(self.levels, self.policies, strict=True)):
            if not len(rows):
                break
            reading = level.read(take(inputs, rows))
            route = policy.route_scores(level.scores(reading)).cpu()
            kept = (~route).nonzero().flatten()
            answered.append((rows[kept], reading.keep(kept)))
            level_of[rows[kept]] = number
            rows = rows[route]
        if len(rows):
            answered.append((rows, answers(run(self.last, take(inputs, rows)))))
        return CascadeOutput(assemble(len(level_of), answered).prediction, level_of)

    def calibrate(
        self,
        batches: Iterable[tuple[Inputs, Any]],
        tolerance: float = 0.0,
        quality: Quality | None = None,
    ) -> tuple[RoutingPolicy, ...]:
        """Choose the thresholds, last level first, each the cheapest that keeps the quality of the whole.

        To each level, all that lies above it, already calibrated, is one Super whose cost differs from row to
        row.

        Args:
            batches: Batches of inputs and labels. Every model answers every row.
            tolerance: Quality that may be lost against the last model, over all levels together.
            quality: From predictions and labels to a number a row; by default 1 where they are equal, else 0.
        """
        seen = self._observe(batches, quality or exact_match)
        floor = seen.quality[-1].mean() - tolerance
        above_quality, above_cost = seen.quality[-1], np.full(seen.rows, seen.costs[-1])
        policies: list[RoutingPolicy] = []
        for number in reversed(range(len(self.levels))):
            scores, mine, cost = seen.scores[number], seen.quality[number], seen.costs[number]
            curve = RoutingCurve.measure(scores, mine, above_quality, cost, above_cost)
            threshold = curve.threshold(curve.match(floor))
            policies.append(
                RoutingPolicy(
                    threshold=threshold,
                    score=self.levels[number].score_name,
                    temperature=self.levels[number].temperature,
                    target_value=tolerance,
                    swift_fingerprint=self.levels[number].fingerprint,
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
        level_of = np.full(seen.rows, len(self.levels))
        for number in reversed(range(len(self.levels))):
            scores = seen.scores[number]
            level_of[np.isfinite(scores) & (scores >= self.policies[number].threshold)] = number
        joint = np.choose(level_of, seen.quality)
        spent = np.cumsum(seen.costs)[level_of].mean()  # a row pays for every level up to its own
        return CascadeMeasured(
            quality=float(joint.mean()),
            interval=mean_interval(joint),
            shares=tuple((np.bincount(level_of, minlength=len(seen.costs)) / seen.rows).tolist()),
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

    def _observe(self, batches: Iterable[tuple[Inputs, Any]], quality: Quality) -> _Seen:
        self._check_ready()
        scores: list[list[ndarray]] = [[] for _ in self.levels]
        qualities: list[list[ndarray]] = [[] for _ in range(len(self.levels) + 1)]
        costs: list[float] = []
        for inputs, labels in batches:
            rows = count(inputs)
            costs = costs or self._count_costs(inputs)
            for number, level in enumerate(self.levels):
                reading = level.read(inputs)
                scores[number].append(level.scores(reading).double().cpu().numpy())
                qualities[number].append(
                    np.asarray(quality(reading.keep(torch.arange(rows)).prediction, labels))
                )
            qualities[-1].append(np.asarray(quality(answers(run(self.last, inputs)).prediction, labels)))
        if not costs:
            raise ValueError("There is no batch to calibrate on.")
        return _Seen(
            [np.concatenate(parts) for parts in scores], [np.concatenate(parts) for parts in qualities], costs
        )

    def _count_costs(self, inputs: Inputs) -> list[float]:
        """Return the FLOPs a row of each model; 0 where torch counts none."""
        rows = count(inputs)
        swift = [count_flops(level.read, inputs) / rows for level in self.levels]
        return [*swift, count_flops(run, self.last, inputs) / rows]

    def _above(self, level: int) -> str:
        """Identify the models above a level."""
        return (
            " + ".join(str(each.fingerprint) for each in self.levels[level + 1 :])
            + f" + {fingerprint(self.last)}"
        )

    def _check_ready(self) -> None:
        for number, level in enumerate(self.levels):
            level.check_ready(f"Model {number}")
        check_ready(self.last, f"Model {len(self.levels)}")


@dataclass(frozen=True)
class _Seen:
    """What all models did on the same rows."""

    scores: list[Float[ndarray, " rows"]]
    quality: list[Shaped[ndarray, " rows"]]
    costs: list[float]

    @property
    def rows(self) -> int:
        return len(self.quality[-1])
