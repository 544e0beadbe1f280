"""Two fine-tunings of one small model, mixed when the model is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.errors import InputError
from assay.paper import Value
from assay.papers.language.eft.config import Interpolate
from assay.papers.language.eft.evaluation import token_nll
from assay.papers.language.eft.method import Delta, EmulatedFineTuning
from assay.papers.language.eft.stages import TrainedFamily
from assay.papers.language.eft.training import Weights, averaged
from assay.trial import Trial

DOMAINS = {"first": "domain", "second": "second domain"}
"""The domains, with the names of their stages."""


def interpolate(config: Interpolate, trial: Trial) -> dict[str, Value]:
    """Measure a mixture of two behaviours on held-out texts of both domains."""
    if len(config.weights) != 2:
        raise InputError(f"--weights has {len(config.weights)} numbers; there are two domains.")
    if config.mixed == "parameters" and sum(config.weights) != 1:
        raise InputError(f"--mixed parameters needs --weights that add up to 1, got {config.weights}.")
    family = TrainedFamily.of(config.data, config.fact_table, config.family, trial)
    domains = {
        name: family.domain(number, config.max_texts, config.test) for number, name in enumerate(DOMAINS)
    }
    tuned = {
        name: family.tuned(DOMAINS[name], "small", domain.train, domain.validation).weights
        for name, domain in domains.items()
    }
    untuned = family.base("small")
    reference: Any = family.model("small", untuned)
    base: Any = family.model("large", family.base("large")) if config.size == "large" else reference
    model = EmulatedFineTuning(base, experts(config, family, reference, tuned))
    metrics: dict[str, Value] = {}
    for name, domain in domains.items():
        rows = domain.scored()
        before, after = (family.nll_of("small", weights, rows) for weights in (untuned, tuned[name]))
        metrics[f"{name}_nll"] = token_nll({"": model}, rows)[""]
        metrics[f"{name}_gain"] = before - after
    metrics["leaked"] = max(domain.leaked for domain in domains.values())
    return metrics


def experts(
    config: Interpolate, family: TrainedFamily, reference: Any, tuned: Mapping[str, Weights]
) -> list[Delta]:
    """Return both behaviours in the proportions asked for."""
    if config.mixed == "parameters":
        mixed = averaged(tuned["first"], tuned["second"], config.weights[0])
        return [Delta(family.model("small", mixed), reference)]
    return [
        Delta(family.model("small", tuned[name]), reference, weight)
        for name, weight in zip(DOMAINS, config.weights, strict=True)
    ]
