"""Speed of the Bayes-error gradient: `python benchmarks/bayes_unlearnable.py`.

The gradient of the estimate for 5,000 points of 256 features is compared with the broadcast form, which holds
the differences of 32 points to all others at a time, and with the three matrix products that it needs at
least. All take turns in one run on one thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Callable

import torch
from torch import Tensor

from assay.papers.privacy.bayes_unlearnable.method import BayesErrorEstimator

POINTS, FEATURES, CLASSES = 5_000, 256, 10
BROADCAST_ROWS = 32
SIGMA = 0.3


def broadcast_gradient(features: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the mean for features as they are, from [rows, n, d] differences."""
    gradient = torch.zeros_like(features)
    for rows in torch.arange(len(features)).split(BROADCAST_ROWS):
        difference = features[rows, None] - features[None]
        kernel = torch.exp(-difference.square().sum(2) / (2 * SIGMA**2))
        kernel[torch.arange(len(rows)), rows] = 0
        total = kernel.sum(1, keepdim=True) + 1e-8
        posterior = torch.stack([kernel[:, labels == c].sum(1) for c in range(CLASSES)], 1) / total
        best, chosen = posterior.max(1, keepdim=True)
        weights = kernel / total * ((labels[None] == chosen).to(kernel) - best) / SIGMA**2
        pull = weights[:, :, None] * difference
        gradient[rows] += pull.sum(1)
        gradient -= pull.sum(0)
    return gradient / len(features)


def products(features: Tensor, chunk: int = 256) -> Tensor:
    """Return what three products of the kernel's sizes give: the least that the closed form costs."""
    out, kernel = torch.zeros_like(features), torch.empty(chunk, len(features))
    for start in range(0, len(features), chunk):
        rows = features[start : start + chunk]
        weights = kernel[: len(rows)]
        torch.mm(rows, features.T, out=weights)
        out[start : start + chunk] += weights @ features
        out.addmm_(weights.T, rows)
    return out


def seconds(function: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    """Print the times and their ratios."""
    torch.manual_seed(0)
    labels = torch.randint(CLASSES, (POINTS,))
    centres = torch.rand(CLASSES, FEATURES)
    features = 0.02 * (centres[labels] + torch.randn(POINTS, FEATURES))
    estimator = BayesErrorEstimator(sigma=SIGMA, normalize="none")
    closed, least = [], []
    for _ in range(5):
        closed.append(seconds(lambda: estimator.gradient(features, labels)))
        least.append(seconds(lambda: products(features)))
    start = time.perf_counter()
    by_differences = broadcast_gradient(features, labels)
    slow = time.perf_counter() - start
    closed.append(seconds(lambda: estimator.gradient(features, labels)))
    fast, floor = min(closed), min(least)
    exact = estimator.gradient(features, labels)
    difference = (by_differences - exact).abs().max()
    print(f"gradient of the Bayes error, {POINTS:,} points of {FEATURES} features, one thread")
    print(f"  closed form        {fast:7.3f} s")
    print(f"  broadcast form     {slow:7.3f} s = {slow / fast:.1f} times the closed form")
    print(f"  its three products {floor:7.3f} s; the closed form takes {fast / floor:.2f} times as long")
    print(f"  largest difference {difference:.1e}, of gradients up to {exact.abs().max():.1e}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
