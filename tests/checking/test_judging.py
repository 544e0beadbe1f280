"""The judge: hand-built trials of every kind, and the verdict that each must get."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from assay.checking import statistics
from assay.checking.judging import Trials, judge_claim, judge_test, requirement_holds
from assay.checking.results import Checked, ClaimResult, TestResult
from assay.checking.store import TrialRecord
from assay.errors import InputError
from assay.paper import (
    Arm,
    AtLeast,
    AtMost,
    Claim,
    Equivalent,
    Items,
    Metric,
    NonInferior,
    Paper,
    Preset,
    Rate,
    Ratio,
    Recipe,
    Reported,
    Superior,
    Test,
    Value,
)
from checking.made_results import checked

SCORE = Metric("score", better="higher", unit="fraction")
LOSS = Metric("loss", better="lower", unit="nats")
COUNT = Metric("count", better="higher", unit="")
EXACT = Metric("count", better="higher", unit="", kind="exact")
HITS = Metric("hits", better="higher", unit="fraction", kind="rate")
MISSES = Metric("misses", better="lower", unit="fraction", kind="rate")
SECONDS = Metric("seconds", better="lower", unit="s", kind="timing")

BASE = (0.50, 0.52, 0.47, 0.55, 0.49, 0.51)
GAINS = (0.10, 0.12, 0.09, 0.11, 0.13, 0.08)
"""Mean 0.105; Student's interval is about [0.085, 0.125]."""
OURS = tuple(base + gain for base, gain in zip(BASE, GAINS, strict=True))
FACTORS = (2.0, 2.2, 1.9, 2.1, 2.3, 1.8)
SCALED = tuple(base * factor for base, factor in zip(BASE, FACTORS, strict=True))


def trials(metric: str, arms: Mapping[str, Sequence[Value]], **fields: Any) -> Trials:
    """Return one trial an arm and seed with these values of a metric."""
    seeds = range(len(next(iter(arms.values()))))
    return {
        seed: {
            arm: TrialRecord("demo", "fit", arm, seed, metrics={metric: values[seed]}, **fields)
            for arm, values in arms.items()
        }
        for seed in seeds
    }


def judge(test: Test, metric: Metric, arms: Mapping[str, Sequence[Value]], **options: Any) -> TestResult:
    resplit = options.pop("resplit", 0.0)
    return judge_test(test, metric, trials(metric.name, arms, resplit=resplit), **options)


PAIR = {"ours": OURS, "base": BASE}

SUPPORTED, CONTRADICTED, INCONCLUSIVE = "supported", "contradicted", "inconclusive"


