"""softmax(q k^T / sqrt(h)) v where v has one column, without the matrix of all pairs in memory.

PyTorch's fused attention does it on values that are padded to the width of the keys. On a CPU, and for many
instances, most of its time goes into that padding; there the product is taken a few rows at a time instead,
and these rows are computed again for the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

SMALL = 2**20
"""Pairs up to which PyTorch's fused attention is as fast."""
AT_ONCE = 2**20
"""Pairs computed at once, of 4 MiB."""


def attend_column(
    queries: Float[Tensor, "bags heads instances head_dim"],
    keys: Float[Tensor, "bags heads instances head_dim"],
    values: Float[Tensor, "bags heads instances"],
    mask: Bool[Tensor, "bags instances"] | None = None,
) -> Float[Tensor, "bags heads instances"]:
    """Return softmax(q k^T / sqrt(h)) v; keys outside the mask have no weight."""
    allowed = None if mask is None else mask[:, None, None, :]
    large = queries.shape[:-1].numel() * queries.shape[-2] > SMALL
    if queries.is_cpu and large and not torch.compiler.is_compiling():
        found: Tensor = _Tiled.apply(queries, keys, values, allowed)
        return found
    filler = values.new_zeros(()).expand(*values.shape, queries.shape[-1] - 1)
    wide = functional.scaled_dot_product_attention(
        queries, keys, torch.cat([values[..., None], filler], dim=-1), attn_mask=allowed
    )
    return wide[..., 0]


class _Tiled(torch.autograd.Function):
    """o = P v with P = softmax(q k^T / sqrt(h)), in float32 or wider.

    With g the gradient of o, that of q k^T / sqrt(h) is dS_ij = g_i P_ij (v_j - o_i).
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor | None) -> Tensor:
        q, k, v = (_wide(tensor) for tensor in (queries, keys, values))
        found = torch.empty_like(v)
        for rows, weights in _weights(q, k, allowed):
            found[..., rows] = (weights @ v[..., None]).squeeze(-1)
        ctx.save_for_backward(queries, keys, values, found)
        ctx.allowed = allowed
        return found.to(values.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, found = (_wide(tensor) for tensor in ctx.saved_tensors)
        g, scale = _wide(wanted), 1 / math.sqrt(q.shape[-1])
        to_q, to_k, to_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for rows, weights in _weights(q, k, ctx.allowed):
            row = g[..., rows, None]
            to_v += (row.mT @ weights).squeeze(-2)
            weights *= v[..., None, :] - found[..., rows, None]
            to_q[..., rows, :] = weights @ k * (row * scale)
            to_k += weights.mT @ (q[..., rows, :] * (row * scale))
        grads = zip((to_q, to_k, to_v), ctx.saved_tensors, strict=False)
        to_q, to_k, to_v = (grad.to(given.dtype) for grad, given in grads)
        return to_q, to_k, to_v, None


def _weights(q: Tensor, k: Tensor, allowed: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Yield P a few rows at a time, in memory that is used again: [bags, heads, rows, instances]."""
    count = k.shape[-2]
    step = max(1, AT_ONCE // k.shape[:-1].numel())
    q, turned = q / math.sqrt(q.shape[-1]), k.mT
    pairs, weights = (q.new_empty(*q.shape[:-2], min(step, count), count) for _ in range(2))
    for start in range(0, count, step):
        rows = slice(start, min(start + step, count))
        size = rows.stop - rows.start
        scores = torch.matmul(q[..., rows, :], turned, out=pairs[..., :size, :])
        if allowed is not None:
            scores.masked_fill_(~allowed, -math.inf)
        yield rows, torch.softmax(scores, dim=-1, out=weights[..., :size, :])


def _wide(tensor: Tensor) -> Tensor:
    """Return a tensor in float32, or as it is if it is wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
