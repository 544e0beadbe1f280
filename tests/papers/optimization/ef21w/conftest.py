"""Small problems that the tests of EF21 share."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from assay.papers.optimization.ef21w.method import (
    DenseRows,
    LinearModel,
    NonconvexPenalty,
    least_squares,
    logistic_regression,
)


@pytest.fixture
def random_stream() -> torch.Generator:
    return torch.Generator().manual_seed(11)


@pytest.fixture
def logistic(random_stream: torch.Generator) -> LinearModel:
    """Five clients with seven rows of six features; the last clients' rows are longer."""
    blocks = torch.randn(5, 7, 6, generator=random_stream, dtype=torch.float64)
    blocks *= torch.linspace(0.3, 3.0, 5, dtype=torch.float64)[:, None, None]
    labels = torch.where(torch.rand(5, 7, generator=random_stream) < 0.5, -1.0, 1.0).double()
    return logistic_regression(DenseRows(blocks), labels, NonconvexPenalty(1e-2))


@pytest.fixture
def make_quadratic() -> Callable[..., LinearModel]:
    """Least squares over random blocks; `scale` multiplies f by its square, `owners` masks features."""

    def make(clients: int = 6, rows: int = 8, dimension: int = 12, seed: int = 0, scale: float = 1.0,
             owners: Tensor | None = None) -> LinearModel:  # fmt: skip
        stream = torch.Generator().manual_seed(seed)
        blocks = torch.randn(clients, rows, dimension, generator=stream, dtype=torch.float64)
        blocks *= torch.rand(clients, 1, 1, generator=stream, dtype=torch.float64) * 2.0 + 0.1
        if owners is not None:
            blocks *= owners[:, None, :]
        targets = torch.randn(clients, rows, generator=stream, dtype=torch.float64)
        return least_squares(DenseRows(scale * blocks), scale * targets)

    return make
