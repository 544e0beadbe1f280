"""The router: Swift answers what it knows, Super the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray
from torch import Tensor

from assay.models import count_flops, live
from assay.models.live import Answers, Inputs, Model

from .cost import Costs, Stopwatch
from .head import EncoderEnergyHead
from .observations import Measured, PairReadings
from .policy import RoutingPolicy, Target, calibrate
from .reading import CustomScore, ScoredModel, score_name

Quality = Callable[[Any, Any], Any]
"""From the predictions and labels of a batch to one number a row, more is better."""


@dataclass(frozen=True)
class RoutedOutput:
    """Answers to a batch, in its order."""

    prediction: Shaped[Tensor, "batch ..."] | list[str]
    """Class numbers (or values, for a regression), or texts."""
    route: Bool[Tensor, " batch"]
    """True where Super answered."""
    score: Float[Tensor, " batch"]
    """Routing score, for E-LANG the negative free energy; higher means "keep in Swift"."""
    logits: Float[Tensor, "batch ..."] | None
    """Raw logits of whichever model answered; None for texts."""
    cost: float | None
    """FLOPs of the batch; None where costs are unknown."""
    invalid: int
    """Rows that went to Super because their score was not finite."""

    def __repr__(self) -> str:
        """Return one line, not the tensors."""
        return f"RoutedOutput({len(self.route)} rows, {int(self.route.sum())} by Super, cost={self.cost})"


class EnergyRouter:
    """Runs Swift on every row, and Super on those whose score g(x) is below the threshold t:

        answer(x) = Swift(x) if g(x) ≥ t else Super(x),   g(x) = −F(x) = T log Σ_c exp(f_c(x) / T).

    A model is anything callable on a batch of raw inputs that returns logits (batch, classes) or (batch,
    steps, vocabulary), a decision function of two classes (batch,), class numbers or texts, as tensors or
    arrays: functions, modules, `TextClassifier`, `TextGenerator`; or an estimator of scikit-learn. With a
    `head`, the score is the energy of the head on Swift's encoder, and a routed row does not pay for Swift's
    decoder.

    Args:
        swift: The cheap model.
        super_: The accurate one.
        score: A name in `SCORES`, or a function from Swift's output to one number a row.
        temperature: T of the score.
        head: Reads the energy from Swift's encoder instead; Swift must have `encode` and `decode`. By default
            the policy's own, if it has one.
        policy: A calibrated policy, whose score and temperature are then used. Without one, call `calibrate`.
        costs: FLOPs a row of each part; counted by `calibrate` unless given.

    Raises:
        ValueError: The models order their labels differently, or the policy is for other models.
    """

    def __init__(
        self,
        swift: Model,
        super_: Model,
        *,
        score: str | CustomScore = "negative_free_energy",
        temperature: float = 1.0,
        head: EncoderEnergyHead | None = None,
        policy: RoutingPolicy | None = None,
        costs: Costs | None = None,
    ) -> None:
        if head is None and policy is not None:
            head = policy.head
        self.swift = ScoredModel(swift, score, temperature, head)
        self.super_ = super_
        self.costs = costs
        self.label_names = live.same_labels(live.label_names(swift), live.label_names(super_))
        self.policy: RoutingPolicy | None = None
        if policy is not None:
            self.adopt(policy)

    # --- answering ------------------------------------------------------------------------------

    def predict(self, inputs: Inputs) -> RoutedOutput:
        """Answer one batch.

        Raises:
            ValueError: No rows, not calibrated, a model in training mode, or logits that carry no energy.
        """
        batch = self._start(inputs)
        if batch.open_rows:
            self._answer([(batch, row) for row in batch.routed])
        return self._finish(batch)

    def stream(
        self, batches: Iterable[Inputs], super_batch_size: int = 32, max_waiting: int = 64
    ) -> Iterator[RoutedOutput]:
        """Answer a stream of batches, gathering their routed rows into full batches for Super.

        Args:
            batches: Batches of raw inputs, of any size.
            super_batch_size: Rows of a batch for Super.
            max_waiting: How many batches may wait for their routed rows before Super runs on less than a full
                one.

        Yields:
            One output a batch, in the order of the batches.
        """
        waiting: deque[_Batch] = deque()
        queue: list[tuple[_Batch, int]] = []
        for inputs in batches:
            batch = self._start(inputs)
            waiting.append(batch)
            queue += [(batch, row) for row in batch.routed]
            while len(queue) >= super_batch_size:
                self._answer(queue[:super_batch_size])
                del queue[:super_batch_size]
            if len(waiting) > max_waiting and queue:
                self._answer(queue)
                queue.clear()
            while waiting and not waiting[0].open_rows:
                yield self._finish(waiting.popleft())
        if queue:
            self._answer(queue)
        yield from map(self._finish, waiting)

    def _start(self, inputs: Inputs) -> _Batch:
        """Score the rows and let Swift answer those that it keeps."""
        if self.policy is None:
            raise ValueError("This router has no threshold. Call .calibrate(batches), or give it policy=.")
        if live.count(inputs) == 0:
            raise ValueError("This batch has no rows.")
        self._check_ready()
        reading = self.swift.read(inputs)
        scores = self.swift.scores(reading)
        route = self.policy.route_scores(scores)
        kept = (~route).nonzero().flatten()
        return _Batch(inputs, scores, route, [(kept, reading.keep(kept))] if len(kept) else [])

    def _answer(self, queue: list[tuple[_Batch, int]]) -> None:
        """Let Super answer rows of several batches in one call, and hand each batch its own."""
        rows_of: dict[int, tuple[_Batch, list[int]]] = {}
        for batch, row in queue:
            rows_of.setdefault(id(batch), (batch, []))[1].append(row)
        parts = [(batch, torch.tensor(rows)) for batch, rows in rows_of.values()]
        given = live.ask(self.super_, live.join([live.take(batch.inputs, rows) for batch, rows in parts]))
        start = 0
        for batch, rows in parts:
            batch.answered.append((rows, given.take(torch.arange(start, start + len(rows)))))
            start += len(rows)

    def _finish(self, batch: _Batch) -> RoutedOutput:
        joined = live.assemble(len(batch.route), batch.answered)
        return RoutedOutput(
            prediction=joined.prediction,
            route=batch.route,
            score=batch.scores,
            logits=joined.logits,
            cost=self.costs.total(len(batch.route), len(batch.routed)) if self.costs else None,
            invalid=int((~torch.isfinite(batch.scores)).sum()),
        )

    # --- calibration ----------------------------------------------------------------------------

    def calibrate(
        self,
        batches: Iterable[tuple[Inputs, Any]],
        target: Target = "match_super",
        value: float | None = None,
        *,
        held_out: float = 0.5,
        quality: Quality | None = None,
        seed: int = 0,
    ) -> RoutingPolicy:
        """Choose the threshold on rows with known answers, and adopt it.

        Both models answer every row. A random part of the rows chooses the threshold; the others, which had
        no say in it, give the metric to quote and its interval.

        Args:
            batches: Batches of inputs and labels, such as a `DataLoader` yields. The first is run once more
                to count FLOPs, unless the router was given costs.
            target: `match_super`, `budget` or `share`; see the function `calibrate`.
            value: Quality that may be lost against Super, mean cost as a share of Super's, or share of Super.
            held_out: Part of the rows that measures instead of choosing; 0 for none.
            quality: From predictions and labels to a number a row; by default 1 where they are equal, else 0.
            seed: Draws the parts.

        Raises:
            ValueError: No row to choose on, a target that cannot be met, or logits that carry no energy.
        """
        seen = self.observe(batches, quality)
        observed = seen.observations(*seen.scores.values())
        order = np.random.default_rng(seed).permutation(len(observed.scores))
        aside = round(held_out * len(order))
        if not 0 <= aside < len(order):
            raise ValueError(f"held_out={held_out} leaves none of the {len(order)} rows to choose on.")
        policy = calibrate(
            observed.take(order[aside:]),
            target,
            value,
            held_out=observed.take(order[:aside]) if aside else None,
            policy=replace(self.blank_policy(), wall_time=seen.seconds, num_classes=seen.num_classes),
        )
        self.adopt(policy)
        return policy

    def measure(self, batches: Iterable[tuple[Inputs, Any]], quality: Quality | None = None) -> Measured:
        """Return what the policy gives on other rows with known answers; both models answer every row."""
        if self.policy is None:
            raise ValueError("This router has no threshold to measure. Call .calibrate(batches) first.")
        seen = self.observe(batches, quality)
        return seen.observations(*seen.scores.values()).measure(self.policy.threshold)

    def blank_policy(self) -> RoutingPolicy:
        """Return the policy that sends all to Super, and says what it is for."""
        return RoutingPolicy(
            score=self.swift.score_name,
            temperature=self.swift.temperature,
            read_from="swift" if self.swift.head is None else "encoder",
            label_names=self.label_names,
            swift_fingerprint=self.swift.fingerprint,
            super_fingerprint=live.fingerprint(self.super_),
            head=self.swift.head,
        )

    def adopt(self, policy: RoutingPolicy) -> None:
        """Use a policy from now on; one for other models or scores is a ValueError."""
        if isinstance(self.swift.score, str) and not policy.score.startswith("custom:"):
            self.swift.score, self.swift.temperature = policy.score, policy.temperature
        mine = self.blank_policy()
        for name in ("score", "read_from"):
            given, own = getattr(policy, name), getattr(mine, name)
            if given != own:
                raise ValueError(f"This policy has {name}={given!r}, the router {own!r}.")
        policy.check_models(mine.swift_fingerprint, mine.super_fingerprint)
        self.policy = policy
        self.costs = policy.costs or self.costs

    def count_costs(self, inputs: Inputs) -> Costs | None:
        """Count the FLOPs a row of each part on one batch; None where torch sees none (plain functions)."""
        rows = live.count(inputs)
        first = count_flops(self.swift.read, inputs)
        super_ = count_flops(live.run, self.super_, inputs)
        if not first or not super_:
            return None
        if self.swift.head is None:
            return Costs(first / rows, super_ / rows)
        decoder = count_flops(self.swift.read(inputs).keep, torch.arange(rows))
        return Costs(decoder / rows, super_ / rows, first / rows)

    def observe(
        self,
        batches: Iterable[tuple[Inputs, Any]],
        quality: Quality | None = None,
        scores: Sequence[tuple[str | CustomScore, float]] = (),
    ) -> PairReadings:
        """Run both models on all rows; arguments and errors are those of `calibrate`.

        `scores` are names or functions with their temperatures, by default the router's own.
        """
        self._check_ready()
        quality, stopwatch, num_classes = quality or exact_match, Stopwatch(), None
        scores = scores or [(self.swift.score, self.swift.temperature)]
        columns: list[list[ndarray]] = []
        for inputs, labels in batches:
            if self.costs is None and not columns:
                self.costs = self.count_costs(inputs)
            with stopwatch.timing("swift" if self.swift.head is None else "head"):
                reading = self.swift.read(inputs)
            with stopwatch.timing("swift"):
                mine = reading.keep(torch.arange(live.count(inputs)))
            with stopwatch.timing("super"):
                other = live.ask(self.super_, inputs)
            values = [reading.score(score, temperature) for score, temperature in scores]
            values += [quality(each.prediction, labels) for each in (mine, other)]
            columns.append([_column(each) for each in values])
            num_classes = reading.num_classes
        if not columns:
            raise ValueError("There is no batch to calibrate on.")
        *read, swift, super_ = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        names = [(score_name(score), temperature) for score, temperature in scores]
        seconds = stopwatch.costs(len(swift))
        return PairReadings(
            dict(zip(names, read, strict=True)), swift, super_, self.costs, seconds, num_classes
        )

    def _check_ready(self) -> None:
        self.swift.check_ready("Swift")
        live.check_ready(self.super_, "Super")


@dataclass
class _Batch:
    """A batch on its way: Swift has answered what it keeps."""

    inputs: Inputs
    scores: Float[Tensor, " batch"]
    route: Bool[Tensor, " batch"]
    answered: list[tuple[Int[Tensor, " rows"], Answers]]

    @property
    def routed(self) -> list[int]:
        """Return the rows that are Super's."""
        return [row for row, routed in enumerate(self.route.tolist()) if routed]

    @property
    def open_rows(self) -> int:
        """Return how many rows still wait for Super."""
        return len(self.route) - sum(len(rows) for rows, _ in self.answered)


def exact_match(prediction: Any, labels: Any) -> Any:
    """Return True for each row whose prediction equals its label; of sequences, where every step does."""
    if isinstance(prediction, Tensor):
        equal = prediction == torch.as_tensor(labels, device=prediction.device)
        return equal.flatten(1).all(dim=1) if equal.ndim > 1 else equal
    return [text == label for text, label in zip(prediction, labels, strict=True)]


def _column(values: Any) -> Shaped[ndarray, " rows"]:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return np.asarray(values if values.dtype == torch.bool else values.double())
    return np.asarray(values)
