"""Perceptrons, one or a stack of them that compute together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.errors import InputError

Stack = tuple[int, ...]


class DenseNet(nn.Module):
    """Linear layers with ELU between; weights start as in haiku: truncated normal of std 1/sqrt(fan_in).

    A `stack` of networks is one module whose parameters have leading axes: [*stack, n, inputs] goes to
    [*stack, n, outputs], in one batched product a layer.

    Args:
        inputs: size of an input.
        outputs: size of an output.
        hidden: units of each hidden layer.
        stack: leading axes; () is a single network.
    """

    def __init__(
        self, inputs: int, outputs: int, hidden: Sequence[int] = (200, 200, 200), stack: Stack = ()
    ) -> None:
        super().__init__()
        self.sizes, self.stack = (inputs, *hidden, outputs), tuple(stack)
        if min(self.sizes) < 1:
            raise InputError(
                f"a network of sizes {self.sizes} has an empty layer: give at least 1 unit each."
            )
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for size_in, size_out in pairwise(self.sizes):
            std = size_in**-0.5
            weight = nn.init.trunc_normal_(
                torch.empty(*stack, size_in, size_out), std=std, a=-2 * std, b=2 * std
            )
            self.weights.append(weight)
            self.biases.append(torch.zeros(*stack, 1, size_out))
        self._layers = list(zip(self.weights, self.biases, strict=True))  # a ParameterList is slow to read

    def forward(self, x: Float[Tensor, "*stack n inputs"]) -> Float[Tensor, "*stacked n outputs"]:
        """Return the outputs; leading axes of the input are broadcast to the stack."""
        last = len(self._layers) - 1
        for number, (weight, bias) in enumerate(self._layers):
            x = affine(x, weight, bias)
            if number < last:
                x = nn.functional.elu(x)
        return x

    def record(self) -> dict[str, Any]:
        """Return what `assay.records` saves: sizes and weights."""
        return {"sizes": self.sizes, "stack": self.stack, "state": dict(self.state_dict())}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> DenseNet:
        """Make a network of its record."""
        inputs, *hidden, outputs = record["sizes"]
        net = cls(inputs, outputs, hidden, record["stack"])
        net.load_state_dict(record["state"])
        return net


def affine(
    x: Float[Tensor, "*some n inputs"],
    weight: Float[Tensor, "*stack inputs outputs"],
    bias: Float[Tensor, "*stack 1 outputs"],
) -> Float[Tensor, "*stacked n outputs"]:
    """Return x W + b, in one kernel where the shapes allow it."""
    if x.ndim == weight.ndim == 2:
        return torch.addmm(bias, x, weight)
    if x.ndim == weight.ndim == 3 and len(x) == len(weight):
        return torch.baddbmm(bias, x, weight)
    return torch.matmul(x, weight) + bias


class Heads(nn.Module):
    """Separate networks on the same input, with outputs of different sizes, computed together.

    Args:
        inputs: size of the input.
        sizes: outputs of each network.
        hidden: units of each hidden layer, for each network.
        stack: leading axes; see `DenseNet`.
    """

    def __init__(self, inputs: int, sizes: Sequence[int], hidden: Sequence[int], stack: Stack = ()) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.nets = DenseNet(inputs, max(sizes), hidden, (*stack, len(sizes)))

    def forward(self, x: Float[Tensor, "*stack n inputs"]) -> tuple[Float[Tensor, "*stack n o"], ...]:
        """Return the output of each network."""
        out = self.nets(x.unsqueeze(-3))
        return tuple(out[..., number, :, :size] for number, size in enumerate(self.sizes))
