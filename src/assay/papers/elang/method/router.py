"""The router: Swift answers what it knows, Super the rest."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num, Shaped
from numpy import ndarray
from torch import Tensor

from .batches import Answers, Inputs, Replies, answers, assemble, count, join, run, take
from .cost import Costs, count_flops
from .head import EncoderEnergyHead
from .identity import check_ready, fingerprint, label_names, same_labels
from .language import Encoded
from .observations import Measured, Observations
from .policy import RoutingPolicy, Target, calibrate
from .scores import score_logits

Model = Callable[..., Any]
Quality = Callable[[Any, Any], Any]
"""From predictions and labels of a batch to one number a row, more is better."""


class TwoStage(Protocol):
    """A Swift model whose encoder can run before its decoder, such as `TextGenerator`."""

    def encode(self, texts: Any) -> Encoded:
        """Run the encoder."""

    def decode(self, encoded: Encoded) -> Replies:
        """Run the decoder."""


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


class EnergyRouter:
    """Runs Swift on every row and Super on those whose score g(x) is below the threshold t:

        answer(x) = Swift(x) if g(x) ≥ t else Super(x),   g(x) = −F(x) = T log Σ_c exp(f_c(x) / T).

    Models are anything callable on a batch of raw inputs that returns logits (batch, classes) or (batch, steps,
    vocabulary), class numbers or texts: functions, modules, `TextClassifier`, `TextGenerator`. With a `head`, the
    score is the energy of the head on Swift's encoder, and a routed row does not pay for Swift's decoder.

    Args:
        swift: The cheap model.
        super_: The accurate one.
        score: A name in `SCORES`, or a function from Swift's output to one number a row.
        temperature: T of the score.
        head: Reads the energy from Swift's encoder instead; Swift must have `encode` and `decode`.
        policy: A calibrated policy; its score and temperature are then used. Without one, call `calibrate`.
        costs: FLOPs a row of each part; counted by `calibrate` unless given.

    Raises:
        ValueError: The models order their labels differently, or the policy is for other models.
    """

    def __init__(
        self,
        swift: Model,
        super_: Model,
        *,
        score: str | Callable[[Any], Tensor] = "negative_free_energy",
        temperature: float = 1.0,
        head: EncoderEnergyHead | None = None,
        policy: RoutingPolicy | None = None,
        costs: Costs | None = None,
    ) -> None:
        self.swift, self.super_, self.head = swift, super_, head
        self.score, self.temperature = score, temperature
        self.costs = costs if policy is None else policy.costs or costs
        self.label_names = same_labels(label_names(swift), label_names(super_))
        self.policy = policy
        if policy is not None:
            self._adopt(policy)

    # --- answering ------------------------------------------------------------------------------

    def predict(self, inputs: Inputs) -> RoutedOutput:
        """Answer one batch.

        Raises:
            ValueError: Not calibrated, a model in training mode, or logits that carry no energy.
        """
        batch = self._start(inputs)
        rows = batch.route.nonzero().flatten()
        if len(rows):
            batch.answered.append((rows, self._ask_super(take(inputs, rows))))
        return self._finish(batch)

    def stream(
        self, batches: Iterable[Inputs], super_batch_size: int = 32, max_waiting: int = 64
    ) -> Iterator[RoutedOutput]:
        """Answer a stream of batches, gathering the routed rows of several of them into full batches for Super.

        Args:
            batches: Batches of raw inputs; those of Swift may have any size.
            super_batch_size: Rows of a batch for Super.
            max_waiting: Batches that may wait for their routed rows before Super runs on a part of a batch.

        Yields:
            One output a batch, in the order of the batches.
        """
        waiting: deque[_Batch] = deque()
        queue: list[tuple[_Batch, int]] = []
        for inputs in batches:
            batch = self._start(inputs)
            waiting.append(batch)
            queue += [(batch, row) for row in batch.route.nonzero().flatten().tolist()]
            while len(queue) >= super_batch_size:
                self._answer(queue[:super_batch_size])
                del queue[:super_batch_size]
            if len(waiting) > max_waiting and queue:
                self._answer(queue)
                queue.clear()
            while waiting and waiting[0].open_rows == 0:
                yield self._finish(waiting.popleft())
        if queue:
            self._answer(queue)
        yield from map(self._finish, waiting)

    def _start(self, inputs: Inputs) -> _Batch:
        """Run Swift, or only its encoder on the rows that are routed."""
        if self.policy is None:
            raise ValueError("This router has no threshold. Call .calibrate(batches), or give it policy=.")
        check_ready(self.swift, "Swift")
        check_ready(self.super_, "Super")
        if self.head is None:
            output = run(self.swift, inputs)
            scores = self._score(output)
            route = self.policy.route_scores(scores)
            kept = (~route).nonzero().flatten()
            return _Batch(inputs, scores, route, [(kept, answers(output).take(kept))])
        encoded, scores = self._encode(inputs)
        route = self.policy.route_scores(scores)
        kept = (~route).nonzero().flatten()
        decoded = [(kept, answers(self._decode(encoded.take(kept))))] if len(kept) else []
        return _Batch(inputs, scores, route, decoded)

    def _answer(self, queue: list[tuple[_Batch, int]]) -> None:
        """Let Super answer rows of several batches at once and hand each batch its own."""
        owners = list({id(batch): batch for batch, _ in queue}.values())
        rows = [torch.tensor([row for batch, row in queue if batch is owner]) for owner in owners]
        inputs = join([take(owner.inputs, part) for owner, part in zip(owners, rows, strict=True)])
        given = self._ask_super(inputs)
        start = 0
        for owner, part in zip(owners, rows, strict=True):
            owner.answered.append((part, given.take(torch.arange(start, start + len(part)))))
            start += len(part)

    def _ask_super(self, inputs: Inputs) -> Answers:
        return answers(run(self.super_, inputs))

    def _finish(self, batch: _Batch) -> RoutedOutput:
        joined = assemble(len(batch.route), batch.answered)
        routed = int(batch.route.sum())
        return RoutedOutput(
            prediction=joined.prediction,
            route=batch.route,
            score=batch.scores,
            logits=joined.logits,
            cost=self.costs.total(len(batch.route), routed) if self.costs else None,
            invalid=int((~torch.isfinite(batch.scores)).sum()),
        )

    # --- scoring --------------------------------------------------------------------------------

    def _score(self, output: Any) -> Float[Tensor, " batch"]:
        """Return the score of each row of Swift's output."""
        if callable(self.score):
            return self.score(output)
        if isinstance(output, Replies):
            if not output.step_logits:
                raise ValueError(
                    "Swift kept no logits, so its replies have no energy: TextGenerator(keep_logits=True)."
                )
            return score_logits(output.step_logits, self.score, self.temperature, output.mask)
        logits = answers(output).logits
        if logits is None:
            raise ValueError(
                "Swift answers without logits. Give the router a score of your own: score=function(output)."
            )
        return score_logits(logits, self.score, self.temperature)

    def _encode(self, inputs: Inputs) -> tuple[Encoded, Float[Tensor, " batch"]]:
        """Run Swift's encoder and the head, and score the head's logits."""
        assert self.head is not None and isinstance(self.score, str)
        with torch.no_grad():
            encoded: Encoded = self.swift.encode(inputs)  # type: ignore[attr-defined]
            logits = self.head(encoded.hidden, encoded.mask)
        return encoded, score_logits(logits, self.score, self.temperature)

    def _decode(self, encoded: Encoded) -> Replies:
        with torch.no_grad():
            replies: Replies = self.swift.decode(encoded)  # type: ignore[attr-defined]
        return replies

    # --- calibration ----------------------------------------------------------------------------

    def calibrate(
        self,
        batches: Iterable[tuple[Inputs, Any]],
        target: Target = "match_super",
        *,
        tolerance: float = 0.0,
        budget: float | None = None,
        share: float | None = None,
        held_out: float = 0.5,
        quality: Quality | None = None,
        seed: int = 0,
    ) -> RoutingPolicy:
        """Choose the threshold on rows with known answers, and adopt it.

        Both models answer every row. A random part of the rows chooses the threshold; the others, which had no say
        in it, give the metric to quote with its interval.

        Args:
            batches: Batches of inputs and labels, such as a `DataLoader` yields. The first is run once more to count
                FLOPs, unless the router was given costs.
            target: See `assay.papers.elang.method.calibrate`, like `tolerance`, `budget` and `share`.
            tolerance: Quality that may be lost against Super.
            budget: Mean cost as a share of Super's.
            share: Share of Super.
            held_out: Part of the rows that measures instead of choosing; 0 for none.
            quality: From predictions and labels to a number a row; by default 1 where they are equal, else 0.
            seed: Draws the parts.

        Raises:
            ValueError: No row to choose on, a target that cannot be met, or logits that carry no energy.
        """
        observed, wall_time, num_classes = self._observe(batches, quality or exact_match)
        order = np.random.default_rng(seed).permutation(len(observed.scores))
        aside = round(held_out * len(order))
        if not 0 <= aside < len(order):
            raise ValueError(
                f"held_out={held_out} leaves none of the {len(order)} rows to choose a threshold."
            )
        policy = calibrate(
            observed.take(np.sort(order[aside:])),
            target,
            tolerance=tolerance,
            budget=budget,
            share=share,
            held_out=observed.take(np.sort(order[:aside])) if aside else None,
            wall_time=wall_time,
            num_classes=num_classes,
            **self.identity(),
        )
        self._adopt(policy)
        return policy

    def measure(self, batches: Iterable[tuple[Inputs, Any]], quality: Quality | None = None) -> Measured:
        """Return what the policy gives on other rows with known answers; both models answer every row."""
        if self.policy is None:
            raise ValueError("This router has no threshold to measure. Call .calibrate(batches) first.")
        observed, _, _ = self._observe(batches, quality or exact_match)
        return observed.measure(self.policy.threshold)

    def identity(self) -> dict[str, Any]:
        """Return the fields of a policy that say what it is for."""
        name = (
            self.score
            if isinstance(self.score, str)
            else f"custom:{getattr(self.score, '__qualname__', 'score')}"
        )
        swift = fingerprint(self.swift)
        if self.head is not None:
            swift = f"{swift} {fingerprint(self.head)}"
        return {
            "score": name,
            "temperature": self.temperature,
            "read_from": "encoder" if self.head is not None else "swift",
            "label_names": self.label_names,
            "swift_fingerprint": swift,
            "super_fingerprint": fingerprint(self.super_),
        }

    def _adopt(self, policy: RoutingPolicy) -> None:
        """Use a policy after checking that it is for these models, this score and this place to read it."""
        if isinstance(self.score, str) and not policy.score.startswith("custom:"):
            self.score, self.temperature = policy.score, policy.temperature
        mine = self.identity()
        for name in ("score", "read_from"):
            if getattr(policy, name) != mine[name]:
                raise ValueError(
                    f"This policy has {name}={getattr(policy, name)!r}, the router {mine[name]!r}."
                )
        policy.check_models(mine["swift_fingerprint"], mine["super_fingerprint"])
        self.policy = policy

    def _observe(
        self, batches: Iterable[tuple[Inputs, Any]], quality: Quality
    ) -> tuple[Observations, Costs, int | None]:
        """Run both models on all rows; return what they did, the seconds a row and the number of classes."""
        check_ready(self.swift, "Swift")
        check_ready(self.super_, "Super")
        columns: list[tuple[ndarray, ndarray, ndarray]] = []
        clock = _Clock()
        num_classes = None
        for inputs, labels in batches:
            if self.costs is None and not columns:
                self.costs = self.count_costs(inputs)
            with clock.part("head"):
                encoded, scores = self._encode(inputs) if self.head is not None else (None, None)
            with clock.part("swift"):
                output = run(self.swift, inputs) if encoded is None else self._decode(encoded)
            with clock.part("super"):
                given = self._ask_super(inputs)
            scores = self._score(output) if scores is None else scores
            own = answers(output)
            if own.logits is not None and own.logits.ndim == 2:
                num_classes = own.logits.shape[-1]
            columns.append(
                (
                    _column(scores),
                    _column(quality(own.prediction, labels)),
                    _column(quality(given.prediction, labels)),
                )
            )
        if not columns:
            raise ValueError("There is no batch to calibrate on.")
        scores_, swift_quality, super_quality = (
            np.concatenate(parts) for parts in zip(*columns, strict=True)
        )
        seconds = clock.a_row(len(scores_), with_head=self.head is not None)
        return Observations(scores_, swift_quality, super_quality, self.costs), seconds, num_classes

    def count_costs(self, inputs: Inputs) -> Costs | None:
        """Count the FLOPs a row of each part on one batch; None where torch sees none, as in a plain function."""
        rows = count(inputs)
        super_ = count_flops(run, self.super_, inputs)
        if self.head is None:
            swift, head = count_flops(run, self.swift, inputs), 0
        else:
            head = count_flops(self._encode, inputs)
            swift = count_flops(self._decode, self._encode(inputs)[0])
        return Costs(swift / rows, super_ / rows, head / rows) if swift and super_ else None


