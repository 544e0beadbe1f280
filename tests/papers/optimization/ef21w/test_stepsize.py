import math

import pytest
import torch
from scipy.optimize import minimize

from assay.papers.optimization.ef21w.method import (
    FeatureSupport,
    SmoothnessProfile,
    beta,
    ef21_stepsize,
    rare_stepsize,
    theta,
    xi,
)
from assay.papers.optimization.ef21w.method.stepsize import _best_participation_constants

PROFILE = SmoothnessProfile(2.5, torch.tensor([1.0, 2.0, 9.0], dtype=torch.float64))
EQUAL = SmoothnessProfile(2.0, torch.full((4,), 3.0, dtype=torch.float64))


def test_constants_of_the_compressor_by_hand():
    assert (theta(0.75), beta(0.75), xi(0.75)) == (0.5, 0.5, 1.0)
    assert xi(0.5) == pytest.approx(2.41421356)
    assert xi(1 / 30) == pytest.approx((1 + math.sqrt(29 / 30)) * 30 - 1)
    assert xi(1 / 30) == pytest.approx(58.4957, abs=1e-4)
    assert xi(1.0) == 0.0
    assert xi(1e-6) * 1e-6 == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.01, 0.3, 0.9, 1.0])
def test_the_three_forms_of_xi_agree(alpha):
    assert xi(alpha) == pytest.approx(math.sqrt(beta(alpha) / theta(alpha)), abs=1e-12)
    assert xi(alpha) == pytest.approx(math.sqrt(1 - alpha) / (1 - math.sqrt(1 - alpha)), abs=1e-9)


def test_old_and_new_rule_by_hand():
    new, old = ef21_stepsize(PROFILE, 0.75), ef21_stepsize(PROFILE, 0.75, "qm")
    assert new.value == pytest.approx(1 / (2.5 + 4.0))
    assert old.value == pytest.approx(1 / (2.5 + math.sqrt(86 / 3)))
    assert new.terms == {"L": 2.5, "L_AM": 4.0, "alpha": 0.75, "xi": 1.0}
    assert new.rule == "1 / (L + L_AM ξ(α))"


def test_equal_clients_leave_nothing_to_gain():
    assert ef21_stepsize(EQUAL, 0.1).value == pytest.approx(ef21_stepsize(EQUAL, 0.1, "qm").value, rel=1e-14)


def test_without_compression_the_step_is_that_of_gradient_descent():
    assert ef21_stepsize(PROFILE, 1.0).value == 1 / 2.5


def test_the_step_scales_with_the_inverse_of_the_objective():
    scaled = SmoothnessProfile(7 * PROFILE.L, 7 * PROFILE.L_i)
    for mean in ("am", "qm"):
        ratio = ef21_stepsize(PROFILE, 0.2, mean).value / ef21_stepsize(scaled, 0.2, mean).value
        assert ratio == pytest.approx(7.0)


def test_polyak_lojasiewicz_takes_the_smaller_of_its_two_bounds():
    smooth = 1 / (2.5 + math.sqrt(2) * 4.0)
    assert ef21_stepsize(PROFILE, 0.75, pl_constant=1e-3).value == pytest.approx(smooth)
    assert ef21_stepsize(PROFILE, 0.75, pl_constant=50.0).value == pytest.approx(0.5 / 100.0)


# --- partial participation ------------------------------------------------------------------------------


def ratio_by_definition(alpha, low, high, s, rho):
    contraction, growth = 1 - (1 + s) * (1 - alpha), (1 + 1 / s) * (1 - alpha)
    total = rho * low + contraction * high - rho - (high - low)
    return (growth * high + (1 + 1 / rho) * (1 - low)) / total if total > 0 else math.inf


@pytest.mark.parametrize(("alpha", "low", "high"), [(0.1, 0.5, 0.5), (0.5, 0.2, 0.25), (1 / 30, 0.1, 0.1)])
def test_participation_constants_are_the_best_of_a_direct_search(alpha, low, high):
    found, contraction, rho = _best_participation_constants(alpha, low, high)
    s = (1 - contraction) / (1 - alpha) - 1
    assert ratio_by_definition(alpha, low, high, s, rho) == pytest.approx(found, rel=1e-9)
    direct = minimize(
        lambda logs: ratio_by_definition(alpha, low, high, *[math.exp(log) for log in logs]),
        [math.log(s) + 0.2, math.log(rho) - 0.2],
        method="Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-12, "maxiter": 4000},
    )
    assert found == pytest.approx(direct.fun, rel=1e-6)


