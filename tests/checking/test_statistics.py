"""Closed forms of every interval, and simulations of how often it covers and how often a verdict is false."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from assay.checking.statistics import (
    Estimate,
    Interval,
    anytime,
    anytime_margin,
    decide,
    exact,
    items,
    pooled_rate,
    rate_difference,
    seeds_needed,
    sign_flip_p,
    student,
    student_margin,
    wins,
)

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
INF = math.inf


def ends(estimate: Estimate) -> Interval:
    assert estimate.interval is not None
    return estimate.interval


def misses(intervals: list[Interval], truth: float) -> tuple[float, float]:
    """Return how often the interval lies above the truth, and how often below it."""
    low, high = np.array(intervals).T
    return float(np.mean(low > truth)), float(np.mean(high < truth))


def simulate_splits(repetitions: int, splits: int, rows: int, test: int) -> Array:
    """Return differences in accuracy [repetitions, splits] of two classifiers that are equally good.

    Nearest centroids, each on its own half of ten equally informative features; every repetition draws one
    data set and splits it anew again and again.
    """
    rng = np.random.default_rng(7)
    differences = np.empty((repetitions, splits))
    for repetition in range(repetitions):
        labels = rng.choice([-1.0, 1.0], rows)
        features = 0.25 * labels[:, None] + rng.normal(size=(rows, 10))
        tested = np.argsort(rng.random((splits, rows)), axis=1) < test
        positive, negative = ~tested & (labels > 0), ~tested & (labels < 0)
        accuracies = []
        for half in (features[:, :5], features[:, 5:]):
            upper = positive @ half / positive.sum(1, keepdims=True)
            lower = negative @ half / negative.sum(1, keepdims=True)
            scores = (upper - lower) @ half.T - np.sum((upper**2 - lower**2) / 2, axis=1, keepdims=True)
            accuracies.append(np.sum(((scores > 0) == (labels > 0)) & tested, axis=1) / test)
        differences[repetition] = accuracies[0] - accuracies[1]
    return differences


def false_verdicts(differences: Array, test_to_train: float) -> tuple[float, float]:
    """Return the shares of rows that Student's interval calls superior, and inferior."""
    margins = student_margin(differences.std(axis=1, ddof=1), differences.shape[1], test_to_train)
    means = differences.mean(axis=1)
    return float(np.mean(means > margins)), float(np.mean(means < -margins))


class TestStudent:
    def test_by_hand(self) -> None:
        # mean 2, standard deviation 1, t(2; 0.975) = 4.302653: 4.302653 / √3 = 2.484138
        estimate = student([1, 2, 3])
        assert estimate.effect == 2
        assert ends(estimate) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)
        assert (estimate.n, estimate.p_value, estimate.note) == (3, None, "")

    def test_agrees_with_scipy(self) -> None:
        differences = np.random.default_rng(0).normal(1, 2, 12)
        expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
        assert ends(student(differences)) == pytest.approx(tuple(expected))

    def test_resplit_data_widen_the_interval_by_nadeau_and_bengio(self) -> None:
        # variance of the mean 1/3 becomes 1/3 + 3/7
        low, high = ends(student([1, 2, 3], test_to_train=3 / 7))
        assert (high - low) / 2 == pytest.approx(4.302653 * math.sqrt(1 / 3 + 3 / 7), abs=1e-5)

    def test_p_value_is_the_sign_flip_unless_data_are_resplit(self) -> None:
        differences = [0.3, 0.1, 0.2, -0.1, 0.4, 0.2, 0.5]
        assert student(differences).p_value == sign_flip_p(differences)
        assert student(differences, test_to_train=0.3).p_value is None

    @pytest.mark.parametrize("differences", [[], [0.5], [0.5, 0.7]])
    def test_too_few_seeds(self, differences: list[float]) -> None:
        mean = sum(differences) / len(differences) if differences else None
        assert student(differences) == Estimate(mean, None, None, len(differences), "too few seeds")

    @pytest.mark.parametrize("differences", [[0.0] * 6, [0.2] * 5, [0.3 - 0.1, 0.4 - 0.2, 0.5 - 0.3]])
    def test_no_spread_but_rounding(self, differences: list[float]) -> None:
        estimate = student(differences)
        assert (estimate.interval, estimate.note) == (None, "did not vary")
        assert decide(estimate.interval, -1, INF) == "inconclusive"

    @pytest.mark.parametrize("n", [3, 5, 10, 30])
    def test_covers_95_percent(self, n: int) -> None:
        differences = np.random.default_rng(n).normal(size=(20_000, n))
        superior, inferior = false_verdicts(differences, 0)
        assert 0.94 <= 1 - superior - inferior <= 0.965
        assert 0.015 < superior < 0.035

    def test_margins_are_those_of_the_estimate(self) -> None:
        differences = np.random.default_rng(0).normal(size=(4, 9))
        margins = student_margin(differences.std(axis=1, ddof=1), 9, 0.3)
        for row, margin in zip(differences, margins, strict=True):
            assert ends(student(row, 0.3)) == pytest.approx((row.mean() - margin, row.mean() + margin))

    @pytest.mark.parametrize(("n", "at_least"), [(5, 0.14), (30, 0.5)])
    def test_resplitting_one_data_set(self, n: int, at_least: float) -> None:
        differences = simulate_splits(1_500, n, rows=300, test=90)
        assert sum(false_verdicts(differences, 0)) > at_least
        assert sum(false_verdicts(differences, 90 / 210)) < 0.06
        assert max(false_verdicts(differences, 90 / 210)) < 0.05