@dataclass
class _Batch:
    """A batch on its way: Swift has answered what it keeps."""

    inputs: Inputs
    scores: Float[Tensor, " batch"]
    route: Bool[Tensor, " batch"]
    answered: list[tuple[Int[Tensor, " rows"], Answers]]

    @property
    def open_rows(self) -> int:
        """Return how many rows still wait for Super."""
        return len(self.route) - sum(len(rows) for rows, _ in self.answered)


@dataclass
class _Clock:
    """Wall time of each part."""

    seconds: dict[str, float] = field(default_factory=dict)

    def part(self, name: str) -> _Timing:
        return _Timing(self, name)

    def a_row(self, rows: int, with_head: bool) -> Costs:
        head = self.seconds["head"] / rows if with_head else 0.0
        return Costs(self.seconds["swift"] / rows, self.seconds["super"] / rows, head)


@dataclass
class _Timing:
    clock: _Clock
    name: str
    start: float = 0.0

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent = time.perf_counter() - self.start
        self.clock.seconds[self.name] = self.clock.seconds.get(self.name, 0.0) + spent


def exact_match(prediction: Any, labels: Any) -> Any:
    """Return True for each row whose prediction equals its label; of sequences, where every step does."""
    if isinstance(prediction, Tensor):
        equal = prediction == torch.as_tensor(labels, device=prediction.device)
        return equal.flatten(1).all(dim=1) if equal.ndim > 1 else equal
    return [text == label for text, label in zip(prediction, labels, strict=True)]


def _column(values: Any) -> Num[ndarray, " rows"] | Bool[ndarray, " rows"]:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values if values.dtype == torch.bool else values.double()).numpy()
    return np.asarray(values)
