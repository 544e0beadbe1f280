import math

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import nn

from assay.papers.optimization.ef21w.method import (
    BatchedSum,
    DenseRows,
    FunctionSum,
    L2Penalty,
    ModuleSum,
    NonconvexPenalty,
    SmoothnessProfile,
    clone_plan,
    estimate_smoothness,
    least_squares,
    logistic_regression,
    secant_smoothness,
)


def hessian(function, x):
    return torch.autograd.functional.hessian(function, x)


def test_means_by_hand_and_in_order():
    profile = SmoothnessProfile(2.0, torch.tensor([1.0, 2.0, 9.0], dtype=torch.float64))
    assert profile.am == 4.0
    assert profile.qm == pytest.approx(math.sqrt(86 / 3))
    assert profile.var == pytest.approx(profile.qm**2 - profile.am**2)


def test_logistic_constants_are_the_largest_curvatures_at_zero(logistic):
    """At x = 0 the sigmoid's slope is 1/4 and the regulariser's second derivative 2 lambda: both extremes."""
    profile, zero = logistic.smoothness(), torch.zeros(6, dtype=torch.float64)
    for client in range(5):
        rows, labels = logistic.rows.blocks[client], logistic.targets[client]

        def local(x, rows=rows, labels=labels):
            return nn.functional.softplus(-labels * (rows @ x)).mean() + 1e-2 * (x**2 / (1 + x**2)).sum()

        largest = eigsh(hessian(local, zero).numpy(), k=1, return_eigenvectors=False)[0]
        assert float(profile.L_i[client]) == pytest.approx(largest, rel=1e-12)
    rows = logistic.rows.blocks.flatten(0, 1).numpy()
    assert pytest.approx(np.linalg.norm(rows, 2) ** 2 / (4 * 35) + 0.02) == profile.L


def test_no_curvature_elsewhere_exceeds_the_constants(logistic, random_stream):
    profile = logistic.smoothness()
    for _ in range(5):
        x = 3 * torch.randn(6, generator=random_stream, dtype=torch.float64)
        here = estimate_smoothness(logistic, x, generator=random_stream)
        assert (here.L_i <= profile.L_i * (1 + 1e-12)).all()
        assert here.L <= profile.L * (1 + 1e-12)


def test_least_squares_constants_are_those_of_the_hessian(make_quadratic):
    problem = make_quadratic()
    grams = 2 * problem.rows.blocks.mT @ problem.rows.blocks / 8
    profile = problem.smoothness()
    torch.testing.assert_close(profile.L_i, torch.linalg.eigvalsh(grams)[:, -1])
    assert pytest.approx(float(torch.linalg.eigvalsh(grams.mean(0))[-1])) == profile.L
    assert profile.L <= profile.am <= profile.qm


def test_clients_of_unequal_size_count_equally():
    """f is the mean of the clients' means: L comes from the mean of the H_i, not from all rows together."""
    stream = torch.Generator().manual_seed(3)
    parts = [torch.randn(rows, 4, generator=stream, dtype=torch.float64) for rows in (2, 9)]
    targets = [torch.randn(len(part), generator=stream, dtype=torch.float64) for part in parts]
    problem = least_squares(DenseRows.of(parts), targets, L2Penalty(0.5))
    hessians = torch.stack([2 * part.T @ part / len(part) for part in parts])
    assert pytest.approx(float(torch.linalg.eigvalsh(hessians.mean(0))[-1]) + 0.5) == problem.smoothness().L
    x = torch.randn(4, generator=stream, dtype=torch.float64)
    losses = [((part @ x - target) ** 2).mean() for part, target in zip(parts, targets, strict=True)]
    assert problem.value(x) == pytest.approx(float(sum(losses) / 2 + 0.25 * x @ x))


def test_nonconvex_penalty_curvature_spans_its_range():
    x = torch.linspace(-5, 5, 100001, dtype=torch.float64)
    curvature = NonconvexPenalty(1.0).curvature(x)
    assert float(curvature.max()) == pytest.approx(2.0)
    assert float(curvature.min()) == pytest.approx(-0.5)
    point = torch.tensor([0.3, -1.2], dtype=torch.float64)
    expected = torch.diag(hessian(NonconvexPenalty(0.7).value, point))
    torch.testing.assert_close(NonconvexPenalty(0.7).curvature(point), expected)


