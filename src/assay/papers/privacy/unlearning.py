"""Losses that make a language model forget, as functions of negative log-likelihoods and hidden states."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from assay.training.language import IGNORED

RetainLoss = Literal["auto", "nll", "kl", "states"]
"""What is kept of retain texts: their likelihood, the frozen model's predictions (by KL) or its hidden
states; auto: states for RMU, the likelihood otherwise."""


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

    The mean is taken over the tokens of each document first, so that long ones count no more than short ones.

    Args:
        hidden: states of one layer on forget tokens.
        direction: a fixed unit vector.
        coefficient: how long the vector is made (the paper of RMU: 6.5 to 300, by the model).
        mask: which tokens count; all by default.
    """
    return _mean_by_document((hidden - coefficient * direction).square(), mask)


def keep_loss(
    hidden: Float[Tensor, "n t d"],
    frozen_hidden: Float[Tensor, "n t d"],
    mask: Bool[Tensor, "n t"] | None = None,
) -> Float[Tensor, ""]:
    """Return RMU's retain term: the mean squared distance of hidden states from the frozen model's."""
    return _mean_by_document((hidden - frozen_hidden.detach()).square(), mask)


def _mean_by_document(squares: Float[Tensor, "n t d"], mask: Bool[Tensor, "n t"] | None) -> Float[Tensor, ""]:
    """Return the mean over documents of the mean over their tokens."""
    per_token = squares.mean(2)
    if mask is None:
        return per_token.mean()
    tokens = mask.sum(1)
    per_document = (per_token * mask).sum(1) / tokens.clamp(min=1)
    return per_document.sum() / (tokens > 0).sum()


def kl_loss(
    logits: Float[Tensor, "n t vocabulary"],
    frozen_logits: Float[Tensor, "n t vocabulary"],
    mask: Bool[Tensor, "n t"] | None = None,
) -> Float[Tensor, ""]:
    """Return KL(p_frozen || p) of the next token, as a mean over the tokens that count: a retain term.

    It keeps the whole prediction of the frozen model, where a likelihood keeps the text's own tokens alone.
    """
    after, before = logits.float().log_softmax(-1), frozen_logits.detach().float().log_softmax(-1)
    per_token = functional.kl_div(after, before, reduction="none", log_target=True).sum(-1)
    return (per_token if mask is None else per_token[mask]).mean()


@contextlib.contextmanager
def recorded_states(model: Any, layer: int) -> Iterator[list[Float[Tensor, "n t d"]]]:
    """Record what decoder layer `layer` gives in each forward pass inside the block, in float32.

    Raises:
        ValueError: the model has no such layer.
    """
    layers = model.get_decoder().layers
    if not 0 <= layer < len(layers):
        raise ValueError(f"the model has the layers 0 to {len(layers) - 1}, not {layer}")
    found: list[Tensor] = []

    def record(_: nn.Module, inputs: Any, output: Any) -> None:
        found.append((output[0] if isinstance(output, tuple) else output).float())

    hook = layers[layer].register_forward_hook(record)
    try:
        yield found
    finally:
        hook.remove()


def matching_parameters(model: nn.Module, pattern: str) -> list[nn.Parameter]:
    """Return the parameters in whose name a regular expression is found.

    Raises:
        ValueError: it is no regular expression, or matches no name.
    """
    try:
        found = [weight for name, weight in model.named_parameters() if re.search(pattern, name)]
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    if not found:
        names = ", ".join(list(dict(model.named_parameters()))[:3])
        raise ValueError(f"no parameter matches {pattern!r}; the first of them are {names}")
    return found


def negate_task_vector(
    original: Mapping[str, Any], tuned: Mapping[str, Any], scale: float = 1.0
) -> dict[str, Tensor]:
    """Return original - scale * (tuned - original) for the weights of two state dicts (Ilharco et al. 2023).

    `tuned` is the original after further training on what should be forgotten.

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
