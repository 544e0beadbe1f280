"""Unlearning on all weights of a model: the approximate schemes that the audit looks at."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from assay.errors import unknown
from assay.papers.privacy.unlearning import gradient_ascent, gradient_difference, npo, sequence_nll
from assay.training import fit
from assay.training.evaluation import mode
from assay.training.language import next_token_loss

Batch = tuple[Tensor, Tensor]
Method = Literal["gradient_ascent", "gradient_difference", "npo"]
METHODS: tuple[str, ...] = get_args(Method)


def unlearn(
    model: nn.Module,
    forget: Sequence[Batch],
    retain: Iterable[Batch],
    method: str = "npo",
    *,
    steps: int = 60,
    learning_rate: float = 1e-3,
    retain_weight: float = 1.0,
    beta: float = 0.1,
    clip: float = 1.0,
) -> nn.Module:
    """Return a copy of a model that has unlearned the forget batches.

    | method | loss |
    |---|---|
    | `gradient_ascent` | -CE(forget) |
    | `gradient_difference` | -CE(forget) + w CE(retain) |
    | `npo` | -(2 / beta) mean log sigmoid(beta (NLL - NLL of the model before)) + w CE(retain) |

    CE is a mean over tokens, NLL a sum over each sequence's.

    Args:
        model: a causal language model of transformers; it is left as it is.
        forget: token ids and labels, padded on the right with label -100, taken in turn.
        retain: the same, endless or repeated.
        method: one of `METHODS`.
        steps: gradient steps of AdamW; each takes a batch of either kind.
        learning_rate: constant.
        retain_weight: w.
        beta: of NPO.
        clip: the largest norm of a gradient.

    Raises:
        InputError: the method is unknown.
    """
    if method not in METHODS:
        raise unknown("unlearning method", method, METHODS)
    forgetting = copy.deepcopy(model).requires_grad_(True)
    with torch.no_grad(), mode(model, training=False):
        references = [sequence_nll(model, batch) for batch in forget]
    pairs = (
        (*part, *kept)
        for part, kept in zip(cycle(zip(forget, references, strict=True)), cycle(retain), strict=False)
    )
    optimizer = torch.optim.AdamW(forgetting.parameters(), learning_rate, weight_decay=0.0)
    loss = _loss_of(method, retain_weight, beta)
    fit(forgetting, pairs, loss, optimizer=optimizer, steps=steps, clip=clip)
    return forgetting.eval()


def _loss_of(method: str, retain_weight: float, beta: float) -> Callable[[nn.Module, Any], Tensor]:
    def loss(model: nn.Module, batch: Any) -> Tensor:
        forget, reference, *retain = batch
        if method == "gradient_ascent":
            return gradient_ascent(next_token_loss(model, forget))
        kept = next_token_loss(model, (retain[0], retain[1]))
        if method == "gradient_difference":
            return gradient_difference(next_token_loss(model, forget), kept, retain_weight)
        return npo(sequence_nll(model, forget), reference, beta) + retain_weight * kept

    return loss
