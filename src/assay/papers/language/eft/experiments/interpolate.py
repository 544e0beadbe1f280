"""Two fine-tunings of one small model, mixed when the model is used."""

from __future__ import annotations

from typing import Any

from assay.errors import InputError
from assay.paper import Value
from assay.papers.language.eft.config import Interpolate
from assay.papers.language.eft.experiments.adapt import nll_of, scored_rows, token_nll
from assay.papers.language.eft.lab import averaged
from assay.papers.language.eft.method import Delta, EmulatedFineTuning
from assay.papers.language.eft.world import World
from assay.trial import Trial

DOMAINS = ("first", "second")


def interpolate(config: Interpolate, trial: Trial) -> dict[str, Value]:
    """Measure a mixture of two behaviours on held-out texts of both domains."""
    if len(config.weights) != 2:
        raise InputError(f"--weights has {len(config.weights)} numbers; there are two domains.")
    if config.mixed == "parameters" and sum(config.weights) != 1:
        raise InputError(f"--mixed parameters needs --weights that add up to 1, got {config.weights}.")
    world = World.of(config.data, config.fact_table, config.family, trial)
    domains = {
        name: world.domain(number, config.max_texts, config.test) for number, name in enumerate(DOMAINS)
    }
    tuned = {
        name: world.tuned(
            "domain" if name == "first" else "second domain", "small", domain.train, domain.validation
        )["weights"]
        for name, domain in domains.items()
    }
    untuned = world.base("small")
    reference = world.model("small", untuned)
    base = world.model("large", world.base("large")) if config.size == "large" else reference
    model = mixture(config, world, base, reference, tuned)
    metrics: dict[str, Value] = {}
    for name, domain in domains.items():
        rows = scored_rows(domain.test, config.family.context, trial)
        before, after = (nll_of(world, "small", weights, rows) for weights in (untuned, tuned[name]))
        metrics[f"{name}_nll"] = token_nll({"": model}, rows)[""]
        metrics[f"{name}_gain"] = before - after
    metrics["leaked"] = max(domain.leaked for domain in domains.values())
    return metrics


def mixture(
    config: Interpolate, world: World, base: Any, reference: Any, tuned: dict[str, Any]
) -> EmulatedFineTuning:
    """Return the base with both behaviours in the proportions asked for."""
    if config.mixed == "parameters":
        experts = [
            Delta(
                world.model("small", averaged(tuned["first"], tuned["second"], config.weights[0])), reference
            )
        ]
    else:
        experts = [
            Delta(world.model("small", tuned[name]), reference, weight)
            for name, weight in zip(DOMAINS, config.weights, strict=True)
        ]
    return EmulatedFineTuning(base, experts)
