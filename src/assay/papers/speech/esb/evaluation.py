"""The metrics of a result."""

from __future__ import annotations

import numpy as np

from assay.paper import Value
from assay.papers.speech.esb.method import BenchmarkResult


def metrics_of(result: BenchmarkResult) -> dict[str, Value]:
    """Return the metrics of a result."""
    rates = {rendering: result.macro(rendering) for rendering in ("orthographic", "plain", "normalised")}
    shares = [found.breakdown.shares() for found in result.scores.values()]
    return {
        "wer": rates["orthographic"],
        "plain_wer": rates["plain"],
        "normalised_wer": rates["normalised"],
        "rendering_gap": rates["orthographic"] - rates["normalised"],
        "artefact_gap": rates["orthographic"] - rates["plain"],
        "lexical_share": float(np.mean([found["lexical"] for found in shares])),
        "worst_set_wer": max(found.orthographic for found in result.scores.values()),
        "rule_violations": len(result.violations),
    }
