"""Free energy, and routing scores: of each, the higher, the more readily Swift keeps the row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn.functional import softplus

LogitScore = Callable[[Tensor, float], Tensor]


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


def negative_free_energy(
    logits: Float[Tensor, "*rows classes"], temperature: float = 1.0
) -> Float[Tensor, "*rows"]:
    """Return g(x) = −F(x) = T log Σ_c exp(f_c(x) / T), E-LANG's score.

    At T = 1 it is the maximal log-softmax with the top logit added back: g = max_c f_c − max_c log p(c|x).
    """
    return -free_energy(logits, temperature)


def max_log_softmax(
    logits: Float[Tensor, "*rows classes"], temperature: float = 1.0
) -> Float[Tensor, "*rows"]:
    """Return max_c log p(c|x), the logarithm of the softmax confidence, with p = softmax(f / T).

    Written as −log(1 + Σ_{c ≠ top} exp((f_c − f_top) / T)), so that confident rows do not collapse into ties
    at 0.
    """
    scaled = at_least_float32(logits) / temperature
    top, best = scaled.max(dim=-1, keepdim=True)
    others = scaled.scatter(-1, best, -torch.inf)
    return -softplus(torch.logsumexp(others, dim=-1) - top.squeeze(-1))


def negative_entropy(
    logits: Float[Tensor, "*rows classes"], temperature: float = 1.0
) -> Float[Tensor, "*rows"]:
    """Return −H = Σ_c p(c|x) log p(c|x) in nats, with p = softmax(f / T)."""
    probabilities = (logits.double() / temperature).softmax(dim=-1)
    entropy: Tensor = torch.special.entr(probabilities).sum(dim=-1)
    return -entropy


def top2_margin(logits: Float[Tensor, "*rows classes"], temperature: float = 1.0) -> Float[Tensor, "*rows"]:
    """Return p_(1) − p_(2), the gap between the two largest probabilities of softmax(f / T)."""
    largest = (logits.double() / temperature).softmax(dim=-1).topk(2, dim=-1).values
    return largest[..., 0] - largest[..., 1]


SCORES: Mapping[str, LogitScore] = MappingProxyType(
    {
        "negative_free_energy": negative_free_energy,
        "max_log_softmax": max_log_softmax,
        "negative_entropy": negative_entropy,
        "top2_margin": top2_margin,
    }
)
"""The scores that need nothing but Swift's logits, by the name that a policy file holds."""


def score_logits(
    logits: Float[Tensor, "batch classes"]
    | Float[Tensor, "batch steps vocabulary"]
    | Sequence[Float[Tensor, "batch vocabulary"]],
    score: str = "negative_free_energy",
    temperature: float = 1.0,
    mask: Bool[Tensor, "batch steps"] | None = None,
) -> Float[Tensor, " batch"]:
    """Return one score a row; of a sequence, the mean over its steps (all of them, or those in `mask`).

    Raises:
        ValueError: An unknown score, or logits that `check_logits` refuses.
    """
    if score not in SCORES:
        raise ValueError(f"There is no score {score!r}. Known: {', '.join(SCORES)}.")
    if isinstance(logits, Tensor) and logits.ndim == 2:
        check_logits(logits)
        return SCORES[score](logits, temperature)
    steps = logits.unbind(1) if isinstance(logits, Tensor) else logits
    check_logits(steps[0])
    values = torch.stack([SCORES[score](step, temperature) for step in steps], dim=1)
    return mean_over_steps(values, torch.ones_like(values, dtype=torch.bool) if mask is None else mask)


def check_logits(logits: Float[Tensor, "*rows classes"]) -> None:
    """Refuse what carries no energy: a single logit, log-probabilities (F = 0 for every row), probabilities.

    Two rows or more must agree before values are called normalised: one row of honest logits may have F ≈ 0.

    Raises:
        ValueError: What was given, and what to give instead.
    """
    if logits.shape[-1] < 2:
        raise ValueError(
            "One output a row has no energy. Give the router a score of your own: score=function(output)."
        )
    rows = at_least_float32(logits.reshape(-1, logits.shape[-1]))
    if len(rows) < 2:
        return
    tolerance = 1e-4 if logits.dtype in (torch.float32, torch.float64) else 2e-2
    if bool((torch.logsumexp(rows, dim=-1).abs() < tolerance).all()):
        raise ValueError(
            "These are normalised log-probabilities: their free energy is 0 for every row. Give raw logits."
        )
    if bool((rows >= 0).all()) and bool(((rows.sum(dim=-1) - 1).abs() < tolerance).all()):
        raise ValueError(
            "These are probabilities: softmax was already applied. Give the raw logits before it."
        )


def random_score(rows: int, generator: torch.Generator) -> Float[Tensor, " rows"]:
    """Return uniform noise: routing without any evidence of the input."""
    return torch.rand(rows, generator=generator)


def length_score(texts: Sequence[str]) -> Float[Tensor, " rows"]:
    """Return minus the number of words: long texts go to Super. Needs no model at all."""
    return -torch.tensor([len(text.split()) for text in texts], dtype=torch.float32)


def oracle_score(
    swift_quality: Shaped[Tensor, " rows"],
    super_quality: Shaped[Tensor, " rows"],
) -> Float[Tensor, " rows"]:
    """Return Swift's quality minus Super's: the best possible order, known only after the fact."""
    return swift_quality.float() - super_quality.float()