class TestAnytime:
    def test_e_value_is_the_mixture_of_noncentral_t_likelihoods(self) -> None:
        differences = np.random.default_rng(3).normal(2, 1, 8)
        n, t = len(differences), stats.ttest_1samp(differences, 0).statistic
        mixture, _ = integrate.quad(
            lambda delta: stats.nct.pdf(t, n - 1, math.sqrt(n) * delta) * stats.norm.pdf(delta), -8, 8
        )
        assert anytime(differences).p_value == pytest.approx(stats.t.pdf(t, n - 1) / mixture, rel=1e-6)

    def test_interval_ends_where_the_p_value_is_5_percent(self) -> None:
        differences = np.random.default_rng(4).normal(size=20)
        for end in ends(anytime(differences)):
            assert anytime(differences - end).p_value == pytest.approx(0.05)

    def test_whole_line_while_no_data_could_decide(self) -> None:
        # n = 4: k = 1/5, B = (20 √5)^(1/2) = 6.69, B k = 1.34; n = 6: k = 1/7, B = (20 √7)^(1/3) = 3.754
        assert anytime_margin(1.0, 4) == INF
        bound = (20 * math.sqrt(7)) ** (1 / 3)
        assert anytime_margin(1.0, 6) == pytest.approx(math.sqrt(5 / 6 * (bound - 1) / (1 - bound / 7)))

    def test_follows_shift_and_scale(self) -> None:
        differences = np.random.default_rng(5).normal(size=10)
        low, high = ends(anytime(differences))
        assert ends(anytime(3 * differences + 7)) == pytest.approx((3 * low + 7, 3 * high + 7))

    def test_from_six_seeds_on(self) -> None:
        assert anytime([1, 2, 3, 4, 5]) == Estimate(3.0, None, None, 5, "too few seeds")
        assert anytime([1, 2, 3, 4, 5, 6]).interval is not None
        assert anytime([1.0] * 6).note == "did not vary"
        assert anytime([]).effect is None

    def test_looking_after_every_seed_stays_under_5_percent(self) -> None:
        differences = np.random.default_rng(6).normal(size=(10_000, 60))
        counts = np.arange(1, 61)
        means = np.cumsum(differences, axis=1) / counts
        squares = np.cumsum(differences**2, axis=1)
        looks = slice(5, None)
        spreads = np.sqrt((squares - counts * means**2)[:, looks] / (counts[looks] - 1))
        ever = {
            name: np.mean(np.any(np.abs(means[:, looks]) > margin(spreads, counts[looks]), axis=1))
            for name, margin in {"student": student_margin, "anytime": anytime_margin}.items()
        }
        assert ever["anytime"] < 0.05
        assert ever["student"] > 0.15


