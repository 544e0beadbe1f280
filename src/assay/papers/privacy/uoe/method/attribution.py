"""Which experts documents are routed to (the paper's equation 2), and how far unlearning moves them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.artefact import Artefact
from assay.papers.privacy.uoe.method.layouts import MoELayer, Target, moe_layout
from assay.papers.privacy.uoe.method.sequences import Sequences, logits_of
from assay.training.evaluation import mode

Score = Literal["mean_prob", "topk_frequency"]


@dataclass(frozen=True, repr=False)
class ExpertAttribution(Artefact):
    """How strongly each expert of each sparse layer takes part in a set of documents."""

    scores: Float[Tensor, "layers experts"]
    """Affinity, each row summing to 1."""
    frequency: Float[Tensor, "layers experts"]
    """Share of the choices that fall on an expert, each row summing to 1."""
    layers: tuple[int, ...]
    """Numbers of the decoder layers."""
    tokens: int
    """How many tokens were seen, without padding."""

    def __repr__(self) -> str:
        layers, experts = self.scores.shape
        return f"ExpertAttribution({layers} layers of {experts} experts, top {self.top()[0]})"

    def ranked(self) -> list[Target]:
        """Return all (layer, expert), the highest affinity first."""
        order = self.scores.flatten().argsort(descending=True, stable=True).tolist()
        experts = self.scores.shape[1]
        return [(self.layers[place // experts], place % experts) for place in order]

    def top(self, count: int = 1) -> list[Target]:
        """Return the `count` (layer, expert) with the highest affinity."""
        return self.ranked()[:count]

    def affinity(self, target: Target) -> float:
        """Return the affinity of a routed expert."""
        return float(self.scores[self.layers.index(target[0]), int(target[1])])

    def share_of_tokens(self, target: Target, top_k: int) -> float:
        """Return the share of tokens that run through a routed expert, one of `top_k` a token."""
        return top_k * float(self.frequency[self.layers.index(target[0]), int(target[1])])

    def gini(self) -> Float[Tensor, " layers"]:
        """Return how unequal each layer is: 0 for equal affinities, 1 - 1/E for one expert alone."""
        ordered = self.scores.sort(dim=1).values
        experts = ordered.shape[1]
        ranks = torch.arange(1, experts + 1, dtype=ordered.dtype)
        return 2 * (ordered * ranks).sum(1) / (experts * ordered.sum(1)) - (experts + 1) / experts

    def table(self) -> pd.DataFrame:
        """Return one row an expert, the highest affinity first."""
        rows = [
            (layer, expert, self.affinity((layer, expert)), self.share_of_tokens((layer, expert), 1))
            for layer, expert in self.ranked()
        ]
        return pd.DataFrame(rows, columns=["layer", "expert", "affinity", "frequency"])


@dataclass
class Routing:
    """What went into and came out of the routers in one forward pass, by layer."""

    hidden: dict[int, Tensor] = field(default_factory=dict)
    choices: dict[int, Tensor] = field(default_factory=dict)

    def choices_at(self, mask: Bool[Tensor, "n t"]) -> Int[Tensor, "layers tokens chosen"]:
        """Return the choices of all layers for the tokens that are no padding, on the CPU."""
        return torch.stack(list(self.choices.values()))[:, mask.flatten()].cpu()


@contextlib.contextmanager
def recorded_routing(layers: Sequence[MoELayer]) -> Iterator[Routing]:
    """Record router inputs and choices inside the block; a later forward pass replaces them."""
    routing = Routing()

    def record(layer: MoELayer) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            routing.hidden[layer.index] = inputs[0]
            routing.choices[layer.index] = layer.choices(output)

        return hook

    hooks = [layer.router.register_forward_hook(record(layer)) for layer in layers]
    try:
        yield routing
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def attribute_experts(
    model: nn.Module,
    documents: Sequences,
    max_tokens: int = 100_000,
    score: Score = "mean_prob",
    batch_size: int = 16,
) -> ExpertAttribution:
    """Measure the affinity of each expert to some documents.

    s_e = mean over documents of the mean over a document's tokens of softmax(W h)_e, the softmax over all
    experts before top-k; with "topk_frequency", of the share of a token's k choices that fall on e. Padding
    does not count. The same for any batch size.

    Args:
        model: a mixture-of-experts model; it is used in eval mode.
        documents: usually a sample of the forget set.
        max_tokens: documents are read until there are so many tokens.
        score: what `scores` holds.
        batch_size: documents at once.

    Raises:
        InputError: the model is none that `moe_layout` knows.
        ValueError: the numbers of experts differ between layers, so that their affinities do not compare.
    """
    layers = moe_layout(model)
    if len({layer.n_experts for layer in layers}) != 1:
        raise ValueError(
            f"layers have {[layer.n_experts for layer in layers]} experts; name the target instead"
        )
    documents = documents.to(next(model.parameters()).device)
    mean, chosen, count, tokens = (torch.zeros(()) for _ in range(4))
    with recorded_routing(layers) as routing:
        for batch in documents.split(batch_size):
            with mode(model, training=False):
                logits_of(model, batch)
            probabilities = torch.stack([layer.affinities(routing.hidden[layer.index]) for layer in layers])
            choices = torch.stack([routing.choices[layer.index] for layer in layers])
            mean = mean + _per_document(probabilities, batch.mask)
            chosen = chosen + _per_document(_frequency(choices, layers[0].n_experts), batch.mask)
            count, tokens = count + len(batch), tokens + batch.mask.sum().cpu()
            if tokens >= max_tokens:
                break
    mean, chosen = mean / count, chosen / count
    scores = {"mean_prob": mean, "topk_frequency": chosen}[score]
    return ExpertAttribution(scores, chosen, tuple(layer.index for layer in layers), int(tokens))


def _per_document(
    values: Float[Tensor, "layers tokens experts"], mask: Tensor
) -> Float[Tensor, "layers experts"]:
    """Return the mean over each document's tokens, summed over documents."""
    shaped = values.unflatten(1, mask.shape).double()
    weights = mask / mask.sum(1, keepdim=True)
    return torch.einsum("lnte,nt->le", shaped, weights.double()).float().cpu()


def _frequency(
    choices: Int[Tensor, "layers tokens chosen"], experts: int
) -> Float[Tensor, "layers tokens experts"]:
    found = torch.zeros(*choices.shape[:2], experts, device=choices.device)
    return found.scatter_(2, choices, 1.0) / choices.shape[2]


# --- expert selection shift ---------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Routes:
    """The experts that each token of some documents is sent to, layer by layer."""

    choices: Int[Tensor, "layers tokens chosen"]


@torch.no_grad()
def routes_of(model: nn.Module, documents: Sequences, batch_size: int = 64) -> Routes:
    """Record the choices of all routers; padding is left out, and the model is used as it is."""
    layers = moe_layout(model)
    documents = documents.to(next(model.parameters()).device)
    found = []
    with recorded_routing(layers) as routing:
        for batch in documents.split(batch_size):
            logits_of(model, batch)
            found.append(routing.choices_at(batch.mask))
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
