"""The schedules of the learning rate."""

import itertools

import pytest

from assay.training import warmup_cosine


def test_the_learning_rate_rises_along_a_line_then_falls_along_a_cosine() -> None:
    share = warmup_cosine(20, warmup=4)
    shares = [share(step) for step in range(22)]
    assert shares[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert shares[12] == pytest.approx(0.5)
    assert all(later < sooner for sooner, later in itertools.pairwise(shares[4:21]))
    assert shares[20:] == [0.0, 0.0]


def test_without_a_warmup_it_starts_at_its_highest() -> None:
    assert warmup_cosine(10)(0) == 1.0
    assert warmup_cosine(0)(0) == 1.0