class TestExact:
    def test_spans_what_was_seen(self) -> None:
        assert exact([2.0, 2.0]) == Estimate(2.0, (2.0, 2.0), None, 2)
        assert exact([1.0, 4.0, 1.0]) == Estimate(2.0, (1.0, 4.0), None, 3)

    def test_one_seed_decides(self) -> None:
        assert decide(exact([0.5]).interval, 0, INF) == "supported"
        assert decide(exact([-0.5]).interval, 0, INF) == "contradicted"
        assert decide(exact([1.0, -1.0]).interval, 0, INF) == "inconclusive"

    def test_no_difference_is_not_superior(self) -> None:
        assert decide(exact([0.0]).interval, 0, INF) == "contradicted"

    def test_nothing(self) -> None:
        assert exact([]) == Estimate(None, None, None, 0, "too few seeds")


class TestSignFlip:
    def test_six_of_one_sign(self) -> None:
        assert sign_flip_p([0.3, 0.1, 0.4, 0.1, 0.5, 0.9]) == 2 / 64
        assert sign_flip_p([-0.7] * 6) == 2 / 64

    def test_by_hand(self) -> None:
        # |sum| = 6 of eight values ±1: one minus sign or none, and mirrored: 2 (1 + 8) / 256
        assert sign_flip_p([1, 1, 1, -1, 1, 1, 1, 1]) == 18 / 256

    def test_degenerate(self) -> None:
        assert sign_flip_p([1, 2, 3, 4, 5]) is None
        assert sign_flip_p([]) is None
        assert sign_flip_p([0.0] * 8) == 1

    def test_random_flips_agree_with_all_flips(self) -> None:
        differences = np.random.default_rng(8).normal(0.4, 1, 17)
        patterns = 2 * (np.arange(2**17)[:, None] >> np.arange(17) & 1) - 1
        expected = np.mean(np.abs(patterns @ differences) >= abs(differences.sum()) - 1e-9)
        assert sign_flip_p(differences) == pytest.approx(expected, abs=0.004)
        assert sign_flip_p(differences) == sign_flip_p(differences)

    def test_false_rejections(self) -> None:
        rng = np.random.default_rng(9)
        p_values = [sign_flip_p(row) or 0 for row in rng.standard_t(2, size=(4_000, 8))]
        assert 0.035 < np.mean(np.array(p_values) <= 0.05) < 0.055


