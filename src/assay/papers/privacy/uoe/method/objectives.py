"""The anchor loss, which holds forget tokens at the expert that is being changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Reduction = Literal["mean", "sum"]


class AnchorLoss(nn.Module):
    """The squared distance of router affinities from the targets' indicator.

    L = mean over tokens of ||g - a||^2, with a_e = 1 at target experts and 0 elsewhere. The paper sums over
    experts; the released code takes the mean over them too, which is 1/E of it.

    Args:
        targets: experts of the layer that forget tokens should stay with.
        reduction: over experts; "mean" is what the released code does.

    Raises:
        ValueError: there is no target.
    """

    def __init__(self, targets: Sequence[int], reduction: Reduction = "mean") -> None:
        super().__init__()
        if not targets:
            raise ValueError("the anchor needs at least one target expert")
        self.targets = tuple(targets)
        self.reduction = reduction

    def forward(
        self, affinities: Float[Tensor, "tokens experts"], mask: Bool[Tensor, " tokens"] | None = None
    ) -> Float[Tensor, ""]:
        """Return the loss.

        Args:
            affinities: softmax over all experts, before top-k.
            mask: the tokens that count; all by default.
        """
        wanted = torch.zeros_like(affinities)
        wanted[:, list(self.targets)] = 1.0
        squares = (affinities - wanted).square()
        over_experts = squares.mean(1) if self.reduction == "mean" else squares.sum(1)
        return (over_experts if mask is None else over_experts[mask]).mean()
