"""Unlearning on all weights of a model: the approximate schemes that the audit looks at."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from assay.errors import unknown
from assay.papers.privacy.unlearning import (
    RetainLoss,
    gradient_ascent,
    gradient_difference,
    keep_loss,
    kl_loss,
    matching_parameters,
    npo,
    random_direction,
    recorded_states,
    sequence_nll,
    steer_loss,
)
from assay.training import Compute, fit
from assay.training.evaluation import mode
from assay.training.language import IGNORED, next_token_loss

Batch = tuple[Tensor, Tensor]
"""Token ids and labels [n, t], padded on the right with the label -100."""
Method = Literal["gradient_ascent", "gradient_difference", "npo", "rmu"]
METHODS: tuple[str, ...] = get_args(Method)


@dataclass(frozen=True)
class Unlearning:
    """How `unlearn` goes."""

    steps: int = 60
    """Gradient steps of AdamW; each takes a forget and a retain batch."""
    learning_rate: float = 1e-3
    """Constant."""
    retain_weight: float = 1.0
    """w, the weight of the retain term."""
    retain_loss: RetainLoss = "auto"
    """What the retain term keeps."""
    beta: float = 0.1
    """Inverse temperature of npo."""
    steering: float = 20.0
    """c, the length of the direction that rmu steers to."""
    steered_layer: int | None = None
    """Decoder layer whose output rmu steers, from 0; by default the middle one."""
    trained: str | None = None
    """Regular expression for the names of the parameters that are trained. By default all, and for rmu, as
    published, the `mlp.down_proj` of the steered layer and of the two below it."""
    clip: float = 1.0
    """The largest norm of a gradient."""
    seed: int = 0
    """Of rmu's direction."""
    compute: Compute | None = None
    """Where it trains."""


def unlearn(
    model: nn.Module,
    forget: Sequence[Batch],
    retain: Iterable[Batch],
    method: str = "npo",
    settings: Unlearning | None = None,
) -> nn.Module:
    """Return a copy of a model that has unlearned the forget batches.

    | method | loss |
    |---|---|
    | `gradient_ascent` | -CE(forget) |
    | `gradient_difference` | -CE(forget) + w keep(retain) |
    | `npo` | -(2 / beta) mean log sigmoid(beta (NLL - NLL of the model before)) + w keep(retain) |
    | `rmu` | mean (h(forget) - c u)^2 + w keep(retain), h the states of a layer, u a random direction |

    CE is a mean over tokens, NLL a sum over each sequence's. keep is CE, KL from the predictions of the model
    before, or the squared distance from its states (which rmu takes by default).

    Args:
        model: a causal language model of transformers; it is left as it is.
        forget: batches, taken in turn.
        retain: the same, endless or repeated.
        method: one of `METHODS`.
        settings: all numbers.

    Raises:
        InputError: the method is unknown.
        ValueError: the model has no such layer or parameters.
    """
    if method not in METHODS:
        raise unknown("unlearning method", method, METHODS)
    settings = settings or Unlearning()
    forgetting = copy.deepcopy(model)
    with torch.no_grad(), mode(model, training=False):
        references = [sequence_nll(model, batch) for batch in forget]
    pairs = (
        (*part, *kept)
        for part, kept in zip(cycle(zip(forget, references, strict=True)), cycle(retain), strict=False)
    )
    loss = _Loss(model, method, settings)
    pattern = settings.trained or (loss.published_parameters() if method == "rmu" else "")
    forgetting.requires_grad_(False)
    trained = matching_parameters(forgetting, pattern)
    for weight in trained:
        weight.requires_grad_(True)
    fit(
        forgetting,
        pairs,
        loss,
        optimizer=torch.optim.AdamW(trained, settings.learning_rate, weight_decay=0.0),
        steps=settings.steps,
        clip=settings.clip,
        compute=settings.compute,
    )
    return forgetting.to(next(model.parameters()).device).requires_grad_(True).eval()


class _Loss:
    """The loss of a forget and a retain batch."""

    def __init__(self, before: Any, method: str, settings: Unlearning) -> None:
        self.method, self.settings = method, settings
        self.keep = settings.retain_loss
        if self.keep == "auto":
            self.keep = "states" if method == "rmu" else "nll"
        if self.keep != "nll":
            self.before = copy.deepcopy(before).eval().requires_grad_(False)
        if method == "rmu" or self.keep == "states":
            config = before.config.get_text_config()
            layer = settings.steered_layer
            self.layer = config.num_hidden_layers // 2 if layer is None else layer
            generator = torch.Generator().manual_seed(settings.seed)
            self.direction = random_direction(config.hidden_size, generator)

    def published_parameters(self) -> str:
        """Return the pattern of what the authors of rmu train."""
        layers = "|".join(map(str, range(max(0, self.layer - 2), self.layer + 1)))
        return rf"layers\.({layers})\.mlp\.down_proj\."

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        forget, reference, *rest = batch
        if self.method == "gradient_ascent":
            return gradient_ascent(next_token_loss(model, forget))
        kept, weight = self._kept(model, (rest[0], rest[1])), self.settings.retain_weight
        if self.method == "gradient_difference":
            return gradient_difference(next_token_loss(model, forget), kept, weight)
        if self.method == "npo":
            return npo(sequence_nll(model, forget), reference, self.settings.beta) + weight * kept
        states = self._states(model, forget)
        direction = self.direction.to(states.device)
        return steer_loss(states, direction, self.settings.steering, _counted(forget)) + weight * kept

    def _kept(self, model: nn.Module, retain: Batch) -> Tensor:
        if self.keep == "nll":
            return next_token_loss(model, retain)
        read, distance = (_logits, kl_loss) if self.keep == "kl" else (self._states, keep_loss)
        with torch.no_grad():
            frozen = read(self.before.to(retain[0].device), retain)
        return distance(read(model, retain), frozen, _counted(retain))

    def _states(self, model: nn.Module, batch: Batch) -> Tensor:
        with recorded_states(model, self.layer) as found:
            _logits(model, batch)
        return found[0]


def _logits(model: nn.Module, batch: Batch) -> Tensor:
    logits: Tensor = model(input_ids=batch[0]).logits
    return logits


def _counted(batch: Batch) -> Tensor:
    """Return the tokens up to the last labelled one: all but the padding."""
    return (batch[1] != IGNORED).flip(1).cumsum(1).flip(1) > 0
