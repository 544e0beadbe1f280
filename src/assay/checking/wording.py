"""Numbers, effects and verdicts in a reader's words and units, for the command line and the report."""

from __future__ import annotations

import math
from collections.abc import Iterable

from assay.checking.results import Kind, TestResult
from assay.paper import VERDICTS, Metric

MARKS = {"supported": "✓", "contradicted": "✗", "inconclusive": "?"}
FRACTION = "fraction"
"""The unit of metrics that are shown as percent, and their differences as points."""


def number(value: float | None, unit: str = "", kind: Kind = "value") -> str:
    """Show a value in a metric's unit, or what a test measures of it."""
    if value is None:
        return "-"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if kind == "ratio":
        return f"x{value:.3g}"
    sign = "+" if kind == "difference" else ""
    if unit == FRACTION or kind == "wins":
        return f"{100 * value:{sign}.2f}" + (" points" if kind == "difference" else " %")
    return f"{value:{sign}.4g}"


def effect(test: TestResult, metric: Metric) -> str:
    """Show the effect of a judged test."""
    return number(test.effect, metric.unit, test.kind)


def interval(test: TestResult, metric: Metric) -> str:
    """Show the interval of a judged test, or why there is none."""
    if test.interval is None:
        return test.note
    low, high = (number(end, metric.unit, test.kind).split(" ")[0] for end in test.interval)
    return f"[{low}, {high}]"


def axis(unit: str, kind: Kind = "value") -> tuple[float, str]:
    """Return the factor and the unit in which numbers are drawn."""
    if kind == "wins":
        return 1.0, "share of seeds won"
    if kind == "ratio":
        return 1.0, "times"
    if unit == FRACTION:
        return 100.0, "points" if kind == "difference" else "%"
    return 1.0, unit


def counts(verdicts: Iterable[str]) -> dict[str, int]:
    """Return how many claims came out how, of those verdicts that there are."""
    found = list(verdicts)
    return {name: found.count(name) for name in VERDICTS if name in found}


def verdict_counts(verdicts: Iterable[str], stale: bool = False) -> str:
    """Say, for a list of papers, how many claims came out how."""
    shown = ", ".join(f"{count} {name}" for name, count in counts(verdicts).items())
    return (shown or "not checked") + (" (stale)" if stale and shown else "")
