"""Speculative drafting: the small fine-tuned model drafts, the large one reads the draft in one pass."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.errors import InputError
from assay.paper import Value
from assay.papers.language.eft.config import Draft
from assay.papers.language.eft.lab import START
from assay.papers.language.eft.method import Delta, EmulatedFineTuning, Generation
from assay.papers.language.eft.world import World
from assay.trial import Trial

LEAST_EXPECTED = 5.0
"""Draws that a token must be expected to get to be counted apart from the rare ones."""


def draft(config: Draft, trial: Trial) -> dict[str, Value]:
    """Continue beginnings of texts; count passes of the large model and look at the law of what comes out."""
    world = World.of(config.data, config.fact_table, config.family, trial)
    domain = world.domain(0, config.max_texts, config.test)
    tuned = world.tuned("domain", "small", domain.train, domain.validation)["weights"]
    model = EmulatedFineTuning(
        world.model("large", world.base("large")),
        Delta(world.model("small", tuned), world.model("small", world.base("small"))),
    )
    starts = [
        [START, *ids[: config.prompt_tokens]] for _, ids in domain.test if len(ids) >= config.prompt_tokens
    ]
    if not starts:
        raise InputError(f"No test text has {config.prompt_tokens} tokens: lower --prompt-tokens.")
    written = continued(model, config, starts[: config.continued], config.max_new_tokens, trial, "texts")
    trial.count("continued", len(starts[: config.continued]))
    trial.count("law_draws", config.law_draws)
    whole_block = max(2, config.block_size + 1)
    many = continued(model, config, [starts[0]] * config.law_draws, whole_block, trial, "law", enough=2)
    distance = law_excess(many.sequences[:, 1], second_token(model, starts[0]))
    metrics: dict[str, Value] = {
        "large_forwards_per_token": written.stats.forwards_per_token,
        "mean_tv": float(written.tv[written.mask].mean()),
        "sampled_nll": -float(written.logprobs[written.mask].mean()),
        "law_excess": distance,
    }
    if written.stats.acceptance is not None:
        metrics["acceptance"] = written.stats.acceptance
    return metrics


def continued(
    model: EmulatedFineTuning,
    config: Draft,
    starts: list[list[int]],
    length: int,
    trial: Trial,
    name: str,
    enough: int | None = None,
) -> Generation:
    """Return sampled continuations of one length, whatever they say, or of at least `enough` tokens."""
    settings: dict[str, Any] = {"max_new_tokens": length, "eos": [], "generator": trial.generator(name)}
    if config.decoding == "plain":
        return model.generate(starts, **settings | {"max_new_tokens": enough or length})
    settings["enough"] = enough
    if config.decoding == "always-accept":
        return drafts_alone(model).speculative_generate(starts, block_size=config.block_size, **settings)
    return model.speculative_generate(starts, block_size=config.block_size, **settings)


def drafts_alone(model: EmulatedFineTuning) -> EmulatedFineTuning:
    """Return the law that comes out when every draft is accepted: that of the small fine-tuned model.

    Base and reference are then one, so that each drafted token passes the test.
    """
    small, expert = model.references[0].model, model.experts[0]
    return EmulatedFineTuning(small, expert)


@torch.no_grad()
def second_token(model: EmulatedFineTuning, start: list[int]) -> Float[Tensor, " v"]:
    """Return the exact law of the second new token: sum over the first of p(first) p(second | first)."""
    first = model.next_logits(torch.tensor([start])).double().softmax(-1)[0]
    total = torch.zeros_like(first)
    for tokens in torch.arange(len(first)).split(256):
        ids = torch.cat([torch.tensor([start]).expand(len(tokens), -1), tokens[:, None]], dim=1)
        total += first[tokens] @ model.next_logits(ids).double().softmax(-1)
    return total


def law_excess(drawn: Tensor, law: Float[Tensor, " v"]) -> float:
    """Return the chi-square of draws against a law over its degrees of freedom: 1 for draws from it."""
    expected = law * len(drawn)
    counts = torch.bincount(drawn, minlength=len(law)).double()
    common = expected >= LEAST_EXPECTED
    pairs = [*zip(counts[common].tolist(), expected[common].tolist(), strict=True)]
    rest = float(expected[~common].sum())
    if rest >= LEAST_EXPECTED:
        pairs.append((float(counts[~common].sum()), rest))
    if len(pairs) < 2:
        raise InputError(f"{len(drawn)} draws are too few to see the law of a token: raise --law-draws.")
    return math.fsum((seen - wanted) ** 2 / wanted for seen, wanted in pairs) / (len(pairs) - 1)
