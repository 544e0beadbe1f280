"""The estimator: hand-computed values, the inequality, limits, reports."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from assay.papers.theory.cot_information.method import (
    Agreements,
    CoTInformation,
    ShuffleIdeals,
    Tabulated,
    agnostic_information,
    cot_information,
    enumerated_agreement,
    exact_agreement,
    exact_information,
    information_of,
    random_automata,
    relative_information,
    transfer_information,
    uniform_words,
)


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def two():
    """Two hypotheses on four inputs: answers differ on one, traces on two others."""
    answers = np.array([[0, 0, 0, 0], [1, 0, 0, 0]])
    traces = np.array([[0, 0, 0, 0], [0, 1, 1, 0]])[:, :, None]
    return Tabulated(answers, traces)


INPUTS = np.arange(4)[:, None]


def test_two_hypotheses_by_hand(two):
    exact = enumerated_agreement(two, 0, INPUTS)
    assert exact.errors.tolist() == [0.0, 0.25]
    assert exact.agree.tolist() == [1.0, 0.25]
    curve = exact_information(exact)
    assert curve.at(0.1).info == pytest.approx(math.log(4))
    assert curve.at(0.1).info == pytest.approx(1.386294, abs=1e-6)
    assert curve.at(0.1).e2e_info == pytest.approx(-math.log(0.75))
    assert curve.at(0.3).info == math.inf
    assert curve.at(0.3).witness == -1
    assert curve.describe(0.3) == "I(0.3) is infinite: no hypothesis errs on more"
    assert curve.describe(0.1) == "I(0.1) = 1.386 nats, exactly"


def test_bad_means_strictly_worse(two):
    curve = exact_information(enumerated_agreement(two, 0, INPUTS), eps=[0.2, 0.25])
    assert curve.info.tolist() == [pytest.approx(math.log(4)), math.inf]


@pytest.mark.parametrize("seed", range(5))
def test_information_is_at_least_minus_log_one_minus_eps_on_any_sample(seed):
    automata = random_automata(4, 2, 100, generator(seed))
    curve = cot_information(automata, 0, uniform_words(60, 9, 2, generator(seed)), split=0.0)
    assert np.all(curve.info >= -np.log1p(-curve.eps))
    assert np.all(np.diff(curve.info[np.isfinite(curve.info)]) >= 0)
    assert np.all(curve.info >= curve.e2e_info)
    assert np.all(curve.lower <= curve.info)
    assert np.all(curve.upper >= curve.info)
    assert np.all(curve.e2e_lower <= curve.e2e_info)


def test_fewer_hypotheses_never_have_less_information():
    automata = random_automata(4, 2, 100, generator(3))
    exact = exact_agreement(automata, 0, 12)
    eps = np.linspace(0, 0.6, 50).tolist()
    whole = exact_information(exact, eps)
    for kept in (np.arange(50), np.arange(0, 100, 3)):
        part = type(exact)(exact.agree[kept], exact.errors[kept], exact.base_rate)
        assert np.all(exact_information(part, eps).info >= whole.info)


def test_the_witness_attains_the_infimum():
    exact = exact_agreement(ShuffleIdeals(3, 3).automata, 4, 10)
    curve = exact_information(exact)
    for eps, info, witness in zip(curve.eps, curve.info, curve.witness, strict=True):
        bad = exact.errors > eps
        with np.errstate(divide="ignore"):
            expected = (-np.log(exact.agree[bad])).min(initial=math.inf)
        assert info == pytest.approx(expected)
        if bad.any():
            assert exact.errors[witness] > eps
            assert exact.agree[witness] == pytest.approx(math.exp(-info))


def test_the_estimate_covers_the_exact_curve():
    ideals = ShuffleIdeals(4, 4)
    eps = [0.0, 0.005, 0.02, 0.05]
    exact = exact_information(exact_agreement(ideals.automata, 27, 16), eps)
    curve = cot_information(ideals, 27, uniform_words(8000, 16, 4, generator(4)), eps)
    assert np.all(curve.lower <= exact.info)
    assert np.all(curve.upper >= exact.info)
    assert np.all(curve.e2e_lower <= exact.e2e_info)
    assert curve.info[1:] == pytest.approx(exact.info[1:], rel=0.1)
    assert exact.describe(0.02).endswith("exactly")


def test_limits_of_one_pair_are_clopper_pearsons():
    value, lower, upper = relative_information(0, 1000)
    assert (value, upper) == (math.inf, math.inf)
    assert lower == pytest.approx(-math.log(1 - 0.05 ** (1 / 1000)))
    assert lower == pytest.approx(-math.log(3 / 1000), rel=0.001)  # the rule of three
    value, lower, upper = relative_information(30, 100)
    interval = stats.binomtest(30, 100).proportion_ci(0.9)
    assert value == pytest.approx(-math.log(0.3))
    assert (math.exp(-upper), math.exp(-lower)) == pytest.approx((interval.low, interval.high))
    assert relative_information(50, 50)[0] == 0.0


def test_an_estimated_infinity_is_shown_as_its_limit():
    both = np.zeros((2, 100), dtype=bool)
    both[0] = True
    same = both.copy()
    same[1, :40] = True
    agreements = replace(Agreements.of(both, same, 0.5), reference=0)
    curve = information_of(agreements, [0.1, 0.9])
    point = curve.at(0.1)
    assert math.isinf(point.info)
    assert str(point).startswith(f"I(0.1) >= {point.lower:.3g} nats [")
    assert "no bad hypothesis was seen to agree" in str(point)
    assert "no hypothesis was seen to err on more" in curve.describe(0.9)
    assert 1 < point.lower < 4
    assert curve.sample_size(0.1) == math.ceil((math.log(2) + math.log(20)) / point.lower)
    assert curve.lower_bound(0.1) == 0.0


def test_selection_and_agreement_use_different_inputs():
    both = np.ones((2, 8), dtype=bool)
    both[1, :4] = False  # bad on the first half only, where it never agrees
    curve = information_of(Agreements.of(both, both, 0.5), [0.1])
    assert curve.info.tolist() == [pytest.approx(-math.log(0.9))]  # it always agrees: what is certain is left
    assert curve.witness.tolist() == [1]
    assert curve.inputs == 4
    assert information_of(Agreements.of(both, both, 0.5), [0.1], split=0.0).info[0] == pytest.approx(
        math.log(2)
    )


def test_transfer_judges_on_one_distribution_and_agrees_on_another():
    train = Agreements.of(np.array([[True] * 4, [True, True, True, False]]), np.ones((2, 4), dtype=bool), 0.5)
    answers = np.array([[True] * 4, [False, False, True, True]])
    test = Agreements.of(answers, answers, 0.5)
    curve = transfer_information(test, train, [0.1, 0.6])
    assert curve.info.tolist() == [pytest.approx(-math.log(0.75)), math.inf]
    assert curve.e2e_info[0] == 0.0  # answers never differ in training
    assert curve.at(0.1).e2e_info == 0.0
    assert curve.at(0.1).lower < -math.log(0.9)


def test_agnostic_information_is_zero_where_no_hypothesis_fits_the_traces():
    errors, risks = np.array([0.0, 0.1, 0.4]), np.array([1.0, 1.0, 1.0])
    assert agnostic_information(errors, risks, np.array([0.05, 0.2])).tolist() == [0.0, 0.0]
    risks = np.array([0.2, 0.3, 0.9])
    found = agnostic_information(errors, risks, np.array([0.0, 0.1, 0.2, 0.5]))
    assert found.tolist() == pytest.approx([0.0, 0.1, 0.7, math.inf])


def test_a_report_is_read_back(tmp_path):
    words = uniform_words(400, 16, 4, generator())
    curve = cot_information(ShuffleIdeals(4, 2), 3, words, [0.0, 0.1, 0.99])
    curve.save(tmp_path)
    again = CoTInformation.load(tmp_path)
    for name in ("eps", "info", "lower", "upper", "e2e_info", "witness", "value_ratio"):
        assert np.array_equal(getattr(again, name), getattr(curve, name))
    assert again.hypotheses == 16
    assert again.confidence == 0.95
    content = json.loads((tmp_path / "information.json").read_text())
    assert "Infinity" not in json.dumps(content)
    assert len(content["in_words"]) == 6
    assert "<svg" in (tmp_path / "information.svg").read_text()


def test_arguments_out_of_range_are_refused(two):
    for eps in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match=r"error rate in \[0, 1\)"):
            cot_information(two, 0, INPUTS, [eps])
    with pytest.raises(ValueError, match="split is the share"):
        cot_information(two, 0, INPUTS, split=1.0)
    with pytest.raises(ValueError, match="confidence is between"):
        cot_information(two, 0, INPUTS, confidence=1.0)
    with pytest.raises(ValueError, match=r"starts at eps = 0.2"):
        cot_information(two, 0, INPUTS, [0.2]).at(0.1)
    with pytest.raises(ValueError, match="leaves none of 1 inputs"):
        cot_information(two, 0, INPUTS[:1], split=0.9)
