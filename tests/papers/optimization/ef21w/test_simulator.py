import math

import numpy as np
import pytest
import torch
from torch import nn

from assay.papers.optimization.ef21w.method import (
    EF21,
    BatchedSum,
    Blockwise,
    DenseRows,
    DivergenceError,
    EF21State,
    FixedGrid,
    FunctionSum,
    Identity,
    ModuleSum,
    RandK,
    ScaledQuantizer,
    SignL1,
    SmoothnessProfile,
    Threshold,
    TopK,
    convergence_bound,
    distortion,
    least_squares,
    theta,
)


def start(dimension, seed=3):
    return torch.randn(dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distance(one, other):
    return float((one - other).norm() / other.norm())


# --- limiting cases -------------------------------------------------------------------------------------


def test_without_compression_it_is_gradient_descent(logistic):
    x = start(6)
    result = EF21(logistic, Identity(), init="full").run(x, 30)
    for _ in range(30):
        x = x - logistic.gradients(x).mean(0) / logistic.smoothness().L
    torch.testing.assert_close(result.x, x, rtol=1e-12, atol=1e-14)
    assert result.stepsize.terms["xi"] == 0.0


def test_two_rounds_by_hand():
    """Two clients with f_1 = 1/2 (2 x_1 - 2)^2... written out: every number below is computed by hand."""
    blocks = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]], dtype=torch.float64)
    problem = least_squares(DenseRows(blocks), torch.tensor([[1.0], [2.0]], dtype=torch.float64))
    # grad f_1 = (2 (x_1 - 1), 0), grad f_2 = (0, 4 (2 x_2 - 2)); L_1 = 2, L_2 = 8, so w = (1/5, 4/5)
    method = EF21(problem, TopK(1), stepsize=0.1)
    assert method.weights.tolist() == [0.2, 0.8]
    state = method.start(torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(state.memory, torch.tensor([[-5.0, 0.0], [0.0, -5.0]], dtype=torch.float64))
    assert state.estimate.tolist() == [-1.0, -4.0]
    method.step(state)
    assert state.x.tolist() == [0.1, 0.4]
    torch.testing.assert_close(state.estimate, torch.tensor([-0.9, -2.4], dtype=torch.float64))
    method.step(state)
    torch.testing.assert_close(state.x, torch.tensor([0.19, 0.64], dtype=torch.float64))


def test_equal_clients_make_the_method_plain_ef21(make_quadratic):
    one = make_quadratic(clients=1)
    problem = least_squares(DenseRows(one.rows.blocks.repeat(4, 1, 1)), one.targets.repeat(4, 1))
    weighted, plain = EF21(problem, TopK(2)), EF21(problem, TopK(2), weights=None, stepsize="old")
    assert weighted.stepsize.value == pytest.approx(plain.stepsize.value, rel=1e-14)
    torch.testing.assert_close(weighted.weights, plain.weights)
    torch.testing.assert_close(weighted.run(start(12), 50).x, plain.run(start(12), 50).x)


@pytest.mark.parametrize("compressor", [TopK(1), TopK(3), SignL1(), RandK(2), ScaledQuantizer(3)], ids=repr)
def test_homogeneous_compressors_make_both_methods_the_same(logistic, compressor):
    """g_i of EF21-W is g_i / (n w_i) of EF21, also for random C, as long as the draws are the same."""
    weighted = EF21(logistic, compressor)
    plain = EF21(logistic, compressor, weights=None, stepsize=weighted.stepsize)
    first, second = weighted.start(start(6)), plain.start(start(6))
    for _ in range(500):
        weighted.step(first)
        plain.step(second)
    assert distance(first.x, second.x) < 1e-12
    scale = (5 * weighted.weights)[:, None]
    assert distance(scale * first.memory, second.memory) < 1e-12


@pytest.mark.parametrize("compressor", [Threshold(0.05), FixedGrid(0.02)], ids=repr)
def test_other_compressors_do_not(logistic, compressor):
    weighted = EF21(logistic, compressor)
    plain = EF21(logistic, compressor, weights=None, stepsize=weighted.stepsize)
    assert distance(weighted.run(start(6), 100).x, plain.run(start(6), 100).x) > 1e-4


def test_a_scaled_objective_has_the_same_iterates(make_quadratic):
    results = [EF21(make_quadratic(scale=scale), TopK(1)).run(start(12), 200) for scale in (1.0, 5.0)]
    assert results[0].stepsize.value == pytest.approx(25 * results[1].stepsize.value)
    assert distance(results[0].x, results[1].x) < 1e-10


def test_full_participation_and_full_batches_change_nothing(logistic):
    plain = EF21(logistic, TopK(2)).run(start(6), 40)
    everyone = EF21(logistic, TopK(2), participation=torch.ones(5, dtype=torch.float64)).run(start(6), 40)
    whole_batch = EF21(logistic, TopK(2), minibatch=7).run(start(6), 40)
    assert torch.equal(plain.x, everyone.x)
    assert torch.equal(plain.x, whole_batch.x)


# --- invariants -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressor", [TopK(1), SignL1(), RandK(2), Blockwise(TopK(1), (2, 4))], ids=repr)
@pytest.mark.parametrize("init", ["compressed", "full", "zero"])
@pytest.mark.parametrize("participation", [1.0, 0.6])
def test_the_server_knows_the_weighted_sum_of_the_memories(logistic, compressor, init, participation):
    method = EF21(logistic, compressor, init=init, participation=participation)
    state = method.start(start(6))
    for _ in range(30):
        method.step(state)
        torch.testing.assert_close(state.estimate, method.weights @ state.memory, rtol=1e-12, atol=1e-14)


def test_absent_clients_keep_their_memory_and_send_nothing(logistic):
    method = EF21(logistic, TopK(1), stepsize=0.01, participation=torch.tensor([1.0, 1.0, 1.0, 1.0, 1e-12]))
    state = method.start(start(6))
    before = state.memory.clone()
    for _ in range(5):
        method.step(state)
    assert torch.equal(state.memory[4], before[4])
    assert not torch.equal(state.memory[0], before[0])
    assert state.message_bits == pytest.approx(0.8 * (64 + 3))


@pytest.mark.parametrize("participation", [1.0, 0.5])
def test_the_bits_are_those_of_the_messages_behind_an_iterate(logistic, participation):
    method = EF21(logistic, TopK(2), participation=participation)
    history = method.run(start(6), 200).history
    assert history["bits"][0] == 0
    assert history["bits"][1] == 2 * (64 + 3)  # all send g_i^0
    share = (history["bits"].iloc[-1] - history["bits"][1]) / (199 * 2 * (64 + 3))
    assert share == pytest.approx(participation, abs=0.05)


def lyapunov(problem, method, state, minimum, factor):
    spread = distortion(problem.smoothness(), state.memory, problem.gradients(state.x), method.weights)
    return problem.value(state.x) - minimum + method.stepsize.value * factor * spread


def minimum_of(problem):
    rows, targets = problem.rows.blocks.flatten(0, 1), problem.targets.flatten()
    solution = torch.linalg.lstsq(rows, targets[:, None], driver="gelsd").solution[:, 0]
    return problem.value(solution)


@pytest.mark.parametrize("weights", ["smoothness", None, "reversed"])
def test_descent_certificate_holds_for_all_weights(make_quadratic, weights):
    """f(x) - f* + γ/(2θ) G never rises at the new step, whatever the weights of the algorithm."""
    problem = make_quadratic()
    if weights == "reversed":
        weights = (1 / problem.smoothness().L_i) / (1 / problem.smoothness().L_i).sum()
    method = EF21(problem, TopK(1), weights=weights)
    state, minimum = method.start(torch.zeros(12, dtype=torch.float64)), minimum_of(problem)
    factor = 1 / (2 * theta(1 / 12))
    values = [lyapunov(problem, method, state, minimum, factor)]
    for _ in range(700):
        method.step(state)
        values.append(lyapunov(problem, method, state, minimum, factor))
    assert np.all(np.diff(values) <= 1e-13 * values[0])
    assert values[-1] < values[0] / 2


def test_the_guarantee_holds_on_average_over_rounds(make_quadratic):
    problem = make_quadratic()
    method, zero = EF21(problem, TopK(2)), torch.zeros(12, dtype=torch.float64)
    state = method.start(zero)
    spread = distortion(problem.smoothness(), state.memory, problem.gradients(zero), method.weights)
    gap = problem.value(zero) - minimum_of(problem)
    history = method.run(zero, 400).history
    bound = convergence_bound(gap, spread, method.stepsize.value, 2 / 12, 401)
    assert history["squared_gradient_norm"].mean() <= bound


# --- rare features --------------------------------------------------------------------------------------


@pytest.fixture
def rare(make_quadratic):
    owners = torch.zeros(8, 24)
    for client in range(8):
        owners[client, 3 * client : 3 * client + 5] = 1.0
        owners[client, 0] = 1.0 if client % 4 == 0 else 0.0
    return make_quadratic(clients=8, dimension=24, owners=owners)


def test_memories_stay_with_the_features_of_their_client(rare):
    method = EF21(rare, TopK(2), stepsize="rare")
    state = method.start(start(24))
    for _ in range(50):
        method.step(state)
        assert (state.memory[~rare.supports()] == 0).all()


def test_rare_features_allow_a_larger_step_that_still_descends(rare):
    method = EF21(rare, TopK(1), stepsize="rare")
    assert method.stepsize.value > 4 * EF21(rare, TopK(1)).stepsize.value
    state, minimum = method.start(torch.zeros(24, dtype=torch.float64)), minimum_of(rare)
    factor = method.stepsize.terms["C_v"] / (2 * theta(method.stepsize.terms["alpha"]))
    values = [lyapunov(rare, method, state, minimum, factor)]
    for _ in range(500):
        method.step(state)
        values.append(lyapunov(rare, method, state, minimum, factor))
    assert np.all(np.diff(values) <= 1e-13 * values[0])


def test_a_regulariser_makes_every_feature_common(logistic):
    assert logistic.supports().all()
    ordinary, rare = EF21(logistic, TopK(1)).stepsize, EF21(logistic, TopK(1), stepsize="rare").stepsize
    assert rare.value == pytest.approx(ordinary.value)


def test_the_rare_rule_needs_a_compressor_that_profits(rare):
    with pytest.raises(ValueError, match="use one of Identity, TopK"):
        EF21(rare, SignL1(), stepsize="rare")


# --- minibatches ----------------------------------------------------------------------------------------


def test_minibatch_gradients_are_unbiased(logistic, random_stream):
    x = start(6)
    draws = torch.stack([logistic.minibatch_gradients(x, 2, random_stream) for _ in range(1000)])
    off = (draws.mean(0) - logistic.gradients(x)).abs() / (draws.std(0) / math.sqrt(1000))
    assert float(off.max()) < 4.5


def test_the_noise_floor_falls_with_the_step(make_quadratic):
    problem = make_quadratic(clients=4, rows=20, dimension=5)
    large = EF21(problem, TopK(2), minibatch=2)
    small = EF21(problem, TopK(2), minibatch=2, stepsize=large.stepsize.scaled(0.1))
    floors = []
    for method, rounds in ((large, 200), (small, 2000)):
        history = method.run(torch.zeros(5, dtype=torch.float64), rounds, log_every=rounds // 60).history
        floors.append(history["squared_gradient_norm"].iloc[30:].mean())
    assert floors[1] < floors[0] / 3


# --- other problems -------------------------------------------------------------------------------------


def test_modules_functions_and_callables_give_the_run_of_the_linear_model(logistic):
    rows, labels = logistic.rows.blocks, logistic.targets
    profile, x = logistic.smoothness(), start(6)
    module = nn.Linear(6, 1, bias=False).double()

    def loss(outputs, targets):
        weight = x_of(outputs)
        return nn.functional.softplus(-targets * outputs[:, 0]).mean() + weight

    def x_of(outputs):
        return outputs.sum() * 0.0

    def local(client):
        return lambda point: nn.functional.softplus(-labels[client] * (rows[client] @ point)).mean()

    plain = logistic.__class__(logistic.rows, labels, logistic.loss, type(logistic.penalty)(0.0))
    problems = [
        ModuleSum(module, loss, rows, labels),
        FunctionSum([local(client) for client in range(5)], 6),
        BatchedSum(plain.value, lambda point: plain.gradients(point).numpy(), 5, 6),
    ]
    expected = EF21(plain, TopK(2), profile=profile).run(x, 25)
    for problem in problems:
        result = EF21(problem, TopK(2), profile=profile).run(x, 25)
        torch.testing.assert_close(result.x, expected.x)
        np.testing.assert_allclose(result.history["loss"], expected.history["loss"])


def test_module_minibatches_draw_without_replacement():
    inputs = torch.arange(12, dtype=torch.float64).view(2, 6, 1)
    module = nn.Linear(1, 1, bias=False).double()
    problem = ModuleSum(
        module, lambda outputs, targets: (outputs * targets).mean(), inputs, torch.ones(2, 6, 1)
    )
    found = problem.minibatch_gradients(problem.initial(), 6, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, problem.gradients(problem.initial()))
    some = problem.minibatch_gradients(problem.initial(), 2, torch.Generator().manual_seed(0))
    assert float(some[0]) * 2 in {float(a + b) for a in range(6) for b in range(6) if a != b}


# --- running --------------------------------------------------------------------------------------------


def test_a_run_stops_at_its_tolerance_and_says_when(logistic):
    result = EF21(logistic, TopK(1)).run(start(6), 5000, tolerance=1e-2, log_every=50)
    norms = result.history["squared_gradient_norm"]
    assert norms.iloc[-1] <= 1e-2 * norms[0] < norms.iloc[-2]
    assert result.rounds == result.history["round"].iloc[-1] == result.state.round
    assert EF21(logistic, TopK(1)).run(start(6), 3, tolerance=1e-2).rounds is None


def test_a_run_goes_on_from_a_saved_state(logistic, tmp_path):
    settings = {"participation": 0.7, "minibatch": 3}
    whole = EF21(logistic, RandK(2), **settings).run(start(6), 40)
    half = EF21(logistic, RandK(2), **settings).run(start(6), 20)
    torch.save(half.state.state_dict(), tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    rest = EF21(logistic, RandK(2), **settings).run(EF21State.from_state_dict(saved), 20)
    assert torch.equal(whole.x, rest.x)
    assert rest.history.iloc[-1].tolist() == whole.history.iloc[-1].tolist()


def test_a_run_leaves_its_start_alone_and_repeats_itself(logistic):
    x = start(6)
    first = EF21(logistic, RandK(1)).run(x, 10)
    assert torch.equal(x, start(6))
    assert torch.equal(first.x, EF21(logistic, RandK(1)).run(x, 10).x)


def test_one_client_is_allowed(make_quadratic):
    problem = make_quadratic(clients=1, rows=12, dimension=4)
    history = EF21(problem, TopK(1)).run(torch.zeros(4, dtype=torch.float64), 500).history
    assert history["squared_gradient_norm"].iloc[-1] < 1e-3 * history["squared_gradient_norm"][0]


def test_divergence_is_an_error(make_quadratic):
    with pytest.raises(DivergenceError, match="too large"):
        EF21(make_quadratic(), TopK(1), stepsize=10.0).run(start(12), 5000)


def test_missing_values_are_an_error_at_once(logistic):
    logistic.rows.blocks[2, 3, 1] = math.nan
    with pytest.raises(DivergenceError, match="round 0"):
        EF21(logistic, TopK(1), weights=None, stepsize=0.1).run(start(6), 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compressor": TopK(7)}, "k is 7"),
        ({"weights": torch.full((5,), 0.3)}, "sum 1"),
        ({"weights": torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0])}, "above 0"),
        ({"weights": torch.full((4,), 0.25)}, "must be 5"),
        ({"weights": "equal"}, "'smoothness'"),
        ({"stepsize": -1.0}, "stepsize"),
        ({"stepsize": "best"}, "new.*old"),
        ({"participation": 0.0}, r"\(0, 1\]"),
        ({"participation": torch.tensor([1.0, 1.0, 1.0, 1.0, 2.0])}, r"\(0, 1\]"),
        ({"participation": torch.tensor([1.0, 0.5])}, "each of 5 clients"),
        ({"minibatch": 0}, "minibatch"),
        ({"init": "random"}, "'compressed'"),
        ({"compressor": Threshold(1.0, exact=0)}, "alpha"),
    ],
)
def test_bad_settings_are_refused(logistic, settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        EF21(logistic, **({"compressor": TopK(1)} | settings))


def test_bad_runs_are_refused(logistic):
    with pytest.raises(ValueError, match=r"x0 has the shape \(4,\)"):
        EF21(logistic, TopK(1)).run(start(4), 5)
    with pytest.raises(ValueError, match="log_every"):
        EF21(logistic, TopK(1)).run(start(6), 5, log_every=0)
    functions = FunctionSum([lambda x: x.square().sum()], 3)
    with pytest.raises(ValueError, match="estimate_smoothness"):
        EF21(functions, TopK(1))
    known = SmoothnessProfile(2.0, torch.tensor([2.0], dtype=torch.float64))
    with pytest.raises(TypeError, match="no samples"):
        EF21(functions, TopK(1), profile=known, minibatch=1).run(start(3), 1)
    with pytest.raises(ValueError, match="which features"):
        EF21(functions, TopK(1), profile=known, stepsize="rare")
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        BatchedSum(lambda x: 0.0, lambda x: x, 5, 2).gradients(start(2))
