"""Finite sums f(x) = (1/n) sum_i f_i(x): the mean over n clients of a mean over each client's data.

Clients of unequal size count equally, whatever the number of their rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn
from torch.func import functional_call, grad, vmap

from .rows import Rows
from .smoothness import SmoothnessProfile

Point = Float[Tensor, " d"]
PerClient = Float[Tensor, "n d"]


@runtime_checkable
class FiniteSum(Protocol):
    """What the simulator asks of a problem."""

    num_clients: int
    dimension: int

    def value(self, x: Point) -> float:
        """Return f(x)."""

    def gradients(self, x: Point) -> PerClient:
        """Return grad f_i(x) for every client."""

    def minibatch_gradients(self, x: Point, size: int, generator: Generator) -> PerClient:
        """Return for every client an unbiased estimate of grad f_i(x) from `size` of its samples."""


# --- linear models: closed forms --------------------------------------------------------------------------


@dataclass(frozen=True)
class Loss:
    """A loss l(z, y) of a margin z = a^T x and a target y, elementwise, with its derivatives in z.

    `smoothness` is the largest second derivative.
    """

    smoothness: float
    value: Callable[[Tensor, Tensor], Tensor]
    derivative: Callable[[Tensor, Tensor], Tensor]
    curvature: Callable[[Tensor, Tensor], Tensor]


LOGISTIC = Loss(
    0.25,
    value=lambda z, y: nn.functional.softplus(-y * z),
    derivative=lambda z, y: -y * torch.sigmoid(-y * z),
    curvature=lambda z, y: torch.sigmoid(z) * torch.sigmoid(-z),
)
"""log(1 + exp(-y z)) for y in {-1, 1}; its second derivative is largest at z = 0: 1/4."""
SQUARED = Loss(
    2.0,
    value=lambda z, y: (z - y).square(),
    derivative=lambda z, y: 2.0 * (z - y),
    curvature=lambda z, y: torch.full_like(z, 2.0),
)
"""(z - y)^2, with second derivative 2."""


@dataclass(frozen=True)
class L2Penalty:
    """r(x) = (lambda/2) ||x||^2, with second derivative lambda; lambda = 0 is no regulariser.

    A penalty is the same for every client and counted once. `smoothness` is the largest magnitude of a second
    derivative, `curvature` the diagonal of the Hessian.
    """

    strength: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise ValueError(f"the regulariser's strength is {self.strength}: give a number from 0 up.")

    @property
    def smoothness(self) -> float:
        return self.strength

    def value(self, x: Tensor) -> Tensor:
        return 0.5 * self.strength * x.square().sum()

    def gradient(self, x: Tensor) -> Tensor:
        return self.strength * x

    def curvature(self, x: Tensor) -> Tensor:
        return torch.full_like(x, self.strength)


@dataclass(frozen=True)
class NonconvexPenalty(L2Penalty):
    """r(x) = lambda sum_j x_j^2 / (1 + x_j^2); its second derivative lies in lambda [-1/2, 2]."""

    @property
    def smoothness(self) -> float:
        return 2.0 * self.strength  # which the second derivative reaches at x = 0

    def value(self, x: Tensor) -> Tensor:
        squared = x.square()
        return self.strength * (squared / (1.0 + squared)).sum()

    def gradient(self, x: Tensor) -> Tensor:
        return 2.0 * self.strength * x / (1.0 + x.square()).square()

    def curvature(self, x: Tensor) -> Tensor:
        squared = x.square()
        return self.strength * (2.0 - 6.0 * squared) / (1.0 + squared).pow(3)


class LinearModel:
    """f_i(x) = (1/n_i) sum over the rows (a, y) of client i of l(a^T x, y), plus r(x).

    All clients are computed at once: a round costs two products with the whole table.
    """

    def __init__(
        self, rows: Rows, targets: Sequence[Tensor] | Tensor, loss: Loss, penalty: L2Penalty
    ) -> None:
        """Take the divided rows, and the targets client by client (or row-shaped)."""
        self.rows, self.loss, self.penalty = rows, loss, penalty
        self.num_clients, self.dimension = rows.num_clients, rows.dimension
        self.targets = targets if isinstance(targets, Tensor) else rows.arrange(targets)
        if self.targets.shape != rows.shares.shape:
            raise ValueError(
                f"the rows have the shape {tuple(rows.shares.shape)}, "
                f"the targets {tuple(self.targets.shape)}."
            )

    def value(self, x: Point) -> float:
        losses = self.loss.value(self.rows.margins(x), self.targets)
        return float((self.rows.shares * losses).sum() / self.num_clients + self.penalty.value(x))

    def gradients(self, x: Point) -> PerClient:
        return self._gradients(x, self.rows.shares)

    def minibatch_gradients(self, x: Point, size: int, generator: Generator) -> PerClient:
        """Return estimates from `size` rows of each client, drawn without replacement."""
        return self._gradients(x, self.rows.sample(size, generator))

    def _gradients(self, x: Tensor, row_weights: Tensor) -> Tensor:
        slopes = self.loss.derivative(self.rows.margins(x), self.targets)
        return self.rows.combine(row_weights * slopes) + self.penalty.gradient(x)

    def hessian_products(self, x: Point, vectors: PerClient) -> PerClient:
        """Return H_i v_i with the Hessian H_i of f_i at x."""
        curvatures = self.rows.shares * self.loss.curvature(self.rows.margins(x), self.targets)
        products = self.rows.combine(curvatures * self.rows.client_margins(vectors))
        return products + self.penalty.curvature(x) * vectors

    def smoothness(self) -> SmoothnessProfile:
        """Return L_i = s lambda_max(A_i^T A_i) / n_i + s_r, and L from the mean of A_i^T A_i / n_i.

        s bounds the second derivative of the loss (1/4 logistic, 2 squared), s_r that of the regulariser.
        """
        loss, penalty = self.loss.smoothness, self.penalty.smoothness
        clients = loss * self.rows.client_curvatures() + penalty
        return SmoothnessProfile(loss * self.rows.whole_curvature() + penalty, clients)

    def supports(self) -> Bool[Tensor, "n d"]:
        """Say which coordinates of grad f_i can differ from zero: all of them under a regulariser."""
        return self.rows.supports() if self.penalty.strength == 0 else self.rows.supports() | True


def logistic_regression(
    rows: Rows, labels: Sequence[Tensor] | Tensor, penalty: L2Penalty | None = None
) -> LinearModel:
    """Return the logistic loss over the clients' rows, labels in {-1, 1}; no intercept is added.

    Raises ValueError for other labels.
    """
    values = labels if isinstance(labels, Tensor) else torch.cat(list(labels))
    if not (values.abs() == 1).all():
        found = sorted(set(values.flatten().tolist()))[:5]
        raise ValueError(f"logistic labels must be -1 or 1, found {found}.")
    return LinearModel(rows, labels, LOGISTIC, penalty or L2Penalty())


def least_squares(
    rows: Rows, targets: Sequence[Tensor] | Tensor, penalty: L2Penalty | None = None
) -> LinearModel:
    """Return the mean of (a^T x - b)^2 over the clients' rows."""
    return LinearModel(rows, targets, SQUARED, penalty or L2Penalty())


