"""How one-expert unlearning is run: attribute, unlearn to a forget level, compare what is kept there."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from assay.data import Rows
from assay.errors import InputError, refusals
from assay.models import ModelSource, load_model, load_tokenizer
from assay.paper import Value
from assay.papers.privacy.knowledge import refuse_overlap
from assay.papers.privacy.uoe.artefact import UnlearnedModel, UnlearningReport
from assay.papers.privacy.uoe.config import Unlearn
from assay.papers.privacy.uoe.evaluation import Measured, Measurement
from assay.papers.privacy.uoe.inputs import Documents, of_facts, read_documents
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
from assay.papers.privacy.uoe.synthetic import build_tokenizer, invent_topics, train_model, untrained
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
    setting = users_setting(config, trial) if config.model.source else synthetic_setting(config, trial)
    before = setting.measurement.of(setting.base)
    if config.measured != "unlearned":
        return {"forget_accuracy": before.forget, "retain_accuracy": before.retain}
    attribution = attribute_experts(setting.base, setting.forget.sequences, score=config.attribution)
    targets = chosen_part(config, setting.base, attribution, trial)
    trial.count("step_budget", config.unlearning_steps)

    def attempt(learning_rate: float) -> Attempt:
        trial.progress(f"{config.objective} on {config.trained_part}, learning rate {learning_rate:g}")
        unlearner = SelectedExpertUnlearner(
            copy.deepcopy(setting.base),
            settings_of(config, learning_rate),
            targets=cast("Sequence[Target]", targets),
            train_router=config.train_router,
            generator=trial.generator("batches"),
            attribution=attribution,
        )
        return run_attempt(unlearner, setting, config.measure_every)

    with refusals():
        tuned = trial.tune(
            config.learning_rates, attempt, lambda attempt: kept_on_validation(attempt, setting.level)
        )
    best = tuned.fitted
    for step, point in best.curve.items():
        trial.log(step, **vars(point))
    metrics = metrics_of(best, setting.level, trial) | specialisation(targets, attribution, setting)
    trial.save("model", UnlearnedModel(best.unlearner.model, setting.tokenizer))
    if best.unlearner.targets:
        trial.save("delta", lambda: best.unlearner.delta)
    trial.save("attribution", attribution)
    report = UnlearningReport(
        targets=best.unlearner.targets,
        trained_part=config.trained_part,
        objective=config.objective,
        learning_rate=tuned.candidate,
        forget_level=setting.level,
        reached=metrics["retain_at_level"] is not None,
        curve=best.points(),
        metrics=metrics,
    )
    trial.save("report", report)
    return metrics


# --- the model and the documents ----------------------------------------------------------------


def users_setting(config: Unlearn, trial: Trial) -> Setting:
    """Return the user's model with the user's documents.

    Raises:
        InputError: a set is missing, the sets overlap, or the model is not one of known experts.
    """
    if config.forget.source is None or config.retain.source is None:
        raise InputError("--model needs --forget FILE and --retain FILE: what to forget, what to keep.")
    if config.measured == "retrained":
        raise InputError("--measured retrained needs the invented facts: leave --model out.")
    source = ModelSource(str(config.model.source))
    tokenizer = load_tokenizer(source)

    def read(corpus: Rows) -> Documents:
        return read_documents(corpus, tokenizer, config.max_tokens, config.max_documents)

    forget, retain = read(config.forget), read(config.retain)
    refuse_overlap(forget.facts, retain.facts)
    if len(retain) < 4:
        raise InputError(
            f"{config.retain.source} gives {len(retain)} documents; at least 4 are needed to split."
        )
    model = load_model(source, AutoModelForCausalLM, device=trial.device, dtype=config.dtype)
    moe_layout(model)
    parts = trial.split(len(retain), test=0.4, validation=0.2, group=[fact.id for fact in retain.facts])
    used, validation, test = (retain.rows(torch.from_numpy(rows)) for rows in vars(parts).values())
    measurement = Measurement(
        read(config.forget_test) if config.forget_test.source else forget,
        validation,
        read(config.retain_test) if config.retain_test.source else test,
        model,
    )
    known = measurement.of(model).forget
    if known == 0:
        raise InputError("The model answers nothing of the forget set already: there is nothing to unlearn.")
    level = known / 2 if config.forget_level is None else config.forget_level
    return Setting(model, tokenizer, forget, used, measurement, level)


def synthetic_setting(config: Unlearn, trial: Trial) -> Setting:
    """Return a small model that was trained on invented facts of this seed.

    Raises:
        InputError: documents are given, which the small model has never read.
    """
    if config.forget.source or config.retain.source:
        raise InputError("--forget and --retain need --model: the small model knows invented facts alone.")
    small, tokenizer = config.scratch, build_tokenizer(config.scratch)
    facts = invent_topics(small, trial.generator("facts"))
    documents = of_facts(facts, tokenizer, config.max_tokens)
    is_forget = torch.tensor([fact.split == "forget" for fact in facts])
    training_ids = documents.sequences.input_ids
    if config.measured == "retrained":
        training_ids = training_ids[~is_forget]
    weights = trial.once("model", train_model, small, len(tokenizer), training_ids, trial.compute)
    model: Any = untrained(small, len(tokenizer))
    model.load_state_dict(weights)
    model.to(trial.device).eval()
    forget, kept = (documents.rows(rows.nonzero().squeeze(1)) for rows in (is_forget, ~is_forget))
    parts = trial.split(
        len(kept), test=0.4, validation=0.25, stratify=[fact.id[0] for fact in kept.facts], fresh=True
    )
    used, validation, test = (kept.rows(torch.from_numpy(rows)) for rows in vars(parts).values())
    level = 1 / small.answers + 0.05 if config.forget_level is None else config.forget_level
    return Setting(model, tokenizer, forget, used, Measurement(forget, validation, test, model), level)


# --- unlearning ---------------------------------------------------------------------------------


def chosen_part(
    config: Unlearn, model: nn.Module, attribution: ExpertAttribution, trial: Trial
) -> str | list[Target]:
    """Return the part of the model that `trained_part` names.

    Raises:
        InputError: it names none.
    """
    text = config.trained_part
    if text in WHOLE or text.startswith("re:"):
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
        f" {', '.join(WHOLE)} or re:PATTERN."
    )


def settings_of(config: Unlearn, learning_rate: float) -> Unlearning:
    """Return the settings of the method that the options describe."""
    names = [field.name for field in fields(Unlearning) if hasattr(config, field.name)]
    same: dict[str, Any] = {name: getattr(config, name) for name in names}
    return Unlearning(
        **same, learning_rate=learning_rate, steps=config.unlearning_steps, batch_size=config.forget_batch
    )


@dataclass(frozen=True)
class Attempt:
    """What one learning rate gave."""

    unlearner: SelectedExpertUnlearner
    curve: dict[int, Measured]
    """What was measured after so many steps."""

    def points(self) -> list[dict[str, float]]:
        """Return the curve as `at_level` takes it."""
        return [{"step": float(step), **vars(point)} for step, point in self.curve.items()]


def run_attempt(unlearner: SelectedExpertUnlearner, setting: Setting, measure_every: int) -> Attempt:
    """Unlearn until the forget level is reached, measuring on the way."""
    measurement = setting.measurement.from_layer(unlearner.prepare(setting.forget.sequences).start)
    curve: dict[int, Measured] = {}

    def measure(step: int, model: nn.Module) -> bool:
        if step % measure_every and step < unlearner.settings.steps:
            return False
        curve[step] = measurement.of(model)
        return curve[step].forget <= setting.level

    unlearner.fit(setting.forget.sequences, setting.retain.sequences, stop=measure)
    return Attempt(unlearner, curve)


def kept_on_validation(attempt: Attempt, level: float) -> float:
    """Return what a candidate keeps at the level, or below 0 how far it stays from the level."""
    kept = at_level(attempt.points(), "validation", "forget", level)
    return kept if kept is not None else level - min(point.forget for point in attempt.curve.values())


# --- metrics ------------------------------------------------------------------------------------


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
    """Return how much more forget documents are routed to the trained expert than others are."""
    if isinstance(targets, str) or targets[0][1] == SHARED:
        return {}
    elsewhere = attribute_experts(setting.base, setting.retain.sequences)
    affinity = attribution.affinity(targets[0])
    return {
        "concentration": affinity * attribution.scores.shape[1],
        "selectivity": affinity / elsewhere.affinity(targets[0]),
    }
