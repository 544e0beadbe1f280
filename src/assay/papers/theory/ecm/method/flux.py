"""Flux of demonstrations on a query, and the choice of demonstrations by it.

    Phi_i = (S_q . S_i) / ||S_q||

is the length of demonstration i's embedding along the query's. Only the query's norm is divided out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Encode = Callable[[Sequence[str]], Tensor]
"""Texts to embeddings [n, d]."""
Choice = Literal["flux", "reverse", "random", "diverse"]
DRAWS = 10_000
"""Random subsets of which the most diverse one is taken."""


def flux(queries: Float[Tensor, "*b d_query"], demos: Float[Tensor, "n d_demo"]) -> Float[Tensor, "*b n"]:
    """Return Phi_i = (S_q . S_i) / ||S_q|| of every demonstration on every query, as one matrix product.

    Args:
        queries: one embedding [d], or several [b, d].
        demos: embeddings [n, d] of the same encoder.

    Raises:
        ValueError: the dimensions differ, a query is zero, or something is not finite.
    """
    if queries.shape[-1] != demos.shape[-1]:
        raise ValueError(
            f"Queries have {queries.shape[-1]} dimensions and demonstrations {demos.shape[-1]}: embed both"
            " with one encoder."
        )
    norms = queries.norm(dim=-1, keepdim=True)
    if not (norms > 0).all():
        raise ValueError("The norm of a query's embedding is 0 or not a number, so that it has no direction.")
    found: Tensor = (queries / norms) @ demos.T
    if not torch.isfinite(found).all():
        raise ValueError("The flux is not finite: look for NaN or infinity in the embeddings.")
    return found


def manhattan_flux(queries: Float[Tensor, "b d"], demos: Float[Tensor, "n d"]) -> Float[Tensor, "b n"]:
    """Return the Manhattan distance sum_j |S_qj - S_ij|, the authors' other flux (U_W is divided by 200)."""
    return torch.cdist(queries, demos, p=1)


def summed_cosine(embeddings: Float[Tensor, "n d"], subsets: Int[Tensor, "s k"]) -> Float[Tensor, " s"]:
    """Return sum_{i<j} cos(S_i, S_j) of each subset.

    With unit vectors it is (||sum_i S_i||^2 - k) / 2, so that no pair is looked at.
    """
    units = torch.nn.functional.normalize(embeddings, dim=-1)
    total = torch.nn.functional.embedding_bag(subsets, units, mode="sum")
    return (total.square().sum(-1) - subsets.shape[1]) / 2


def random_subsets(n: int, size: int, draws: int, generator: torch.Generator) -> Int[Tensor, "s k"]:
    """Return `draws` subsets of `size` different numbers below n, each subset equally likely.

    Raises:
        ValueError: there are fewer than `size`.
    """
    if not 0 < size <= n:
        raise ValueError(f"A subset of {size} cannot be drawn from {n}.")
    if n <= 4 * size * size:  # drawing again would take long
        return torch.rand(draws, n, generator=generator).argsort(dim=1)[:, :size]
    drawn = torch.randint(n, (draws, size), generator=generator)
    while True:
        ordered = drawn.sort(dim=1).values
        again = (ordered[:, 1:] == ordered[:, :-1]).any(dim=1).nonzero().flatten()
        if not len(again):
            return drawn
        drawn[again] = torch.randint(n, (len(again), size), generator=generator)


def most_diverse(
    embeddings: Float[Tensor, "n d"], size: int, generator: torch.Generator, draws: int = DRAWS
) -> Int[Tensor, " k"]:
    """Return the subset with the lowest summed pairwise cosine among random ones (ds-icl)."""
    subsets = random_subsets(len(embeddings), size, draws, generator)
    return subsets[summed_cosine(embeddings, subsets).argmin()]


@dataclass(frozen=True)
class Retrieved:
    """Demonstrations for one query: their places in the pool, most flux first, and their flux."""

    rows: tuple[int, ...]
    flux: tuple[float, ...]


class DemoRetriever:
    """A pool of questions, embedded once, from which demonstrations are chosen.

    Args:
        encoder: texts to embeddings [n, d].
        pool: the questions of the demonstrations.
        seed: of random and diverse choices.

    Raises:
        ValueError: the pool is empty.
    """

    def __init__(self, encoder: Encode, pool: Sequence[str], seed: int = 0) -> None:
        if not len(pool):
            raise ValueError("The pool has no demonstration.")
        self.encoder, self.pool, self.seed = encoder, tuple(pool), seed
        self.embeddings = encoder(self.pool)

    def topk(
        self, queries: Sequence[str], k: int, mode: Choice = "flux", among: int = 100
    ) -> list[Retrieved]:
        """Choose k demonstrations for each query.

        Args:
            queries: questions.
            k: how many, at least 1.
            mode: `flux` takes the most flux, `reverse` the least, `random` any; `diverse` takes the most
                diverse k of those `among` with the most flux (dd-icl).
            among: candidates of `diverse`.

        Raises:
            ValueError: the pool has fewer than k, or the mode is unknown.
        """
        if not 0 < k <= len(self.pool):
            raise ValueError(f"{k} demonstrations cannot be taken from a pool of {len(self.pool)}.")
        fluxes = flux(self.encoder(queries), self.embeddings)
        generator = torch.Generator().manual_seed(self.seed)
        if mode in ("flux", "reverse"):
            rows = fluxes.topk(k, dim=1, largest=mode == "flux").indices
        elif mode == "random":
            rows = torch.stack([torch.randperm(len(self.pool), generator=generator)[:k] for _ in queries])
        elif mode == "diverse":
            near = fluxes.topk(min(max(among, k), len(self.pool)), dim=1).indices
            chosen = [row[most_diverse(self.embeddings[row], k, generator)] for row in near]
            rows = torch.stack(chosen)
        else:
            raise ValueError(f"mode {mode!r} is none of flux, reverse, random, diverse.")
        values = fluxes.gather(1, rows)
        order = values.argsort(dim=1, descending=True)
        return [
            Retrieved(tuple(row), tuple(value))
            for row, value in zip(
                rows.gather(1, order).tolist(), values.gather(1, order).tolist(), strict=True
            )
        ]
