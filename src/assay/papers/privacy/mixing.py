"""Which pictures of a data set are taken in their protected form."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from assay.errors import InputError

Mode = Literal["per_index", "subset"]


def mix_rows(n: int, ratio: float, mode: Mode, generator: torch.Generator) -> Bool[Tensor, " n"]:
    """Return True for the rows that are protected.

    Args:
        n: number of rows.
        ratio: the share of protected rows, from 0 to 1.
        mode: `per_index` decides each row by itself, `subset` takes exactly round(ratio * n) of them.
        generator: draws the rows; the same state gives the same rows.

    Raises:
        InputError: the ratio is no share, or the mode is unknown.
    """
    if not 0 <= ratio <= 1:
        raise InputError(f"The share of protected pictures must be between 0 and 1, got {ratio:g}.")
    if mode == "per_index":
        return torch.rand(n, generator=generator) < ratio
    if mode == "subset":
        protected = torch.zeros(n, dtype=torch.bool)
        protected[torch.randperm(n, generator=generator)[: round(ratio * n)]] = True
        return protected
    raise InputError(f"There is no way {mode!r} to mix. Known: per_index, subset.")
