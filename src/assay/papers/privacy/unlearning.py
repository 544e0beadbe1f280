"""Losses that make a language model forget, as functions of negative log-likelihoods and hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from assay.training.language import IGNORED


def sequence_nll(
    model: nn.Module, batch: tuple[Int[Tensor, "n t"], Int[Tensor, "n t"]]
) -> Float[Tensor, " n"]:
    """Return -log p of each sequence's labelled tokens, given all before them.

    NLL_i = -sum_t log p(x_t | x_<t) over the tokens t with a label other than -100, in nats.

    Args:
        model: a causal language model of transformers; its own dropout and gradients are left as they are.
        batch: token ids and labels, padded on the right with label -100.
    """
    input_ids, labels = batch
    logits = model(input_ids=input_ids).logits[:, :-1].float()
    losses = functional.cross_entropy(
        logits.transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none"
    )
    return losses.sum(1)


def gradient_ascent(nll: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Return -NLL: what descends on it climbs on the mean loss of the forget tokens."""
    return -nll


def gradient_difference(
    forget: Float[Tensor, ""], retain: Float[Tensor, ""], weight: float = 1.0
) -> Float[Tensor, ""]:
    """Return -forget + weight * retain, for mean losses of a batch of each kind (GradDiff)."""
    return -forget + weight * retain


def npo(nll: Float[Tensor, " n"], reference_nll: Float[Tensor, " n"], beta: float = 0.1) -> Float[Tensor, ""]:
    """Return the loss of negative preference optimisation (Zhang et al. 2024).

    L = -(2 / beta) mean_i log sigmoid(beta (NLL_i - NLL_ref,i)), which is (2 / beta) log 2 with the gradient
    of gradient ascent where the model is the reference, and flattens out as sequences become unlikely.

    Args:
        nll: of each forget sequence, summed over its tokens, as `sequence_nll` gives it.
        reference_nll: the same under the model before unlearning; no gradient flows into it.
        beta: inverse temperature, above 0; towards 0 the gradient becomes that of gradient ascent.

    Raises:
        ValueError: beta is not above 0.
    """
    if not beta > 0:
        raise ValueError(f"beta must be above 0, got {beta}")
    log_sigmoid: Tensor = functional.logsigmoid(beta * (nll - reference_nll.detach()))
    loss: Tensor = -2 / beta * log_sigmoid.mean()
    return loss


def random_direction(width: int, generator: torch.Generator) -> Float[Tensor, " width"]:
    """Return a unit vector with uniform positive entries before scaling, as RMU draws it."""
    direction = torch.rand(width, generator=generator)
    unit: Tensor = direction / direction.norm()
    return unit


def steer_loss(
    hidden: Float[Tensor, "n t d"],
    direction: Float[Tensor, " d"],
    coefficient: float,
    mask: Bool[Tensor, "n t"] | None = None,
) -> Float[Tensor, ""]:
    """Return RMU's forget term: the mean squared distance of hidden states from coefficient * direction.

    Args:
        hidden: states of one layer on forget tokens.
        direction: a fixed unit vector.
        coefficient: how long the vector is made (the paper of RMU: 6.5 to 300, by the model).
        mask: which tokens count; all by default.
    """
    return _mean((hidden - coefficient * direction).square(), mask)


def keep_loss(
    hidden: Float[Tensor, "n t d"],
    frozen_hidden: Float[Tensor, "n t d"],
    mask: Bool[Tensor, "n t"] | None = None,
) -> Float[Tensor, ""]:
    """Return RMU's retain term: the mean squared distance of hidden states from the frozen model's."""
    return _mean((hidden - frozen_hidden.detach()).square(), mask)


def _mean(squares: Float[Tensor, "n t d"], mask: Bool[Tensor, "n t"] | None) -> Float[Tensor, ""]:
    return (squares if mask is None else squares[mask]).mean()


def negate_task_vector(
    original: Mapping[str, Any], tuned: Mapping[str, Any], scale: float = 1.0
) -> dict[str, Tensor]:
    """Return original - scale * (tuned - original) for the weights of two state dicts (Ilharco et al. 2023).

    Args:
        original: the model that should forget.
        tuned: the same model after further training on what should be forgotten.
        scale: how far to go the other way.

    Raises:
        ValueError: the state dicts have different names.
    """
    if original.keys() != tuned.keys():
        odd = sorted(original.keys() ^ tuned.keys())
        raise ValueError(f"the two models differ in {odd[:3]}: give the same model before and after training")
    return {
        name: value - scale * (tuned[name] - value) if value.is_floating_point() else value.clone()
        for name, value in original.items()
    }