class TestRates:
    def test_clopper_pearson(self) -> None:
        assert ends(pooled_rate([6], [6])) == pytest.approx((0.025 ** (1 / 6), 1))
        assert ends(pooled_rate([0], [10])) == pytest.approx((0, 1 - 0.025 ** (1 / 10)))
        expected = stats.binomtest(7, 20).proportion_ci(0.95, "exact")
        assert ends(pooled_rate([3, 4], [10, 10])) == pytest.approx((expected.low, expected.high))

    def test_rates_that_differ_between_seeds_weigh_less(self) -> None:
        # rates 0.1, 0.5, 0.9: s = 0.4, margin 0.4 · 2.484138, N* = 0.25 (1.959964 / 0.9936552)² = 0.972679
        weight = 0.972679
        estimate = pooled_rate([10, 50, 90], [100, 100, 100])
        assert estimate.effect == 0.5
        low = stats.beta.ppf(0.025, weight / 2, weight / 2 + 1)
        assert ends(estimate) == pytest.approx((low, 1 - low), abs=1e-5)
        assert ends(pooled_rate([5, 5, 5], [10, 10, 10])) == ends(pooled_rate([15], [30]))
        assert ends(pooled_rate([5, 6, 5], [10, 10, 10])) == ends(pooled_rate([16], [30]))

    def test_seeds_without_trials_do_not_count(self) -> None:
        assert pooled_rate([3, 0], [10, 0]) == pooled_rate([3], [10])
        assert pooled_rate([0], [0]) == Estimate(None, None, None, 0, "no trials")
        assert rate_difference([3, 1], [10, 2], [4, 0], [10, 0]) == rate_difference([3], [10], [4], [10])
        assert rate_difference([0], [0], [1], [2]).note == "no trials"

    def test_difference_from_the_limits_of_both_rates(self) -> None:
        (a_low, a_high), (b_low, b_high) = ends(pooled_rate([9], [10])), ends(pooled_rate([4], [10]))
        low = 0.5 - math.hypot(0.9 - a_low, b_high - 0.4)
        high = 0.5 + math.hypot(a_high - 0.9, 0.4 - b_low)
        estimate = rate_difference([9], [10], [4], [10])
        assert estimate.effect == pytest.approx(0.5)
        assert ends(estimate) == pytest.approx((low, high))
        assert ends(rate_difference([4], [10], [9], [10])) == pytest.approx((-high, -low))

    def test_difference_is_at_least_as_wide_as_student_over_seeds(self) -> None:
        a, b, trials = [90, 20, 60, 70], [30, 50, 40, 60], [100] * 4
        over_seeds = ends(student((np.array(a) - b) / 100, test_to_train=0.2))
        low, high = ends(rate_difference(a, trials, b, trials, test_to_train=0.2))
        assert low <= over_seeds[0]
        assert high >= over_seeds[1]

    @pytest.mark.parametrize("rate", [0.05, 0.5])
    @pytest.mark.parametrize("seeds", [1, 5])
    def test_coverage_without_overdispersion(self, rate: float, seeds: int) -> None:
        rng = np.random.default_rng(10)
        hits = rng.binomial(40, rate, size=(2, 2_000, seeds))
        trials = [40] * seeds
        single = misses([ends(pooled_rate(row, trials)) for row in hits[0]], rate)
        paired = misses([ends(rate_difference(a, trials, b, trials)) for a, b in zip(*hits, strict=True)], 0)
        assert sum(single) <= 0.06
        assert sum(paired) <= 0.06
        assert max(*single, *paired) < 0.05

    def test_coverage_with_overdispersion(self) -> None:
        rng = np.random.default_rng(11)
        rates = rng.beta(3, 3, size=(2, 2_000, 6))
        hits = rng.binomial(100, rates)
        trials = [100] * 6
        single = misses([ends(pooled_rate(row, trials)) for row in hits[0]], 0.5)
        paired = misses([ends(rate_difference(a, trials, b, trials)) for a, b in zip(*hits, strict=True)], 0)
        pooled_alone = misses([ends(pooled_rate([sum(row)], [600])) for row in hits[0]], 0.5)
        assert sum(pooled_alone) > 0.4
        assert 0.94 <= 1 - sum(single) <= 0.97
        assert 0.94 <= 1 - sum(paired) <= 0.97
        assert max(*single, *paired) < 0.05

    @pytest.mark.parametrize("seeds", [3, 10])
    def test_coverage_of_a_low_rate_with_overdispersion(self, seeds: int) -> None:
        rng = np.random.default_rng(15)
        hits = rng.binomial(100, rng.beta(2, 18, size=(2_000, seeds)))
        above, below = misses([ends(pooled_rate(row, [100] * seeds)) for row in hits], 0.1)
        assert above + below < 0.06
        assert max(above, below) < 0.05

    def test_resplitting_one_data_set(self) -> None:
        # a fixed predictor is right on a row with chance 0.8; 30 seeds test 90 of the same 300 rows each
        rng = np.random.default_rng(16)
        right = rng.random((1_000, 300)) < 0.8
        tested = np.argsort(rng.random((30, 300)), axis=1) < 90
        hits, trials = right.astype(int) @ tested.T, [90] * 30
        assert sum(misses([ends(pooled_rate(row, trials)) for row in hits], 0.8)) > 0.4
        assert sum(misses([ends(pooled_rate(row, trials, 90 / 210)) for row in hits], 0.8)) < 0.06

    def test_resplit_trials_weigh_less_than_the_rows_there_are(self) -> None:
        # 30 seeds of 90 trials at ρ = 3/7 weigh 2700 / (1 + 90/7) = 194.8 trials, though only 300 rows exist
        low, high = ends(pooled_rate([90] * 30, [90] * 30, 3 / 7))
        assert (low, high) == pytest.approx((0.025 ** (1 / 194.8453), 1))
        widest = ends(rate_difference([90] * 30, [90] * 30, [90] * 30, [90] * 30, 3 / 7))
        assert widest == pytest.approx((low - 1, 1 - low))


