"""Mean and covariance of one class's embeddings, gathered chunk by chunk."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy import linalg
from scipy.linalg import blas
from torch import Tensor


class ClassMoments:
    """Streams the mean m and the covariance E[(h - m)(h - m)^T] of rows h in R^D.

    Rows are kept as they are while there are at most D of them (D > N: their singular vectors are cheaper than a
    D x D matrix, and exact) and folded into one float64 D x D scatter matrix once there are more, so memory
    never exceeds the larger of a chunk and D^2 numbers.

    Rows are shifted by the mean of the first chunk before they are multiplied, so a large common offset costs
    no digits. A chunk's product is taken in the precision of its rows (half precision as float32); the sums
    over chunks are float64.
    """

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.count = 0
        self._reference = torch.zeros(dimensions)
        self._sum = torch.zeros(dimensions, dtype=torch.float64)
        self._kept: list[Tensor] = []
        self._scatter: Tensor | None = None

    def add(self, rows: Float[Tensor, "n d"]) -> None:
        """Add rows of this class; they are not modified.

        Raises:
            ValueError: a row has a NaN or infinite value; nothing is added then.
        """
        rows = rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
        if self.count == 0:
            self._reference = rows.mean(0)
            self._sum = self._sum.to(rows.device)
        shifted = rows.sub_(self._reference)
        total = shifted.new_ones(len(rows)) @ shifted
        if not torch.isfinite(total).all():
            raise ValueError(f"The embeddings have NaN or infinite values, among {len(rows)} rows of one class.")
        self._sum += total
        self.count += len(rows)
        if self._scatter is not None:
            self._scatter += gram(shifted)
            return
        self._kept.append(shifted)
        if self.count > self.dimensions:
            self._scatter = sum_of_grams(self._kept)
            self._kept = []

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
        offset = self._sum / self.count
        return self._scatter / self.count - torch.outer(offset, offset)


def gram(rows: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """Return X^T X."""
    if rows.device.type == "cpu":
        # NumPy recognises X^T X and calls the symmetric routine: half the work of a general product.
        a = rows.numpy()
        return torch.from_numpy(blas.ssyrk(1.0, a.T)).T
    return rows.T @ rows


def sum_of_grams(parts: list[Tensor]) -> Float64[Tensor, "d d"]:
    """Return the float64 sum of X^T X over the parts."""
    total = gram(parts[0]).double()
    for part in parts[1:]:
        total += gram(part)
    return total


def fix_signs(directions: Float64[Tensor, "k d"]) -> Float64[Tensor, "k d"]:
    """Flip each row so that its entry of largest magnitude is positive."""
    largest = directions.abs().argmax(1, keepdim=True)
    return directions * directions.gather(1, largest).sign()


def row_space(weight: Float[Tensor, "c d"], centered: bool = False) -> Float64[Tensor, "r d"]:
    """Return an orthonormal basis B of the rows of W, so that I - W^+ W = I - B^T B.

    `centered` takes the rows minus their mean: the differences between classes, all that a softmax sees.
    """
    rows = weight.detach().double()
    rows = rows - rows.mean(0) if centered else rows
    _, singular, basis = torch.linalg.svd(rows, full_matrices=False)
    tolerance = max(rows.shape) * torch.finfo(weight.dtype).eps * singular.amax().clamp_min(1e-300)
    return basis[singular > tolerance]


def random_rotation(size: int, generator: np.random.Generator) -> Float64[Tensor, "s s"]:
    """Draw an orthogonal matrix from the Haar measure: the Q of a Gaussian's QR, with diag(R) made positive."""
    q, r = np.linalg.qr(generator.standard_normal((size, size)))
    return torch.from_numpy(q * np.sign(np.diag(r)))