class TestSampled:
    @pytest.mark.parametrize(
        ("test", "verdict"),
        [
            (Superior("score", "ours", over="base"), SUPPORTED),
            (Superior("score", "ours", over="base", by=0.1), INCONCLUSIVE),
            (Superior("score", "ours", over="base", by=0.2), CONTRADICTED),
            (Superior("score", "base", over="ours"), CONTRADICTED),
            (NonInferior("score", "ours", to="base", within=0.0), SUPPORTED),
            (NonInferior("score", "base", to="ours", within=0.2), SUPPORTED),
            (NonInferior("score", "base", to="ours", within=0.1), INCONCLUSIVE),
            (NonInferior("score", "base", to="ours", within=0.05), CONTRADICTED),
            (Equivalent("score", "ours", to="base", within=0.2), SUPPORTED),
            (Equivalent("score", "base", to="ours", within=0.2), SUPPORTED),
            (Equivalent("score", "ours", to="base", within=0.1), INCONCLUSIVE),
            (Equivalent("score", "base", to="ours", within=0.05), CONTRADICTED),
            (AtLeast("score", "base", 0.4), SUPPORTED),
            (AtLeast("score", "base", 0.5), INCONCLUSIVE),
            (AtLeast("score", "base", 0.6), CONTRADICTED),
            (AtMost("score", "base", 0.6), SUPPORTED),
            (AtMost("score", "base", 0.5), INCONCLUSIVE),
            (AtMost("score", "base", 0.4), CONTRADICTED),
        ],
    )
    def test_higher_is_better(self, test: Test, verdict: str) -> None:
        assert judge(test, SCORE, PAIR).verdict == verdict

    @pytest.mark.parametrize(
        ("test", "verdict"),
        [
            (Superior("loss", "base", over="ours"), SUPPORTED),
            (Superior("loss", "base", over="ours", by=0.1), INCONCLUSIVE),
            (Superior("loss", "ours", over="base"), CONTRADICTED),
            (NonInferior("loss", "base", to="ours", within=0.0), SUPPORTED),
            (NonInferior("loss", "ours", to="base", within=0.2), SUPPORTED),
            (NonInferior("loss", "ours", to="base", within=0.05), CONTRADICTED),
            (Equivalent("loss", "ours", to="base", within=0.2), SUPPORTED),
            (Equivalent("loss", "ours", to="base", within=0.05), CONTRADICTED),
            (AtLeast("loss", "base", 0.4), SUPPORTED),
            (AtMost("loss", "base", 0.6), SUPPORTED),
            (AtMost("loss", "base", 0.4), CONTRADICTED),
        ],
    )
    def test_lower_is_better(self, test: Test, verdict: str) -> None:
        assert judge(test, LOSS, PAIR).verdict == verdict

    def test_the_effect_is_oriented_and_its_interval_students(self) -> None:
        for metric, arm, other in ((SCORE, "ours", "base"), (LOSS, "base", "ours")):
            result = judge(Superior(metric.name, arm, over=other), metric, PAIR)
            expected = statistics.student(GAINS)
            assert result.effect == pytest.approx(0.105)
            assert result.interval == pytest.approx(expected.interval)
            assert result.p_value == expected.p_value == 2 / 2**6
            assert result.values == pytest.approx(GAINS)
            assert (result.n, result.unit, result.bound) == (6, "seed", (0.0, math.inf))
            assert (result.arm, result.other, result.metric) == (arm, other, metric.name)

    def test_an_effect_of_one_arm_is_its_mean(self) -> None:
        result = judge(AtLeast("loss", "base", 0.4), LOSS, PAIR)
        assert result.effect == pytest.approx(sum(BASE) / 6)
        assert result.other is None
        assert result.bound == (0.4, math.inf)

    def test_seeds_still_needed_are_told_where_it_is_open(self) -> None:
        result = judge(Superior("score", "ours", over="base", by=0.1), SCORE, PAIR)
        assert result.seeds_needed == statistics.seeds_needed(result.values, 0.1, math.inf)
        assert result.seeds_needed is not None
        assert result.seeds_needed > 6
        assert judge(Superior("score", "ours", over="base"), SCORE, PAIR).seeds_needed is None

    def test_too_few_seeds_decide_nothing(self) -> None:
        result = judge(Superior("score", "ours", over="base"), SCORE, {"ours": OURS[:2], "base": BASE[:2]})
        assert (result.verdict, result.interval, result.note) == (INCONCLUSIVE, None, "too few seeds")

    def test_timing_is_judged_as_sampled(self) -> None:
        assert judge(Superior("seconds", "base", over="ours"), SECONDS, PAIR).verdict == SUPPORTED

    def test_items_are_their_means_where_seeds_are_judged(self) -> None:
        arms = {
            arm: [Items(["a", "b"], [value - 0.1, value + 0.1]) for value in values]
            for arm, values in PAIR.items()
        }
        result = judge(Superior("score", "ours", over="base"), SCORE, arms)
        assert result.values == pytest.approx(GAINS)

    def test_a_missing_metric_is_an_error(self) -> None:
        with pytest.raises(InputError, match="the arm 'ours' returned no metric 'loss'"):
            judge_test(Superior("loss", "ours", over="base"), LOSS, trials("score", PAIR))


