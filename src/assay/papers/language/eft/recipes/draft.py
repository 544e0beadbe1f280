"""Speculative drafting: the small fine-tuned model drafts, the large one reads the draft in one pass."""

from __future__ import annotations

from typing import Any

from assay.errors import InputError
from assay.models.tiny import START
from assay.paper import Value
from assay.papers.language.eft.config import Draft
from assay.papers.language.eft.evaluation import law_excess, second_token
from assay.papers.language.eft.method import EmulatedFineTuning, Generation
from assay.papers.language.eft.stages import TrainedFamily
from assay.trial import Trial


def draft(config: Draft, trial: Trial) -> dict[str, Value]:
    """Continue beginnings of texts; count passes of the large model and look at the law of what comes out."""
    family = TrainedFamily.of(config.data, config.fact_table, config.family, trial)
    domain = family.domain(0, config.max_texts, config.test)
    tuned = family.tuned("domain", "small", domain.train, domain.validation).weights
    model = family.emulated(tuned)
    length = config.prompt_tokens
    starts = [[START, *ids[:length]] for _, ids in domain.test if len(ids) >= length]
    if not starts:
        raise InputError(f"No test text has {length} tokens: lower --prompt-tokens.")
    chosen = starts[: config.continued]
    texts: dict[str, Any] = {"max_new_tokens": config.max_new_tokens, "generator": trial.generator("texts")}
    written = continued(model, config, chosen, **texts)
    trial.count("continued", len(chosen))
    trial.count("law_draws", config.law_draws)
    # The law is read from the second token alone; a whole block is drafted before it is cut off.
    law: dict[str, Any] = {"max_new_tokens": 2, "generator": trial.generator("law")}
    if config.decoding != "plain":
        law |= {"max_new_tokens": max(2, config.block_size + 1), "enough": 2}
    many = continued(model, config, [starts[0]] * config.law_draws, **law)
    metrics: dict[str, Value] = {
        "large_forwards_per_token": written.stats.forwards_per_token,
        "mean_tv": float(written.tv[written.mask].mean()),
        "sampled_nll": -float(written.logprobs[written.mask].mean()),
        "law_excess": law_excess(many.sequences[:, 1], second_token(model, starts[0])),
    }
    if written.stats.acceptance is not None:
        metrics["acceptance"] = written.stats.acceptance
    return metrics


def continued(
    model: EmulatedFineTuning, config: Draft, starts: list[list[int]], **settings: Any
) -> Generation:
    """Return sampled continuations of one length; no token ends them."""
    if config.decoding == "plain":
        return model.generate(starts, eos=[], **settings)
    drafting = drafts_alone(model) if config.decoding == "always-accept" else model
    return drafting.speculative_generate(starts, block_size=config.block_size, eos=[], **settings)


def drafts_alone(model: EmulatedFineTuning) -> EmulatedFineTuning:
    """Return the law that comes out when every draft is accepted: that of the small fine-tuned model.

    Base and reference are then one, so that each drafted token passes the test.
    """
    return EmulatedFineTuning(model.references[0].model, model.experts[0])
