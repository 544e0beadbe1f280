"""Results that no check has found, for tests of what is done with them."""

from __future__ import annotations

from typing import Any

from toy_paper.paper import PAPER

from assay.checking.results import ArmSummary, Checked, ClaimResult, Picture, Provenance, TestResult


def judged(**changes: Any) -> TestResult:
    """Return a judged test of the toy paper."""
    fields: dict[str, Any] = {
        "test": "score: high better than low",
        "metric": "score",
        "arm": "high",
        "other": "low",
        "effect": 0.125,
        "interval": (0.1, 0.15),
        "bound": (0.0, float("inf")),
        "p_value": 0.03125,
        "n": 6,
        "unit": "seed",
        "verdict": "supported",
        "seeds_needed": None,
        "kind": "difference",
        "values": (0.125,) * 6,
    }
    return TestResult(**fields | changes)


def checked(*claims: ClaimResult, preset: str = "laptop", **changes: Any) -> Checked:
    """Return a result of the toy paper."""
    provenance = Provenance(
        date="2026-01-02",
        seconds=1.5,
        cpu_seconds=2.5,
        seeds={"draw": [0, 1, 2, 3, 4, 5]},
        until_decided=False,
        overrides={},
        differs=["it is a toy"],
        tests_made=sum(len(claim.tests) for claim in claims),
        claims_fingerprint=PAPER.fingerprint(preset),
        code={"draw": "abc"},
        device="cpu",
        python="3.11",
        platform="Linux",
        versions={"assay": "0"},
    )
    fields: dict[str, Any] = {
        "paper": "toy",
        "preset": preset,
        "data": "default",
        "claims": claims,
        "arms": {"high": ArmSummary("method", {"score": 1.0}, {"score": [1.0, None]}, {"seconds": 0.1})},
        "errors": (),
        "provenance": provenance,
        "curves": {"high": [{"step": 0.0, "score": 1.0}]},
        "pictures": (Picture("high", "a grey field", "aGk="),),
    }
    return Checked(**fields | changes)
