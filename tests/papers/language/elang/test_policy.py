"""Policies: targets, held-out intervals, files, drift, and models they refuse."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from assay import records
from assay.errors import InputError
from assay.papers.language.elang.method import (
    Costs,
    Measured,
    Observations,
    RoutingPolicy,
    calibrate,
    clopper_pearson,
    mean_interval,
)


def observed(rows=400, seed=0, costs=None):
    random = np.random.default_rng(seed)
    scores = random.normal(size=rows)
    swift = random.random(rows) < 1 / (1 + np.exp(-2 * scores))
    return Observations(scores, swift, random.random(rows) < 0.95, costs)


COSTS = Costs(swift=1.0, super_=10.0)


# --- costs --------------------------------------------------------------------------------------


def test_cost_counts_swift_for_every_row():
    assert COSTS.total(rows=100, routed=20) == 100 * 1 + 20 * 10
    assert COSTS.speedup(0.2) == pytest.approx(10 / 3)
    assert COSTS.speedup(1.0) < 1


def test_a_head_saves_the_decoder_of_routed_rows():
    costs = Costs(swift=3.0, super_=10.0, head=1.0)
    assert costs.total(rows=10, routed=4) == 10 * 1 + 6 * 3 + 4 * 10


# --- intervals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (3, 7), (940, 1000)])
def test_clopper_pearson_is_scipys_exact_interval(successes, trials):
    exact = binomtest(successes, trials).proportion_ci(method="exact")
    assert clopper_pearson(successes, trials) == pytest.approx((exact.low, exact.high))


def test_intervals_of_means():
    assert mean_interval(np.array([True, False, True])) == clopper_pearson(2, 3)
    low, high = mean_interval(np.array([0.2, 0.4, 0.6]))
    assert (low, high) == pytest.approx(
        (0.4 - 4.302653 * 0.2 / math.sqrt(3), 0.4 + 4.302653 * 0.2 / math.sqrt(3))
    )
    assert mean_interval(np.array([0.5])) == (-math.inf, math.inf)


def test_a_tiny_held_out_set_gives_a_wide_interval():
    policy = calibrate(observed(4), held_out=observed(3, seed=1))
    low, high = policy.held_out.interval
    assert policy.held_out.rows == 3
    assert high - low > 0.6


# --- targets ------------------------------------------------------------------------------------


def test_matching_super_is_the_cheapest_threshold_within_the_tolerance():
    rows = observed(costs=COSTS)
    policy = calibrate(rows, value=0.01)
    floor = rows.super_quality.mean() - 0.01
    assert policy.calibration.quality >= floor
    curve = rows.curve()
    cheaper = curve.share < policy.calibration.super_share - 1e-9
    assert (curve.quality[cheaper] < floor).all()
    assert policy.calibration.speedup == pytest.approx(COSTS.speedup(policy.calibration.super_share))


def test_a_share_and_a_budget_are_kept():
    assert calibrate(observed(), "share", 0.25).calibration.super_share == 0.25
    policy = calibrate(observed(costs=COSTS), "budget", 0.4)
    assert COSTS.always + policy.calibration.super_share * COSTS.routed <= 0.4 * COSTS.super_


def test_the_held_out_rows_measure_and_do_not_choose():
    first, other = observed(seed=0), observed(seed=1)
    policy = calibrate(first, held_out=other)
    assert policy.threshold == calibrate(first).threshold
    routed = other.scores < policy.threshold
    assert policy.held_out.quality == np.where(routed, other.super_quality, other.swift_quality).mean()
    assert policy.held_out.interval == mean_interval(
        np.where(routed, other.super_quality, other.swift_quality)
    )


@pytest.mark.parametrize(
    ("target", "value", "match"),
    [
        ("share", None, "needs a value"),
        ("budget", 0.5, "costs of both models"),
        ("match_super", -0.1, "at least 0"),
    ],
)
def test_targets_without_their_number_are_refused(target, value, match):
    with pytest.raises(ValueError, match=match):
        calibrate(observed(), target, value)


# --- routing ------------------------------------------------------------------------------------


def test_the_demo_threshold_keeps_what_is_at_least_as_high():
    policy = RoutingPolicy(1.31044)
    logits = torch.tensor([[2.0, -1.0], [0.3, 0.1], [2.1, 2.0]])
    assert policy.route(logits).tolist() == [False, True, False]
    equal = torch.logsumexp(torch.tensor([[0.5, 0.25]]), -1)
    assert not RoutingPolicy(equal.item()).route_scores(equal)


def test_infinite_thresholds_are_one_model_alone():
    scores = torch.tensor([-1e30, 0.0, 1e30])
    assert RoutingPolicy(-math.inf).route_scores(scores).tolist() == [False] * 3
    assert RoutingPolicy(math.inf).route_scores(scores).tolist() == [True] * 3


def test_broken_scores_go_to_super_whatever_the_threshold():
    broken = torch.tensor([math.nan, math.inf, -math.inf])
    assert RoutingPolicy(-math.inf).route_scores(broken).tolist() == [True] * 3


def test_the_threshold_is_not_rounded_to_the_scores_precision():
    score = torch.tensor([1.0])
    assert RoutingPolicy(1.0 + 1e-12).route_scores(score).item()


def test_sequences_are_routed_by_their_mean_energy():
    steps = torch.tensor([[[0.0, 0.0], [4.0, 0.0]], [[4.0, 0.0], [4.0, 0.0]]])
    first, mean = math.log(2), (math.log(2) + math.log(1 + math.exp(4))) / 2
    assert RoutingPolicy(mean + 1e-3).route(steps).tolist() == [True, False]
    only_first = torch.tensor([[True, False], [True, False]])
    assert RoutingPolicy(first + 1e-3).route(steps, only_first).tolist() == [True, False]


def test_logits_of_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match="for 3 classes, the logits have 2"):
        RoutingPolicy(0.0, num_classes=3).route(torch.zeros(4, 2))


# --- files --------------------------------------------------------------------------------------


def test_a_policy_survives_its_file(tmp_path):
    blank = RoutingPolicy(
        swift_fingerprint="a", super_fingerprint="b", label_names=("no", "yes"), num_classes=2
    )
    held_out = observed(50, seed=1, costs=COSTS)
    policy = calibrate(observed(costs=COSTS), held_out=held_out, policy=blank)
    policy.save(tmp_path)
    assert RoutingPolicy.load(tmp_path) == policy
    assert (policy.label_names, policy.super_fingerprint) == (("no", "yes"), "b")
    assert len(policy.curve["quality"]) == len(policy.curve["cost"]) == 257
    assert len(repr(policy)) < 2000


@pytest.mark.parametrize("threshold", [math.inf, -math.inf])
def test_infinite_thresholds_survive(tmp_path, threshold):
    RoutingPolicy(threshold).save(tmp_path)
    assert RoutingPolicy.load(tmp_path).threshold == threshold


def test_a_folder_without_a_policy_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no record"):
        RoutingPolicy.load(tmp_path)
    alone = Measured(1, 0, 0.0, 1.0, (0.0, 1.0), 1.0, 1.0, None)
    records.save(tmp_path, alone)
    with pytest.raises(InputError, match="holds a Measured, where a RoutingPolicy was expected"):
        RoutingPolicy.load(tmp_path)


def test_a_policy_of_another_pair_is_refused():
    policy = RoutingPolicy(0.0, swift_fingerprint="a", super_fingerprint="b")
    policy.check_models("a", "b")
    policy.check_models(None, "b")  # a model that cannot be identified cannot be checked
    with pytest.raises(ValueError, match="another Super"):
        policy.check_models("a", "c")


# --- drift --------------------------------------------------------------------------------------


def test_the_same_traffic_has_not_drifted():
    policy = calibrate(observed(2000), "share", 0.3)
    report = policy.drift(observed(1000, seed=5).scores)
    assert not report.drifted
    assert report.interval[0] < 0.3 < report.interval[1]
    assert report.largest_gap < 0.06


def test_shifted_traffic_has_drifted():
    policy = calibrate(observed(2000), "share", 0.3)
    report = policy.drift(observed(1000, seed=5).scores - 0.5)
    assert report.drifted
    assert report.super_share > 0.4
    assert report.largest_gap == pytest.approx(0.197, abs=0.04)  # Φ(1/4) − Φ(−1/4)


def test_drift_counts_broken_scores_and_needs_some():
    policy = calibrate(observed(), "share", 0.3)
    assert policy.drift(np.array([np.nan, 5.0])).invalid == 1
    with pytest.raises(ValueError, match="needs live scores"):
        policy.drift(np.array([]))
    with pytest.raises(ValueError, match="calibrated"):
        RoutingPolicy(0.0).drift(np.ones(3))