class TestSpread:
    def test_a_metric_that_is_stuck_decides_nothing(self) -> None:
        result = judge(Superior("score", "ours", over="base"), SCORE, {"ours": [1.0] * 6, "base": [0.5] * 6})
        assert (result.verdict, result.note) == (INCONCLUSIVE, "did not vary")
        result = judge(AtLeast("score", "ours", 0.5), SCORE, {"ours": [1.0] * 6})
        assert (result.verdict, result.note) == (INCONCLUSIVE, "did not vary")

    def test_one_arm_that_is_stuck_is_not_enough(self) -> None:
        result = judge(Superior("score", "ours", over="base"), SCORE, {"ours": [1.0] * 6, "base": BASE})
        assert result.verdict == SUPPORTED
        assert result.interval == pytest.approx(statistics.student([1 - base for base in BASE]).interval)

    @pytest.mark.parametrize(
        ("shift", "test", "verdict"),
        [
            (0.1, Superior("score", "ours", over="base"), SUPPORTED),
            (-0.1, Superior("score", "ours", over="base"), CONTRADICTED),
            (0.0, Superior("score", "ours", over="base"), CONTRADICTED),
            (0.0, Equivalent("score", "ours", to="base", within=0.0), SUPPORTED),
            (0.0, NonInferior("score", "ours", to="base", within=0.0), SUPPORTED),
            (0.1, Equivalent("score", "ours", to="base", within=0.05), CONTRADICTED),
        ],
    )
    def test_arms_that_vary_together_are_decided(self, shift: float, test: Test, verdict: str) -> None:
        result = judge(test, SCORE, {"ours": [base + shift for base in BASE], "base": BASE})
        assert result.verdict == verdict
        assert result.interval == pytest.approx((shift, shift))
        assert result.seeds_needed is None

    def test_a_distance_that_could_be_chance_is_not(self) -> None:
        # Five coins fall alike in one of sixteen tries; six in one of thirty-two.
        arms = {"ours": [0.55, 0.6, 0.5, 0.65, 0.45], "base": [0.5, 0.55, 0.45, 0.6, 0.4]}
        result = judge(Superior("score", "ours", over="base"), SCORE, arms)
        assert (result.verdict, result.note) == (INCONCLUSIVE, "did not vary")

    @pytest.mark.parametrize("resplit", [0.25, 1 / 3, 1.0])
    def test_resplitting_widens_the_interval_by_the_factor_of_nadeau_and_bengio(self, resplit: float) -> None:
        test = Superior("score", "ours", over="base")
        fresh, again = (judge(test, SCORE, PAIR, resplit=ratio) for ratio in (0.0, resplit))
        assert fresh.interval is not None
        assert again.interval is not None
        widths = [high - low for low, high in (fresh.interval, again.interval)]
        assert widths[1] / widths[0] == pytest.approx(math.sqrt((1 / 6 + resplit) / (1 / 6)))
        assert again.effect == fresh.effect
        assert again.p_value is None

    def test_the_largest_ratio_of_any_trial_counts(self) -> None:
        seeds = trials("score", PAIR)
        mixed = {seed: dict(arms) for seed, arms in seeds.items()}
        mixed[3]["base"] = replace(mixed[3]["base"], resplit=0.5)
        test = Superior("score", "ours", over="base")
        assert judge_test(test, SCORE, mixed) == judge(test, SCORE, PAIR, resplit=0.5)


class TestAnytime:
    def test_looking_takes_the_interval_that_allows_it(self) -> None:
        test = Superior("score", "ours", over="base")
        result = judge(test, SCORE, PAIR, anytime=True)
        assert result.interval == pytest.approx(statistics.anytime(GAINS).interval)
        assert result.p_value == pytest.approx(statistics.anytime(GAINS).p_value)

    def test_seeds_needed_are_those_of_that_interval(self) -> None:
        result = judge(Superior("score", "ours", over="base", by=0.1), SCORE, PAIR, anytime=True)
        assert result.seeds_needed == statistics.seeds_needed(result.values, 0.1, math.inf, continuous=True)

    def test_exact_numbers_stay_exact(self) -> None:
        assert judge(AtLeast("count", "a", 3), EXACT, {"a": [3, 3]}, anytime=True).verdict == SUPPORTED


class TestRatio:
    ARMS = {"ours": SCALED, "base": BASE}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("bounds", "verdict"),
        [
            ({"at_least": 1.5}, SUPPORTED),
            ({"at_least": 2.0}, INCONCLUSIVE),
            ({"at_least": 3.0}, CONTRADICTED),
            ({"at_most": 3.0}, SUPPORTED),
            ({"at_most": 2.0}, INCONCLUSIVE),
            ({"at_most": 1.5}, CONTRADICTED),
        ],
    )
    @pytest.mark.parametrize("metric", [SCORE, LOSS])
    def test_it_is_the_same_whatever_is_better(
        self, metric: Metric, bounds: dict[str, float], verdict: str
    ) -> None:
        test = Ratio(metric.name, "ours", over="base", **bounds)
        assert judge(test, metric, self.ARMS).verdict == verdict

    def test_it_is_shown_as_ratios(self) -> None:
        result = judge(Ratio("score", "ours", over="base", at_least=1.5), SCORE, self.ARMS)
        logs = statistics.student([math.log(factor) for factor in FACTORS])
        assert result.effect == pytest.approx(math.prod(FACTORS) ** (1 / 6))
        assert logs.interval is not None
        assert result.interval == pytest.approx([math.exp(end) for end in logs.interval])
        assert result.values == pytest.approx(FACTORS)
        assert result.bound == (pytest.approx(1.5), math.inf)
        assert judge(Ratio("score", "ours", over="base", at_most=3), SCORE, self.ARMS).bound[0] == 0

    @pytest.mark.parametrize("value", [0.0, -1.0])
    def test_values_are_above_zero(self, value: float) -> None:
        with pytest.raises(InputError, match="needs values above 0, got"):
            judge(Ratio("score", "a", over="b", at_least=2), SCORE, {"a": [1.0, value], "b": [1.0, 1.0]})