@pytest.mark.parametrize("alpha", [1 / 30, 0.5])
def test_everyone_taking_part_gives_back_the_usual_rule(alpha):
    assert ef21_stepsize(PROFILE, alpha, participation=1.0).value == ef21_stepsize(PROFILE, alpha).value
    ratio, contraction, _ = _best_participation_constants(alpha, 1.0, 1.0)
    assert math.sqrt(ratio) == pytest.approx(xi(alpha), rel=1e-9)
    assert contraction == pytest.approx(theta(alpha), rel=1e-4)
    nearly = ef21_stepsize(PROFILE, alpha, participation=1.0 - 1e-9).value
    assert nearly == pytest.approx(ef21_stepsize(PROFILE, alpha).value, rel=1e-3)


def test_the_step_falls_with_participation():
    steps = [ef21_stepsize(PROFILE, 0.2, participation=p).value for p in (1.0, 0.8, 0.4, 0.1)]
    assert steps == sorted(steps, reverse=True)


def test_an_infeasible_participation_says_what_is_missing():
    uneven = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"alpha must exceed .* = 0\.9"):
        ef21_stepsize(PROFILE, 0.5, participation=uneven)


# --- rare features --------------------------------------------------------------------------------------


def test_shares_of_features_by_hand():
    features = FeatureSupport(torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 1]]).bool())
    assert (features.commonest_feature, features.widest_client) == (2, 2)
    assert features.share() == pytest.approx(2 / 3)
    assert features.share(PROFILE.weights()) == pytest.approx(11 / 12)


def test_disjoint_clients_are_as_good_as_one():
    """C_v L_AM = max L_i / n, which is L of a block-diagonal problem: the step no longer pays for n."""
    profile = SmoothnessProfile(9.0 / 3, PROFILE.L_i)
    features = FeatureSupport(torch.eye(3).bool())
    assert features.share(profile.weights()) == pytest.approx(float(profile.weights().max()))
    step = rare_stepsize(profile, 0.5, features)
    assert step.value == pytest.approx(1 / (profile.L * (1 + xi(0.5))))


def test_rare_rules_by_hand_and_in_order():
    features = FeatureSupport(torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 1]]).bool())

    def constant(mean="am", rare="tight"):
        return 1 / rare_stepsize(PROFILE, 0.75, features, mean, rare).value - PROFILE.L

    assert constant() == pytest.approx(11 / 3)
    assert constant(rare="safe") == pytest.approx(math.sqrt(11 / 12) * 4)
    assert constant(rare="paper") == pytest.approx(math.sqrt(2 / 3) * 4)
    assert constant("qm") == pytest.approx(math.sqrt(2 / 3) * math.sqrt(86 / 3))
    assert constant() <= constant(rare="safe")


def test_features_that_everyone_has_are_not_rare():
    features = FeatureSupport(torch.ones(3, 5).bool())
    for rare in ("tight", "safe", "paper"):
        step = rare_stepsize(PROFILE, 0.3, features, rare=rare).value
        assert step == pytest.approx(ef21_stepsize(PROFILE, 0.3).value)


# --- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, -0.1, 1.1, math.nan])
def test_alpha_outside_its_range_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha"):
        ef21_stepsize(PROFILE, alpha)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"participation": 0.0}, r"\(0, 1\]"),
        ({"participation": torch.tensor([0.5, 1.2, 1.0])}, r"\(0, 1\]"),
        ({"pl_constant": 0.0}, "pl_constant"),
        ({"mean": "geometric"}, "'am'"),
        ({"pl_constant": 1.0, "participation": 0.5}, "no rule for participation and pl_constant"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ef21_stepsize(PROFILE, 0.5, **arguments)


def test_a_scaled_step_beyond_the_rule_loses_its_guarantee():
    step = ef21_stepsize(PROFILE, 0.5)
    assert step.scaled(0.5).guaranteed
    assert not step.scaled(2.0).guaranteed
    assert step.scaled(2.0).value == 2 * step.value
    with pytest.raises(ValueError, match="multiplier"):
        step.scaled(0.0)
