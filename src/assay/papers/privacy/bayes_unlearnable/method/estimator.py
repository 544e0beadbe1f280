"""The Bayes error of labelled points, estimated from their neighbours, and its exact gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot

LARGEST_UNCHUNKED = 20_000
"""Points above which the whole kernel is refused: it would take N² numbers."""


@dataclass(frozen=True)
class BayesErrorEstimator:
    """The Bayes error by local averaging of the labels, leaving each point out of its own average.

        k_ij = exp(-|F_i - F_j|² / (2 sigma²))  or  sigmoid(F_i . F_j),     k_ii = 0
        P_i(c) = sum over j with y_j = c of k_ij  /  sum over j of k_ij
        BE = mean over i of (1 - max_c P_i(c))

    The maximum is over all classes: a point whose neighbours all have one wrong label has error 0. Weights
    are normalised in logarithms, so that a point far from all others is decided by its nearest neighbour;
    the released code adds 1e-8 to the sum in place of that and gives such a point error 1.

    The gradient of the mean needs three matrix products a chunk of rows and no [n, n, d] tensor. With c_i the
    class of the maximum, held fixed, and W_ij = P_ij (1[y_j = c_i] - P_i(c_i)) / sigma², whose rows sum to 0:

        dBE/dF = (diag(colsum W) F - (W + W^T) F) / n

    Args:
        kernel: `rbf`, or `logistic`, which has no sigma.
        sigma: width of the RBF kernel, in units of the normalised features.
        normalize: `absmax` divides all features by their largest absolute value, through which the gradient
            passes; `none` takes them as they are.
        chunk: rows of the kernel that are held at a time; None holds all.

    Raises:
        ValueError: an option has no meaning.
    """

    kernel: Literal["rbf", "logistic"] = "rbf"
    sigma: float = 0.3
    normalize: Literal["absmax", "none"] = "absmax"
    chunk: int | None = 256

    def __post_init__(self) -> None:
        if self.kernel not in ("rbf", "logistic") or self.normalize not in ("absmax", "none"):
            raise ValueError(
                "kernel must be rbf or logistic and normalize absmax or none, got"
                f" {self.kernel!r} and {self.normalize!r}"
            )
        if not 0 < self.sigma < math.inf:
            raise ValueError(f"sigma must be above 0, got {self.sigma}")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"chunk must be at least 1 row, or None for all, got {self.chunk}")

    def __call__(self, features: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        """Return the mean as a scalar through which autograd passes, with the gradient above."""
        value: Tensor = _MeanBayesError.apply(features, labels, self)
        return value

    def posterior(self, features: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n c"]:
        """Return P_i(c), the share of each class among a point's neighbours; c = 1 + largest label."""
        points = self._points(features, labels)
        return torch.cat([rows.posterior for rows in points.chunks()])

    def per_sample(self, features: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return 1 - max_c P_i(c) of each point."""
        return 1 - self.posterior(features, labels).amax(1)

    def mean(self, features: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> float:
        """Return the estimated Bayes error, between 0 and 1 - 1/c."""
        return float(self.per_sample(features, labels).mean())

    def gradient(self, features: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """Return the gradient of the mean with respect to the features."""
        return self.mean_and_gradient(features, labels)[1]

    def mean_and_gradient(
        self, features: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> tuple[float, Float[Tensor, "n d"]]:
        """Return the estimated Bayes error and its gradient, from one pass over the kernel.

        Raises:
            ValueError: the labels are not classes from 0 with at least two of them there, the features are
                all 0 or not finite, or there are too many points for a kernel in one piece.
        """
        points = self._points(features, labels)
        error = 0.0
        pulled = torch.zeros_like(points.scaled)  # W F + W^T F
        column_sums = torch.zeros_like(points.scaled[:, 0])
        for rows in points.chunks():
            error += float((1 - rows.own).sum())
            weights = points.weights(rows)
            pulled[rows.start : rows.stop] += weights @ points.scaled
            pulled.addmm_(weights.T, points.scaled[rows.start : rows.stop])
            if self.kernel == "rbf":
                column_sums += weights.sum(0)
        slope = (column_sums[:, None] * points.scaled - pulled) / (len(features) * points.sigma)
        return error / len(features), self._through_normalisation(slope, features)

    # --- features -------------------------------------------------------------------------------

    def _points(self, features: Tensor, labels: Tensor) -> _Points:
        check_labels(labels)
        if not torch.isfinite(features).all():
            raise ValueError(
                "The features hold NaN or infinite values: the network that gives them diverged."
            )
        if self.chunk is None and len(features) > LARGEST_UNCHUNKED:
            raise ValueError(
                f"{len(features)} points need a kernel of {len(features)}² numbers; above {LARGEST_UNCHUNKED}"
                " points set chunk, such as chunk=256."
            )
        sigma = self.sigma if self.kernel == "rbf" else 1.0
        scaled = features.detach() / (self._largest(features) * sigma)
        if self.kernel == "rbf":  # shorter vectors lose less to rounding, and distances stay
            scaled = scaled - scaled.mean(0)
        return _Points(scaled, labels, self.kernel, sigma, self.chunk or len(features))

    def _largest(self, features: Tensor) -> float | Tensor:
        if self.normalize == "none":
            return 1.0
        largest = features.detach().abs().max()
        if largest == 0:
            raise ValueError(
                "All features are 0, so they cannot be normalised: the network that gives them is dead."
            )
        return largest + 1e-8

    def _through_normalisation(self, slope: Tensor, features: Tensor) -> Tensor:
        """Return the gradient with respect to F from that with respect to F / (max |F| + 1e-8)."""
        if self.normalize == "none":
            return slope
        largest = self._largest(features)
        at_largest = features.abs() == features.abs().max()
        share = (slope * features).sum() / largest**2 / at_largest.sum()
        return slope / largest - at_largest * features.sign() * share


def check_labels(labels: Tensor) -> None:
    """Refuse labels that are not classes from 0, or all of one class, whose Bayes error is always 0.

    Raises:
        ValueError: says what the labels are.
    """
    if len(labels) < 2:
        raise ValueError(f"A Bayes error needs at least 2 points, got {len(labels)}.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise ValueError(f"Labels must be classes from 0, got {low}.")
    if low == high:
        raise ValueError(f"All {len(labels)} labels are {low}: with one class the Bayes error is always 0.")


# --- one pass over the kernel ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """Some rows of the kernel, normalised."""

    start: int
    stop: int
    shares: Tensor
    """P_ij, the weight of point j for point i: [rows, n]."""
    slope: Tensor | None
    """The derivative of log k_ij by F_i . F_j, where it is not 1: [rows, n]."""
    spare: Tensor
    """A buffer of the same size."""
    posterior: Tensor
    """P_i(c): [rows, c]."""
    likeliest: Tensor
    """The class of the largest share: [rows]."""
    own: Tensor
    """That share: [rows]."""


@dataclass(frozen=True)
class _Points:
    """Points scaled by the kernel's width, with their classes."""

    scaled: Tensor
    labels: Tensor
    kernel: str
    sigma: float
    size: int

    def chunks(self) -> Iterator[_Rows]:
        """Yield the kernel chunk by chunk. Its buffers are used again by the next chunk."""
        n, size = len(self.scaled), min(self.size, len(self.scaled))
        half_squares = self.scaled.square().sum(1).div_(-2)
        kernel, shares = (self.scaled.new_empty(size, n) for _ in range(2))
        for start in range(0, n, size):
            stop = min(start + size, n)
            logits, weights = kernel[: stop - start], shares[: stop - start]
            torch.mm(self.scaled[start:stop], self.scaled.T, out=logits)
            slope = None
            if self.kernel == "rbf":  # |F_i|² is the same for the whole row and cancels
                logits.add_(half_squares)
            else:
                slope = torch.sigmoid(-logits)
                logits.copy_(logsigmoid(logits))
            logits.diagonal(start).fill_(-torch.inf)
            torch.softmax(logits, 1, out=weights)
            posterior = weights @ self.members.T
            own, likeliest = posterior.max(1)
            yield _Rows(start, stop, weights, slope, logits, posterior, likeliest, own)

    def weights(self, rows: _Rows) -> Tensor:
        """Turn the shares of a chunk into W times sigma², in place."""
        agrees = torch.index_select(self.members, 0, rows.likeliest, out=rows.spare)
        weights = agrees.sub_(rows.own[:, None]).mul_(rows.shares)
        return weights if rows.slope is None else weights.mul_(rows.slope)

    @cached_property
    def members(self) -> Tensor:
        """1 where a point is of a class: [c, n]."""
        return one_hot(self.labels.long()).T.contiguous().to(self.scaled)


class _MeanBayesError(torch.autograd.Function):
    """The mean estimate with the analytic gradient."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, labels: Tensor, estimator: BayesErrorEstimator) -> Tensor:
        value, gradient = estimator.mean_and_gradient(features.detach(), labels)
        ctx.save_for_backward(gradient)
        return features.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return upstream[0] * gradient, None, None