class TestWins:
    def test_six_of_six_decide_and_five_do_not(self) -> None:
        assert ends(wins(6, 0)) == pytest.approx((0.025 ** (1 / 6), 1))
        assert decide(wins(6, 0).interval, 0.5, INF) == "supported"
        assert decide(wins(0, 6).interval, 0.5, INF) == "contradicted"
        assert decide(wins(5, 0).interval, 0.5, INF) == "inconclusive"

    def test_share_and_sign_test(self) -> None:
        estimate = wins(8, 2)
        assert (estimate.effect, estimate.n) == (0.8, 10)
        assert estimate.p_value == pytest.approx(stats.binomtest(8, 10).pvalue)
        assert wins(5, 5).p_value == 1
        assert wins(4, 1).p_value is None

    def test_no_pairs(self) -> None:
        assert wins(0, 0) == Estimate(None, None, None, 0, "no pairs")

    def test_false_verdicts(self) -> None:
        for n in (6, 11, 30):
            chances = stats.binom.pmf(np.arange(n + 1), n, 0.5)
            verdicts = np.array([decide(wins(won, n - won).interval, 0.5, INF) for won in range(n + 1)])
            assert chances[verdicts == "supported"].sum() <= 0.025
            assert chances[verdicts == "contradicted"].sum() <= 0.025

    def test_resplitting_one_data_set(self) -> None:
        differences = simulate_splits(1_000, 60, rows=300, test=30)
        shares: dict[float, float] = {}
        for ratio in (0, 30 / 270):
            verdicts = [
                decide(wins(int(np.sum(row > 0)), int(np.sum(row < 0)), ratio).interval, 0.5, INF)
                for row in differences
            ]
            shares[ratio] = 1 - verdicts.count("inconclusive") / len(verdicts)
        assert shares[0] > 0.3
        assert shares[30 / 270] < 0.05

    def test_weighted_pairs(self) -> None:
        # 12 pairs at ρ = 1/12 weigh as much as 6 independent ones
        assert ends(wins(12, 0, test_to_train=1 / 12)) == pytest.approx((0.025 ** (1 / 6), 1))
        assert wins(12, 0, test_to_train=1 / 12).p_value is None