# --- the user's own objectives ----------------------------------------------------------------------------


class ModuleSum:
    """One torch module on n clients' data; x is the vector of all its parameters, in their order.

    Gradients come from `vmap`, so the module must not draw random numbers nor update buffers
    (put dropout and batch normalisation into `eval()`).
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        inputs: Float[Tensor, "n b ..."],
        targets: Tensor,
    ) -> None:
        """Take the module, a loss that averages over a batch, and inputs and targets [n, b, ...]."""
        if inputs.shape[:2] != targets.shape[:2]:
            raise ValueError(
                f"inputs and targets need the same [clients, samples], got {tuple(inputs.shape[:2])} "
                f"and {tuple(targets.shape[:2])}."
            )
        self._module, self._loss, self._inputs, self._targets = module, loss, inputs, targets
        self._parameters = dict(module.named_parameters())
        self.num_clients = len(inputs)
        self.dimension = sum(parameter.numel() for parameter in self._parameters.values())

    def initial(self) -> Point:
        """Return the module's present parameters as one vector."""
        return nn.utils.parameters_to_vector(self._module.parameters()).detach().clone()

    def value(self, x: Point) -> float:
        with torch.no_grad():
            return float(vmap(self._local, in_dims=(None, 0, 0))(x, self._inputs, self._targets).mean())

    def gradients(self, x: Point) -> PerClient:
        return self._gradients(x, self._inputs, self._targets)

    def minibatch_gradients(self, x: Point, size: int, generator: Generator) -> PerClient:
        """Return estimates from `size` samples of each client, drawn without replacement."""
        draw = torch.rand(self._inputs.shape[:2], generator=generator).argsort(1)[:, :size]
        client = torch.arange(self.num_clients)[:, None]
        return self._gradients(x, self._inputs[client, draw], self._targets[client, draw])

    def hessian_products(self, x: Point, vectors: PerClient) -> PerClient:
        """Return H_i v_i with the Hessian H_i of f_i at x."""

        def product(inputs: Tensor, targets: Tensor, vector: Tensor) -> Tensor:
            return _hessian_product(lambda point: self._local(point, inputs, targets), x, vector)

        return vmap(product)(self._inputs, self._targets, vectors)

    def _local(self, x: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        parts = x.split([parameter.numel() for parameter in self._parameters.values()])
        pairs = zip(self._parameters.items(), parts, strict=True)
        parameters = {name: part.view_as(parameter) for (name, parameter), part in pairs}
        return self._loss(functional_call(self._module, parameters, (inputs,)), targets)

    def _gradients(self, x: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        found: Tensor = vmap(grad(self._local), in_dims=(None, 0, 0))(x, inputs, targets)
        return found


def _hessian_product(function: Callable[[Tensor], Tensor], x: Tensor, vector: Tensor) -> Tensor:
    """Return H v as the gradient of <grad f(x), v>."""
    found: Tensor = grad(lambda point: grad(function)(point) @ vector)(x)
    return found


class _WithoutSamples:
    """A problem whose gradients are known as a whole only."""

    def minibatch_gradients(self, x: Point, size: int, generator: Generator) -> PerClient:
        """Refuse: there are no samples to draw."""
        raise TypeError(
            f"{type(self).__name__} has no samples to draw minibatches from: use ModuleSum or LinearModel."
        )


class FunctionSum(_WithoutSamples):
    """A list of functions f_i, each from x [d] to a scalar tensor; gradients by autograd, one by one."""

    def __init__(self, functions: Sequence[Callable[[Tensor], Tensor]], dimension: int) -> None:
        self._functions = list(functions)
        self.num_clients, self.dimension = len(self._functions), dimension

    def value(self, x: Point) -> float:
        with torch.no_grad():
            return float(torch.stack([function(x) for function in self._functions]).mean())

    def gradients(self, x: Point) -> PerClient:
        return torch.stack([grad(function)(x) for function in self._functions])

    def hessian_products(self, x: Point, vectors: PerClient) -> PerClient:
        """Return H_i v_i with the Hessian H_i of f_i at x."""
        pairs = zip(self._functions, vectors, strict=True)
        return torch.stack([_hessian_product(function, x, vector) for function, vector in pairs])


class BatchedSum(_WithoutSamples):
    """The user's own batched callables: `value(x)` and `gradients(x)` of shape [n, d]; numpy results do."""

    def __init__(
        self,
        value: Callable[[Tensor], Any],
        gradients: Callable[[Tensor], Any],
        num_clients: int,
        dimension: int,
    ) -> None:
        self._value, self._gradients = value, gradients
        self.num_clients, self.dimension = num_clients, dimension

    def value(self, x: Point) -> float:
        return float(self._value(x))

    def gradients(self, x: Point) -> PerClient:
        found = torch.as_tensor(self._gradients(x), dtype=x.dtype)
        if found.shape != (self.num_clients, self.dimension):
            raise ValueError(
                f"gradients(x) has the shape {tuple(found.shape)}, "
                f"expected {(self.num_clients, self.dimension)}."
            )
        return found
