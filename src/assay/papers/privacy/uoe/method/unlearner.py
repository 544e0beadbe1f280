"""Unlearning of one expert, and with the same objectives of the whole model."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from assay.errors import InputError
from assay.papers.privacy.unlearning import (
    RetainLoss,
    gradient_ascent,
    keep_loss,
    kl_loss,
    npo,
    random_direction,
    recorded_states,
    steer_loss,
)
from assay.papers.privacy.uoe.method.attribution import ExpertAttribution, attribute_experts, recorded_routing
from assay.papers.privacy.uoe.method.layouts import SHARED, Target, moe_layout
from assay.papers.privacy.uoe.method.objectives import AnchorLoss, Reduction
from assay.papers.privacy.uoe.method.parts import ExpertDelta, ExpertLeaves, Part, Whole, WholeModel
from assay.papers.privacy.uoe.method.sequences import Sequences, logits_of, token_nll

Objective = Literal["ga", "gdiff", "npo", "rmu"]

SELDOM = 0.01
"""A target that fewer forget tokens run through holds little of what is to be forgotten."""


@dataclass(frozen=True)
class Unlearning:
    """How unlearning goes. The defaults are those of the released code, as far as it has them."""

    objective: Objective = "gdiff"
    """ga: climb on the loss of forget tokens. gdiff: that, and descend on the loss of retain tokens.
    npo: preference optimisation against forget sequences. rmu: steer hidden states to a random direction."""
    learning_rate: float = 2e-4
    """Of AdamW without weight decay, constant."""
    steps: int = 60
    """The most gradient steps."""
    batch_size: int = 32
    """Documents of each kind that go through the model at once."""
    accumulate: int = 1
    """Such batches a gradient step (the released code: 4)."""
    retain_weight: float = 1.0
    """Weight of the retain term of gdiff, npo and rmu."""
    retain_loss: RetainLoss = "auto"
    """What the retain term keeps."""
    anchor_weight: float = 1.0
    """Weight of the anchor loss; 0 leaves it out."""
    anchor_reduction: Reduction = "mean"
    """Over experts: mean as in the released code, sum as in the paper."""
    npo_beta: float = 0.1
    """Inverse temperature of npo."""
    steering: float = 20.0
    """Length of rmu's direction."""
    steered_layer: int | None = None
    """Decoder layer whose output rmu steers; by default the highest that has a target, or the middle one."""
    clip: float = 1.0
    """The largest norm of the gradient."""


@dataclass(frozen=True)
class ForgetTarget:
    """Stops unlearning once a measure has fallen to a level."""

    metric: Callable[[nn.Module], float]
    level: float

    def __call__(self, step: int, model: nn.Module) -> bool:
        return self.metric(model) <= self.level


@dataclass
class Unlearned:
    """What happened."""

    losses: list[float] = field(default_factory=list)
    diverged: bool = False
    """Whether the loss stopped being finite; the model then has the values before that step."""

    @property
    def steps(self) -> int:
        """How many gradient steps were made."""
        return len(self.losses)


