"""Smoothness constants: of f as a whole, of each client, and their means.

f is L-smooth and f_i is L_i-smooth. L <= L_AM <= L_QM for the arithmetic and the quadratic mean of the L_i;
the difference of the two means is what the paper's step size gains.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class SmoothnessProfile:
    """The constants L and L_i. `guaranteed` is False where they were estimated, so that no theorem applies.

    Raises ValueError where a constant is not a finite number above zero.
    """

    L: float
    L_i: Float[Tensor, " n"]
    guaranteed: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.L) and self.L > 0):
            raise ValueError(f"L is {self.L}: smoothness constants must be finite and above 0.")
        bad = ~(torch.isfinite(self.L_i) & (self.L_i > 0))
        if bad.any():
            client = int(bad.nonzero()[0])
            raise ValueError(
                f"L_i of client {client} is {float(self.L_i[client])}: smoothness constants must be finite "
                "and above 0. A client whose rows are all zero has none unless there is a regulariser."
            )

    @property
    def am(self) -> float:
        """L_AM = (1/n) sum_i L_i."""
        return float(self.L_i.mean())

    @property
    def qm(self) -> float:
        """L_QM = sqrt((1/n) sum_i L_i^2)."""
        return float(self.L_i.square().mean().sqrt())

    @property
    def var(self) -> float:
        """L_var = L_QM^2 - L_AM^2, the variance of the L_i."""
        return float(self.L_i.var(correction=0))

    def weights(self, floor: float = 0.0) -> Float[Tensor, " n"]:
        """Return w_i = L_i / sum_j L_j, mixed with 1/n by the share `floor`: w_i >= floor/n, sum w_i = 1.

        A client with a tiny L_i would have its gradient multiplied by 1/(n w_i) = L_AM/L_i; a floor of
        1e-3 bounds the factor by 1000. The step size of the theory does not depend on the weights.
        """
        if not 0 <= floor <= 1:
            raise ValueError(f"floor is {floor}: give a share from 0 to 1.")
        return (1.0 - floor) * self.L_i / self.L_i.sum() + floor / len(self.L_i)


def checked_weights(weights: Any, clients: int) -> Float[Tensor, " n"]:
    """Return one weight a client, as float64; None is 1/n each.

    Raises ValueError where they are not above 0 with sum 1.
    """
    if weights is None:
        return torch.full((clients,), 1.0 / clients, dtype=torch.float64)
    given = torch.as_tensor(weights, dtype=torch.float64)
    if given.shape != (clients,) or not (given > 0).all() or abs(float(given.sum()) - 1.0) > 1e-6:
        raise ValueError(
            f"weights of shape {tuple(given.shape)} with sum {float(given.sum()):.6g} given: "
            f"there must be {clients} of them, above 0, with sum 1."
        )
    return given


@dataclass(frozen=True)
class FeatureSupport:
    """Which coordinates of the gradient each client can touch."""

    owners: Bool[Tensor, "n d"]

    @property
    def widest_client(self) -> int:
        """r, the largest number of features that a client has."""
        return int(self.owners.sum(1).max())

    @property
    def commonest_feature(self) -> int:
        """c = max_j |S_j|, the largest number of clients that share a feature."""
        return int(self.owners.sum(0).max())

    def share(self, weights: Float[Tensor, " n"] | None = None) -> float:
        """Return C_w = max_j sum over S_j of w_i; c/n for equal weights."""
        if weights is None:
            return self.commonest_feature / len(self.owners)
        return float((self.owners.to(weights) * weights[:, None]).sum(0).max())


def clone_plan(L_i: Sequence[float] | Float[Tensor, " n"]) -> list[int]:
    """Return N_i = ceil(L_i / L_AM), into how many clones the paper's thought experiment splits client i.

    n <= sum N_i <= 2n. The clones of client i hold (N/(n N_i)) f_i each; plain EF21 on them, whose
    quadratic mean is at most sqrt(2) L_AM, is the paper's way to the weights of EF21-W.
    """
    constants = torch.as_tensor(L_i, dtype=torch.float64)
    profile = SmoothnessProfile(float(constants.max()), constants)
    # a ratio that is whole but for rounding must not gain a clone
    return [max(1, math.ceil(ratio - 1e-12)) for ratio in (constants / profile.am).tolist()]


def estimate_smoothness(
    problem: Any, x: Float[Tensor, " d"], iterations: int = 100, generator: torch.Generator | None = None
) -> SmoothnessProfile:
    """Estimate L and all L_i as the largest curvature at x, by power iteration on `problem.hessian_products`.

    v_i <- H_i v_i / ||H_i v_i||; ||H_i v_i|| tends from below to the largest magnitude of an eigenvalue.
    The curvature may be larger elsewhere, so no convergence guarantee holds with these constants.
    """
    shape = (problem.num_clients, problem.dimension)
    start = torch.randn(shape, generator=generator, dtype=x.dtype)

    def whole(vectors: Tensor) -> Tensor:
        found: Tensor = problem.hessian_products(x, vectors.expand(shape)).mean(0, keepdim=True)
        return found

    L_i = _power_iteration(functools.partial(problem.hessian_products, x), start, iterations)
    L = _power_iteration(whole, start[:1], iterations)
    return SmoothnessProfile(float(L), L_i, guaranteed=False)


def _power_iteration(product: Callable[[Tensor], Tensor], vectors: Tensor, iterations: int) -> Tensor:
    norms: Tensor = vectors.norm(dim=1)
    for _ in range(iterations):
        vectors = product(vectors / norms[:, None].clamp(min=torch.finfo(vectors.dtype).tiny))
        norms = vectors.norm(dim=1)
    return norms


def secant_smoothness(problem: Any, points: Float[Tensor, "t d"]) -> SmoothnessProfile:
    """Estimate L_i as max_t ||grad f_i(x_t) - grad f_i(x_{t-1})|| / ||x_t - x_{t-1}|| along a path.

    Needs nothing but `problem.gradients`. A lower bound of the true constants, so no guarantee holds.
    """
    if len(points) < 2:
        raise ValueError(f"secants need at least 2 points, got {len(points)}.")
    distances = points.diff(dim=0).norm(dim=1)
    if (distances == 0).any():
        raise ValueError("two neighbouring points are equal: a secant needs a step.")
    local, whole = [], []
    for (before, after), distance in zip(pairwise(map(problem.gradients, points)), distances, strict=True):
        local.append((after - before).norm(dim=1) / distance)
        whole.append((after - before).mean(0).norm() / distance)
    return SmoothnessProfile(float(torch.stack(whole).max()), torch.stack(local).amax(0), guaranteed=False)
