"""The contrastive loss that a surrogate learns with and a generator minimises, and retrieval metrics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torch.nn.functional import log_softmax, normalize


def contrastive_logits(
    image: Float[Tensor, "n d"], text: Float[Tensor, "m d"], logit_scale: Float[Tensor, ""]
) -> Float[Tensor, "n m"]:
    """Return exp(logit_scale) times the cosine of every picture with every text."""
    cosine = normalize(image.float(), dim=-1) @ normalize(text.float(), dim=-1).T
    return logit_scale.float().exp() * cosine


def info_nce(logits: Float[Tensor, "n n"], captions: Int[Tensor, " n"] | None = None) -> Float[Tensor, ""]:
    """Return the symmetric contrastive loss of a batch whose i-th picture belongs to its i-th text.

        (1/2n) sum_i sum_j p_ij (-log softmax(logits)_ij - log softmax(logits^T)_ij)

    with p the identity, as in the paper's Eq. 4. Where rows share a caption, the identity would call the
    other pictures of that caption wrong; `captions` numbers them, and p is then uniform over equal numbers.
    The loss cannot fall below `entropy_floor(captions)`.
    """
    targets = _targets(logits, captions)
    rows, columns = log_softmax(logits, dim=1), log_softmax(logits.T, dim=1)
    return -(targets * (rows + columns)).sum(dim=1).mean() / 2


def entropy_floor(captions: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """Return the least value of `info_nce`: the mean log of how often a row's caption is in the batch."""
    return (captions[:, None] == captions).sum(dim=1).float().log().mean()


def _targets(logits: Tensor, captions: Tensor | None) -> Tensor:
    if captions is None:
        return torch.eye(len(logits), device=logits.device)
    same = (captions[:, None] == captions).float()
    return same / same.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class Retrieved:
    """How well texts find their pictures, or pictures their texts."""

    hit_at_10: float
    """Share of queries with a right answer among the first ten."""
    median_rank: float
    """Median place of the first right answer, from 1."""


def retrieval(
    similarity: Num[Tensor, "queries answers"],
    query: Num[Tensor, " queries"],
    answer: Num[Tensor, " answers"],
) -> Retrieved:
    """Rank all answers to each query by similarity; right are those that carry the query's number.

    Equal similarities count against the right answer by half of their number, so that a constant matrix
    gives chance and not a hit.

    Raises:
        ValueError: a query has no right answer.
    """
    right = query[:, None] == answer
    if not bool(right.any(dim=1).all()):
        raise ValueError("A query has no right answer: give every query's number to at least one answer.")
    best = similarity.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
    wrong = similarity.masked_fill(right, -torch.inf)
    ranks = 1 + (wrong > best).sum(dim=1) + (wrong == best).sum(dim=1) / 2
    return Retrieved((ranks <= 10).float().mean().item(), ranks.float().quantile(0.5).item())
