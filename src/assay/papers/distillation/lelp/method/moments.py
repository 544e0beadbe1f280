"""Mean and covariance of one class's embeddings, gathered chunk by chunk."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy import linalg
from torch import Tensor


class ClassMoments:
    """Streams the mean m and the covariance E[(h - m)(h - m)^T] of rows h in R^D.

    Up to D rows are kept as they are (D > N: their singular vectors are exact, and cheaper than a D x D
    matrix). Further ones are folded into one float64 D x D scatter matrix, so memory never exceeds that and a
    chunk.

    Rows are shifted by the mean of the first chunk before they are multiplied, so a large common offset costs
    no digits. A chunk's product is taken in the precision of its rows (half precision as float32) and added
    up in
    float64: with float32 rows the covariance is right to about 1e-7 of its largest eigenvalue.
    """

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.count = 0
        self._reference = torch.zeros(dimensions)
        self._sum = torch.zeros(dimensions, dtype=torch.float64)
        self._kept: list[Tensor] = []
        self._scatter: Tensor | None = None  # lower triangle

    def add(self, rows: Float[Tensor, "n d"]) -> None:
        """Add rows of this class. The tensor is taken over: it is shifted in place.

        Raises:
            ValueError: a row has a NaN or infinite value.
        """
        if rows.dtype in (torch.float16, torch.bfloat16):
            rows = rows.float()
        if self.count == 0:
            self._reference = rows.mean(0)
            self._sum = self._sum.to(rows.device)
        rows -= self._reference
        total = rows.new_ones(len(rows)) @ rows
        if not torch.isfinite(total).all():
            raise ValueError("The embeddings have NaN or infinite values.")
        self._sum += total
        self.count += len(rows)
        self._kept.append(rows)
        if self.count > self.dimensions:
            self._fold()

    def mean(self) -> Float64[Tensor, " d"]:
        """Return m."""
        return self._reference.double() + self._sum / self.count

    def total_variance(self) -> float:
        """Return the trace of the covariance."""
        if self._scatter is None:
            return self._centred().square().sum().item() / self.count
        return self._covariance().trace().item()

    def variances_along(self, directions: Float64[Tensor, "k d"]) -> Float64[Tensor, " k"]:
        """Return u^T Cov u for every row u."""
        directions = directions.to(self._sum.device)
        if self._scatter is None:
            return (self._centred() @ directions.T).square().mean(0).cpu()
        return ((directions @ self._covariance()) * directions).sum(1).cpu()

    def principal(
        self, removed: Float64[Tensor, "r d"], k: int
    ) -> tuple[Float64[Tensor, "j d"], Float64[Tensor, " j"]]:
        """Return the top principal directions of P h, P = I - B^T B with B = `removed`, and their variances.

        There are j = min(k, D, N) of them, largest variance first, each with its largest entry positive.
        """
        removed = removed.to(self._sum.device)
        if self._scatter is None:
            directions, variances = self._from_rows(removed, k)
        else:
            directions, variances = self._from_covariance(removed, k)
        return fix_signs(directions), variances

    def _fold(self) -> None:
        if self._scatter is None:
            self._scatter = self._sum.new_zeros(self.dimensions, self.dimensions)
        for rows in self._kept:
            self._scatter += lower_gram(rows)
        self._kept = []

    def _from_rows(self, removed: Tensor, k: int) -> tuple[Tensor, Tensor]:
        rows = self._centred()
        rows -= (rows @ removed.T) @ removed
        _, singular, directions = torch.linalg.svd(rows, full_matrices=False)
        return directions[:k].cpu(), singular[:k].square().cpu() / self.count

    def _from_covariance(self, removed: Tensor, k: int) -> tuple[Tensor, Tensor]:
        covariance = self._covariance()
        covariance -= removed.T @ (removed @ covariance)
        covariance -= (covariance @ removed.T) @ removed
        top = (self.dimensions - min(k, self.dimensions), self.dimensions - 1)
        variances, directions = linalg.eigh(covariance.cpu().numpy(), subset_by_index=top, overwrite_a=True)
        return torch.from_numpy(directions.T[::-1].copy()), torch.from_numpy(variances[::-1].copy())

    def _centred(self) -> Tensor:
        return torch.cat(self._kept).double() - self._sum / self.count

    def _covariance(self) -> Tensor:
        assert self._scatter is not None
        offset = self._sum / self.count
        scatter = self._scatter.tril() + self._scatter.tril(-1).T
        return scatter / self.count - torch.outer(offset, offset)


def lower_gram(rows: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """Return X^T X; only its lower triangle is to be read."""
    if rows.device.type != "cpu":
        return rows.T @ rows
    a = rows.numpy().T
    (syrk,) = linalg.get_blas_funcs(("syrk",), (a,))  # half the work of a general product
    return torch.from_numpy(syrk(1.0, a).T)


def fix_signs(directions: Float64[Tensor, "k d"]) -> Float64[Tensor, "k d"]:
    """Flip each row so that its entry of largest magnitude is positive."""
    largest = directions.abs().argmax(1, keepdim=True)
    return directions * directions.gather(1, largest).sign()


def row_space(weight: Float[Tensor, "c d"], *, centered: bool = False) -> Float64[Tensor, "r d"]:
    """Return an orthonormal basis B of the rows of W, so that I - W^+ W = I - B^T B.

    `centered` takes the rows less their mean: the differences between classes, all that a softmax sees.
    """
    rows = weight.detach().double()
    rows = rows - rows.mean(0) if centered else rows
    _, singular, basis = torch.linalg.svd(rows, full_matrices=False)
    tolerance = max(rows.shape) * torch.finfo(weight.dtype).eps * singular.amax()
    spanned: Tensor = basis[singular > tolerance]
    return spanned


def random_rotation(size: int, generator: np.random.Generator) -> Float64[Tensor, "s s"]:
    """Draw an orthogonal matrix from the Haar measure: Q of a Gaussian's QR, with diag(R) made positive."""
    q, r = np.linalg.qr(generator.standard_normal((size, size)))
    rotation: Tensor = torch.from_numpy(q * np.sign(np.diag(r)))
    return rotation
