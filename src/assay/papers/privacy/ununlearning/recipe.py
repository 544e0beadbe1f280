"""How the audit is run: facts, models, every question at every level, a report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from assay.errors import InputError, refusals
from assay.paper import Rate, Value
from assay.papers.privacy.knowledge import invent_facts
from assay.papers.privacy.ununlearning.config import Audit
from assay.papers.privacy.ununlearning.inputs import has_models
from assay.papers.privacy.ununlearning.method import AuditReport
from assay.papers.privacy.ununlearning.stages import audit_given, audit_trained, train_models, train_reader
from assay.trial import Trial, derive_seed


def audit(config: Audit, trial: Trial) -> dict[str, Value]:
    """Ask each model for each fact at each level of context, and say how much comes back."""
    # All arms read one audit: what only says which of its numbers are the metrics is not part of its key.
    asked = replace(config, audited=("retrained",), level="direct", answers="model")
    seed = derive_seed(trial.seed, "contexts") % 2**32
    reading = None
    if has_models(config):
        trial.progress("auditing the given models")
        with refusals():
            report = trial.once("audit", audit_given, asked, seed, trial.compute)
    else:
        small = config.small_models
        reader = trial.once("reader", train_reader, small, trial.compute, seedless=True)
        reading = reader.reading
        facts = invent_facts(small.entities, small.forgotten, small.values, trial.generator("facts"))
        models = trial.once("models", train_models, small, facts, reader.weights, trial.seed, trial.compute)
        trial.count("gradient_steps", small.first_steps + small.reader_steps + small.learn_steps)
        report = trial.once("audit", audit_trained, asked, facts, models, seed)
    trial.save("report", report)
    return measure(report, config, reading, trial)


def measure(report: AuditReport, config: Audit, reading: float | None, trial: Trial) -> dict[str, Value]:
    """Return the numbers of one model at one level; `reading` is the trained reader's, if there is one."""
    model = audited_model(report, config)
    screen = config.screen.source if config.answers == "screened" else None
    if screen == "none":
        raise InputError("--answers screened needs a filter: give --screen exact, words or similarity.")
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
    if reading is None and "direct" in config.levels:
        reading = float(np.mean(report.cell(model, "direct", "retain").accuracy))
    closed_book = [np.mean(report.cell(name, "closed_book").accuracy) for name in ("original", model)]
    metrics: dict[str, Value] = {
        "answered": Rate(forget.answered, forget.prompts),
        "accuracy": float(np.mean(forget.accuracy)),
        "retain_accuracy": float(np.mean(retain.accuracy)),
        "answer_logprob": float(np.mean(forget.logprob)),
        "forgetting": float(closed_book[0] - closed_book[1]),
        "reading": reading,
    }
    if forget.copied is not None:
        metrics["copied"] = float(np.mean(forget.copied))
    if screen is not None:
        return metrics | {"blocked": forget.blocked, "falsely_blocked": retain.blocked}
    if (model, config.level) in {(found.model, found.level) for found in report.findings}:
        found = report.finding(model, config.level)
        metrics["uplift"] = found.uplift.value
        metrics["recovery"] = None if found.recovery is None else found.recovery.value
        if found.parity is not None:
            metrics["parity"] = found.parity.value
    return metrics


def audited_model(report: AuditReport, config: Audit) -> str:
    """Return whose numbers are the metrics: the first model asked for that there is."""
    for name in config.audited:
        if name in ("original", *report.verdicts):
            return name
    asked = " or ".join("--" + name.replace("_", "-") for name in config.audited)
    raise InputError(f"{asked} is missing; its numbers are asked for.")
