"""How one-expert unlearning is run: attribute, unlearn to a forget level, compare what is kept there."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from assay.errors import InputError
from assay.models import ModelSource, load_model, load_tokenizer
from assay.paper import Value
from assay.papers.privacy.uoe.artefact import UnlearnedModel
from assay.papers.privacy.uoe.config import Unlearn
from assay.papers.privacy.uoe.measuring import Measured, Measurement
from assay.papers.privacy.uoe.method import (
    SHARED,
    Expert,
    ExpertAttribution,
    SelectedExpertUnlearner,
    Target,
    Unlearning,
    attribute_experts,
    moe_layout,
)
from assay.papers.privacy.uoe.texts import Documents, check_disjoint, of_facts, read
from assay.papers.privacy.uoe.topics import empty_model, invent_topics, tokenizer_of, train_small
from assay.trial import Trial, at_level

WHOLE = ("model", "no-routers", "routers", "experts")


@dataclass(frozen=True)
class Setting:
    """A model with what it should forget and keep."""

    base: Any
    tokenizer: PreTrainedTokenizerBase
    forget: Documents
    retain: Documents
    """What is trained on to be kept."""
    measurement: Measurement
    level: float
    """Accuracy on the forget set at which arms are compared."""


def unlearn(config: Unlearn, trial: Trial) -> dict[str, Value]:
    """Make a model forget, and measure what it keeps at a given level of forgetting."""
    setting = given(config, trial) if config.model.source else made_up(config, trial)
    before = setting.measurement.of(setting.base)
    if config.measured != "unlearned":
        return {"forget_accuracy": before.forget, "retain_accuracy": before.retain}
    attribution = attribute_experts(
        setting.base, setting.forget.sequences, config.attribution_tokens, config.attribution
    )
    targets = chosen_part(config, setting.base, attribution, trial)
    trial.count("step_budget", config.unlearning_steps)

    def attempt(learning_rate: float) -> Attempt:
        trial.progress(f"{config.objective} on {config.trained_part}, learning rate {learning_rate:g}")
        return unlearned(config, setting, targets, attribution, learning_rate, trial)

    tuned = trial.tune(
        config.learning_rates, attempt, lambda attempt: kept_on_validation(attempt, setting.level)
    )
    best = tuned.fitted
    for step, point in best.curve.items():
        trial.log(step, **vars(point))
    metrics = metrics_of(best, setting.level, trial) | specialisation(targets, attribution, setting)
    if trial.out is not None:
        save(config, setting, attribution, best, tuned.candidate, metrics, trial)
    return metrics


# --- the model and the documents ----------------------------------------------------------------


def given(config: Unlearn, trial: Trial) -> Setting:
    """Return the user's model with the user's documents.

    Raises:
        InputError: a set is missing, the sets overlap, or the model is not one of known experts.
    """
    if config.forget.source is None or config.retain.source is None:
        raise InputError(
            "A model of your own needs --forget FILE and --retain FILE: what to forget, what to keep."
        )
    if config.measured == "retrained":
        raise InputError("--measured retrained needs the made-up facts: leave --model out.")
    source = ModelSource(str(config.model.source))
    tokenizer = load_tokenizer(source)
    model = load_model(source, AutoModelForCausalLM, device=trial.device, dtype=config.dtype)
    moe_layout(model)

    def documents(corpus: Any) -> Documents:
        return read(corpus, tokenizer, config.max_tokens, config.max_documents)

    forget, retain = documents(config.forget), documents(config.retain)
    check_disjoint(forget, retain)
    if len(retain) < 4:
        raise InputError(
            f"{config.retain.source} gives {len(retain)} documents; at least 4 are needed to split."
        )
    parts = trial.split(len(retain), test=0.4, validation=0.2, group=[fact.id for fact in retain.facts])
    used, validation, test = (
        retain.rows(torch.from_numpy(rows)) for rows in (parts.train, parts.validation, parts.test)
    )
    measurement = Measurement(
        documents(config.forget_test) if config.forget_test.source else forget,
        validation,
        documents(config.retain_test) if config.retain_test.source else test,
        model,
    )
    known = measurement.of(model).forget
    if known == 0:
        raise InputError("The model answers nothing of the forget set already: there is nothing to unlearn.")
    level = known / 2 if config.forget_level is None else config.forget_level
    return Setting(model, tokenizer, forget, used, measurement, level)


def made_up(config: Unlearn, trial: Trial) -> Setting:
    """Return a small model that was trained on made-up facts of this seed.

    Raises:
        InputError: documents are given, which the small model has never read.
    """
    if config.forget.source or config.retain.source:
        raise InputError("--forget and --retain need --model: the small model knows made-up facts alone.")
    small, tokenizer = config.scratch, tokenizer_of(config.scratch)
    facts = invent_topics(small, trial.generator("facts"))
    documents = of_facts(facts, tokenizer, config.max_tokens)
    is_forget = torch.tensor([fact.split == "forget" for fact in facts])
    learnt = documents.sequences.input_ids
    if config.measured == "retrained":
        learnt = learnt[~is_forget]
    weights = trial.once("model", train_small, small, len(tokenizer), learnt, str(trial.device))
    model: Any = empty_model(small, len(tokenizer))
    model.load_state_dict(weights)
    model.to(trial.device).eval()
    forget, kept = (documents.rows(rows.nonzero().squeeze(1)) for rows in (is_forget, ~is_forget))
    parts = trial.split(
        len(kept), test=0.4, validation=0.25, stratify=[fact.id[0] for fact in kept.facts], fresh=True
    )
    used, validation, test = (
        kept.rows(torch.from_numpy(rows)) for rows in (parts.train, parts.validation, parts.test)
    )
    level = 1 / small.answers + 0.05 if config.forget_level is None else config.forget_level
    return Setting(model, tokenizer, forget, used, Measurement(forget, validation, test, model), level)


# --- what is trained ----------------------------------------------------------------------------


def chosen_part(
    config: Unlearn, model: nn.Module, attribution: ExpertAttribution, trial: Trial
) -> str | list[Target]:
    """Return the part of the model that `trained_part` names.

    Raises:
        InputError: it names none.
    """
    text = config.trained_part
    if text in WHOLE:
        return text
    if match := re.fullmatch(r"top(\d+)", text):
        return attribution.top(max(1, int(match[1])))
    if match := re.fullmatch(r"(\d+):(\d+|shared)", text):
        expert: Expert = SHARED if match[2] == SHARED else int(match[2])
        return [(int(match[1]), expert)]
    if text == "shared":
        return [(attribution.top()[0][0], SHARED)]
    if text == "lowest":
        return [attribution.ranked()[-1]]
    if text == "random":
        others = attribution.ranked()[1:]
        return [others[int(torch.randint(len(others), (), generator=trial.generator("expert")))]]
    raise InputError(
        f"--trained-part {text!r} is unknown: give topN, LAYER:EXPERT, LAYER:shared, random, lowest, shared,"
        f" {', '.join(WHOLE)}."
    )


# --- unlearning ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attempt:
    """What one learning rate gave."""

    unlearner: SelectedExpertUnlearner
    curve: dict[int, Measured]
    """What was measured after so many steps."""

    def points(self) -> list[dict[str, float]]:
        """Return the curve as `at_level` takes it."""
        return [{"step": float(step), **vars(point)} for step, point in self.curve.items()]


def unlearned(
    config: Unlearn,
    setting: Setting,
    targets: str | Sequence[Target],
    attribution: ExpertAttribution,
    learning_rate: float,
    trial: Trial,
) -> Attempt:
    """Unlearn a copy of the model until the forget level is reached, measuring on the way."""
    settings = Unlearning(
        objective=config.objective,
        learning_rate=learning_rate,
        steps=config.unlearning_steps,
        batch_size=config.forget_batch,
        retain_weight=config.retain_weight,
        anchor_weight=config.anchor_weight,
        anchor_reduction=config.anchor_reduction,
        npo_beta=config.npo_beta,
        steering=config.steering,
    )
    unlearner = SelectedExpertUnlearner(
        copy.deepcopy(setting.base),
        settings,
        targets=cast("Sequence[Target]", targets),
        train_router=config.train_router,
        generator=trial.generator("batches"),
        attribution=attribution,
    )
    measurement = setting.measurement.from_layer(unlearner.prepare(setting.forget.sequences).start)
    curve: dict[int, Measured] = {}

    def measure(step: int, model: nn.Module) -> bool:
        if step % config.measure_every and step < config.unlearning_steps:
            return False
        curve[step] = measurement.of(model)
        return curve[step].forget <= setting.level

    unlearner.fit(setting.forget.sequences, setting.retain.sequences, stop=measure)
    return Attempt(unlearner, curve)


def kept_on_validation(attempt: Attempt, level: float) -> float:
    """Return what a candidate keeps at the level, or below 0 how far it stays from the level."""
    kept = at_level(attempt.points(), "validation", "forget", level)
    return kept if kept is not None else level - min(point.forget for point in attempt.curve.values())


# --- metrics and artefact -----------------------------------------------------------------------


def metrics_of(attempt: Attempt, level: float, trial: Trial) -> dict[str, Value]:
    """Return what is kept at the forget level, and how it was reached."""
    points, last = attempt.points(), list(attempt.curve.values())[-1]
    levels = torch.linspace(points[0]["forget"], level, 21).tolist()[1:]
    kept = [at_level(points, "retain", "forget", value) for value in levels]
    trial.count("unlearning_steps", max(attempt.curve))
    return {
        "forget_accuracy": min(point.forget for point in attempt.curve.values()),
        "retain_accuracy": last.retain,
        "retain_at_level": at_level(points, "retain", "forget", level),
        "retained_area": sum(value or 0.0 for value in kept) / len(kept),
        "steps_to_level": at_level(points, "step", "forget", level),
        "retain_overlap": at_level(points, "retain_overlap", "forget", level),
        "forget_overlap": at_level(points, "forget_overlap", "forget", level),
        "trained_share": attempt.unlearner.trained_share,
    }


def specialisation(
    targets: str | Sequence[Target], attribution: ExpertAttribution, setting: Setting
) -> dict[str, Value]:
    """Return how strongly forget documents are drawn to the trained expert, and retain documents not."""
    if isinstance(targets, str) or targets[0][1] == SHARED:
        return {}
    elsewhere = attribute_experts(setting.base, setting.retain.sequences)
    affinity = attribution.affinity(targets[0])
    return {
        "concentration": affinity * attribution.scores.shape[1],
        "selectivity": affinity / elsewhere.affinity(targets[0]),
    }


def save(
    config: Unlearn,
    setting: Setting,
    attribution: ExpertAttribution,
    best: Attempt,
    learning_rate: float,
    metrics: dict[str, Value],
    trial: Trial,
) -> None:
    """Keep the model, what changed in it, the attribution and a report."""
    unlearner = best.unlearner
    trial.save("model", UnlearnedModel(unlearner.model, setting.tokenizer))
    if unlearner.targets:
        trial.save("delta", unlearner.delta)
    trial.save("attribution", {"scores": attribution.scores, "layers": list(attribution.layers)})
    report = {
        "targets": [list(target) for target in unlearner.targets] or config.trained_part,
        "objective": config.objective,
        "learning_rate": learning_rate,
        "forget_level": setting.level,
        "reached": metrics["retain_at_level"] is not None,
        "curve": best.points(),
        **metrics,
    }
    trial.save("report", report)