class SelectedExpertUnlearner:
    """Makes a mixture-of-experts model forget by changing one expert and its layer's router.

    L = l_forget + lambda l_retain + alpha L_anchor, where only the targets' weights and the router of their
    layers move. Forward passes begin at the lowest layer that changes; what is below is computed once.
    Dropout is off, and so is the load-balancing loss.

        unlearner = SelectedExpertUnlearner(model, Unlearning(objective="gdiff", learning_rate=1e-3))
        unlearner.fit(forget, retain)                   # the model has changed
        unlearner.delta.save(folder)                    # or keep only what changed

    Args:
        model: a causal language model with experts; changed in place by `fit`.
        settings: the objective and its numbers.
        targets: "top1" for the expert that forget documents are routed to most, (layer, expert) pairs, or
            a part of the whole model ("model", "no-routers", "routers", "experts", "re:PATTERN") as the
            baselines train.
        train_experts: whether the weights of target experts are trained.
        train_router: whether the routers of their layers are trained.
        generator: draws batches and rmu's direction; by default seeded with 0.
        attribution: of the forget documents, where it is known already.

    Raises:
        InputError: the model is dense, quantised or of an unknown layout, or a target does not exist.
    """

    def __init__(
        self,
        model: Any,
        settings: Unlearning | None = None,
        *,
        targets: Literal["top1"] | Whole | str | Sequence[Target] = "top1",
        train_experts: bool = True,
        train_router: bool = True,
        generator: torch.Generator | None = None,
        attribution: ExpertAttribution | None = None,
    ) -> None:
        self.model, self.settings = model, settings or Unlearning()
        self.layers, self.attribution = moe_layout(model), attribution
        self.part: Part | None = None
        self._targets = targets
        self._train = {"train_experts": train_experts, "train_router": train_router}
        self._generator = generator or torch.Generator().manual_seed(0)

    @property
    def targets(self) -> tuple[Target, ...]:
        """The experts that are changed; none where the whole model is. Known after `prepare` or `fit`."""
        return self.part.targets if isinstance(self.part, ExpertLeaves) else ()

    @property
    def delta(self) -> ExpertDelta:
        """What changed, as far as it is single experts.

        Raises:
            ValueError: nothing was trained yet, or the whole model was.
        """
        if not isinstance(self.part, ExpertLeaves):
            raise ValueError("there is a delta only after single experts were trained")
        return self.part.delta()

    @property
    def trained_share(self) -> float:
        """Share of the model's numbers that were trained."""
        assert self.part is not None
        mine = sum(weight.numel() for weight in self.part.parameters())
        total = sum(weight.numel() for weight in self.model.parameters())
        return float(mine / total)

    def prepare(self, forget: Sequences) -> Part:
        """Choose what is trained: attribute the forget documents where no target is named.

        Warns:
            UserWarning: fewer than 1 % of the forget tokens run through a target.
        """
        targets = self._targets
        if isinstance(targets, str) and targets != "top1":
            self.part = WholeModel(self.model, targets)
            return self.part
        comparable = len({layer.n_experts for layer in self.layers}) == 1
        if self.attribution is None and comparable:
            self.attribution = attribute_experts(self.model, forget)
        if isinstance(targets, str):
            if self.attribution is None:
                raise InputError("The layers have different numbers of experts: name the target.")
            targets = self.attribution.top()
        self.part = ExpertLeaves(self.model, targets, **self._train)
        for index, expert in self.part.targets:
            if self.attribution is None or expert == SHARED:
                continue
            top_k = next(layer.top_k for layer in self.layers if layer.index == index)
            share = self.attribution.share_of_tokens((index, expert), top_k)
            if share < SELDOM:
                warnings.warn(
                    f"expert {expert} of layer {index} gets {share:.2%} of the forget tokens: what is to be"
                    " forgotten is mostly elsewhere. Take the target that attribution finds.",
                    stacklevel=3,
                )
        return self.part

    def fit(
        self,
        forget: Sequences,
        retain: Sequences | None = None,
        stop: Callable[[int, nn.Module], bool | None] | None = None,
    ) -> Unlearned:
        """Unlearn, in place.

        Args:
            forget: documents to forget.
            retain: documents to keep, which gdiff, npo and rmu need unless their weight is 0.
            stop: called as `stop(step, model)` before the first step (as step 0) and after each one, with
                the trained weights in the model; unlearning ends when it returns `True`.

        Raises:
            ValueError: the objective needs retain documents and has none.
        """
        if self._keeps and retain is None:
            raise ValueError(
                f"{self.settings.objective} needs retain documents; give them, or retain_weight=0"
            )
        part = self.part or self.prepare(forget)
        was_training = self.model.training
        self.model.eval()
        try:
            with part.active():
                result = self._descend(part, forget, retain if self._keeps else None, stop)
            part.write_back()
        finally:
            self.model.train(was_training)
        return result

    @property
    def _keeps(self) -> bool:
        return self.settings.objective != "ga" and self.settings.retain_weight != 0

    def _descend(
        self,
        part: Part,
        forget: Sequences,
        retain: Sequences | None,
        stop: Callable[[int, nn.Module], bool | None] | None,
    ) -> Unlearned:
        device = next(self.model.parameters()).device
        by_states = self.settings.objective == "rmu" or self.settings.retain_loss == "states"
        inside = {"after_attention": isinstance(part, ExpertLeaves) and not by_states}
        forget = forget.to(device).beginning_at(self.model, part.start, **inside)
        retain = None if retain is None else retain.to(device).beginning_at(self.model, part.start, **inside)
        loss = _Loss(self, part, forget, retain)
        optimiser = torch.optim.AdamW(part.parameters(), self.settings.learning_rate, weight_decay=0.0)
        result = Unlearned()
        if stop is not None and stop(0, self.model) is True:
            return result
        batches = zip(self._rows(len(forget)), self._rows(len(retain or forget)), strict=True)
        for step in range(1, self.settings.steps + 1):
            optimiser.zero_grad(set_to_none=True)
            mean = 0.0
            for lost, kept in islice(batches, self.settings.accumulate):
                value = loss(lost, kept) / self.settings.accumulate
                mean += value.item()
                if math.isfinite(mean):
                    value.backward()
            if not math.isfinite(mean):
                result.diverged = True
                break
            nn.utils.clip_grad_norm_(part.parameters(), self.settings.clip)
            optimiser.step()
            result.losses.append(mean)
            if stop is not None and stop(step, self.model) is True:
                break
        return result

    def _rows(self, total: int) -> Iterator[Tensor]:
        """Yield row numbers of batches, in a new order in each pass."""
        while True:
            yield from torch.randperm(total, generator=self._generator).split(self.settings.batch_size)


