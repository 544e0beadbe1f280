"""Contractive compressors: C with E||C(v) - v||^2 <= (1 - alpha) ||v||^2 for an alpha in (0, 1].

Every compressor works on the last dimension, so one call compresses the messages of all clients.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

Vectors = Float[Tensor, "*batch d"]


@dataclass(frozen=True)
class Compressed:
    """What goes over the wire: `values` at `indices`, or all coordinates where `indices` is None.

    `bits` is the length of one message, an int where every message has the same length.
    """

    values: Float[Tensor, "*batch k"]
    indices: Int[Tensor, "*batch k"] | None
    bits: int | Int[Tensor, "*batch"]
    dimension: int

    def dense(self) -> Vectors:
        """Return the vectors that the receiver reconstructs."""
        if self.indices is None:
            return self.values
        empty = self.values.new_zeros(*self.values.shape[:-1], self.dimension)
        return empty.scatter(-1, self.indices, self.values)


@runtime_checkable
class Compressor(Protocol):
    """What EF21 asks of a compressor."""

    @property
    def homogeneous(self) -> bool:
        """Say whether C(s v) = s C(v) for s > 0 and the same random draw."""

    def alpha(self, dimension: int) -> float:
        """Return the contraction constant for vectors with `dimension` coordinates; 0 where there is none."""

    def compress(self, vectors: Vectors, generator: Generator | None = None) -> Compressed:
        """Compress each vector of the batch by itself."""


def float_bits(vectors: Tensor) -> int:
    """Return the bits of one coordinate sent as it is."""
    return torch.finfo(vectors.dtype).bits


def index_bits(dimension: int) -> int:
    """Return ceil(log2 d), the bits that name one of d coordinates."""
    return max(dimension - 1, 0).bit_length()


def largest(vectors: Vectors, count: int) -> Int[Tensor, "*batch k"]:
    """Return the positions of the `count` coordinates of largest magnitude."""
    magnitudes = vectors.abs()
    if count == 1:  # max is four times as fast as topk
        return magnitudes.max(-1, keepdim=True).indices
    return magnitudes.topk(count, dim=-1, sorted=False).indices


@dataclass(frozen=True)
class Identity:
    """No compression: alpha = 1, and EF21 is gradient descent."""

    homogeneous: ClassVar[bool] = True

    def alpha(self, dimension: int) -> float:
        return 1.0

    def compress(self, vectors: Vectors, generator: Generator | None = None) -> Compressed:
        dimension = vectors.shape[-1]
        return Compressed(vectors.clone(), None, dimension * float_bits(vectors), dimension)


@dataclass(frozen=True)
class _KeptCoordinates(ABC):
    """Sends k (value, index) pairs of a vector; a subclass says which coordinates.

    `k` is a number of coordinates, or a fraction of them as a float (0.01 keeps one per cent, rounded up).
    A vector with fewer than k coordinates is sent whole.
    """

    k: int | float
    homogeneous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        fraction = isinstance(self.k, float)
        if (fraction and not 0 < self.k <= 1) or (not fraction and self.k < 1):
            raise ValueError(
                f"k is {self.k}: give a number of coordinates from 1 up, or a fraction in (0, 1]."
            )

    def count(self, dimension: int) -> int:
        """Return how many of `dimension` coordinates are kept."""
        return min(math.ceil(self.k * dimension) if isinstance(self.k, float) else self.k, dimension)

    def alpha(self, dimension: int) -> float:
        return self.count(dimension) / dimension

    def compress(self, vectors: Vectors, generator: Generator | None = None) -> Compressed:
        dimension = vectors.shape[-1]
        indices = self.choose(vectors, self.count(dimension), generator)
        bits = indices.shape[-1] * (float_bits(vectors) + index_bits(dimension))
        return Compressed(vectors.gather(-1, indices), indices, bits, dimension)

    @abstractmethod
    def choose(self, vectors: Vectors, count: int, generator: Generator | None) -> Int[Tensor, "*batch k"]:
        """Return the positions of the coordinates to keep."""


class TopK(_KeptCoordinates):
    """The k coordinates of largest magnitude; alpha = k/d, deterministic and homogeneous."""

    def choose(self, vectors: Vectors, count: int, generator: Generator | None) -> Int[Tensor, "*batch k"]:
        return largest(vectors, count)


class RandK(_KeptCoordinates):
    """k coordinates drawn without replacement, not rescaled; alpha = k/d in expectation."""

    def choose(self, vectors: Vectors, count: int, generator: Generator | None) -> Int[Tensor, "*batch k"]:
        draw = torch.rand(vectors.shape, generator=generator, device=vectors.device)
        return draw.topk(count, dim=-1, sorted=False).indices


@dataclass(frozen=True)
class SignL1:
    """C(v) = (||v||_1 / d) sign(v), one bit a coordinate and one scale.

    ||C(v) - v||^2 = ||v||^2 - ||v||_1^2 / d, and ||v||_1 >= ||v||_2 gives alpha = 1/d in the worst case.
    sign(0) is taken as +1, since one bit has no third value.
    """

    homogeneous: ClassVar[bool] = True

    def alpha(self, dimension: int) -> float:
        return 1.0 / dimension

    def compress(self, vectors: Vectors, generator: Generator | None = None) -> Compressed:
        dimension = vectors.shape[-1]
        scale = vectors.abs().mean(-1, keepdim=True)
        values = torch.where(vectors < 0, -scale, scale)
        return Compressed(values, None, dimension + float_bits(vectors), dimension)


@dataclass(frozen=True)
class ScaledQuantizer:
    """Random rounding of |v_j| / ||v|| to one of s levels, divided by 1 + omega to be contractive.

    The rounding Q is unbiased with E||Q(v) - v||^2 <= omega ||v||^2, omega = min(d / s^2, sqrt(d) / s);
    then Q / (1 + omega) is contractive with alpha = 1 / (1 + omega). A message has a norm, signs and levels.
    """

    levels: int
    homogeneous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise ValueError(f"levels is {self.levels}: give at least 1.")

    def variance(self, dimension: int) -> float:
        """Return omega."""
        return min(dimension / self.levels**2, math.sqrt(dimension) / self.levels)

    def alpha(self, dimension: int) -> float:
        return 1.0 / (1.0 + self.variance(dimension))

    def compress(self, vectors: Vectors, generator: Generator | None = None) -> Compressed:
        dimension = vectors.shape[-1]
        norms = vectors.norm(dim=-1, keepdim=True)
        scaled = self.levels * vectors.abs() / torch.where(norms > 0, norms, torch.ones_like(norms))
        draw = torch.rand(vectors.shape, generator=generator, device=vectors.device, dtype=vectors.dtype)
        rounded = (scaled + draw).floor()
        values = vectors.sign() * norms * rounded / (self.levels * (1.0 + self.variance(dimension)))
        bits = float_bits(vectors) + dimension * (1 + index_bits(self.levels + 1))
        return Compressed(values, None, bits, dimension)


class _ExactCoordinates:
    """Always sends the `exact` largest coordinates as they are; so it is contractive: alpha = exact/d."""

    exact: int
    homogeneous: ClassVar[bool] = False

    def alpha(self, dimension: int) -> float:
        return min(self.exact, dimension) / dimension


@dataclass(frozen=True)
class Threshold(_ExactCoordinates):
    """Coordinates of magnitude `tau` or more, and in any case the `exact` largest ones.

    A bare threshold sends nothing once all coordinates are small, so it is not contractive. Deterministic,
    not homogeneous. A message has one (value, index) pair for each coordinate sent.
    """

    tau: float
    exact: int = 1

    def __post_init__(self) -> None:
        if not self.tau > 0 or self.exact < 0:
            raise ValueError(
                f"tau is {self.tau} and exact {self.exact}: tau must be above 0, exact from 0 up."
            )

    def compress(self, vectors: Vectors, generator: Generator | None = None) -> Compressed:
        dimension = vectors.shape[-1]
        kept = vectors.abs() >= self.tau
        if self.exact:
            kept = kept.scatter(-1, largest(vectors, min(self.exact, dimension)), True)
        bits = kept.sum(-1) * (float_bits(vectors) + index_bits(dimension))
        return Compressed(vectors * kept, None, bits, dimension)


@dataclass(frozen=True)
class FixedGrid(_ExactCoordinates):
    """Rounding to a grid of 2^b - 1 points, `step` apart, around 0; the `exact` largest are sent as they are.

    The grid is step * {-(2^(b-1) - 1), ..., 2^(b-1) - 1} with b = `width` bits, the same for large and small
    vectors: deterministic, not homogeneous. No coordinate is moved by more than its own magnitude. A message
    has d grid numbers and the exact pairs.
    """

    step: float
    width: int = 4
    exact: int = 1

    def __post_init__(self) -> None:
        if not self.step > 0 or self.width < 2 or self.exact < 0:
            raise ValueError(
                f"step is {self.step}, width {self.width} and exact {self.exact}: "
                "step must be above 0, width (in bits) from 2 up, exact from 0 up."
            )

    def compress(self, vectors: Vectors, generator: Generator | None = None) -> Compressed:
        dimension = vectors.shape[-1]
        end = 2 ** (self.width - 1) - 1
        values = (vectors / self.step).round().clamp(-end, end) * self.step
        exact = min(self.exact, dimension)
        if exact:
            indices = largest(vectors, exact)
            values = values.scatter(-1, indices, vectors.gather(-1, indices))
        bits = dimension * self.width + exact * (float_bits(vectors) + index_bits(dimension))
        return Compressed(values, None, bits, dimension)


@dataclass(frozen=True)
class Blockwise:
    """One compressor applied to each block of the vector by itself, as the DDP hook does to each parameter.

    alpha is the smallest of the blocks'. `sizes` are the numbers of coordinates of the blocks, in order.
    """

    compressor: Compressor
    sizes: tuple[int, ...]

    @property
    def homogeneous(self) -> bool:
        return self.compressor.homogeneous

    def alpha(self, dimension: int) -> float:
        if dimension != sum(self.sizes):
            raise ValueError(f"The blocks have {sum(self.sizes)} coordinates, the vectors {dimension}.")
        return min(self.compressor.alpha(size) for size in self.sizes)

    def compress(self, vectors: Vectors, generator: Generator | None = None) -> Compressed:
        return joined(
            [self.compressor.compress(part, generator) for part in vectors.split(self.sizes, dim=-1)]
        )


def joined(parts: Sequence[Compressed]) -> Compressed:
    """Return the messages about neighbouring blocks as one, with the positions in the whole vector."""
    dimension = sum(part.dimension for part in parts)
    bits = sum((part.bits for part in parts[1:]), start=parts[0].bits)
    indices, offset = [], 0
    for part in parts:
        if part.indices is None:
            return Compressed(torch.cat([part.dense() for part in parts], dim=-1), None, bits, dimension)
        indices.append(part.indices + offset)
        offset += part.dimension
    values = torch.cat([part.values for part in parts], dim=-1)
    return Compressed(values, torch.cat(indices, dim=-1), bits, dimension)
