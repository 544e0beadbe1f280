"""Losses of a bag: of its class, or of the time to death."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

SMALLEST = 1e-7


def discrete_hazard_nll(
    logits: Float[Tensor, "bags bins"], bins: Int[Tensor, " bags"], censored: Bool[Tensor, " bags"]
) -> Float[Tensor, ""]:
    """Return the mean negative log-likelihood of discrete survival times.

        h = sigmoid(logits),  S(t) = prod_{s <= t} (1 - h(s)),  S(-1) = 1
        loss = -(1 - c) [log S(y - 1) + log h(y)] - c log S(y)

    Args:
        logits: of the hazard in each interval of time.
        bins: y, the interval of death or of the last visit.
        censored: c, True where the death was not seen.

    Raises:
        ValueError: an interval is outside of [0, bins).
    """
    _refuse_outside(bins, logits.shape[1], "intervals", " Leave out times outside of all, often written -1.")
    hazards = logits.sigmoid()
    survival = functional.pad((1 - hazards).cumprod(dim=1), (1, 0), value=1.0)  # S(-1) first
    y = bins[:, None]
    before = survival.gather(1, y).clamp(min=SMALLEST).log()
    after = survival.gather(1, y + 1).clamp(min=SMALLEST).log()
    hazard = hazards.gather(1, y).clamp(min=SMALLEST).log()
    return -torch.where(censored[:, None], after, before + hazard).mean()


def bag_cross_entropy(
    logits: Float[Tensor, "bags classes"], labels: Int[Tensor, " bags"]
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the bags' classes.

    Raises:
        ValueError: a label is none of the classes.
    """
    _refuse_outside(labels, logits.shape[1], "labels", "")
    return functional.cross_entropy(logits, labels)


def _refuse_outside(numbers: Tensor, count: int, what: str, hint: str) -> None:
    if len(numbers) and not (int(numbers.min()) >= 0 and int(numbers.max()) < count):
        found = f"{int(numbers.min())} to {int(numbers.max())}"
        raise ValueError(f"The {what} must be from 0 to {count - 1}, not {found}.{hint}")
