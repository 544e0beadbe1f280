"""Small models and labelled batches that several tests share."""

import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def labelled():
    """Batches of points in the plane, labelled by the side of a diagonal on which they lie."""

    def make(rows=600, seed=3):
        inputs = torch.randn(rows, 2, generator=torch.Generator().manual_seed(seed))
        return [(part, (part.sum(dim=1) > 0).long()) for part in inputs.split(50)]

    return make


@pytest.fixture(scope="session")
def trained(labelled):
    """A small network after some steps on such points."""

    def make(width, steps, seed):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 2))
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        inputs, labels = (torch.cat(parts) for parts in zip(*labelled(seed=9), strict=True))
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
        return model.eval()

    return make