class TestExact:
    @pytest.mark.parametrize(
        ("test", "verdict"),
        [
            (Superior("count", "a", over="b"), SUPPORTED),
            (Superior("count", "a", over="b", by=2), CONTRADICTED),
            (Superior("count", "b", over="c"), CONTRADICTED),
            (NonInferior("count", "b", to="c", within=0), SUPPORTED),
            (NonInferior("count", "b", to="a", within=2), SUPPORTED),
            (NonInferior("count", "b", to="a", within=1), CONTRADICTED),
            (Equivalent("count", "b", to="c", within=0), SUPPORTED),
            (Equivalent("count", "a", to="c", within=1), CONTRADICTED),
            (Ratio("count", "a", over="b", at_least=3), SUPPORTED),
            (Ratio("count", "a", over="b", at_most=2), CONTRADICTED),
            (AtLeast("count", "a", 3), SUPPORTED),
            (AtLeast("count", "a", 4), CONTRADICTED),
            (AtMost("count", "a", 3), SUPPORTED),
            (AtMost("count", "a", 2), CONTRADICTED),
        ],
    )
    @pytest.mark.parametrize("seeds", [1, 3])
    def test_one_seed_decides_and_bounds_are_inside(self, test: Test, verdict: str, seeds: int) -> None:
        result = judge(test, EXACT, {"a": [3] * seeds, "b": [1] * seeds, "c": [1] * seeds})
        assert result.verdict == verdict
        assert result.seeds_needed is None
        assert result.p_value is None

    def test_a_number_that_does_vary_is_open(self) -> None:
        result = judge(Superior("count", "a", over="b"), EXACT, {"a": [1, 2], "b": [1, 1]})
        assert (result.verdict, result.interval) == (INCONCLUSIVE, (0.0, 1.0))
        assert result.seeds_needed is None

    def test_the_same_numbers_are_stuck_where_they_should_vary(self) -> None:
        result = judge(Superior("count", "a", over="b"), COUNT, {"a": [3] * 6, "b": [1] * 6})
        assert (result.verdict, result.note) == (INCONCLUSIVE, "did not vary")


def rates(*successes: int, out_of: int = 100) -> list[Rate]:
    return [Rate(count, out_of) for count in successes]


class TestRate:
    ARMS = {"ours": rates(80, 84, 78, 82), "base": rates(50, 47, 55, 52)}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("test", "verdict"),
        [
            (AtLeast("hits", "ours", 0.7), SUPPORTED),
            (AtLeast("hits", "ours", 0.8), INCONCLUSIVE),
            (AtLeast("hits", "ours", 0.9), CONTRADICTED),
            (AtMost("hits", "ours", 0.9), SUPPORTED),
            (Superior("hits", "ours", over="base"), SUPPORTED),
            (Superior("hits", "ours", over="base", by=0.3), INCONCLUSIVE),
            (Superior("hits", "base", over="ours"), CONTRADICTED),
            (NonInferior("hits", "ours", to="base", within=0.05), SUPPORTED),
            (Equivalent("hits", "ours", to="base", within=0.1), CONTRADICTED),
            (Ratio("hits", "ours", over="base", at_least=1.2), SUPPORTED),
        ],
    )
    def test_counts_are_judged(self, test: Test, verdict: str) -> None:
        assert judge(test, HITS, self.ARMS).verdict == verdict

    def test_they_are_pooled(self) -> None:
        result = judge(AtLeast("hits", "ours", 0.7), HITS, {"ours": [Rate(1, 2), Rate(99, 100)]})
        assert result.effect == pytest.approx(100 / 102)
        assert result.interval == statistics.pooled_rate([1, 99], [2, 100]).interval
        assert result.values == (0.5, 0.99)

    def test_fewer_may_be_better(self) -> None:
        higher = judge(Superior("hits", "ours", over="base"), HITS, self.ARMS)
        lower = judge(Superior("misses", "base", over="ours"), MISSES, self.ARMS)
        assert lower.effect == higher.effect == pytest.approx(0.3)
        assert lower.interval == higher.interval
        assert lower.verdict == SUPPORTED

    def test_no_success_at_all_still_has_an_interval(self) -> None:
        result = judge(AtMost("hits", "ours", 0.1), HITS, {"ours": rates(0, 0, 0)})
        # The limit of Clopper and Pearson: 1 - 0.025^(1/300).
        assert result.interval == pytest.approx((0, 1 - 0.025 ** (1 / 300)))
        assert result.verdict == SUPPORTED

    def test_resplitting_widens_here_too(self) -> None:
        test = Superior("hits", "ours", over="base")
        fresh, again = (judge(test, HITS, self.ARMS, resplit=ratio).interval for ratio in (0.0, 2.0))
        assert fresh is not None
        assert again is not None
        assert again[1] - again[0] > fresh[1] - fresh[0]


