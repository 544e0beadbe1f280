"""Free energy of a classifier and of a generated reply."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def free_energy(
    logits: Float[Tensor, "*shape"], temperature: float = 1.0, dim: int = -1
) -> Float[Tensor, "*rest"]:
    """Return the free energy F(x) = −T log Σ_c exp(f_c(x) / T).

    A classifier with logits f defines energies E(x, c) = −f_c(x) and a density p(x) ∝ exp(−F(x)): a low free
    energy means that the model knows the input. As T → 0, F → −max_c f_c.
    Half-precision logits are summed in float32: over a vocabulary of 32 thousand, half precision is off by
    whole units. Masked classes (−∞) are fine; NaN stays NaN.

    Args:
        logits: Unnormalised logits, classes along `dim`.
        temperature: T > 0.
        dim: The dimension of the classes.

    Raises:
        ValueError: The temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"The temperature must be positive, got {temperature}.")
    return -temperature * torch.logsumexp(at_least_float32(logits) / temperature, dim)


def sequence_energy(
    step_logits: Float[Tensor, "batch steps vocabulary"] | Iterable[Float[Tensor, "batch vocabulary"]],
    mask: Bool[Tensor, "batch steps"],
    temperature: float = 1.0,
) -> Float[Tensor, " batch"]:
    """Return the free energy of each reply: the mean of F_i = −T log Σ_v exp(f_v^i / T) over its N tokens.

    Args:
        step_logits: The decoder's raw logits at each generated step, as one tensor or one tensor a step
            (as `generate(..., output_logits=True)` returns them; its `scores` are processed and will not do).
        mask: True where the step is part of the reply. A reply without steps has energy NaN.
        temperature: T > 0.
    """
    steps = step_logits.unbind(1) if isinstance(step_logits, Tensor) else step_logits
    return mean_over_steps(torch.stack([free_energy(step, temperature) for step in steps], dim=1), mask)


def mean_over_steps(
    values: Float[Tensor, "batch steps"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, " batch"]:
    """Return each row's mean over the steps in `mask`; NaN where there are none."""
    return values.masked_fill(~mask, 0.0).sum(dim=1) / mask.sum(dim=1)


def at_least_float32(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Cast half-precision logits to float32; leave wider ones as they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
