"""EF21-W's simulator against a plain loop over clients, and its sparse rows against dense ones.

    python benchmarks/ef21w.py [--clients 284] [--rounds 200] [--repeats 5]

The loop does what simulators of federated learning do: one client after another computes its gradient,
compresses the difference to its memory and sends it. Both run on standardised breast_cancer, rows sorted by
norm, logistic loss with the non-convex regulariser, Top-1, float64, one thread, from the same start. That
both take the same iterates is checked first. The sparse rows are random, of the shape of LIBSVM's w8a (300
features, 4 % filled). Times are medians over repeats, the two sides taking turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from scipy import sparse
from sklearn.datasets import load_breast_cancer
from torch import Tensor

from assay.papers.optimization.ef21w.method import (
    EF21,
    L2Penalty,
    LinearModel,
    NonconvexPenalty,
    TopK,
    divide,
    logistic_regression,
    partition_sorted,
)

STRENGTH = 1e-3


def breast_cancer(clients: int) -> LinearModel:
    """Return the objective of the norm-sorted clients."""
    features, classes = load_breast_cancer(return_X_y=True)
    features = (features - features.mean(0)) / features.std(0)
    parts = partition_sorted(features, clients)
    labels = [torch.from_numpy(2.0 * classes[part] - 1.0) for part in parts]
    return logistic_regression(divide(features, parts), labels, NonconvexPenalty(STRENGTH))


def simulate(method: EF21, x0: Tensor, rounds: int) -> Tensor:
    """Run the vectorised simulator."""
    state = method.start(x0)
    for _ in range(rounds):
        method.step(state)
    return state.x


def loop(method: EF21, x0: Tensor, rounds: int) -> Tensor:
    """Run the same algorithm client by client."""
    clients = list(
        zip(method.problem.rows.blocks, method.problem.targets, method.weights.tolist(), strict=True)
    )
    x, step = x0.clone(), method.stepsize.value
    memories = [torch.zeros_like(x) for _ in clients]
    estimate = torch.zeros_like(x)
    for turn in range(rounds + 1):
        if turn:
            x = x - step * estimate
        total = torch.zeros_like(x)
        for number, (rows, labels, weight) in enumerate(clients):
            slopes = -labels * torch.sigmoid(-labels * (rows @ x))
            gradient = rows.T @ slopes / len(rows) + 2 * STRENGTH * x / (1 + x**2) ** 2
            difference = gradient / (len(clients) * weight) - memories[number]
            kept = difference.abs().topk(1).indices
            sent = torch.zeros_like(x)
            sent[kept] = difference[kept]
            memories[number] = memories[number] + sent
            total = total + weight * sent
        estimate = estimate + total
    return x


def w8a_like(layout: str) -> EF21:
    """Return the method on 49,749 sparse rows over 1000 clients."""
    table = sparse.random_array((49_749, 300), density=0.039, format="csr", rng=0)
    parts = partition_sorted(table, 1000)
    labels = [torch.ones(len(part), dtype=torch.float64) for part in parts]
    rows = divide(table if layout == "sparse" else table.toarray(), parts)
    return EF21(logistic_regression(rows, labels, L2Penalty(STRENGTH)), TopK(1), weights=None, stepsize=0.1)


def medians(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median time of each side in seconds, after one run that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if turn:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def compare_with_loop(clients: int, rounds: int, repeats: int) -> None:
    """Check that both sides take the same iterates, and print how long a round of each takes."""
    method = EF21(breast_cancer(clients), TopK(1))
    x0 = 0.01 * torch.randn(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours, theirs = simulate(method, x0, rounds), loop(method, x0, rounds)
    difference = float((ours - theirs).norm() / theirs.norm())
    assert difference < 1e-10, f"the iterates differ by {difference:.1e}"
    loop_rounds = max(rounds // 20, 1)
    times = medians(
        {"ours": lambda: simulate(method, x0, rounds), "loop": lambda: loop(method, x0, loop_rounds)}, repeats
    )
    ours_round, loop_round = times["ours"] / (rounds + 1), times["loop"] / (loop_rounds + 1)
    print(f"same iterates after {rounds} rounds: relative difference {difference:.1e}")
    print(
        f"{clients} clients: {1e3 * ours_round:.3f} ms a round, loop {1e3 * loop_round:.2f} ms, "
        f"{loop_round / ours_round:.0f} times as fast (limit 50)"
    )


def compare_layouts(repeats: int) -> None:
    """Print how long a round takes on the same table, sparse and dense."""
    x0, rounds = torch.zeros(300, dtype=torch.float64), 20
    methods = {layout: w8a_like(layout) for layout in ("sparse", "dense")}
    results = [simulate(method, x0, rounds) for method in methods.values()]
    assert float((results[0] - results[1]).norm() / results[1].norm()) < 1e-10
    sides = {layout: (lambda m=method: simulate(m, x0, rounds)) for layout, method in methods.items()}
    times = medians(sides, repeats)
    each = {layout: 1e3 * taken / (rounds + 1) for layout, taken in times.items()}
    print(
        f"49749 x 300 with 4 % filled, 1000 clients: sparse {each['sparse']:.1f} ms a round, "
        f"dense {each['dense']:.1f} ms, {each['dense'] / each['sparse']:.1f} times as fast"
    )


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=284)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    compare_with_loop(given.clients, given.rounds, given.repeats)
    compare_layouts(given.repeats)


if __name__ == "__main__":
    main()
