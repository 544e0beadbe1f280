"""What a policy gives on the test rows, and what one model does alone."""

from __future__ import annotations

import numpy as np

from assay.paper import Value
from assay.papers.language.elang.method import Observations, RoutingPolicy
from assay.papers.language.elang.stages import PairRead
from assay.trial import Trial

SHARES = (10, 20, 30, 40, 50)
"""Percentages of Super at which the scores are compared."""
SPEEDUP = 3.2
"""How many times fewer FLOPs than Super the paper's BERT pair needs, and about what its T5 pair does."""


def measure_pair(policy: RoutingPolicy, test: Observations, read: PairRead, trial: Trial) -> dict[str, Value]:
    """Return what the policy gives on the test rows, and how good its score is whatever the threshold."""
    curve, found, costs = test.curve(), test.measure(policy.threshold), read.costs
    trial.count("matched_super_calls", sum(round(share / 100 * found.rows) for share in SHARES))
    for share, quality in zip(curve.share[::8], curve.quality[::8], strict=True):
        trial.log(float(share), accuracy=float(quality))
    to_match = curve.cost_to_reach(curve.super_quality - 0.005)
    affordable = (costs.super_ / SPEEDUP - costs.always) / costs.routed
    metrics: dict[str, Value] = {
        "accuracy": found.quality,
        "super_share": found.super_share,
        "relative_flops": costs.per_row(found.super_share) / costs.super_,
        "area": curve.area(),
        "accuracy_at_speedup": curve.quality_at_share(affordable) if affordable >= 0 else None,
        "flops_to_match": None if to_match is None else to_match / costs.super_,
        "seconds_per_row": read.test.seconds.per_row(found.super_share),
    }
    return metrics | {f"accuracy_at_{share}": curve.quality_at_share(share / 100) for share in SHARES}


def measure_alone(model: str, read: PairRead, labels: np.ndarray) -> dict[str, Value]:
    """Return what one model does alone, and what makes the pair worth routing."""
    swift, super_ = read.test.swift_quality, read.test.super_quality
    accuracy = float((swift if model == "swift" else super_).mean())
    same: dict[str, Value] = {f"accuracy_at_{point}": accuracy for point in (*SHARES, "speedup")}
    if model == "super":
        return same | {
            "accuracy": accuracy,
            "super_share": 1.0,
            "relative_flops": 1.0,
            "seconds_per_row": read.test.seconds.super_,
            "super_gain": float(super_.mean() - swift.mean()),
            "rescued": float(super_[~swift].mean()) if not swift.all() else 0.0,
        }
    most_frequent = np.bincount(labels).max() / len(labels)
    return same | {
        "accuracy": accuracy,
        "super_share": 0.0,
        "relative_flops": read.costs.always / read.costs.super_,
        "seconds_per_row": read.test.seconds.always,
        "skill": float((accuracy - most_frequent) / (1 - most_frequent)),
    }