def spread(count: int, gain: float) -> tuple[list[str], list[float], list[float]]:
    ids = [f"i{number}" for number in range(count)]
    base = [0.01 * (number * 37 % 100) for number in range(count)]
    ours = [value + gain + 0.02 * ((number * 17) % 5 - 2) for number, value in enumerate(base)]
    return ids, ours, base


class TestItem:
    TEST = Superior("score", "ours", over="base")

    def test_items_are_paired_by_id(self) -> None:
        ids, ours, base = spread(40, 0.1)
        arms = {"ours": [Items(ids, ours)], "base": [Items(ids[::-1], base[::-1])]}
        result = judge(self.TEST, SCORE, arms, unit="item")
        differences = [first - second for first, second in zip(ours, base, strict=True)]
        expected = statistics.items(differences, ids)
        assert result.effect == pytest.approx(0.1)
        assert result.interval == pytest.approx(expected.interval)
        assert (result.n, result.unit, result.verdict, result.values) == (40, "item", SUPPORTED, ())

    @pytest.mark.parametrize(("gain", "verdict"), [(0.1, SUPPORTED), (-0.1, CONTRADICTED), (0, INCONCLUSIVE)])
    def test_they_decide(self, gain: float, verdict: str) -> None:
        ids, ours, base = spread(40, gain)
        arms = {"ours": [Items(ids, ours)], "base": [Items(ids, base)]}
        assert judge(self.TEST, SCORE, arms, unit="item").verdict == verdict
        arms = {"base": arms["ours"], "ours": arms["base"]}
        assert judge(replace(self.TEST, metric="loss"), LOSS, arms, unit="item").verdict == verdict

    def test_the_bootstrap_draws_clusters(self) -> None:
        ids, ours, base = spread(60, 0.1)
        speakers = [f"s{number // 4}" for number in range(60)]
        arms = {"ours": [Items(ids, ours, speakers)], "base": [Items(ids, base, speakers)]}
        result = judge(self.TEST, SCORE, arms, unit="item")
        differences = [first - second for first, second in zip(ours, base, strict=True)]
        assert result.interval == pytest.approx(statistics.items(differences, speakers).interval)
        assert result.interval != pytest.approx(statistics.items(differences).interval)

    def test_few_clusters_decide_nothing_however_many_items(self) -> None:
        ids, ours, base = spread(60, 0.1)
        speakers = ["s1", "s2", "s3"] * 20
        arms = {"ours": [Items(ids, ours, speakers)], "base": [Items(ids, base, speakers)]}
        result = judge(self.TEST, SCORE, arms, unit="item")
        assert (result.verdict, result.interval, result.note) == (INCONCLUSIVE, None, "too few clusters")

    def test_an_item_that_seeds_share_is_no_new_evidence(self) -> None:
        ids, ours, base = spread(40, 0.1)
        alone, thrice = (
            judge(
                self.TEST,
                SCORE,
                {"ours": [Items(ids, ours)] * seeds, "base": [Items(ids, base)] * seeds},
                unit="item",
            )
            for seeds in (1, 3)
        )
        assert thrice.n == 3 * alone.n
        assert thrice.interval == pytest.approx(alone.interval)

    def test_other_items_are_an_error(self) -> None:
        arms = {"ours": [Items(["a", "b"], [1.0, 2.0])], "base": [Items(["a", "c"], [1.0, 2.0])]}
        with pytest.raises(InputError, match="compares items with different ids"):
            judge(self.TEST, SCORE, arms, unit="item")

    def test_a_plain_number_is_an_error(self) -> None:
        with pytest.raises(InputError, match="'score' must be returned as Items"):
            judge(self.TEST, SCORE, {"ours": [1.0], "base": [2.0]}, unit="item")


