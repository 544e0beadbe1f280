"""Expert selection shift: how far unlearning moves tokens to other experts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from assay.papers.privacy.uoe.method.attribution import watching
from assay.papers.privacy.uoe.method.layouts import moe_layout
from assay.papers.privacy.uoe.method.sequences import Sequences, logits_of


@dataclass(frozen=True)
class Routes:
    """The experts that each token of some documents is sent to, layer by layer."""

    choices: Int[Tensor, "layers tokens chosen"]


@torch.no_grad()
def routes_of(model: nn.Module, documents: Sequences, batch_size: int = 64) -> Routes:
    """Record the choices of all routers; padding is left out, and the model is used as it is."""
    layers = moe_layout(model)
    documents = documents.to(next(model.parameters()).device)
    found = []
    with watching(layers) as seen:
        for batch in documents.split(batch_size):
            logits_of(model, batch)
            choices = torch.stack([seen.choices[layer.index] for layer in layers])
            found.append(choices[:, batch.mask.flatten()].cpu())
    return Routes(torch.cat(found, dim=1))


def routing_overlap(before: Routes, after: Routes) -> float:
    """Return the mean over layers and tokens of |before ∩ after| / k: 1 where nothing moved.

    Raises:
        ValueError: the routes are of different documents or models.
    """
    if before.choices.shape != after.choices.shape:
        raise ValueError(
            f"routes of {tuple(before.choices.shape)} and {tuple(after.choices.shape)} do not compare"
        )
    same: Bool[Tensor, "layers tokens chosen chosen"] = (
        before.choices[..., :, None] == after.choices[..., None, :]
    )
    return float(same.any(-1).float().mean())