class TestItems:
    def coverage(self, draw: object, clustered: bool = True, repetitions: int = 1_200) -> tuple[float, float]:
        """Return the misses at 0 over data sets from `draw(rng) -> (differences, clusters)`."""
        assert callable(draw)
        rng = np.random.default_rng(12)
        intervals = []
        for _ in range(repetitions):
            differences, clusters = draw(rng)
            estimate = items(differences, clusters if clustered else None)
            intervals.append(estimate.interval or (-INF, INF))
        return misses(intervals, 0)

    @staticmethod
    def in_clusters(rng: np.random.Generator, effects: Array, sizes: Labels) -> tuple[Array, Labels]:
        clusters = np.repeat(np.arange(len(sizes)), sizes)
        return effects[clusters] + rng.normal(size=len(clusters)), clusters

    @pytest.mark.parametrize("count", [10, 30])
    def test_equal_clusters(self, count: int) -> None:
        def draw(rng: np.random.Generator) -> tuple[Array, Labels]:
            return self.in_clusters(rng, rng.normal(size=count), np.full(count, 12))

        above, below = self.coverage(draw)
        assert 0.94 <= 1 - above - below <= 0.98
        assert max(above, below) < 0.05
        assert sum(self.coverage(draw, clustered=False, repetitions=100)) > 0.3

    @pytest.mark.parametrize("count", [10, 30])
    def test_unequal_clusters(self, count: int) -> None:
        def draw(rng: np.random.Generator) -> tuple[Array, Labels]:
            sizes = np.ceil(rng.lognormal(2, 1, count)).astype(np.int64)
            return self.in_clusters(rng, rng.normal(size=count), sizes)

        above, below = self.coverage(draw)
        assert 0.94 <= 1 - above - below <= 0.98
        assert max(above, below) < 0.05

    @pytest.mark.parametrize(("count", "at_least"), [(10, 0.94), (20, 0.94), (50, 0.94)])
    def test_skewed_items(self, count: int, at_least: float) -> None:
        above, below = self.coverage(lambda rng: (rng.exponential(size=count) - 1, None))
        assert 1 - above - below >= at_least
        assert max(above, below) < 0.05

    def test_skewed_and_unequal_clusters(self) -> None:
        def draw(rng: np.random.Generator) -> tuple[Array, Labels]:
            return self.in_clusters(rng, rng.exponential(size=30) - 1, rng.integers(1, 30, 30))

        above, below = self.coverage(draw)
        assert 1 - above - below >= 0.94
        assert max(above, below) < 0.05

    def test_discrete_items(self) -> None:
        above, below = self.coverage(lambda rng: (rng.choice([-1.0, 0, 1], 40, p=[0.1, 0.8, 0.1]), None))
        assert 1 - above - below >= 0.94
        assert max(above, below) < 0.05

    def test_few_clusters_that_differ_leave_an_open_end(self) -> None:
        estimate = items([1.0] * 3 + [0.0] * 197)
        assert estimate.note == "too few clusters differ"
        assert ends(estimate)[1] == INF
        assert ends(estimate)[0] < 0
        assert all(map(math.isfinite, ends(items([1.0] * 6 + [0.0] * 194))))

    def test_close_to_student_for_many_normal_items(self) -> None:
        differences = np.random.default_rng(13).normal(size=2_000)
        assert ends(items(differences)) == pytest.approx(ends(student(differences)), abs=0.004)

    def test_depends_on_neither_order_nor_names_and_follows_scale(self) -> None:
        rng = np.random.default_rng(14)
        differences, clusters = self.in_clusters(rng, rng.normal(size=15), rng.integers(1, 9, 15))
        expected = items(differences, clusters)
        assert items(differences, clusters) == expected
        names = [f"speaker-{cluster:02d}" for cluster in clusters]
        assert items(differences, names) == expected
        order = rng.permutation(len(differences))
        assert ends(items(differences[order], clusters[order])) == pytest.approx(ends(expected))
        low, high = ends(expected)
        assert ends(items(3 * differences + 1, clusters)) == pytest.approx((3 * low + 1, 3 * high + 1))

    def test_no_interval(self) -> None:
        assert items([1, 2, 3] * 4, [1, 2, 3] * 4) == Estimate(2.0, None, None, 12, "too few clusters")
        assert items([]) == Estimate(None, None, None, 0, "too few clusters")
        assert items([0.1] * 20).note == "did not vary"
        assert items([1.0, -1.0] * 10, np.repeat(np.arange(10), 2)).note == "did not vary"


class TestDecide:
    @pytest.mark.parametrize(
        ("interval", "low", "high", "verdict"),
        [
            ((0.1, 0.3), 0, INF, "supported"),
            ((-0.3, -0.1), 0, INF, "contradicted"),
            ((-0.1, 0.3), 0, INF, "inconclusive"),
            ((-0.1, 0.3), -0.2, INF, "supported"),
            ((-0.1, 0.1), -0.2, 0.2, "supported"),
            ((0.3, 0.4), -0.2, 0.2, "contradicted"),
            ((-0.4, -0.3), -0.2, 0.2, "contradicted"),
            ((-0.3, 0.3), -0.2, 0.2, "inconclusive"),
            ((-INF, INF), -0.2, 0.2, "inconclusive"),
            ((0.1, INF), 0, INF, "supported"),
            ((-INF, 0.1), -INF, 0.2, "supported"),
            ((-INF, INF), -INF, INF, "supported"),
            (None, -INF, INF, "inconclusive"),
        ],
    )
    def test_regions(self, interval: Interval | None, low: float, high: float, verdict: str) -> None:
        assert decide(interval, low, high) == verdict

    def test_bounds_belong_to_a_closed_region_only(self) -> None:
        assert decide((0, 0), 0, 0, closed=True) == "supported"
        assert decide((0, 0), 0, INF, closed=True) == "supported"
        assert decide((0, 0), 0, INF) == "contradicted"
        assert decide((-1, 0), 0, INF, closed=True) == "inconclusive"
        assert decide((-1, 0), 0, INF) == "contradicted"

    def test_refuses_disorder(self) -> None:
        with pytest.raises(ValueError, match="region from low to high"):
            decide((0, 1), 1, 0)
        with pytest.raises(ValueError, match="interval from low to high"):
            decide((math.nan, 1), 0, 1)


