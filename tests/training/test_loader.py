"""Batches hold every row once, in the generator's order, and share it between processes without loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st

from assay.training import batches


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(rows=st.integers(1, 40), batch_size=st.integers(1, 12))
def test_a_pass_holds_every_row_once_with_its_label(rows: int, batch_size: int) -> None:
    numbers = torch.arange(rows)
    loader = batches(numbers, 10 * numbers, batch_size=batch_size, generator=seeded())
    parts = list(loader)
    assert len(parts) == len(loader) == -(-rows // batch_size)
    assert all(len(part) == batch_size for part, _ in parts[:-1])
    assert sorted(torch.cat([part for part, _ in parts]).tolist()) == list(range(rows))
    assert all(torch.equal(labels, 10 * part) for part, labels in parts)


def test_the_order_is_that_of_the_generator_and_new_in_each_pass() -> None:
    loader = batches(torch.arange(20), batch_size=20, generator=seeded(3))
    passes = [part for _ in range(2) for (part,) in loader]
    generator = seeded(3)
    assert all(torch.equal(part, torch.randperm(20, generator=generator)) for part in passes)
    assert not torch.equal(*passes)


def test_unshuffled_batches_keep_the_order() -> None:
    parts = [part.tolist() for (part,) in batches(torch.arange(5), batch_size=2, shuffle=False)]
    assert parts == [[0, 1], [2, 3], [4]]


def test_the_small_last_batch_can_be_dropped() -> None:
    loader = batches(torch.arange(5), batch_size=2, shuffle=False, drop_last=True)
    assert [part.tolist() for (part,) in loader] == [[0, 1], [2, 3]]
    assert len(loader) == 2


@given(rows=st.integers(4, 40), batch_size=st.integers(1, 6), processes=st.integers(2, 4))
def test_shards_together_are_the_batches_of_one_process(rows: int, batch_size: int, processes: int) -> None:
    numbers = torch.arange(rows)
    whole = list(batches(numbers, batch_size=batch_size * processes, generator=seeded()))
    shards = [
        list(batches(numbers, batch_size=batch_size, generator=seeded()).shard(rank, processes))
        for rank in range(processes)
    ]
    assert all(len(shard) == len(whole) for shard in shards)
    for step, (expected,) in enumerate(whole):
        parts = [shard[step][0] for shard in shards]
        assert len({len(part) for part in parts}) == 1
        joined = torch.cat(parts)
        assert torch.equal(joined[: len(expected)], expected)
        assert 0 <= len(joined) - len(expected) < processes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"tensors": (torch.zeros(2), torch.zeros(3)), "batch_size": 1},
            r"same number of rows, not \[2, 3\]",
        ),
        ({"tensors": (), "batch_size": 1}, "same number of rows"),
        ({"tensors": (torch.zeros(2),), "batch_size": 0}, "at least 1, not 0"),
        ({"tensors": (torch.zeros(2),), "batch_size": 1, "generator": None}, "needs a generator"),
        ({"tensors": (torch.zeros(2),), "batch_size": 3, "drop_last": True}, "2 rows give no batch of 3"),
        ({"tensors": (torch.zeros(0),), "batch_size": 3}, "0 rows give no batch"),
    ],
)
def test_what_gives_no_batches_is_refused(arguments: dict, message: str) -> None:
    tensors = arguments.pop("tensors")
    with pytest.raises(ValueError, match=message):
        batches(*tensors, **({"generator": seeded()} | arguments))


def test_fewer_rows_than_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="2 rows cannot be shared by 3 processes"):
        batches(torch.zeros(2), batch_size=1, generator=seeded()).shard(0, 3)
