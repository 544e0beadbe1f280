import numpy as np
import pytest
import torch
from scipy import sparse

from assay.papers.optimization.ef21w.method import (
    divide,
    partition_dealt,
    partition_max_variance,
    partition_random,
    partition_sorted,
)

RANDOM = np.random.default_rng(2)
TABLE = RANDOM.normal(size=(47, 5)) * RANDOM.gamma(2.0, size=(47, 1))


def curvatures(rows):
    return np.array([np.linalg.norm(TABLE[numbers], 2) ** 2 for numbers in rows])


def heterogeneity(rows):
    found = divide(TABLE, rows).client_curvatures()
    return float(found.square().mean().sqrt() / found.mean())


@pytest.mark.parametrize("split", [partition_sorted, partition_dealt, partition_max_variance])
def test_parts_are_equal_and_the_last_rows_are_dropped(split):
    rows = split(TABLE, 6)
    assert rows.shape == (6, 7)
    assert sorted(rows.ravel().tolist()) == list(range(42))
    np.testing.assert_array_equal(split(sparse.csr_matrix(TABLE), 6), rows)


def test_random_parts_are_equal_and_follow_their_stream():
    first, second = (partition_random(TABLE, 6, torch.Generator().manual_seed(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert sorted(first.ravel().tolist()) == list(range(42))


def test_sorted_parts_by_hand():
    table = np.array([[3.0], [1.0], [-4.0], [2.0], [9.0]])
    assert partition_sorted(table, 2).tolist() == [[1, 3], [0, 2]]


def test_dealt_parts_by_hand_go_back_and_forth():
    table = np.array([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
    assert partition_dealt(table, 2).tolist() == [[0, 3, 4], [1, 2, 5]]


def greedy_by_trying_all(table, num_clients):
    """The rule as it is stated: every row goes where the variance of the constants is then largest."""
    rows = len(table) - len(table) % num_clients
    room = rows // num_clients
    order = np.argsort((table[:rows] ** 2).sum(1), kind="stable")
    starts = [int(room * (client + 0.5)) for client in range(num_clients)]
    members = [[int(order[start])] for start in starts]
    for row in [int(number) for place, number in enumerate(order) if place not in starts][::-1]:
        variances = {}
        for client in range(num_clients):
            if len(members[client]) < room:
                trial = [[*part, row] if i == client else part for i, part in enumerate(members)]
                variances[client] = np.var(curvatures(trial))
        members[max(variances, key=variances.get)].append(row)
    return members


@pytest.mark.parametrize("num_clients", [2, 6, 15])
def test_greedy_split_equals_trying_every_client(num_clients):
    assert partition_max_variance(TABLE, num_clients).tolist() == greedy_by_trying_all(TABLE, num_clients)


def test_splits_differ_in_heterogeneity_as_meant():
    dealt, sorted_, greedy = (
        heterogeneity(split(TABLE, 6))
        for split in (partition_dealt, partition_sorted, partition_max_variance)
    )
    assert dealt < sorted_
    assert dealt < greedy


@pytest.mark.parametrize("num_clients", [0, 48])
def test_impossible_numbers_of_clients_are_refused(num_clients):
    with pytest.raises(ValueError, match=r"give 1 to 47"):
        partition_sorted(TABLE, num_clients)


def test_one_client_gets_all():
    for split in (partition_sorted, partition_dealt, partition_max_variance):
        assert sorted(split(TABLE, 1)[0].tolist()) == list(range(47))