class _Loss:
    """l_forget + lambda l_retain + alpha L_anchor of one step, with all that can be computed beforehand."""

    def __init__(
        self, owner: SelectedExpertUnlearner, part: Part, forget: Sequences, retain: Sequences | None
    ) -> None:
        self.model, self.settings, self.part = owner.model, owner.settings, part
        self.forget, self.retain = forget, retain
        self.layers = {layer.index: layer for layer in owner.layers}
        self.anchors = _anchors(owner.targets, self.settings)
        self.keep = self.settings.retain_loss
        if self.keep == "auto":
            self.keep = "states" if self.settings.objective == "rmu" else "nll"
        if self.settings.objective == "npo":
            with torch.no_grad():
                batches = forget.split(self.settings.batch_size)
                nlls = [token_nll(logits_of(self.model, batch), batch.labels)[0] for batch in batches]
            self.reference = torch.cat(nlls)
        if self.settings.objective == "rmu":
            width = owner.layers[0].router_weight.shape[1]
            self.direction = random_direction(width, owner._generator).to(forget.input_ids.device)
        if self.settings.objective == "rmu" or self.keep == "states":
            middle = owner.layers[len(owner.layers) // 2].index
            highest = max((index for index, _ in owner.targets), default=middle)
            self.steered = highest if self.settings.steered_layer is None else self.settings.steered_layer
            if self.steered < part.start:
                raise ValueError(f"layer {self.steered} is below {part.start}, the first that is trained")
        if retain is not None and self.keep == "states":
            self.frozen = self._frozen_states(retain)
        if retain is not None and self.keep == "kl":
            self.weights = [weight.detach().clone() for weight in part.parameters()]

    def __call__(self, lost: Tensor, kept: Tensor) -> Float[Tensor, ""]:
        batch = self.forget.rows(lost).trimmed()
        with recorded_routing([self.layers[index] for index in self.anchors]) as routing:
            total = self._forget_term(batch, lost)
        for index, anchor in self.anchors.items():
            layer = self.layers[index]
            affinities = layer.affinities(routing.hidden[index], self.part.router_weight(layer))
            total = total + self.settings.anchor_weight * anchor(affinities, batch.mask.flatten())
        if self.retain is not None:
            term = self._retain_term(self.retain.rows(kept).trimmed(), kept)
            total = total + self.settings.retain_weight * term
        return total

    def _forget_term(self, batch: Sequences, rows: Tensor) -> Tensor:
        if self.settings.objective == "rmu":
            return steer_loss(self._states(batch), self.direction, self.settings.steering, batch.mask)
        if self.settings.objective == "npo":
            nll, _ = token_nll(logits_of(self.model, batch), batch.labels)
            return npo(nll, self.reference[rows.to(nll.device)], self.settings.npo_beta)
        return gradient_ascent(self._mean_nll(batch))

    def _retain_term(self, batch: Sequences, rows: Tensor) -> Tensor:
        if self.keep == "states":
            frozen = self.frozen[rows.to(self.frozen.device), : batch.mask.shape[1]]
            return keep_loss(self._states(batch), frozen, batch.mask)
        if self.keep == "kl":
            with self._weights_before(), torch.no_grad():
                frozen = logits_of(self.model, batch)
            return kl_loss(logits_of(self.model, batch), frozen, batch.mask)
        return self._mean_nll(batch)

    def _mean_nll(self, batch: Sequences) -> Tensor:
        nll, tokens = token_nll(logits_of(self.model, batch), batch.labels)
        return nll.sum() / tokens.sum()

    @contextlib.contextmanager
    def _weights_before(self) -> Iterator[None]:
        """Let the model compute inside the block as it did before unlearning."""
        pairs = list(zip(self.part.parameters(), self.weights, strict=True))
        trained = [weight.data for weight, _ in pairs]
        for weight, before in pairs:
            weight.data = before
        try:
            yield
        finally:
            for (weight, _), data in zip(pairs, trained, strict=True):
                weight.data = data

    def _states(self, batch: Sequences) -> Tensor:
        with recorded_states(self.model, self.steered) as found:
            logits_of(self.model, batch)
        return found[-1]

    @torch.no_grad()
    def _frozen_states(self, documents: Sequences) -> Tensor:
        width = documents.mask.shape[1]
        parts = [self._states(batch) for batch in documents.split(self.settings.batch_size)]
        return torch.cat([functional.pad(part, (0, 0, 0, width - part.shape[1])) for part in parts])


def _anchors(targets: Sequence[Target], settings: Unlearning) -> dict[int, AnchorLoss]:
    """Return the anchor of each layer that has routed targets."""
    routed: dict[int, list[int]] = {}
    for index, expert in targets:
        if expert != SHARED and settings.anchor_weight:
            routed.setdefault(index, []).append(int(expert))
    return {index: AnchorLoss(experts, settings.anchor_reduction) for index, experts in routed.items()}
