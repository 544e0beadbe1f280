"""What the pages show of a paper and its results, in the reader's units."""

from __future__ import annotations

import functools
import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from assay.checking import saved, wording
from assay.checking.plan import Settings
from assay.checking.results import Checked, TestResult
from assay.checking.saved import Saved
from assay.paper import Claim, Metric, Paper
from assay.report import plots

METRICS_DRAWN = 6
"""Of each result, those that tests are about first."""


@dataclass(frozen=True)
class PaperView:
    """A paper on the index and on its own page."""

    paper: Paper
    results: list[Saved]

    @functools.cached_property
    def verdicts(self) -> dict[str, str]:
        """The verdict of each claim; a result on a preset's own data comes first."""
        return saved.verdicts(self.results)

    @property
    def counts(self) -> dict[str, int]:
        """How many claims came out how."""
        return wording.counts(self.verdicts.values())

    @property
    def date(self) -> str:
        """The day of the last check, or nothing."""
        return max((item.result.provenance.date for item in self.results), default="")

    @property
    def tests_made(self) -> int:
        """How many tests its results hold."""
        return sum(item.result.provenance.tests_made for item in self.results)

    @property
    def unchecked(self) -> list[Claim]:
        """The claims that could be tested and have no verdict yet."""
        return [claim for claim in self.paper.tested if claim.name not in self.verdicts]

    @property
    def untested(self) -> list[Claim]:
        """The claims that cannot be tested here."""
        return [claim for claim in self.paper.claims if claim.untested]


@dataclass(frozen=True)
class ResultView:
    """A result on the page of its paper: what the template prints and draws."""

    saved: Saved
    paper: Paper

    @property
    def result(self) -> Checked:
        """What the check found."""
        return self.saved.result

    @functools.cached_property
    def metrics(self) -> list[Metric]:
        """The metrics that an arm has."""
        arms = self.result.arms.values()
        return [
            metric
            for metric in self.paper.metrics
            if any(arm.metrics.get(metric.name) is not None for arm in arms)
        ]

    @property
    def command(self) -> str:
        """The command line that repeats the check."""
        return command(self.result)

    def effect(self, test: TestResult) -> str:
        """Show the effect of a test."""
        return wording.effect(test, self.paper.metric(test.metric))

    def interval(self, test: TestResult) -> str:
        """Show the interval of a test."""
        return wording.interval(test, self.paper.metric(test.metric))

    def number(self, value: float | None, metric: Metric) -> str:
        """Show a value of a metric."""
        return wording.number(value, metric.unit)

    @functools.cached_property
    def forest(self) -> Markup:
        """The effects of all tests."""
        return plots.forest([_row(test, self.paper) for claim in self.result.claims for test in claim.tests])

    @functools.cached_property
    def strips(self) -> list[Markup]:
        """The values of each arm, metric by metric."""
        return list(_strips(self.result, self.metrics))

    @functools.cached_property
    def curves(self) -> list[Markup]:
        """The learning curves, by what was logged."""
        return list(_curves(self.result))


def command(result: Checked) -> str:
    """Return the command line that repeats a check."""
    source, default = result.provenance, Settings()
    words = ["assay", "check", result.paper]
    if result.preset != default.preset:
        words += ["--preset", result.preset]
    for name, value in source.overrides.items():
        words += [f"--{name.replace('_', '-')}", value]
    seeds = next(iter(source.seeds.values()), [])
    if seeds and seeds[0] != default.first_seed:
        words += ["--first-seed", str(seeds[0])]
    if source.until_decided:
        words += ["--until-decided", "--max-seeds", str(len(seeds))]
    elif seeds:
        words += ["--seeds", str(len(seeds))]
    for name in ("device", "precision"):
        if getattr(source, name) != getattr(default, name):
            words += [f"--{name}", getattr(source, name)]
    return shlex.join(words)


def _row(test: TestResult, paper: Paper) -> plots.Row:
    factor, unit = wording.axis(paper.metric(test.metric).unit, test.kind)
    ends = test.interval or ()
    won = test.kind == "wins"
    return plots.Row(
        label=test.label,
        verdict=test.verdict,
        values=[] if won else [factor * value for value in test.values if value is not None],
        effect=None if test.effect is None else factor * test.effect,
        interval=[factor * end for end in ends] if all(map(math.isfinite, ends)) else [],
        bound=[] if won else [factor * end for end in test.bound],
        unit=unit,
        ratio=test.kind == "ratio",
    )


def _strips(result: Checked, shown: Sequence[Metric]) -> Iterator[Markup]:
    tested = {test.metric for claim in result.claims for test in claim.tests}
    ordered = sorted(shown, key=lambda metric: metric.name not in tested)
    for metric in ordered[:METRICS_DRAWN]:
        factor, unit = wording.axis(metric.unit)
        arms = {
            name: (
                arm.role,
                [factor * value for value in arm.values.get(metric.name, ()) if value is not None],
            )
            for name, arm in result.arms.items()
        }
        if sum(bool(values) for _, values in arms.values()) > 1:
            yield plots.strips(metric.name, unit, arms)


def _curves(result: Checked) -> Iterator[Markup]:
    logged: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for arm, points in result.curves.items():
        for point in points:
            for name, value in point.items():
                if name != "step":
                    logged.setdefault(name, {}).setdefault(arm, []).append((point["step"], value))
    yield from filter(None, (plots.curves(name, lines) for name, lines in logged.items()))
