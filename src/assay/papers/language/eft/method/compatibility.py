"""Whether models fit together: do they mean the same by a token, is one what another was tuned from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from assay.errors import InputError
from assay.papers.language.eft.method.streams import OFF, Member

UNRELATED = 0.2
"""Cosine similarity of weights below which two models did not come from one another: two of separate
initialisation have about 0, however they were trained; fine-tuning leaves it near 1."""
DISTANT = 0.6
"""Below this there is a warning."""
SHAPES = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
MOST = 1_000_000
"""Weights of a matrix that are compared; of more, evenly spaced ones."""


def common_vocabulary(
    rows: Mapping[str, int],
    tokenizers: Mapping[str, PreTrainedTokenizerBase] | None = None,
    extra_tokens: str = "refuse",
) -> int:
    """Return how many tokens the models share: those that are generated and scored.

    Rows of logits beyond the last token of a tokenizer are padding and may differ between models.

    Args:
        rows: how many logits each model gives, by name.
        tokenizers: by the same names, or by the name before the dot for all of a kind.
        extra_tokens: `refuse` tokens that only some tokenizers have, or `mask` them: never generate them.

    Raises:
        InputError: the tokenizers differ (the first token that does is named), or the models give different
            numbers of logits and there are no tokenizers to compare.
    """
    if extra_tokens not in ("refuse", "mask"):
        raise InputError(f"extra_tokens must be 'refuse' or 'mask', got {extra_tokens!r}.")
    if not tokenizers:
        if len(set(rows.values())) > 1:
            raise InputError(
                f"The models give different numbers of logits: {dict(rows)}. Pass tokenizers= to make sure"
                " that only padding differs."
            )
        return min(rows.values())
    words = {}
    for name in rows:
        tokenizer = tokenizers.get(name, tokenizers.get(name.partition(".")[0]))
        if tokenizer is not None:
            words[name] = {number: token for token, number in tokenizer.get_vocab().items()}
    if len(words) < 2:
        raise InputError("tokenizers= needs those of 'base', 'tuned' and 'reference'.")
    return min(_shared(words, extra_tokens), *rows.values())


def _shared(words: Mapping[str, Mapping[int, str]], extra_tokens: str) -> int:
    """Return the number of leading tokens that all vocabularies agree on."""
    first, *others = words
    shared = max(words[first], default=-1) + 1
    for name in others:
        for number in range(max(shared, max(words[name], default=-1) + 1)):
            one, two = words[first].get(number), words[name].get(number)
            if one == two:
                continue
            missing = one is None or two is None
            if missing and extra_tokens == "mask":
                shared = min(shared, number)
                break
            said = " and ".join("no token" if token is None else repr(token) for token in (one, two))
            remedy = (
                " Pass extra_tokens='mask' (--extra-tokens mask) to leave such tokens out."
                if missing
                else " Emulated fine-tuning needs models of one family, with one tokenizer."
            )
            raise InputError(
                f"The tokenizers of {first} and {name} differ, first at token {number}: {said}.{remedy}"
            )
    return shared


def check_ancestor(tuned: Member, reference: Member) -> float | None:
    """Refuse a reference that `tuned` cannot have been fine-tuned from.

    Compared are the shapes and the direction of the weight matrices: the cosine similarity of tuned and
    reference over all matrices, each taken without its mean. Two models that were trained from
    separate starts are as far from one another as random ones.

    Returns:
        The similarity; None for one model with its adapter on and off, which needs no check.

    Raises:
        InputError: the models differ in kind or shape, or their weights are unrelated.
    """
    if tuned.model is reference.model:
        return None
    _check_peft_base(tuned, reference)
    if hasattr(tuned.model, "peft_config"):
        return None
    _check_shapes(tuned, reference)
    similarity = weight_similarity(tuned.model, reference.model)
    if similarity < UNRELATED:
        raise InputError(
            f"{reference.name} is not what {tuned.name} was fine-tuned from: their weights are unrelated"
            f" (cosine similarity {similarity:.2f}; fine-tuning leaves it near 1). Give the checkpoint that"
            " fine-tuning started from."
        )
    if similarity < DISTANT:
        warnings.warn(
            f"{tuned.name} is far from {reference.name} (cosine similarity of weights {similarity:.2f}): make"
            " sure that it was fine-tuned from just this checkpoint.",
            stacklevel=2,
        )
    return similarity


@torch.no_grad()
def weight_similarity(tuned: Any, reference: Any) -> float:
    """Return <t, r> / (|t| |r|) over the weight matrices of two like models, each without its mean."""
    others = dict(reference.named_parameters())
    dot = norm_tuned = norm_reference = 0.0
    for name, weights in tuned.named_parameters():
        if weights.ndim < 2:
            continue
        rows = min(len(weights), len(others[name]))
        step = max(1, weights[:rows].numel() // MOST)
        one, two = (w.detach()[:rows].flatten()[::step].double().cpu() for w in (weights, others[name]))
        one, two = one - one.mean(), two - two.mean()
        dot += float(one @ two)
        norm_tuned += float(one @ one)
        norm_reference += float(two @ two)
    scale = (norm_tuned * norm_reference) ** 0.5
    return dot / scale if scale else 1.0


def _check_shapes(tuned: Member, reference: Member) -> None:
    begin = f"{reference.name} is not what {tuned.name} was fine-tuned from"
    for name in SHAPES:
        one, two = (getattr(member.config, name, None) for member in (tuned, reference))
        if one != two:
            raise InputError(f"{begin}: {name} is {two} in the reference and {one} in the tuned model.")
    shapes = {name: tuple(weights.shape) for name, weights in reference.model.named_parameters()}
    for name, weights in tuned.model.named_parameters():
        if name not in shapes:
            raise InputError(f"{begin}: it has no weights {name!r}.")
        have, shape = tuple(weights.shape), shapes[name]
        # An embedding may have other padding; `common_vocabulary` looks into it.
        is_padding = tuned.rows != reference.rows and have[1:] == shape[1:]
        if weights.ndim >= 2 and have != shape and not is_padding:
            raise InputError(
                f"{begin}: {name!r} has the shape {shape} in the reference and {have} in the tuned model."
            )


def _check_peft_base(tuned: Member, reference: Member) -> None:
    """Warn where an adapter names another base than the reference that is given for it."""
    configs = getattr(tuned.model, "peft_config", None)
    if not configs or reference.adapter == OFF:
        return
    config = configs[tuned.adapter or str(tuned.model.active_adapter)]
    named = getattr(config, "base_model_name_or_path", None)
    have = getattr(reference.model, "name_or_path", None)
    if named and have and str(named).rstrip("/") != str(have).rstrip("/"):
        warnings.warn(
            f"The adapter of {tuned.name} was trained on {named!r}; the reference given is {have!r}.",
            stacklevel=3,
        )
