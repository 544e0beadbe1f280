"""Domain adaptation: does a large model with a small one's fine-tuning predict texts of a domain better?"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from assay.errors import InputError
from assay.paper import Value
from assay.papers.language.eft.config import Adapt
from assay.papers.language.eft.evaluation import ScoredRows, alone, token_nll
from assay.papers.language.eft.inputs import Setup, load_emulated, load_language_model
from assay.papers.language.eft.method import Delta, EmulatedFineTuning
from assay.papers.language.eft.stages import TrainedFamily
from assay.training.language import pad_rows
from assay.trial import Trial


@dataclass(frozen=True)
class Measured:
    """What an arm measures, on what."""

    model: EmulatedFineTuning
    upper: float | None
    """token_nll of the large fine-tuned model alone."""
    rows: ScoredRows
    metrics: dict[str, Value] = field(default_factory=dict)
    """What else is known of the models."""


def adapt(config: Adapt, trial: Trial) -> dict[str, Value]:
    """Measure what the emulated model, its parts and its rivals make of held-out texts of the domain."""
    setup = Setup.of(config)
    found = trained_family(config, trial) if setup is None else own_models(config, setup, trial)
    laws = {
        "emulated": found.model,
        "tuned": found.model.reweighted([1.0], amplify=0.0),
        "reference": found.model.reweighted([0.0], amplify=0.0),
    }
    elsewhere = trial.generator("places") if config.delta_from == "other-place" else None
    nll: dict[str, float | None] = {**token_nll(laws, found.rows, elsewhere), "upper": found.upper}
    trial.count("scored_tokens", int(found.rows[1].sum()))
    trial.save("summary", {"token_nll": nll})
    return found.metrics | compared(config, nll)


def compared(config: Adapt, nll: Mapping[str, float | None]) -> dict[str, Value]:
    """Return the metrics of an arm, from what each model makes of a token."""
    found, tuned, reference, upper = (nll[name] for name in (config.system, "tuned", "reference", "upper"))
    metrics: dict[str, Value] = {"token_nll": found, "gap_recovered": None, "scale_gain": None}
    if config.delta_from == "pair" and tuned is not None and reference is not None:
        metrics["tuning_gain"] = reference - tuned
        if upper is not None and found is not None:
            metrics["scale_gain"] = tuned - upper
            metrics["gap_recovered"] = (tuned - found) / (tuned - upper) if tuned > upper else None
    return metrics


def trained_family(config: Adapt, trial: Trial) -> Measured:
    """Return a family that is trained for this seed, and held-out texts of the last class."""
    family = TrainedFamily.of(config.data, config.fact_table, config.family, trial)
    domain = family.domain(0, config.max_texts, config.test)
    small = family.tuned("domain", "small", domain.train, domain.validation)
    large = family.tuned("domain", "large", domain.train, domain.validation)
    number = 1 if config.delta_from == "other-reference" else 0
    reference = family.model("small", family.base("small", number))
    expert = Delta(family.model("small", small.weights), reference)
    model = emulated(config, family.model("large", family.base("large")), expert)
    rows = domain.scored()
    overfit = family.nll_of("small", small.weights, rows) - small.train
    upper = family.nll_of("large", large.weights, rows)
    return Measured(model, upper, rows, {"overfit": overfit, "leaked": domain.leaked})


def own_models(config: Adapt, setup: Setup, trial: Trial) -> Measured:
    """Return the user's models and texts."""
    if len(setup.tuned) > 1:
        raise InputError(f"--tuned takes one model here, got {config.tuned.source!r}.")
    model, tokenizers = load_emulated(setup, trial.device)
    if config.delta_from == "other-reference":
        model = emulated(config, model.base.model, Delta(model.experts[0].tuned, untrained(model, trial)))
    upper = None
    if config.upper.source:
        upper = alone(load_language_model(config.upper.source, trial.device, config.dtype)[0])
    elif config.system == "upper":
        trial.progress("no --upper is given, so that what is left to recover is not known")
    texts = config.data.load(needs=("text",)).rows["text"][:]
    chosen, _ = trial.deal(len(texts), min(config.max_texts or len(texts), len(texts)))
    encoded = tokenizers["base"]([texts[row] for row in chosen])["input_ids"]
    limit = min([config.max_tokens, *(m.limit for m in model.members.values() if m.limit)])
    cut = [ids[:limit] for ids in encoded if len(ids) > 1]
    if not cut:
        raise InputError(f"The texts of {config.data.source} have at most one token each: nothing to score.")
    rows = pad_rows(cut, 0), pad_rows([[0, *[1] * (len(ids) - 1)] for ids in cut], 0).bool()
    trial.count("pretraining_steps", 0)
    # What the user's models were trained on is not known here.
    unknown: dict[str, Value] = {"overfit": None, "leaked": None}
    return Measured(model, None if upper is None else token_nll({"": upper}, rows)[""], rows, unknown)


def untrained(model: EmulatedFineTuning, trial: Trial) -> Any:
    """Return a model of the reference's shape that was never trained: not what the expert was tuned from."""
    reference = model.references[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        made = type(reference.core)(reference.core.config)
    return made.to(trial.device, reference.core.dtype).eval()


def emulated(config: Adapt, base: Any, expert: Delta) -> EmulatedFineTuning:
    """Return the law of an arm: one rule with different weights."""
    if len(config.weights) != 1:
        raise InputError(f"--weights has {len(config.weights)} numbers; one tuned model is trained here.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of distance: small models move far when tuned
        model = EmulatedFineTuning(base, expert, check_ancestors=config.delta_from != "other-reference")
    return model.reweighted(config.weights, config.amplify, config.delta_top_p)
