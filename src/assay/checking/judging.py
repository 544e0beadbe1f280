"""From finished trials to verdicts: each test gets an effect, an interval and a verdict, each claim a reason.

An effect is oriented so that positive is what the claim says. Nothing here runs a recipe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from assay.checking import statistics
from assay.checking.statistics import Estimate, Verdict
from assay.checking.store import TrialRecord
from assay.errors import InputError
from assay.paper import (
    AtLeast,
    Claim,
    Equivalent,
    Items,
    Metric,
    NonInferior,
    Paper,
    Rate,
    Ratio,
    Superior,
    Test,
    Value,
    arms_of,
    other_arm,
    plain,
)

Trials = Mapping[int, Mapping[str, TrialRecord]]
"""The trials of one recipe on one data source: seed, then arm."""

TOLERANCE = 0.01
"""How far, relatively, counters that a claim calls equal may differ."""


@dataclass(frozen=True)
class TestResult:
    """One test of a claim, judged. For a ratio, `effect` and `interval` are ratios."""

    __test__ = False

    test: str
    metric: str
    arm: str
    other: str | None
    effect: float | None
    interval: tuple[float, float] | None
    bound: tuple[float, float]
    p_value: float | None
    n: int
    unit: str
    verdict: Verdict
    seeds_needed: int | None
    values: tuple[float | None, ...] = ()
    data: str | None = None
    note: str = ""


@dataclass(frozen=True)
class ClaimResult:
    """A claim, judged."""

    name: str
    statement: str
    reported: str | None
    verdict: Verdict
    reason: str
    recipe: str = ""
    tests: tuple[TestResult, ...] = ()
    requires: tuple[dict[str, Any], ...] = ()
    equal: tuple[str, ...] = ()
    on: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        finite: dict[str, Any] = _finite(asdict(self))
        return finite


def judge_claim(
    paper: Paper, claim: Claim, trials: Mapping[str, Trials], anytime: bool = False
) -> ClaimResult:
    """Judge a claim on the trials of each data source that it is about; it must hold on all.

    Args:
        paper: declares the metrics.
        claim: what to judge.
        trials: finished trials by data source.
        anytime: the number of seeds was chosen while looking, so use the interval that allows it.

    Raises:
        InputError: counters that must be equal between the compared arms are not.
    """
    results: list[TestResult] = []
    requirements: list[dict[str, Any]] = []
    problems: list[str] = []
    for source, seeds in trials.items():
        where = f" on {source}" if len(trials) > 1 else ""
        crashed = _crashed(claim, seeds)
        if crashed:
            problems.append(crashed + where)
            continue
        _check_equal(claim, seeds)
        for test in claim.requires:
            held, found = requirement_holds(test, paper.metric(test.metric), seeds)
            requirements.append({"test": str(test), "held": held, "found": found, "data": source})
            if not held:
                problems.append(f"required but not so{where}: {test} (found {_number(found)})")
        for test in claim.tests:
            judged = judge_test(test, paper.metric(test.metric), seeds, claim.unit, anytime)
            results.append(replace(judged, data=source or None))
    verdict, reason = _verdict(results, problems)
    return ClaimResult(
        name=claim.name,
        statement=claim.statement,
        reported=str(claim.reported) if claim.reported else None,
        verdict=verdict,
        reason=reason,
        recipe=claim.recipe or "",
        tests=tuple(results),
        requires=tuple(requirements),
        equal=claim.equal,
        on=tuple(trials),
    )


def judge_test(
    test: Test, metric: Metric, trials: Trials, unit: str = "seed", anytime: bool = False
) -> TestResult:
    """Judge one test on the trials of one data source."""
    low, high = bounds(test)
    seeds = sorted(trials)
    pairs = [_values(test, trials[seed]) for seed in seeds]
    resplit = max((record.resplit for arms in trials.values() for record in arms.values()), default=0.0)
    values: tuple[float | None, ...]
    is_exact = metric.kind == "exact"
    if unit == "item":
        differences, clusters = _item_differences(test, metric, pairs)
        estimate, values, shown_unit = statistics.items(differences, clusters), (), "item"
    else:
        values = tuple(_difference(test, metric, pair) for pair in pairs)
        shown_unit = "seed"
        if any(value is None for value in values):
            return _judge_wins(test, metric, pairs, values, resplit, anytime)
        known = [value for value in values if value is not None]
        if _constant_between_moving(pairs, known):
            estimate, is_exact = statistics.exact(known), True
        else:
            estimate = _estimate(test, metric, pairs, known, resplit, anytime)
    # A number without error may lie on its bound; only `better` is strict.
    closed = is_exact and not isinstance(test, Superior)
    verdict = statistics.decide(estimate.interval, low, high, closed)
    needed = (
        statistics.seeds_needed([value for value in values if value is not None], low, high, resplit, anytime)
        if values and verdict == "inconclusive" and not is_exact
        else None
    )
    return _as_ratio(
        TestResult(
            test=str(test),
            metric=metric.name,
            arm=test.arm,
            other=other_arm(test),
            effect=estimate.effect,
            interval=estimate.interval,
            bound=(low, high),
            p_value=estimate.p_value,
            n=estimate.n,
            unit=shown_unit,
            verdict=verdict,
            seeds_needed=needed,
            values=values,
            note=estimate.note,
        ),
        test,
    )


def bounds(test: Test) -> tuple[float, float]:
    """Return the open interval in which the effect must lie."""
    if isinstance(test, Superior):
        return test.by, math.inf
    if isinstance(test, NonInferior):
        return -test.within, math.inf
    if isinstance(test, Equivalent):
        return -test.within, test.within
    if isinstance(test, Ratio):
        if test.at_least is not None:
            return math.log(test.at_least), math.inf
        assert test.at_most is not None
        return -math.inf, math.log(test.at_most)
    return (test.value, math.inf) if isinstance(test, AtLeast) else (-math.inf, test.value)


def requirement_holds(test: Test, metric: Metric, trials: Trials) -> tuple[bool, float | None]:
    """Judge a requirement on the mean over seeds; a level that was never reached fails it.

    Returns whether it holds, and the mean (of the difference, the ratio or the value) that was found.
    """
    differences = [_difference(test, metric, _values(test, trials[seed])) for seed in sorted(trials)]
    known = [value for value in differences if value is not None]
    if len(known) < len(differences):
        return False, None
    mean = math.fsum(known) / len(known)
    low, high = bounds(test)
    held = low < mean if isinstance(test, Superior) else low <= mean <= high
    return held, _exp(mean) if isinstance(test, Ratio) else mean


# --- the differences that a test is about -------------------------------------------------------


def _values(test: Test, arms: Mapping[str, TrialRecord]) -> tuple[Value, ...]:
    values = []
    for name in arms_of(test):
        metrics = arms[name].metrics
        if test.metric not in metrics:
            raise InputError(f"the arm {name!r} returned no metric {test.metric!r}, which {test} needs.")
        values.append(metrics[test.metric])
    return tuple(values)


def _difference(test: Test, metric: Metric, pair: Sequence[Value]) -> float | None:
    """Return the oriented difference of one seed; `None` where a level was never reached."""
    numbers = [plain(value) for value in pair]
    if any(value is None for value in numbers):
        return None
    first = numbers[0]
    assert first is not None
    if len(numbers) == 1:
        return float(first)
    second = numbers[1]
    assert second is not None
    if isinstance(test, Ratio):
        if first <= 0 or second <= 0:
            raise InputError(f"{test} needs values above 0, got {first:g} and {second:g}.")
        return math.log(first / second)
    return float(first - second if metric.better == "higher" else second - first)


def _item_differences(
    test: Test, metric: Metric, pairs: Sequence[Sequence[Value]]
) -> tuple[list[float], list[str]]:
    """Pair items by id, over all seeds; an item that several seeds share is its own cluster."""
    differences: list[float] = []
    clusters: list[str] = []
    for pair in pairs:
        if not all(isinstance(value, Items) for value in pair):
            raise InputError(f"{test} is judged by item, so {metric.name!r} must be returned as Items.")
        by_id = [dict(zip(value.ids, value.values, strict=True)) for value in pair]  # type: ignore[union-attr]
        first = pair[0]
        assert isinstance(first, Items)
        if any(set(values) != set(first.ids) for values in by_id):
            raise InputError(f"{test} compares items with different ids: score the same items in both arms.")
        groups = first.clusters or first.ids
        for name, group in zip(first.ids, groups, strict=True):
            difference = _difference(test, metric, [values[name] for values in by_id])
            assert difference is not None
            differences.append(difference)
            clusters.append(group)
    return differences, clusters


def _constant_between_moving(pairs: Sequence[Sequence[Value]], differences: Sequence[float]) -> bool:
    """Whether arms that vary with the seed keep one distance: a fact, not a metric that is stuck.

    It takes as many seeds as a sign test does: fewer may agree by chance where a metric has few values.
    """
    moving = all(len({plain(value) for value in side}) > 1 for side in zip(*pairs, strict=True))
    if not moving or len(differences) < statistics.MIN_FLIPS:
        return False
    largest = max(abs(difference) for difference in differences)
    return max(differences) - min(differences) <= statistics.ROUNDING * largest


def _estimate(
    test: Test,
    metric: Metric,
    pairs: Sequence[Sequence[Value]],
    differences: list[float],
    resplit: float,
    anytime: bool,
) -> Estimate:
    if metric.kind == "exact":
        return statistics.exact(differences)
    if anytime:
        return statistics.anytime(differences)
    rates = [value for pair in pairs for value in pair if isinstance(value, Rate)]
    if metric.kind == "rate" and rates and not isinstance(test, Ratio):
        return _rate_estimate(metric, pairs, resplit)
    return statistics.student(differences, resplit)


def _rate_estimate(metric: Metric, pairs: Sequence[Sequence[Value]], resplit: float) -> Estimate:
    def counts(side: int) -> tuple[list[int], list[int]]:
        rates = [pair[side] for pair in pairs]
        return [rate.successes for rate in rates], [rate.trials for rate in rates]  # type: ignore[union-attr]

    if len(pairs[0]) == 1:
        return statistics.pooled_rate(*counts(0), resplit)
    first, second = (counts(0), counts(1)) if metric.better == "higher" else (counts(1), counts(0))
    return statistics.rate_difference(*first, *second, resplit)


def _judge_wins(
    test: Test,
    metric: Metric,
    pairs: Sequence[Sequence[Value]],
    values: tuple[float | None, ...],
    resplit: float,
    anytime: bool,
) -> TestResult:
    """Judge by counting pairs, because a level that was never reached has no size.

    Against a value, `None` loses; two `None` are a tie, which decides nothing. No interval for a count is
    valid under continuous looking, so `anytime` gives none.
    """
    low, high = bounds(test)
    won = lost = 0
    for pair, value in zip(pairs, values, strict=True):
        if value is not None:
            won, lost = (won + 1, lost) if low < value < high else (won, lost + 1)
        elif pair[0] is None and (len(pair) == 1 or pair[1] is not None):
            lost += 1
        elif pair[0] is not None:
            won, lost = (won, lost + 1) if isinstance(test, Equivalent) else (won + 1, lost)
    estimate = statistics.wins(won, lost, resplit)
    interval = None if anytime else estimate.interval
    missing = sum(value is None for pair in pairs for value in pair)
    return TestResult(
        test=str(test),
        metric=metric.name,
        arm=test.arm,
        other=other_arm(test),
        effect=estimate.effect,
        interval=interval,
        bound=(0.5, math.inf),
        p_value=estimate.p_value,
        n=won + lost,
        unit="seed",
        verdict=statistics.decide(interval, 0.5, math.inf),
        seeds_needed=None,
        values=_ratios(values) if isinstance(test, Ratio) else values,
        note=f"share of seeds won: the level was never reached in {missing} trials",
    )


# --- from tests to a claim ----------------------------------------------------------------------


def _verdict(results: Sequence[TestResult], problems: Sequence[str]) -> tuple[Verdict, str]:
    if problems:
        return "inconclusive", "; ".join(problems)
    contradicted = [result for result in results if result.verdict == "contradicted"]
    if contradicted:
        return "contradicted", "; ".join(_sentence(result) for result in contradicted)
    undecided = [result for result in results if result.verdict == "inconclusive"]
    if undecided:
        return "inconclusive", "; ".join(_sentence(result) for result in undecided)
    return "supported", "all tests hold"


def _sentence(result: TestResult) -> str:
    where = f" on {result.data}" if result.data else ""
    if result.interval is None:
        return f"{result.test}{where}: {result.note}"
    low, high = result.interval
    return f"{result.test}{where}: {_number(result.effect)} [{_number(low)}, {_number(high)}]"


def _crashed(claim: Claim, trials: Trials) -> str:
    for seed in sorted(trials):
        for name in claim.arms:
            record = trials[seed].get(name)
            if record is None:
                return f"the arm {name!r} has no trial with seed {seed}"
            if record.error is not None:
                return f"the arm {name!r} failed with seed {seed}: {record.error.strip().splitlines()[-1]}"
    return ""


def _check_equal(claim: Claim, trials: Trials) -> None:
    """Refuse a comparison of arms that were not given the same."""
    for counter in claim.equal:
        for seed in sorted(trials):
            counts = {name: trials[seed][name].counters.get(counter, 0.0) for name in claim.compared}
            if not any(counter in trials[seed][name].counters for name in claim.compared):
                raise InputError(f"claim {claim.name!r} needs equal {counter}, but no arm counted them.")
            lowest, highest = min(counts.values()), max(counts.values())
            if highest - lowest > TOLERANCE * highest:
                listing = ", ".join(f"{name} {count:g}" for name, count in counts.items())
                raise InputError(
                    f"claim {claim.name!r} needs equal {counter} in all compared arms, but seed {seed} has"
                    f" {listing}. No verdict is given on unequal arms."
                )


def _as_ratio(result: TestResult, test: Test) -> TestResult:
    """Show the result of a ratio test as ratios instead of logarithms."""
    if not isinstance(test, Ratio):
        return result
    interval = result.interval and (_exp(result.interval[0]), _exp(result.interval[1]))
    return replace(
        result,
        effect=None if result.effect is None else _exp(result.effect),
        interval=interval,
        bound=(_exp(result.bound[0]), _exp(result.bound[1])),
        values=_ratios(result.values),
    )


def _ratios(values: Sequence[float | None]) -> tuple[float | None, ...]:
    return tuple(None if value is None else _exp(value) for value in values)


def _finite(value: Any) -> Any:
    """Replace infinite ends by `None`, because JSON has no infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _number(value: float | None) -> str:
    return "never reached" if value is None else f"{value:.4g}"
