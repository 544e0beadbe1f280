"""A teacher's embeddings and last layer, made by hand, that several tests share."""

from collections import OrderedDict

import pytest
import torch
from torch import nn


class Outputs:
    """Embeddings h, labels y, a last layer W, b and its logits z = W h + b."""

    def __init__(self, rows=400, dimensions=12, classes=2, seed=0, dtype=torch.float64):
        generator = torch.Generator().manual_seed(seed)
        spread = torch.linspace(3, 0.5, dimensions, dtype=dtype)
        centres = torch.randn(classes, dimensions, generator=generator, dtype=dtype)
        mixing = torch.linalg.qr(torch.randn(dimensions, dimensions, generator=generator, dtype=dtype)).Q
        self.y = torch.arange(rows) % classes
        noise = torch.randn(rows, dimensions, generator=generator, dtype=dtype)
        self.h = (noise * spread) @ mixing + centres[self.y]
        self.W = torch.randn(classes, dimensions, generator=generator, dtype=dtype)
        self.b = torch.randn(classes, generator=generator, dtype=dtype)

    @property
    def z(self):
        return self.h @ self.W.T + self.b


@pytest.fixture
def make_outputs():
    return Outputs


@pytest.fixture
def outputs():
    return Outputs()


@pytest.fixture
def teacher():
    """A small network whose last layer is called `head`."""
    torch.manual_seed(0)
    layers = {"body": nn.Linear(5, 8), "act": nn.ReLU(), "dropout": nn.Dropout(0.5), "head": nn.Linear(8, 3)}
    return nn.Sequential(OrderedDict(layers)).eval()
