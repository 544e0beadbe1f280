"""Numbers and effects as a reader sees them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from assay.checking import wording
from assay.paper import Metric
from checking.made_results import judged


@pytest.mark.parametrize(
    ("value", "unit", "kind", "shown"),
    [
        (None, "fraction", "value", "-"),
        (0.12345, "fraction", "value", "12.35 %"),
        (0.12345, "fraction", "difference", "+12.35 points"),
        (-0.5, "nats", "difference", "-0.5"),
        (123456.0, "s", "value", "1.235e+05"),
        (2.0, "fraction", "ratio", "x2"),
        (0.75, "s", "wins", "75.00 %"),
        (math.inf, "s", "difference", "∞"),
        (-math.inf, "s", "ratio", "-∞"),
    ],
)
def test_a_number_has_the_unit_of_what_is_measured(value: Any, unit: str, kind: Any, shown: str) -> None:
    assert wording.number(value, unit, kind) == shown


@pytest.mark.parametrize(
    ("changes", "unit", "effect", "interval"),
    [
        ({}, "fraction", "+12.50 points", "[+10.00, +15.00]"),
        ({}, "nats", "+0.125", "[+0.1, +0.15]"),
        ({"kind": "ratio", "effect": 2.0, "interval": (1.5, math.inf)}, "fraction", "x2", "[x1.5, ∞]"),
        ({"kind": "wins", "effect": 1.0, "interval": (0.5, 1.0)}, "s", "100.00 %", "[50.00, 100.00]"),
        ({"kind": "value", "other": None}, "fraction", "12.50 %", "[10.00, 15.00]"),
        ({"interval": None, "note": "did not vary"}, "fraction", "+12.50 points", "did not vary"),
    ],
)
def test_an_effect_is_shown_with_its_interval(changes: Any, unit: str, effect: str, interval: str) -> None:
    test, metric = judged(**changes), Metric("score", better="higher", unit=unit)
    assert (wording.effect(test, metric), wording.interval(test, metric)) == (effect, interval)


def test_verdicts_are_counted() -> None:
    assert wording.verdict_counts(["inconclusive", "supported", "supported"]) == "2 supported, 1 inconclusive"
    assert wording.verdict_counts(["contradicted"], stale=True) == "1 contradicted (stale)"
    assert wording.verdict_counts([], stale=True) == "not checked"
