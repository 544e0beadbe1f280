"""From finished trials to verdicts: each test gets an effect, an interval and a verdict, each claim a reason.

An effect is oriented so that positive is what the claim says. Nothing here runs a recipe.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from assay.checking import statistics
from assay.checking.results import ClaimResult, Requirement, TestResult
from assay.checking.statistics import Estimate
from assay.checking.store import TrialRecord
from assay.errors import InputError
from assay.paper import Claim, Items, Metric, Paper, Rate, Test, Value, Verdict, plain

Trials = Mapping[int, Mapping[str, TrialRecord]]
"""The trials of one recipe on one data source: seed, then arm."""

TOLERANCE = 0.01
"""How far, relatively, counters that a claim calls equal may differ."""
HALF = (0.5, math.inf)
"""The region of a share of seeds won."""


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
    requirements: list[Requirement] = []
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
            requirements.append(Requirement(str(test), held, found, source))
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
    evidence = _Evidence.of(test, metric, trials, anytime)
    if unit == "item":
        return evidence.by_item()
    return evidence.by_wins() if None in evidence.effects else evidence.by_seed()


def requirement_holds(test: Test, metric: Metric, trials: Trials) -> tuple[bool, float | None]:
    """Judge a requirement on the mean over seeds; a level that was never reached fails it.

    Returns whether it holds, and the mean (of the difference, the ratio or the value) that was found.
    """
    effects = _Evidence.of(test, metric, trials).effects
    known = [effect for effect in effects if effect is not None]
    if len(known) < len(effects):
        return False, None
    mean = math.fsum(known) / len(known)
    return test.holds(mean), test.shown(mean)


# --- the effects that a test is about -----------------------------------------------------------


@dataclass(frozen=True)
class _Evidence:
    """What a test is judged on: in each seed, the value of each of its arms."""

    test: Test
    metric: Metric
    pairs: Sequence[Sequence[Value]]
    resplit: float
    anytime: bool

    @classmethod
    def of(cls, test: Test, metric: Metric, trials: Trials, anytime: bool = False) -> _Evidence:
        pairs = [_values(test, trials[seed]) for seed in sorted(trials)]
        resplit = max((record.resplit for arms in trials.values() for record in arms.values()), default=0.0)
        return cls(test, metric, pairs, resplit, anytime)

    @functools.cached_property
    def effects(self) -> tuple[float | None, ...]:
        """The effect in each seed; `None` where a level was never reached."""
        return tuple(self.effect(pair) for pair in self.pairs)

    def effect(self, pair: Sequence[Value]) -> float | None:
        numbers = [number for number in map(plain, pair) if number is not None]
        if len(numbers) < len(pair):
            return None
        try:
            return self.test.effect(numbers, self.metric.better)
        except ValueError as error:
            raise InputError(str(error)) from None

    def by_seed(self) -> TestResult:
        """Judge the effects of the seeds."""
        effects = [effect for effect in self.effects if effect is not None]
        is_exact = self.metric.kind == "exact" or self._constant_between_moving(effects)
        estimate = statistics.exact(effects) if is_exact else self._estimate(effects)
        # A number without error may lie on its bound, where the test is not strict.
        result = self._result(estimate, closed=is_exact and not self.test.strict, values=effects)
        if result.verdict != "inconclusive" or is_exact:
            return result
        needed = statistics.seeds_needed(effects, *self.test.bounds, self.resplit, self.anytime)
        return replace(result, seeds_needed=needed)

    def by_item(self) -> TestResult:
        """Judge the differences of items, paired by id over all seeds.

        An item that several seeds share is its own cluster.
        """
        effects: list[float] = []
        clusters: list[str] = []
        for pair in self.pairs:
            sides = [side for side in pair if isinstance(side, Items)]
            if len(sides) < len(pair):
                raise InputError(
                    f"{self.test} is judged by item, so {self.metric.name!r} must be returned as Items."
                )
            first = sides[0]
            by_id = [dict(zip(side.ids, side.values, strict=True)) for side in sides]
            if any(set(values) != set(first.ids) for values in by_id):
                raise InputError(
                    f"{self.test} compares items with different ids: score the same items in both arms."
                )
            for name, cluster in zip(first.ids, first.clusters or first.ids, strict=True):
                effect = self.effect([values[name] for values in by_id])
                assert effect is not None
                effects.append(effect)
                clusters.append(cluster)
        closed = self.metric.kind == "exact" and not self.test.strict
        return replace(self._result(statistics.items(effects, clusters), closed), unit="item")

    def by_wins(self) -> TestResult:
        """Judge by counting pairs, because a level that was never reached has no size.

        Against a value, `None` loses; two `None` are a tie, which decides nothing. No interval for a count
        is valid under continuous looking, so `anytime` gives none.
        """
        low, high = self.test.bounds
        two_sided = math.isfinite(low) and math.isfinite(high)
        outcomes = []
        for pair, effect in zip(self.pairs, self.effects, strict=True):
            if effect is not None:
                outcomes.append(low < effect < high)
            elif pair[0] is not None:  # the other arm never reached the level
                outcomes.append(not two_sided)
            elif len(pair) == 1 or pair[1] is not None:
                outcomes.append(False)
        estimate = statistics.wins(sum(outcomes), len(outcomes) - sum(outcomes), self.resplit)
        interval = None if self.anytime else estimate.interval
        missing = sum(value is None for pair in self.pairs for value in pair)
        return replace(
            self._result(estimate, values=self.effects),
            effect=estimate.effect,
            interval=interval,
            bound=HALF,
            verdict=statistics.decide(interval, *HALF),
            kind="wins",
            note=f"share of seeds won: the level was never reached in {missing} trials",
        )

    def _result(
        self, estimate: Estimate, closed: bool = False, values: Sequence[float | None] = ()
    ) -> TestResult:
        test, (low, high), interval = self.test, self.test.bounds, estimate.interval
        return TestResult(
            test=str(test),
            metric=self.metric.name,
            arm=test.arm,
            other=test.other,
            effect=None if estimate.effect is None else test.shown(estimate.effect),
            interval=interval and (test.shown(interval[0]), test.shown(interval[1])),
            bound=(test.shown(low), test.shown(high)),
            p_value=estimate.p_value,
            n=estimate.n,
            unit="seed",
            verdict=statistics.decide(interval, low, high, closed),
            seeds_needed=None,
            kind=test.scale,
            values=tuple(None if value is None else test.shown(value) for value in values),
            note=estimate.note,
        )

    def _constant_between_moving(self, effects: Sequence[float]) -> bool:
        """Whether arms that vary with the seed keep one distance: a fact, not a metric that is stuck.

        It takes as many seeds as a sign test does: fewer may agree by chance where a metric has few values.
        """
        moving = all(len(set(map(plain, side))) > 1 for side in zip(*self.pairs, strict=True))
        if not moving or len(effects) < statistics.MIN_FLIPS:
            return False
        return max(effects) - min(effects) <= statistics.ROUNDING * max(map(abs, effects))

    def _estimate(self, effects: Sequence[float]) -> Estimate:
        if self.anytime:
            return statistics.anytime(effects)
        if self.metric.kind != "rate" or self.test.scale == "ratio":
            return statistics.student(effects, self.resplit)
        sides = [_counts(side) for side in zip(*self.pairs, strict=True)]
        if len(sides) == 1:
            return statistics.pooled_rate(*sides[0], self.resplit)
        first, second = sides if self.metric.better == "higher" else reversed(sides)
        return statistics.rate_difference(*first, *second, self.resplit)


def _counts(values: Sequence[Value]) -> tuple[list[int], list[int]]:
    """Return the successes and the trials of each seed."""
    rates = [value for value in values if isinstance(value, Rate)]
    return [rate.successes for rate in rates], [rate.trials for rate in rates]


def _values(test: Test, arms: Mapping[str, TrialRecord]) -> list[Value]:
    for name in test.arms:
        if test.metric not in arms[name].metrics:
            raise InputError(f"the arm {name!r} returned no metric {test.metric!r}, which {test} needs.")
    return [arms[name].metrics[test.metric] for name in test.arms]


# --- from tests to a claim ----------------------------------------------------------------------


def _verdict(results: Sequence[TestResult], problems: Sequence[str]) -> tuple[Verdict, str]:
    if problems:
        return "inconclusive", "; ".join(problems)
    outcomes: tuple[Verdict, ...] = ("contradicted", "inconclusive")
    for verdict in outcomes:
        reasons = [_sentence(result) for result in results if result.verdict == verdict]
        if reasons:
            return verdict, "; ".join(reasons)
    return "supported", "all tests hold"


def _sentence(result: TestResult) -> str:
    if result.interval is None:
        return f"{result.label}: {result.note}"
    low, high = result.interval
    return f"{result.label}: {_number(result.effect)} [{_number(low)}, {_number(high)}]"


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
            counted = {name: trials[seed][name].counters for name in claim.compared}
            if not any(counter in counters for counters in counted.values()):
                raise InputError(f"claim {claim.name!r} needs equal {counter}, but no arm counted them.")
            counts = {name: counters.get(counter, 0.0) for name, counters in counted.items()}
            lowest, highest = min(counts.values()), max(counts.values())
            if highest - lowest > TOLERANCE * highest:
                listing = ", ".join(f"{name} {count:g}" for name, count in counts.items())
                raise InputError(
                    f"claim {claim.name!r} needs equal {counter} in all compared arms, but seed {seed} has"
                    f" {listing}. No verdict is given on unequal arms."
                )


def _number(value: float | None) -> str:
    return "never reached" if value is None else f"{value:.4g}"
