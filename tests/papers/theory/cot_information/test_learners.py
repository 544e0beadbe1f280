"""Consistent learners, sample sizes and the bounds on them."""

import math

import numpy as np
import pytest

from assay.papers.theory.cot_information.method import (
    Agreements,
    ConstantTraces,
    Labels,
    Learner,
    RevealingTraces,
    ShuffleIdeals,
    agnostic_samples,
    compare,
    consistent_set,
    eliminated_at,
    erm_set,
    exact_agreement,
    exact_information,
    fano_samples,
    indistinguishable_samples,
    infinite_class_samples,
    largest_confused_sample,
    learning_curve,
    minimax_error,
    mixed_sufficient_samples,
    random_automata,
    risk_curve,
    samples_needed,
    sufficient_samples,
    traced_part,
    uniform_words,
)


def generator(seed=0):
    return np.random.default_rng(seed)


def by_definition(agreements, traced, samples, trial):
    """The consistent set after each number of examples of one trial."""
    columns = np.arange(trial * len(traced), trial * len(traced) + samples)
    return consistent_set(agreements, columns, "mixed", traced[:samples])


@pytest.mark.parametrize("supervision", ["cot", "e2e", "mixed"])
def test_eliminations_are_consistent_sets_and_give_all_risks(supervision):
    ideals = ShuffleIdeals(3, 2)
    found = compare(ideals, 4, uniform_words(5 * 12, 6, 3, generator()))
    errors = exact_agreement(ideals.automata, 4, 6).errors
    traced = traced_part(supervision, 12, np.arange(12) % 3 == 0)
    eliminated = eliminated_at(found, traced)
    curves = {rule: risk_curve(eliminated, errors, 12, rule) for rule in ("worst", "mean", "first")}
    for trial in range(5):
        for samples in range(13):
            kept = by_definition(found, traced, samples, trial)
            assert np.array_equal(kept, eliminated[:, trial] > samples)
            assert curves["worst"][trial, samples] == pytest.approx(errors[kept].max())
            assert curves["mean"][trial, samples] == pytest.approx(errors[kept].mean())
            assert curves["first"][trial, samples] == errors[kept][0]


def test_samples_needed_are_counted_until_the_error_stays_small():
    errors = np.array([0.0, 0.5, 0.1])
    eliminated = np.array([[9], [3], [7]])  # of 8 examples: the reference stays
    assert samples_needed(eliminated, errors, 8, 0.2, "worst").tolist() == [3]
    assert samples_needed(eliminated, errors, 8, 0.05, "worst").tolist() == [7]
    assert samples_needed(eliminated, errors, 8, 0.5, "worst").tolist() == [0]
    assert samples_needed(eliminated, errors, 8, 0.0, "first").tolist() == [0]
    assert samples_needed(eliminated, errors, 8, 0.05, "mean").tolist() == [3]  # (0 + 0.1) / 2
    assert samples_needed(eliminated, errors, 5, 0.05, "worst").tolist() == [math.inf]


def test_survival_is_agreement_to_the_power_of_m():
    ideals = ShuffleIdeals(2, 3)
    exact = exact_agreement(ideals.automata, 1, 6)
    found = compare(ideals, 1, uniform_words(4000 * 4, 6, 2, generator(1)))
    survived = (eliminated_at(found, traced_part("cot", 4)) > 3).mean(1)
    expected = exact.agree**3
    spread = np.sqrt(expected * (1 - expected) / 4000)
    assert np.all(np.abs(survived - expected) <= 4 * spread + 1e-12)


@pytest.mark.parametrize("reference", [0, 27, 200])
def test_bounds_hold_in_simulation(reference):
    ideals, length, eps, delta = ShuffleIdeals(4, 4), 16, 0.02, 0.05
    exact = exact_agreement(ideals.automata, reference, length)
    info = exact_information(exact).at(eps).info
    enough = int(sufficient_samples(info, len(ideals), delta))
    few = largest_confused_sample(info, delta)
    trials = 400
    found = compare(ideals, reference, uniform_words(trials * enough, length, 4, generator(2)))
    eliminated = eliminated_at(found, traced_part("cot", enough))
    bad = exact.errors > eps
    violated = (eliminated[bad] > enough).any(0).mean()
    confused = (eliminated[bad] > few).any(0).mean()
    assert violated <= delta + 3 * math.sqrt(delta * (1 - delta) / trials)
    assert confused >= delta - 3 * math.sqrt(delta * (1 - delta) / trials)


