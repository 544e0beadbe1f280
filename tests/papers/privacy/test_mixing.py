"""Mixing protects the share of rows that was asked for."""

from __future__ import annotations

import pytest
import scipy.stats
import torch

from assay.errors import InputError
from assay.papers.privacy.mixing import mix_rows


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_per_index_gives_a_binomial_share(ratio: float) -> None:
    low, high = scipy.stats.binom.interval(0.999, 2000, ratio)
    assert low <= int(mix_rows(2000, ratio, "per_index", stream()).sum()) <= high


@pytest.mark.parametrize("ratio", [0.0, 0.001, 0.05, 0.5, 1.0])
def test_subset_gives_the_exact_count(ratio: float) -> None:
    assert int(mix_rows(2000, ratio, "subset", stream()).sum()) == round(ratio * 2000)


@pytest.mark.parametrize("mode", ["per_index", "subset"])
def test_the_same_stream_gives_the_same_rows(mode: str) -> None:
    rows = mix_rows(100, 0.5, mode, stream(3))  # type: ignore[arg-type]
    assert torch.equal(rows, mix_rows(100, 0.5, mode, stream(3)))  # type: ignore[arg-type]
    assert not torch.equal(rows, mix_rows(100, 0.5, mode, stream(4)))  # type: ignore[arg-type]


def test_impossible_shares_and_modes_are_refused() -> None:
    with pytest.raises(InputError, match=r"between 0 and 1, got 1\.5"):
        mix_rows(10, 1.5, "subset", stream())
    with pytest.raises(InputError, match="between 0 and 1, got nan"):
        mix_rows(10, float("nan"), "subset", stream())
    with pytest.raises((InputError, TypeError), match="half"):
        mix_rows(10, 0.5, "half", stream())  # type: ignore[arg-type]
