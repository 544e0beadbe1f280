"""Small pictures whose classes differ, and a small network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from assay.models import ConvNet


@pytest.fixture
def pictures() -> tuple[Tensor, Tensor]:
    """Return 48 pictures of 3x8x8 whose three classes differ in brightness, with noise."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(48) % 3
    noise = 0.15 * torch.rand(48, 3, 8, 8, generator=random)
    return 0.2 + 0.2 * labels.view(-1, 1, 1, 1) + noise, labels


@pytest.fixture
def make_model() -> Callable[[], nn.Module]:
    """Return what gives a new small network of three classes."""
    return lambda: ConvNet(3, 3, width=4, depth=2)