class TestNeverReached:
    TEST = Superior("seconds", "ours", over="base")

    def judge(self, ours: Sequence[Value], base: Sequence[Value], **options: Any) -> TestResult:
        return judge(self.TEST, SECONDS, {"ours": ours, "base": base}, **options)

    def test_none_loses_against_a_value(self) -> None:
        times = [1.0, 2.0, 1.5, 1.2, 1.1, 1.3]
        won = self.judge(times, [None] * 6)
        lost = self.judge([None] * 6, times)
        assert (won.verdict, won.effect, won.n) == (SUPPORTED, 1.0, 6)
        assert (lost.verdict, lost.effect, lost.n) == (CONTRADICTED, 0.0, 6)
        # Six of six: Clopper and Pearson's lower limit is 0.025^(1/6).
        assert won.interval == pytest.approx((0.025 ** (1 / 6), 1.0))
        assert won.bound == (0.5, math.inf)
        assert won.note == "share of seeds won: the level was never reached in 6 trials"
        assert won.p_value == pytest.approx(2 / 2**6)

    def test_two_of_them_tie_and_decide_nothing(self) -> None:
        result = self.judge([None] * 6, [None] * 6)
        assert (result.verdict, result.interval, result.n) == (INCONCLUSIVE, None, 0)
        mixed = self.judge([None, None, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [None, None] + [2.0] * 6)
        assert (mixed.verdict, mixed.effect, mixed.n) == (SUPPORTED, 1.0, 6)

    def test_pairs_of_values_are_won_by_the_better(self) -> None:
        result = self.judge([1.0, 1.0, 3.0, None], [2.0, None, 2.0, 2.0])
        assert (result.effect, result.n, result.verdict) == (0.5, 4, INCONCLUSIVE)
        assert result.values == (1.0, None, -1.0, None)

    def test_five_pairs_are_too_few(self) -> None:
        assert self.judge([1.0] * 5, [None] * 5).verdict == INCONCLUSIVE

    def test_resplitting_weighs_the_pairs_less(self) -> None:
        assert self.judge([1.0] * 8, [None] * 8).verdict == SUPPORTED
        again = self.judge([1.0] * 8, [None] * 8, resplit=1 / 3)
        assert again.verdict == INCONCLUSIVE
        assert again.interval == statistics.wins(8, 0, 1 / 3).interval

    @pytest.mark.parametrize(
        ("test", "ours", "verdict"),
        [
            (AtMost("seconds", "ours", 2), [1.0] * 7 + [None], INCONCLUSIVE),
            (AtMost("seconds", "ours", 2), [None] * 6, CONTRADICTED),
            (AtMost("seconds", "ours", 2), [1.0] * 11 + [None], SUPPORTED),
            (Equivalent("seconds", "ours", to="base", within=1), [None] * 6, CONTRADICTED),
            (NonInferior("seconds", "base", to="ours", within=1), [None] * 6, SUPPORTED),
            (Ratio("seconds", "base", over="ours", at_most=2), [None] * 6, SUPPORTED),
        ],
    )
    def test_every_test_counts_them(self, test: Test, ours: Sequence[Value], verdict: str) -> None:
        base = [1.0 + 0.1 * seed for seed in range(len(ours))]
        assert judge(test, SECONDS, {"ours": ours, "base": base}).verdict == verdict

    def test_ratios_are_shown_as_ratios(self) -> None:
        arms = {"ours": [2.0, None], "base": [1.0, 1.0]}
        result = judge(Ratio("seconds", "ours", over="base", at_most=3), SECONDS, arms)
        assert result.values == (pytest.approx(2.0), None)


class TestRequirement:
    @pytest.mark.parametrize(
        ("test", "held", "found"),
        [
            (AtLeast("score", "a", 2), True, 2),
            (AtLeast("score", "a", 2.1), False, 2),
            (AtMost("score", "a", 2), True, 2),
            (AtMost("score", "a", 1.9), False, 2),
            (Superior("score", "a", over="b"), True, 1),
            (Superior("score", "a", over="b", by=1), False, 1),
            (NonInferior("score", "b", to="a", within=1), True, -1),
            (Equivalent("score", "a", to="b", within=1), True, 1),
            (Equivalent("score", "a", to="b", within=0.9), False, 1),
            (Ratio("score", "c", over="b", at_least=2), True, 2),
        ],
    )
    def test_it_holds_on_the_mean(self, test: Test, held: bool, found: float) -> None:
        seeds = trials("score", {"a": [1.0, 3.0], "b": [1.0, 1.0], "c": [1.0, 4.0]})
        assert requirement_holds(test, SCORE, seeds) == (held, pytest.approx(found))

    def test_a_level_that_was_never_reached_fails_it(self) -> None:
        seeds = trials("score", {"a": [1.0, None]})
        assert requirement_holds(AtLeast("score", "a", 0), SCORE, seeds) == (False, None)


CLAIM = Claim(
    "better",
    "Ours is better.",
    recipe="fit",
    reported=Reported("+10 points", where="table 1"),
    tests=(Superior("score", "ours", over="base"), Superior("score", "ours", over="shuffled")),
)
PAPER = Paper(
    slug="demo",
    family="theory",
    title="A Demonstration",
    authors="Nobody",
    year=2026,
    summary="",
    metrics=(SCORE, LOSS, EXACT, HITS, SECONDS),
    recipes={
        "fit": Recipe(
            config="Fit",
            arms=(
                Arm("base", role="baseline"),
                Arm("ours", role="method"),
                Arm("shuffled", role="control", removes="order"),
            ),
            presets={"tiny": Preset(), "laptop": Preset()},
        )
    },
    claims=(CLAIM,),
)
THREE = {"ours": OURS, "base": BASE, "shuffled": BASE[::-1]}


def claim_result(
    claim: Claim = CLAIM,
    arms: Mapping[str, Sequence[Value]] = THREE,
    change: Callable[[TrialRecord], TrialRecord] = lambda record: record,
) -> ClaimResult:
    seeds = {
        seed: {name: change(record) for name, record in found.items()}
        for seed, found in trials("score", arms).items()
    }
    return judge_claim(PAPER, claim, {"": seeds})


class TestClaim:
    def test_it_is_supported_when_all_its_tests_are(self) -> None:
        result = claim_result()
        assert (result.verdict, result.reason) == (SUPPORTED, "all tests hold")
        assert [test.verdict for test in result.tests] == [SUPPORTED, SUPPORTED]
        assert (result.name, result.statement, result.recipe) == ("better", "Ours is better.", "fit")
        assert result.reported == "+10 points (table 1)"

    def test_it_is_contradicted_when_one_is(self) -> None:
        result = claim_result(arms=THREE | {"shuffled": [value + 0.1 for value in OURS[::-1]]})
        assert [test.verdict for test in result.tests] == [SUPPORTED, CONTRADICTED]
        assert result.verdict == CONTRADICTED
        assert result.reason.startswith("score: ours better than shuffled: -0.1 [-0.")

    def test_it_is_open_when_one_is(self) -> None:
        open_test = Superior("score", "ours", over="base", by=0.1)
        result = claim_result(replace(CLAIM, tests=(CLAIM.tests[0], open_test)))
        assert result.verdict == INCONCLUSIVE
        assert result.reason.startswith("score: ours better than base by 0.1: 0.105 [0.08")

    def test_a_contradiction_outweighs_what_is_open(self) -> None:
        tests = tuple(Superior("score", "ours", over="base", by=by) for by in (0.0, 0.1, 0.2))
        result = claim_result(replace(CLAIM, tests=tests))
        assert [test.verdict for test in result.tests] == [SUPPORTED, INCONCLUSIVE, CONTRADICTED]
        assert result.verdict == CONTRADICTED

    def test_a_stuck_metric_is_told(self) -> None:
        result = claim_result(arms={name: [1.0] * 6 for name in THREE})
        assert (result.verdict, result.reason) == (
            INCONCLUSIVE,
            "score: ours better than base: did not vary; score: ours better than shuffled: did not vary",
        )

    def test_a_requirement_that_fails_makes_it_inconclusive(self) -> None:
        result = claim_result(
            replace(CLAIM, requires=(AtLeast("score", "base", 0.8), AtMost("score", "ours", 1)))
        )
        assert result.verdict == INCONCLUSIVE
        assert result.reason == "required but not so: score: base at least 0.8 (found 0.5067)"
        assert [required.held for required in result.requires] == [False, True]
        assert result.requires[0].found == pytest.approx(sum(BASE) / 6)
        assert [test.verdict for test in result.tests] == [SUPPORTED, SUPPORTED]

    def test_a_requirement_that_was_never_reached_says_so(self) -> None:
        claim = replace(CLAIM, requires=(AtLeast("score", "shuffled", 0.1),), tests=CLAIM.tests[:1])
        result = claim_result(claim, THREE | {"shuffled": [None, *BASE[1:]]})
        assert result.reason == ("required but not so: score: shuffled at least 0.1 (found never reached)")

    def test_a_crashed_arm_makes_it_inconclusive_with_the_error(self) -> None:
        def crash(record: TrialRecord) -> TrialRecord:
            if (record.arm, record.seed) != ("shuffled", 2):
                return record
            return replace(record, metrics={}, error="Traceback:\n  line 3\nZeroDivisionError: division\n")

        result = claim_result(change=crash)
        assert result.verdict == INCONCLUSIVE
        assert result.reason == "the arm 'shuffled' failed with seed 2: ZeroDivisionError: division"
        assert result.tests == ()
        assert claim_result(replace(CLAIM, tests=CLAIM.tests[:1]), change=crash).verdict == SUPPORTED

    def test_a_missing_trial_makes_it_inconclusive(self) -> None:
        result = claim_result(arms={name: values for name, values in THREE.items() if name != "shuffled"})
        assert (result.verdict, result.reason) == (
            INCONCLUSIVE,
            "the arm 'shuffled' has no trial with seed 0",
        )


class TestEqual:
    def result(self, **counts: float) -> ClaimResult:
        return claim_result(
            replace(CLAIM, equal=("steps",)),
            change=lambda record: replace(record, counters={"steps": counts[record.arm]}),
        )

    def test_equal_counters_are_fine(self) -> None:
        assert self.result(ours=100, base=100, shuffled=100).verdict == SUPPORTED
        assert self.result(ours=1000, base=991, shuffled=995).equal == ("steps",)

    @pytest.mark.parametrize(
        "counts", [{"ours": 1000, "base": 989, "shuffled": 1000}, {"ours": 1, "base": 0, "shuffled": 1}]
    )
    def test_unequal_counters_are_an_error_and_no_verdict(self, counts: dict[str, float]) -> None:
        with pytest.raises(InputError) as caught:
            self.result(**counts)
        assert str(caught.value) == (
            "claim 'better' needs equal steps in all compared arms, but seed 0 has"
            f" ours {counts['ours']}, base {counts['base']}, shuffled {counts['shuffled']}."
            " No verdict is given on unequal arms."
        )

    def test_an_arm_that_did_not_count_is_unequal(self) -> None:
        with pytest.raises(InputError, match="ours 5, base 0, shuffled 5"):
            claim_result(
                replace(CLAIM, equal=("steps",)),
                change=lambda record: replace(record, counters={} if record.arm == "base" else {"steps": 5}),
            )

    def test_a_counter_that_nobody_counted_is_an_error(self) -> None:
        with pytest.raises(InputError, match="needs equal steps, but no arm counted them"):
            claim_result(replace(CLAIM, equal=("steps",)))

    def test_arms_that_are_not_compared_may_differ(self) -> None:
        claim = replace(CLAIM, tests=CLAIM.tests[:1], requires=(AtLeast("score", "shuffled", 0),))
        result = claim_result(
            replace(claim, equal=("steps",)),
            change=lambda record: replace(record, counters={"steps": 1 if record.arm == "shuffled" else 9}),
        )
        assert result.verdict == SUPPORTED


class TestSources:
    BAD = trials("score", {"ours": BASE, "base": OURS, "shuffled": OURS})

    def test_it_must_hold_on_each(self) -> None:
        good = trials("score", THREE)
        both = judge_claim(PAPER, CLAIM, {"bundled:iris": good, "bundled:wine": good})
        assert (both.verdict, both.on) == (SUPPORTED, ("bundled:iris", "bundled:wine"))
        assert [test.data for test in both.tests] == ["bundled:iris"] * 2 + ["bundled:wine"] * 2
        one = judge_claim(PAPER, CLAIM, {"bundled:iris": good, "bundled:wine": self.BAD})
        assert one.verdict == CONTRADICTED
        assert one.reason.startswith("score: ours better than base on bundled:wine: -0.105 [")
        assert "iris" not in one.reason

    def test_a_problem_on_one_is_told_with_its_name(self) -> None:
        claim = replace(CLAIM, requires=(AtLeast("score", "base", 0.55),))
        result = judge_claim(PAPER, claim, {"bundled:iris": trials("score", THREE), "bundled:wine": self.BAD})
        assert result.verdict == INCONCLUSIVE
        assert result.reason == (
            "required but not so on bundled:iris: score: base at least 0.55 (found 0.5067)"
        )
        assert [required.data for required in result.requires] == ["bundled:iris", "bundled:wine"]

    def test_the_default_source_has_no_name(self) -> None:
        assert {test.data for test in claim_result().tests} == {None}


@pytest.mark.parametrize(
    "result",
    [
        claim_result(),
        claim_result(arms={name: [1.0] * 6 for name in THREE}),
        claim_result(arms=THREE | {"ours": [None] * 6}),
        claim_result(
            replace(
                CLAIM,
                tests=(
                    Ratio("score", "ours", over="base", at_most=1),
                    Equivalent("score", "ours", "base", 1),
                ),
                requires=(AtLeast("score", "base", 9),),
            )
        ),
        claim_result(replace(CLAIM, tests=(Superior("score", "ours", over="base", by=-math.inf),))),
        claim_result(change=lambda record: replace(record, error="stop")),
    ],
)
def test_a_result_is_valid_json(result: ClaimResult) -> None:
    written = json.dumps(checked(result).to_json(), allow_nan=False)
    (read,) = Checked.from_json(json.loads(written)).claims
    assert (read.verdict, read.reason, read.requires) == (result.verdict, result.reason, result.requires)
    assert [test.bound for test in read.tests] == [test.bound for test in result.tests]
    assert [test.verdict for test in read.tests] == [test.verdict for test in result.tests]
