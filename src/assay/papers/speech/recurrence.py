"""A GRU in both directions at once: what torch's two would give, in less than half of their time on a CPU.

torch unrolls a GRU on a CPU: every step of every direction adds its own gradient of the weights. Here both
directions take a step together, and the gradient of the weights is one product after the last step.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def both_ways(
    onward: nn.GRU,
    back: nn.GRU,
    inputs: Float[Tensor, "batch time width"],
    lengths: Int[Tensor, " batch"],
) -> Float[Tensor, "batch time both"]:
    """Return the states of one GRU from the start of each row on, beside those of another from its end.

    Args:
        onward: of one layer, batch first, as `back`.
        back: reads each row from that row's own end; packed sequences would do the same.
        inputs: rows with padding behind them.
        lengths: steps of each row that count; the states of the others mean nothing.
    """
    times = torch.arange(inputs.shape[1], device=inputs.device)
    turned = (lengths.to(inputs.device)[:, None] - 1 - times).clamp_min(0)[..., None]
    grus, ways = (onward, back), (inputs, inputs.gather(1, turned.expand_as(inputs)))
    if inputs.is_cuda:  # one call of cuDNN each
        first, second = (gru(way)[0] for gru, way in zip(grus, ways, strict=True))
    else:
        first, second = _step_together(grus, ways)
    return torch.cat([first, second.gather(1, turned.expand_as(second))], dim=-1)


def _step_together(grus: tuple[nn.GRU, ...], inputs: tuple[Tensor, ...]) -> Tensor:
    """Return the states of several GRUs, each on its own input: [ways, batch, time, hidden]."""
    input_weights, weights, input_biases, biases = zip(*(gru.all_weights[0] for gru in grus), strict=True)
    given = [
        nn.functional.linear(way.transpose(0, 1).contiguous(), weight, bias)
        for way, weight, bias in zip(inputs, input_weights, input_biases, strict=True)
    ]
    together = torch.stack(given, dim=1), torch.stack(weights), torch.stack(biases).unsqueeze(1)
    states: Tensor = _Recurrence.apply(*together)
    return states.permute(1, 2, 0, 3)


class _Recurrence(torch.autograd.Function):
    """All states h_t of several GRUs, with h_0 = 0.

    (r, z) = sigmoid(given_rz + own_rz)    n = tanh(given_n + r own_n)    h_t = (1 - z) n + z h_{t-1}

    with own = U h_{t-1} + b. Shapes: given [time, ways, batch, 3 hidden], U [ways, 3 hidden, hidden],
    b [ways, 1, 3 hidden] to h [time, ways, batch, hidden].
    """

    @staticmethod
    def forward(ctx: Any, given: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
        time, ways, batch, gates = given.shape
        width = gates // 3
        states = given.new_zeros(time + 1, ways, batch, width)
        own, transposed = torch.empty_like(given), weights.mT.contiguous()
        rz, n = given.new_empty(time, ways, batch, 2 * width), given.new_empty(time, ways, batch, width)
        given_rz, given_n = given.split([2 * width, width], -1)
        own_rz, own_n = own.split([2 * width, width], -1)
        r, z = rz.chunk(2, -1)
        # Views of all steps are made at once: a step is so small that making them would take as long as it.
        parts = (states[:-1], states[1:], own, given_rz, own_rz, rz, given_n, own_n, n, r, z)
        views = zip(*(part.unbind() for part in parts), strict=True)
        for before, after, own_, given_rz_, own_rz_, rz_, given_n_, own_n_, n_, r_, z_ in views:
            torch.baddbmm(biases, before, transposed, out=own_)
            torch.add(given_rz_, own_rz_, out=rz_).sigmoid_()
            torch.addcmul(given_n_, r_, own_n_, out=n_).tanh_()
            torch.lerp(n_, before, z_, out=after)
        ctx.save_for_backward(weights, states, own_n, r, z, n)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weights, states, own_n, r, z, n = ctx.saved_tensors
        # The gradient of h_t times these, for all steps at once, gives those of own_r, own_z and own_n.
        slope = (1 - z) * (1 - n.square())
        factors = torch.stack(
            [slope * own_n * r * (1 - r), (states[:-1] - n) * z * (1 - z), slope * r], dim=-2
        )
        arriving, own = wanted.clone(memory_format=torch.contiguous_format), torch.empty_like(factors)
        flat = own.flatten(-2)
        parts = (arriving, arriving.unsqueeze(-2), factors, own, flat, z)
        carried = torch.zeros_like(arriving[0])
        for sum_, wide_, factors_, own_, flat_, z_ in zip(
            *(reversed(p.unbind()) for p in parts), strict=True
        ):
            sum_ += carried
            torch.mul(wide_, factors_, out=own_)
            carried = torch.baddbmm(sum_ * z_, flat_, weights)
        given = torch.cat([flat[..., : 2 * n.shape[-1]], arriving * slope], dim=-1)
        rows, before = (steps.transpose(0, 1).flatten(1, 2) for steps in (flat, states[:-1]))
        return given, rows.mT @ before, rows.sum(1, keepdim=True)