def test_a_constant_trace_supervises_like_the_answer():
    constant = ConstantTraces(ShuffleIdeals(2, 4))
    found = compare(constant, 3, uniform_words(40, 8, 2, generator(3)))
    for samples in (0, 1, 5, 40):
        sample = np.arange(samples)
        assert np.array_equal(consistent_set(found, sample), consistent_set(found, sample, "e2e"))


def test_one_example_suffices_where_the_trace_reveals_the_hypothesis():
    found = compare(RevealingTraces(ShuffleIdeals(2, 4)), 3, uniform_words(5, 8, 2, generator(3)))
    assert np.flatnonzero(consistent_set(found, np.array([2]))).tolist() == [3]


def test_mixed_supervision_with_traces_alone_is_cot():
    found = compare(ShuffleIdeals(2, 4), 3, uniform_words(20, 8, 2, generator(3)))
    sample = np.arange(6)
    mixed = consistent_set(found, sample, "mixed", np.ones(6, dtype=bool))
    assert np.array_equal(mixed, consistent_set(found, sample))
    with pytest.raises(ValueError, match="which of the 6 examples"):
        consistent_set(found, sample, "mixed")


def test_unrealizable_traces_leave_cot_erm_with_everything():
    ideals, words = ShuffleIdeals(2, 3), uniform_words(200, 10, 2, generator(4))
    answers, traces = ideals.evaluate(np.array([5]), words)
    noisy = traces[0] + 100
    found = compare(ideals, Labels(answers[0], noisy), words, agnostic=True)
    sample = np.arange(200)
    assert erm_set(found, sample, "cot").all()
    assert np.flatnonzero(erm_set(found, sample, "e2e")).tolist() == [5]


def test_learning_curves_fall_and_cot_is_below_e2e():
    automata = random_automata(4, 2, 60, generator(5))
    ms = [0, 1, 2, 4, 8, 16]
    curves = {}
    for supervision in ("cot", "e2e"):
        random = generator(6)
        curves[supervision] = learning_curve(
            automata,
            0,
            lambda count, r=random: uniform_words(count, 12, 2, r),
            ms,
            Learner("worst", supervision),
            trials=20,
        )
        assert np.all(np.diff(curves[supervision], axis=1) <= 0)
    assert curves["cot"].shape == (20, 6)
    assert np.all(curves["cot"] <= curves["e2e"])


# --- bounds -------------------------------------------------------------------------------------


def test_sample_sizes_by_hand():
    assert sufficient_samples(math.log(4), 256, 0.05) == math.ceil(math.log(256 * 20) / math.log(4)) == 7
    assert sufficient_samples(math.inf, 256) == 1
    assert sufficient_samples(0.0, 256) == math.inf
    assert indistinguishable_samples(0.5, math.exp(-2)) == pytest.approx(4)
    assert largest_confused_sample(0.5, math.exp(-2.2)) == 4
    assert largest_confused_sample(10.0) == 0
    assert mixed_sufficient_samples(2.0, 0.5, 256, 1.0) == sufficient_samples(2.0, 256)
    assert mixed_sufficient_samples(math.inf, 0.5, 256, 0.0) == sufficient_samples(0.5, 256)
    assert mixed_sufficient_samples(2.0, 0.5, 256, 0.5) == sufficient_samples(1.25, 256)
    eps, info = np.array([0.1, 0.4]), np.array([1.0, 3.0])
    assert minimax_error(0, eps, info) == pytest.approx(0.2)
    assert minimax_error(1, eps, info) == pytest.approx(0.05 * math.exp(-1))
    assert infinite_class_samples(1.0, 3.0, math.exp(-1)) == pytest.approx(2 * (3 * math.log(2) + 1))
    assert agnostic_samples(0.5, 3.0, math.exp(-1)) == pytest.approx(16)
    assert agnostic_samples(0.0, 3.0) == infinite_class_samples(0.0, 3.0) == math.inf
    assert fano_samples(8, 1.0, math.log(2)) == pytest.approx(3 / 4)


def test_bounds_refuse_what_is_no_probability():
    for delta in (0.0, 1.0):
        with pytest.raises(ValueError, match="delta is a probability"):
            sufficient_samples(1.0, 4, delta)
    with pytest.raises(ValueError, match="share of examples with traces"):
        mixed_sufficient_samples(1.0, 1.0, 4, 1.5)
    with pytest.raises(ValueError, match="information of 0"):
        largest_confused_sample(0.0)
    found = Agreements.of(np.ones((2, 5), dtype=bool), np.ones((2, 5), dtype=bool), 0.5)
    with pytest.raises(ValueError, match="no whole number of samples of 3"):
        eliminated_at(found, np.ones(3, dtype=bool))