def test_weights_follow_smoothness_and_keep_a_floor():
    profile = SmoothnessProfile(1.0, torch.tensor([1e-9, 1.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(profile.weights()[1:], torch.tensor([0.25, 0.75], dtype=torch.float64))
    floored = profile.weights(floor=1e-3)
    assert float(floored.min()) >= 1e-3 / 3
    assert float(floored.sum()) == pytest.approx(1.0, abs=1e-15)
    with pytest.raises(ValueError, match="floor"):
        profile.weights(1.5)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_constants_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="client 1"):
        SmoothnessProfile(1.0, torch.tensor([1.0, bad]))
    with pytest.raises(ValueError, match="L is"):
        SmoothnessProfile(bad, torch.tensor([1.0]))


def test_clone_plan_by_hand_and_its_bounds():
    assert clone_plan([1.0, 1.0, 10.0]) == [1, 1, 3]
    assert clone_plan([2.0, 2.0, 2.0]) == [1, 1, 1]
    stream = torch.Generator().manual_seed(0)
    for _ in range(20):
        constants = torch.rand(15, generator=stream, dtype=torch.float64) ** 4 + 1e-6
        counts = clone_plan(constants)
        assert 15 <= sum(counts) <= 30
        total = sum(counts)
        cloned = [
            total / (15 * count) * float(constant)
            for count, constant in zip(counts, constants, strict=True)
            for _ in range(count)
        ]
        quadratic_mean = math.sqrt(sum(value**2 for value in cloned) / total)
        assert quadratic_mean <= math.sqrt(2) * float(constants.mean()) * (1 + 1e-12)


# --- estimates ------------------------------------------------------------------------------------------


def test_power_iteration_finds_the_constants_of_a_quadratic(make_quadratic):
    problem = make_quadratic(clients=3, dimension=5)
    exact = problem.smoothness()
    found = estimate_smoothness(problem, torch.zeros(5, dtype=torch.float64), iterations=500)
    torch.testing.assert_close(found.L_i, exact.L_i, rtol=1e-6, atol=0)
    assert pytest.approx(exact.L, rel=1e-6) == found.L
    assert not found.guaranteed


def test_power_iteration_on_a_module_agrees_with_its_hessian(random_stream):
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    inputs = torch.randn(2, 9, 3, generator=random_stream, dtype=torch.float64)
    targets = torch.randn(2, 9, 1, generator=random_stream, dtype=torch.float64)
    problem = ModuleSum(module, nn.functional.mse_loss, inputs, targets)
    x = problem.initial()
    found = estimate_smoothness(problem, x, iterations=200)
    for client in range(2):
        matrix = hessian(lambda point, c=client: problem._local(point, inputs[c], targets[c]), x)
        assert float(found.L_i[client]) == pytest.approx(
            float(torch.linalg.eigvalsh(matrix).abs().max()), rel=1e-3
        )


def test_power_iteration_on_functions_agrees_with_the_linear_model(logistic):
    def local(client):
        rows, labels = logistic.rows.blocks[client], logistic.targets[client]
        return lambda x: nn.functional.softplus(-labels * (rows @ x)).mean() + logistic.penalty.value(x)

    functions = FunctionSum([local(client) for client in range(5)], 6)
    x = torch.full((6,), 0.2, dtype=torch.float64)
    found = [
        estimate_smoothness(problem, x, generator=torch.Generator().manual_seed(3)).L_i
        for problem in (functions, logistic)
    ]
    torch.testing.assert_close(*found)


def test_secants_of_a_quadratic_bound_its_constants_from_below(make_quadratic, random_stream):
    problem = make_quadratic(clients=3, dimension=2)
    batched = BatchedSum(problem.value, problem.gradients, 3, 2)
    points = torch.randn(400, 2, generator=random_stream, dtype=torch.float64).cumsum(0)
    found, exact = secant_smoothness(batched, points), problem.smoothness()
    assert (found.L_i <= exact.L_i * (1 + 1e-9)).all()
    torch.testing.assert_close(found.L_i, exact.L_i, rtol=1e-2, atol=0)


def test_secants_need_a_path(logistic):
    with pytest.raises(ValueError, match="at least 2"):
        secant_smoothness(logistic, torch.zeros(1, 6, dtype=torch.float64))
    with pytest.raises(ValueError, match="equal"):
        secant_smoothness(logistic, torch.zeros(2, 6, dtype=torch.float64))


def test_labels_other_than_plus_and_minus_one_are_refused():
    with pytest.raises(ValueError, match=r"-1 or 1, found \[0\.0, 1\.0\]"):
        logistic_regression(DenseRows(torch.ones(1, 2, 3)), torch.tensor([[0.0, 1.0]]))
    with pytest.raises(ValueError, match="strength"):
        NonconvexPenalty(-1.0)
