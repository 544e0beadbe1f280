"""The routing curve against brute force, ties, broken scores and targets."""

import numpy as np
import pytest

from assay.papers.language.elang.method import RoutingCurve
from assay.papers.language.elang.method.curve import check_columns


def observations(rows=200, seed=0, levels=None):
    random = np.random.default_rng(seed)
    scores = random.normal(size=rows)
    if levels:
        scores = np.round(scores * levels) / levels
    swift = random.random(rows) < 1 / (1 + np.exp(-scores))
    return scores, swift, random.random(rows) < 0.9


def brute_force(scores, swift, super_, threshold):
    routed = ~(np.isfinite(scores) & (scores >= threshold))
    return np.where(routed, super_, swift).mean(), routed.mean()


@pytest.mark.parametrize("levels", [None, 3])
def test_every_threshold_gives_what_brute_force_gives(levels):
    scores, swift, super_ = observations(levels=levels)
    curve = RoutingCurve.measure(scores, swift, super_, 1.0, 10.0)
    assert len(curve.cuts) == len(np.unique(scores)) + 1
    for threshold, share, quality, cost in zip(
        curve.thresholds, curve.share, curve.quality, curve.cost, strict=True
    ):
        assert (quality, share) == pytest.approx(brute_force(scores, swift, super_, threshold), abs=1e-12)
        assert cost == pytest.approx(1 + 10 * share)


def test_both_ends_are_the_models_alone_exactly():
    scores, swift, super_ = observations()
    curve = RoutingCurve.measure(scores, swift, super_)
    assert curve.quality[0] == curve.swift_quality == swift.mean()
    assert curve.quality[-1] == curve.super_quality == super_.mean()
    assert (curve.thresholds[0], curve.thresholds[-1]) == (-np.inf, np.inf)
    assert (curve.share[0], curve.share[-1]) == (0, 1)


def test_monotone_transforms_of_the_score_leave_the_curve_unchanged():
    scores, swift, super_ = observations()
    expected = RoutingCurve.measure(scores, swift, super_)
    for transformed in (np.exp(scores), 3 * scores + 7, scores**3):
        curve = RoutingCurve.measure(transformed, swift, super_)
        assert np.array_equal(curve.quality, expected.quality)
        assert np.array_equal(curve.share, expected.share)


def test_qualities_may_be_losses():
    random = np.random.default_rng(0)
    scores, swift, super_ = random.normal(size=(3, 50))
    curve = RoutingCurve.measure(scores, swift, super_)
    for threshold, quality in zip(curve.thresholds, curve.quality, strict=True):
        assert quality == pytest.approx(brute_force(scores, swift, super_, threshold)[0])


def test_costs_may_differ_from_row_to_row():
    scores, swift, super_ = observations(20)
    routed_cost = np.random.default_rng(1).random(20)
    curve = RoutingCurve.measure(scores, swift, super_, 0.5, routed_cost)
    for threshold, cost in zip(curve.thresholds, curve.cost, strict=True):
        assert cost == pytest.approx(0.5 + routed_cost[scores < threshold].sum() / 20)


def test_scores_that_are_not_finite_always_go_to_super():
    scores = np.array([0.3, np.nan, 0.1, np.inf, 0.2, -np.inf])
    swift, super_ = np.array([True] * 6), np.array([False] * 6)
    curve = RoutingCurve.measure(scores, swift, super_)
    assert curve.invalid == 3
    assert curve.cuts.tolist() == [3, 4, 5, 6]
    assert curve.thresholds.tolist() == [-np.inf, pytest.approx(0.15), pytest.approx(0.25), np.inf]
    assert curve.quality.tolist() == [3 / 6, 2 / 6, 1 / 6, 0]


def test_thresholds_lie_between_neighbours_even_where_no_double_does():
    low = np.array([1.0, np.nextafter(1.0, 2.0)])
    curve = RoutingCurve.measure(low, np.array([False, True]), np.array([True, True]))
    assert curve.threshold(1) == low[1]


