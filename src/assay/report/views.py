"""What the pages show of a paper and its results, in the reader's units."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from assay.cli import printing
from assay.paper import Metric, Paper
from assay.report import plots

VERDICTS = tuple(printing.COLOURS)
METRICS_DRAWN = 6
"""Of each result, those that tests are about first."""


@dataclass(frozen=True)
class PaperView:
    """A paper on the index and on its own page."""

    paper: Paper
    results: list[dict[str, Any]]

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict of each claim; a result of the paper's own data and size comes first."""
        found: dict[str, str] = {}
        for result in self.results:
            for claim in result["claims"]:
                found.setdefault(claim["name"], claim["verdict"])
        return found

    @property
    def counts(self) -> dict[str, int]:
        """How many claims came out how."""
        verdicts = list(self.verdicts.values())
        return {name: verdicts.count(name) for name in VERDICTS if name in verdicts}

    @property
    def date(self) -> str:
        """The day of the last check, or nothing."""
        return max((result["provenance"]["date"] for result in self.results), default="")

    @property
    def tests_made(self) -> int:
        """How many tests its results hold."""
        return sum(result["provenance"]["tests_made"] for result in self.results)

    @property
    def unchecked(self) -> list[Any]:
        """The claims that could be tested and have no verdict yet."""
        return [claim for claim in self.paper.tested if claim.name not in self.verdicts]

    @property
    def untested(self) -> list[Any]:
        """The claims that cannot be tested here."""
        return [claim for claim in self.paper.claims if claim.untested]


def result_view(result: Mapping[str, Any], paper: Paper) -> dict[str, Any]:
    """Return a result with what the template prints and draws."""
    declared = {metric.name: metric for metric in paper.metrics}
    shown = [
        metric
        for metric in paper.metrics
        if any(arm["metrics"].get(metric.name) is not None for arm in result["arms"].values())
    ]
    return {
        **result,
        "claims": [_claim(claim, paper) for claim in result["claims"]],
        "forest": plots.forest([_row(test, paper) for claim in result["claims"] for test in claim["tests"]]),
        "metrics": shown,
        "number": lambda name, value: printing.number(value, declared.get(name)),
        "strips": list(_strips(result, shown)),
        "curves_drawn": list(_curves(result)),
        "pictures": result["pictures"],
        "command": command(result),
        "stale": result["provenance"]["claims_fingerprint"] != paper.fingerprint(result["preset"]),
    }


def command(result: Mapping[str, Any]) -> str:
    """Return the command line that repeats a check."""
    source = result["provenance"]
    words = ["assay", "check", result["paper"]]
    if result["preset"] != "laptop":
        words += ["--preset", result["preset"]]
    for name, value in source["overrides"].items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    seeds: list[int] = next(iter(source["seeds"].values()), [])
    if seeds and seeds[0]:
        words += ["--first-seed", str(seeds[0])]
    if source["until_decided"]:
        words += ["--until-decided", "--max-seeds", str(len(seeds))]
    elif seeds:
        words += ["--seeds", str(len(seeds))]
    if source["device"] != "cpu":
        words += ["--device", source["device"]]
    return shlex.join(words)


def _claim(claim: Mapping[str, Any], paper: Paper) -> dict[str, Any]:
    tests = [
        {**test, **dict(zip(("shown", "shown_interval"), printing.effect(test, paper), strict=True))}
        for test in claim["tests"]
    ]
    return {**claim, "tests": tests}


def _row(test: Mapping[str, Any], paper: Paper) -> plots.Row:
    metric = paper.metric(test["metric"])
    ratio = " / " in test["test"]
    won = test["note"].startswith("share of seeds won")
    points = metric.unit == "fraction" and not ratio
    factor = 100.0 if points and not won else 1.0

    def scaled(values: Sequence[float | None] | None) -> list[float]:
        return [factor * value for value in values or () if value is not None]

    where = f" on {test['data']}" if test["data"] else ""
    unit = "times" if ratio else ("points" if test["other"] else "%") if points else metric.unit
    return plots.Row(
        label=test["test"] + where,
        verdict=test["verdict"],
        values=[] if won else scaled(test["values"]),
        effect=None if test["effect"] is None else factor * test["effect"],
        interval=scaled(test["interval"]) if None not in (test["interval"] or ()) else [],
        bound=[] if won else scaled(test["bound"]),
        unit="share of seeds won" if won else unit,
        ratio=ratio,
    )


def _strips(result: Mapping[str, Any], shown: Sequence[Metric]) -> Iterator[Markup]:
    tested = {test["metric"] for claim in result["claims"] for test in claim["tests"]}
    ordered = sorted(shown, key=lambda metric: metric.name not in tested)
    for metric in ordered[:METRICS_DRAWN]:
        factor = 100.0 if metric.unit == "fraction" else 1.0
        arms = {
            name: (
                arm["role"],
                [factor * value for value in arm["values"].get(metric.name, ()) if value is not None],
            )
            for name, arm in result["arms"].items()
        }
        if sum(bool(values) for _, values in arms.values()) > 1:
            yield plots.strips(metric.name, "%" if metric.unit == "fraction" else metric.unit, arms)


def _curves(result: Mapping[str, Any]) -> Iterator[Markup]:
    logged: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for arm, points in result["curves"].items():
        for point in points:
            for name, value in point.items():
                if name != "step":
                    logged.setdefault(name, {}).setdefault(arm, []).append((point["step"], value))
    for name, lines in logged.items():
        drawing = plots.curves(name, lines)
        if drawing:
            yield drawing
