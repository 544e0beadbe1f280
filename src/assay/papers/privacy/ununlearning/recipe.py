"""How the audit is run: facts, models, every question at every level, a report."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from assay.errors import InputError
from assay.paper import Rate, Value
from assay.papers.privacy.knowledge import FactRecord
from assay.papers.privacy.ununlearning.config import Audit
from assay.papers.privacy.ununlearning.given import audit_of, check_given, load_facts, load_given
from assay.papers.privacy.ununlearning.method import AuditReport, Finding
from assay.papers.privacy.ununlearning.world import FORM, Words, invented, model_of, train_all, train_reader
from assay.trial import Trial, derive_seed


def audit(config: Audit, trial: Trial) -> dict[str, Value]:
    """Ask each model for each fact at each level of context, and say how much comes back."""
    # All arms read one audit: what only says which of its numbers are the metrics is not part of its key.
    asked = dataclasses.replace(config, audited="retrained", level="direct", answers="model")
    seed = derive_seed(trial.seed, "contexts") % 2**32
    reading = None
    if check_given(config):
        trial.progress("auditing the given models")
        values = trial.once("audit", audit_given, asked, seed, str(trial.device))
    else:
        world = config.world
        reader = trial.once("reader", train_reader, world, seedless=True)
        reading = float(reader["reading"])
        facts = invented(world, trial.generator("facts"))
        models = trial.once("models", train_all, world, facts, reader["weights"], trial.seed)
        trial.count("gradient_steps", world.first_steps + world.reader_steps + world.learn_steps)
        values = trial.once("audit", audit_world, asked, facts, models, seed)
    report = AuditReport.of(values)
    trial.save("report", report)
    return measure(report, config, reading, trial)


def audit_given(config: Audit, seed: int, device: str) -> dict[str, Any]:
    """Audit the user's models."""
    facts = load_facts(config.facts)
    models, tokenizer = load_given(config, device)
    report = audit_of(config, models, tokenizer, facts, seed).run()
    return dataclasses.replace(report, redact=not config.show_facts).to_json()


def audit_world(config: Audit, facts: list[FactRecord], weights: dict[str, Any], seed: int) -> dict[str, Any]:
    """Audit the models that were trained in the small world; its made-up names need no hiding."""
    words = Words.of(facts)
    models = {name: model_of(config.world, words, state) for name, state in weights.items()}
    report = audit_of(config, models, words.tokenizer, facts, seed, form=FORM).run()
    return dataclasses.replace(report, redact=False).to_json()


# --- metrics ------------------------------------------------------------------------------------


def measure(report: AuditReport, config: Audit, reading: float | None, trial: Trial) -> dict[str, Value]:
    """Return the numbers of one model at one level."""
    model = audited_model(report, config, trial)
    screen = None
    if config.answers == "screened":
        if config.screen == "none":
            raise InputError("--answers screened needs a filter: give --screen exact, words or similarity.")
        screen = config.screen
    try:
        forget, retain = (report.cell(model, config.level, split, screen) for split in ("forget", "retain"))
    except KeyError:
        raise InputError(f"--level {config.level} was not measured: add it to --levels.") from None
    if config.answers == "guess":
        lucky = trial.numpy("guess").binomial(forget.prompts, forget.guess or 0.0)
        return {
            "answered": Rate(int(lucky), forget.prompts),
            "accuracy": forget.guess,
            "retain_accuracy": retain.guess,
        }
    ceiling = float(np.mean(report.cell(model, "direct", "retain").accuracy)) if reading is None else reading
    metrics: dict[str, Value] = {
        "answered": Rate(forget.answered, forget.prompts),
        "accuracy": float(np.mean(forget.accuracy)),
        "retain_accuracy": float(np.mean(retain.accuracy)),
        "answer_logprob": float(np.mean(forget.logprob)),
        "forgetting": forgetting(report, model),
        "reading": ceiling,
    }
    if forget.copied is not None:
        metrics["copied"] = float(np.mean(forget.copied))
    if screen is not None:
        metrics |= {"blocked": forget.blocked, "falsely_blocked": retain.blocked}
    found = finding(report, model, config.level)
    if found is not None and screen is None:
        metrics["recovery"] = None if found.recovery is None else found.recovery.value
        metrics["uplift"] = found.uplift.value
        if found.parity is not None:
            metrics["parity"] = found.parity.value
    return metrics


def audited_model(report: AuditReport, config: Audit, trial: Trial) -> str:
    """Return whose numbers are the metrics; a run without that model takes the first that there is."""
    models = ["original", *report.verdicts]
    if config.audited in models:
        return config.audited
    if trial.out is None:
        raise InputError(f"--{config.audited.replace('_', '-')} is missing; its numbers are asked for.")
    return models[1]


def forgetting(report: AuditReport, model: str) -> float:
    """Return F = acc(original, C0) - acc(model, C0) on the facts to forget."""
    before, after = (np.mean(report.cell(name, "closed_book").accuracy) for name in ("original", model))
    return float(before - after)


def finding(report: AuditReport, model: str, level: str) -> Finding | None:
    """Return what a level does to a model, where it is a level that may bring something back."""
    return next((item for item in report.findings if (item.model, item.level) == (model, level)), None)