# --- ties ---------------------------------------------------------------------------------------


def test_scores_that_differ_in_their_last_bits_are_told_apart_and_signed_zeros_are_equal():
    scores = 1.0 + np.random.default_rng(0).permutation(500) * np.finfo(float).eps
    assert RoutingCurve.measure(scores, np.ones(500), np.ones(500)).reachable.all()
    zeros = RoutingCurve.measure(np.array([0.0, -0.0, 0.0]), np.ones(3), np.ones(3))
    assert zeros.cuts.tolist() == [0, 3]


# --- targets ------------------------------------------------------------------------------------


def hand_made():
    """Super repairs the rows 0, 1 and 3 in ascending order of score, and spoils row 4."""
    scores = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    swift = np.array([False, False, True, False, True])
    return RoutingCurve.measure(scores, swift, np.array([True, True, True, True, False]), 1.0, 10.0)


def test_matching_takes_the_cheapest_threshold_that_is_good_enough():
    curve = hand_made()
    assert curve.quality.tolist() == [0.4, 0.6, 0.8, 0.8, 1.0, 0.8]
    assert curve.match(0.8) == 2
    assert curve.match(0.4) == 0
    assert curve.match(0.81) == 4  # better than Super alone
    assert curve.match(1.01) == 5
    assert curve.threshold(2) == 2.5


def test_a_budget_buys_the_best_quality():
    curve = hand_made()
    assert curve.cost.tolist() == [1, 3, 5, 7, 9, 11]
    assert [curve.afford(budget) for budget in (1.0, 4.9, 7.0, 11.0)] == [0, 1, 2, 4]
    with pytest.raises(ValueError, match="below the cheapest"):
        curve.afford(0.5)
    with pytest.raises(ValueError, match="needs costs"):
        RoutingCurve.measure(np.arange(3.0), np.ones(3), np.ones(3)).afford(1.0)


def test_a_share_is_not_exceeded():
    curve = hand_made()
    assert [curve.at_most(share) for share in (0.0, 0.39, 0.4, 1.0)] == [0, 1, 2, 5]
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        curve.at_most(1.5)


def test_a_constant_score_can_only_keep_all_or_none():
    curve = RoutingCurve.measure(np.ones(4), np.array([1, 0, 0, 0]), np.array([1, 1, 1, 0]))
    assert curve.cuts.tolist() == [0, 4]
    assert curve.at_most(0.9) == 0
    assert curve.quality_at_share(0.5) == pytest.approx(0.5)  # halfway between 0.25 and 0.75


def test_area_is_the_mean_over_shares():
    curve = hand_made()
    assert curve.area() == pytest.approx((0.5 + 0.7 + 0.8 + 0.9 + 0.9) / 5)
    flat = RoutingCurve.measure(np.arange(10.0), np.full(10, 0.25), np.full(10, 0.25))
    assert flat.area() == pytest.approx(0.25)


def test_cost_to_reach_a_level():
    curve = hand_made()
    assert curve.cost_to_reach(0.8) == 5
    assert curve.cost_to_reach(1.1) is None


def test_a_thinned_curve_keeps_both_ends():
    scores, swift, super_ = observations(1000)
    points = RoutingCurve.measure(scores, swift, super_, 1.0, 2.0).points(limit=11)
    assert [len(column) for column in points.values()] == [11] * 4
    assert (points["super_share"][0], points["super_share"][-1]) == (0.0, 1.0)
    assert points["quality"][-1] == super_.mean()


@pytest.mark.parametrize(
    ("lengths", "match"), [((0, 0, 0), "at least one"), ((3, 2, 3), "as many"), ((2, 2, 3), "as many")]
)
def test_columns_must_fit(lengths, match):
    with pytest.raises(ValueError, match=match):
        check_columns(*(np.zeros(length) for length in lengths))


def test_a_quality_must_be_known():
    with pytest.raises(ValueError, match="NaN"):
        RoutingCurve.measure(np.zeros(2), np.array([1, np.nan]), np.zeros(2))
