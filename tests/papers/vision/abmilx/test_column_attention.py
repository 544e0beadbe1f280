"""The attention on one column of values against the matrix of all pairs."""

import math

import pytest
import torch
from torch import Tensor

from assay.papers.vision.abmilx.method import column_attention
from assay.papers.vision.abmilx.method.column_attention import attend_column


def explicit(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    scores = queries @ keys.mT / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None, :], -math.inf)
    return (scores.softmax(-1) @ values[..., None]).squeeze(-1)


def given(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    shapes = (2, 3, 11, 4), (2, 3, 11, 4), (2, 3, 11)
    return [torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes]


@pytest.fixture
def by_rows(monkeypatch):
    """A few rows at a time: 11 instances take several turns, the last one a short one."""
    monkeypatch.setattr(column_attention, "SMALL", 0)
    monkeypatch.setattr(column_attention, "AT_ONCE", 2 * 3 * 11 * 4)


@pytest.mark.parametrize("masked", [False, True])
def test_values_and_gradients_are_those_of_the_matrix(by_rows, masked):
    tensors, weights = given(), torch.randn(2, 3, 11, dtype=torch.float64)
    mask = torch.arange(11) < torch.tensor([[11], [5]]) if masked else None
    found, expected = attend_column(*tensors, mask), explicit(*tensors, mask)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), tensors),
        torch.autograd.grad((expected * weights).sum(), tensors),
    )


def test_rows_at_a_time_are_what_the_fused_attention_gives(monkeypatch):
    tensors = given(torch.float32)
    fused = attend_column(*tensors)
    monkeypatch.setattr(column_attention, "SMALL", 0)
    torch.testing.assert_close(attend_column(*tensors), fused)


def test_half_precision_is_computed_in_single(by_rows):
    tensors = given(torch.bfloat16)
    found = attend_column(*tensors)
    wide = explicit(*(tensor.float() for tensor in tensors), None)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, wide.bfloat16())
    found.sum().backward()
    assert all(tensor.grad.dtype == torch.bfloat16 for tensor in tensors)
