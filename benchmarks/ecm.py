"""Speed of retrieval and of the diversity search: `python benchmarks/ecm.py`.

The flux of 100,000 embeddings on a batch of queries as one matrix product is compared with a loop over pairs,
as the authors have it, and the most diverse of 10,000 random subsets with a loop over subsets and pairs. All
in one run on one thread; loops are timed on a part and scaled up where the whole would take minutes.
"""

from __future__ import annotations

import itertools
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Callable

import torch
from torch import Tensor

from assay.papers.theory.ecm.method import flux, random_subsets, summed_cosine

POOL, WIDTH, QUERIES, TOP = 100_000, 384, 16, 5
SUBSETS, SIZE = 10_000, 5


def shortest(function: Callable[[], object], repeats: int) -> float:
    """Return the shortest time of a call in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def looped_flux(query: Tensor, demos: Tensor) -> list[float]:
    """Return the flux of each demonstration, one pair after the other."""
    return [float(torch.dot(query, demo) / query.norm()) for demo in demos]


def looped_cosine(embeddings: Tensor, subset: list[int]) -> float:
    """Return the summed cosine of a subset, one pair after the other."""
    pairs = itertools.combinations(subset, 2)
    return sum(float(torch.cosine_similarity(embeddings[i], embeddings[j], dim=0)) for i, j in pairs)


def retrieval() -> None:
    """Print the time of retrieval from the whole pool."""
    generator = torch.Generator().manual_seed(0)
    demos = torch.randn(POOL, WIDTH, generator=generator)
    queries = torch.randn(QUERIES, WIDTH, generator=generator)
    part = 5_000
    fast = shortest(lambda: flux(queries, demos).topk(TOP, dim=1), 5) / QUERIES
    slow = shortest(lambda: sorted(looped_flux(queries[0], demos[:part]))[-TOP:], 2) * POOL / part
    assert torch.allclose(
        flux(queries[0], demos[:100]), torch.tensor(looped_flux(queries[0], demos[:100])), atol=1e-4
    )
    print(f"top {TOP} of {POOL:,} embeddings by flux, a query:")
    print(f"  {fast * 1e3:.1f} ms as a matrix product, {slow * 1e3:.0f} ms pair by pair:", end=" ")
    print(f"{slow / fast:.0f} times as fast")


def diversity() -> None:
    """Print the time of the search for the most diverse subset."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(7_473, WIDTH, generator=generator)
    subsets = random_subsets(len(embeddings), SIZE, SUBSETS, generator)
    part = subsets[:200].tolist()
    fast = shortest(lambda: summed_cosine(embeddings, subsets).argmin(), 5)
    slow = shortest(lambda: min(looped_cosine(embeddings, one) for one in part), 2) * SUBSETS / len(part)
    print(f"most diverse of {SUBSETS:,} subsets of {SIZE} from {len(embeddings):,}:")
    print(
        f"  {fast * 1e3:.0f} ms vectorised, {slow * 1e3:.0f} ms pair by pair: {slow / fast:.0f} times as fast"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    retrieval()
    diversity()