class TestSeedsNeeded:
    differences = (0.5, -0.8, 0.9, 1.3, -0.4)

    @pytest.mark.parametrize(("low", "high"), [(0, INF), (-INF, 0), (-1, 1), (-2, 0.1)])
    @pytest.mark.parametrize("ratio", [0, 0.01])
    def test_the_smallest_number_that_decides(self, low: float, high: float, ratio: float) -> None:
        needed = seeds_needed(self.differences, low, high, ratio)
        assert needed is not None
        mean, spread = np.mean(self.differences), np.std(self.differences, ddof=1)
        for n, decided in ((needed, True), (needed - 1, False)):
            margin = student_margin(spread, n, ratio)
            assert (decide((mean - margin, mean + margin), low, high) != "inconclusive") == decided

    def test_decided_already(self) -> None:
        assert seeds_needed([1.0, 1.1, 0.9, 1.0], 0, INF) == 4
        assert seeds_needed([-1.0, -1.1, -0.9, -1.0], 0, INF) == 4
        assert seeds_needed(self.differences, -INF, INF) == 5

    def test_no_number_would_do(self) -> None:
        assert seeds_needed([-1.0, 1.0, -2.0, 2.0], 0, INF) is None
        assert seeds_needed(self.differences, 0, INF, test_to_train=1 / 3) is None
        assert seeds_needed([0.2] * 5, 0, INF) is None

    def test_too_few_to_know_the_spread(self) -> None:
        assert seeds_needed([], 0, INF) == 3
        assert seeds_needed([0.1, 0.2], 0, INF) == 3
        assert seeds_needed([0.1, 0.2], 0, INF, continuous=True) == 6

    def test_continuous_looking_takes_more(self) -> None:
        plain, continuous = (
            seeds_needed([*self.differences, 0.3], 0, INF, continuous=looking) for looking in (False, True)
        )
        assert plain is not None
        assert continuous is not None
        assert continuous > plain


class TestRefusals:
    @pytest.mark.parametrize("function", [student, anytime, exact, items, sign_flip_p])
    @pytest.mark.parametrize("bad", [math.nan, INF])
    def test_numbers_that_are_none(self, function: object, bad: float) -> None:
        assert callable(function)
        with pytest.raises(ValueError, match="1 of 12 are NaN or infinite"):
            function([0.1] * 11 + [bad])
        with pytest.raises(ValueError, match="flat sequence"):
            function([[0.1, 0.2]])

    def test_seeds_needed_refuses_nan(self) -> None:
        with pytest.raises(ValueError, match="NaN"):
            seeds_needed([0.1, 0.2, math.nan], 0, INF)

    def test_counts_that_are_no_rate(self) -> None:
        for successes, trials in (([3], [2]), ([-1], [2]), ([math.nan], [2])):
            with pytest.raises(ValueError):
                pooled_rate(successes, trials)
            with pytest.raises(ValueError):
                rate_difference(successes, trials, [1], [2])
        with pytest.raises(ValueError, match="seed by seed"):
            pooled_rate([1, 2], [3])
        with pytest.raises(ValueError, match="paired by seed"):
            rate_difference([1, 2], [3, 3], [1], [3])
        with pytest.raises(ValueError):
            wins(-1, 3)
        with pytest.raises(ValueError):
            wins(3, -1)

    def test_clusters_of_another_length(self) -> None:
        with pytest.raises(ValueError, match="one cluster for each of 12 items"):
            items([0.1] * 12, [1, 2, 3])

    @pytest.mark.parametrize("ratio", [-0.1, math.nan, INF])
    def test_ratio_of_test_to_train(self, ratio: float) -> None:
        with pytest.raises(ValueError, match="number of test rows"):
            student([1, 2, 3], ratio)
        with pytest.raises(ValueError, match="number of test rows"):
            wins(3, 4, ratio)
