"""Speed of calibration and routing: `python benchmarks/elang.py`.

Calibrating a router on a million scores, from scores and answers to the finished policy, is compared with one
sort of the same scores, and full batches for Super with ragged ones. All take turns in one run on one thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn

from assay.papers.language.elang.method import Costs, EnergyRouter, Observations, RoutingPolicy, calibrate
from timing import interleaved

ROWS = 1_000_000
REPEATS = 15


def calibration() -> None:
    """Print how long a calibration takes, in sorts."""
    random = np.random.default_rng(0)
    scores = random.normal(size=ROWS)
    swift, super_ = random.random(ROWS) < 0.85, random.random(ROWS) < 0.95
    tensor = torch.from_numpy(scores)

    observed = Observations(scores, swift, super_, Costs(swift=1.0, super_=10.0))
    times = interleaved(
        {
            "calibration": lambda: calibrate(observed, "match_super", 0.005),
            "numpy.sort": lambda: np.sort(scores),
            "numpy.argsort": lambda: np.argsort(scores),
            "torch.sort": lambda: torch.sort(tensor),
        },
        REPEATS,
    )
    print(f"calibration on {ROWS:,} scores: {times['calibration'] * 1e3:.1f} ms")
    for name in ("numpy.sort", "numpy.argsort", "torch.sort"):
        ratio = times["calibration"] / times[name]
        print(f"  {name:<14} {times[name] * 1e3:6.1f} ms   calibration / sort = {ratio:.2f}")


def batching() -> None:
    """Print how long a stream of small Swift batches takes with ragged and with full batches for Super."""
    torch.manual_seed(0)
    swift = nn.Linear(256, 10).eval()
    super_ = nn.Sequential(
        nn.Linear(256, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 10)
    )
    batches = torch.randn(4096, 256).split(16)
    scores = torch.logsumexp(swift(torch.cat(batches)), dim=-1)
    router = EnergyRouter(swift, super_.eval(), policy=RoutingPolicy(scores.quantile(0.2).item()))
    times = interleaved(
        {
            "ragged": lambda: [router.predict(batch) for batch in batches],
            "full": lambda: list(router.stream(batches, super_batch_size=64)),
        },
        REPEATS,
    )
    ragged, full = (times[name] * 1e3 for name in ("ragged", "full"))
    print("4,096 rows in Swift batches of 16, 20 % to Super:")
    print(f"  {ragged:.0f} ms ragged, {full:.0f} ms in full batches of 64: {ragged / full:.1f} times as fast")


if __name__ == "__main__":
    torch.set_num_threads(1)
    calibration()
    batching()
