import numpy as np
import pytest
import torch
from scipy import sparse

from assay.papers.optimization.ef21w.method import (
    EF21,
    DenseRows,
    NonconvexPenalty,
    SparseRows,
    TopK,
    divide,
    logistic_regression,
)

RANDOM = np.random.default_rng(5)
TABLE = RANDOM.normal(size=(23, 9)) * (RANDOM.random((23, 9)) < 0.3)
TABLE[:, 0] = 1.0
CLIENTS = [[4, 0, 9], [1, 2, 3, 22, 20], [5], list(range(10, 20))]
LABELS = np.where(RANDOM.random(23) < 0.5, -1.0, 1.0)


@pytest.fixture(params=["dense", "sparse"])
def rows(request):
    return divide(TABLE if request.param == "dense" else sparse.csr_matrix(TABLE), CLIENTS)


def by_client(values):
    return [torch.from_numpy(values[numbers]) for numbers in CLIENTS]


def test_a_table_becomes_the_layout_it_comes_in():
    assert isinstance(divide(TABLE, CLIENTS), DenseRows)
    assert isinstance(divide(sparse.csr_array(TABLE), CLIENTS), SparseRows)


def test_products_equal_those_of_the_clients_one_by_one(rows):
    x = torch.from_numpy(RANDOM.normal(size=9))
    vectors = torch.from_numpy(RANDOM.normal(size=(4, 9)))
    coefficients = [torch.from_numpy(RANDOM.normal(size=len(numbers))) for numbers in CLIENTS]
    blocks = by_client(TABLE)
    torch.testing.assert_close(rows.margins(x), rows.arrange([block @ x for block in blocks]))
    expected = [block @ vector for block, vector in zip(blocks, vectors, strict=True)]
    torch.testing.assert_close(rows.client_margins(vectors), rows.arrange(expected))
    sums = [block.T @ part for block, part in zip(blocks, coefficients, strict=True)]
    torch.testing.assert_close(rows.combine(rows.arrange(coefficients)), torch.stack(sums))


def test_curvatures_equal_numpys_norms(rows):
    blocks = [TABLE[numbers] for numbers in CLIENTS]
    expected = [np.linalg.norm(block, 2) ** 2 / len(block) for block in blocks]
    np.testing.assert_allclose(rows.client_curvatures().numpy(), expected, rtol=1e-10)
    mean = sum(block.T @ block / len(block) for block in blocks) / 4
    assert rows.whole_curvature() == pytest.approx(np.linalg.eigvalsh(mean)[-1])


def test_whole_curvature_of_many_features_comes_from_products_alone(monkeypatch):
    rows = divide(sparse.csr_matrix(TABLE), CLIENTS)
    expected = rows.whole_curvature()
    monkeypatch.setattr("assay.papers.optimization.ef21w.method.rows.DENSE_EIGENPROBLEM", 3)
    assert rows.whole_curvature() == pytest.approx(expected, rel=1e-10)


def test_supports_are_the_features_with_entries(rows):
    expected = np.stack([(TABLE[numbers] != 0).any(0) for numbers in CLIENTS])
    np.testing.assert_array_equal(rows.supports().numpy(), expected)


def test_shares_sum_to_one_for_each_client(rows):
    ones = rows.arrange([torch.ones(len(numbers), dtype=torch.float64) for numbers in CLIENTS])
    assert float((rows.shares * ones).sum()) == pytest.approx(4.0)
    assert rows.counts.tolist() == [3, 5, 1, 10]


def test_a_sample_has_the_wanted_rows_and_is_unbiased(rows):
    stream = torch.Generator().manual_seed(0)
    mean = torch.zeros_like(rows.shares)
    for _ in range(4000):
        drawn = rows.sample(2, stream)
        mean += drawn / 4000
        assert float(drawn.sum()) == pytest.approx(4.0)
    assert set(drawn[drawn > 0].tolist()) == {0.5, 1.0}  # the client with one row uses it whole
    torch.testing.assert_close(mean, rows.shares, atol=0.03, rtol=0)


def test_a_sample_of_everything_is_everything(rows):
    assert torch.equal(rows.sample(10, torch.Generator().manual_seed(1)), rows.shares)


def test_dense_and_sparse_runs_are_the_same():
    histories = []
    for table in (TABLE, sparse.csr_matrix(TABLE)):
        problem = logistic_regression(divide(table, CLIENTS), by_client(LABELS), NonconvexPenalty(1e-3))
        result = EF21(problem, TopK(2)).run(torch.zeros(9, dtype=torch.float64), 50)
        histories.append(result)
    torch.testing.assert_close(histories[0].x, histories[1].x, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(histories[0].history, histories[1].history, rtol=1e-9)


def test_gradients_equal_autograd(rows):
    problem = logistic_regression(rows, by_client(LABELS), NonconvexPenalty(0.3))
    x = torch.from_numpy(RANDOM.normal(size=9)).requires_grad_()
    for client, (block, labels) in enumerate(zip(by_client(TABLE), by_client(LABELS), strict=True)):
        loss = torch.nn.functional.softplus(-labels * (block @ x)).mean() + 0.3 * (x**2 / (1 + x**2)).sum()
        (expected,) = torch.autograd.grad(loss, x)
        torch.testing.assert_close(problem.gradients(x.detach())[client], expected)


def test_a_client_without_rows_and_missing_targets_are_refused():
    with pytest.raises(ValueError, match="no rows"):
        SparseRows(sparse.csr_matrix(TABLE), [[0, 1], []])
    with pytest.raises(ValueError, match="no rows"):
        DenseRows(torch.ones(2, 3, 4), torch.tensor([3, 0]))
    for table in (TABLE, sparse.csr_matrix(TABLE)):
        with pytest.raises(ValueError, match="rows, but the values"):
            logistic_regression(divide(table, CLIENTS), [*by_client(LABELS)[:3], torch.ones(2)])
