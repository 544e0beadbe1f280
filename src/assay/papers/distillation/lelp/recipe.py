"""How LELP is run: a teacher, targets from its embeddings, a student, and all that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.paper import Value
from assay.papers.distillation.lelp.config import Distil
from assay.papers.distillation.lelp.examples import Examples, read
from assay.papers.distillation.lelp.learning import Teachers, course_of, refuse_misfits
from assay.papers.distillation.lelp.objectives import candidates
from assay.training import accuracy
from assay.trial import Trial


def distil(config: Distil, trial: Trial) -> dict[str, Value]:
    """Teach a student with one objective, and measure it on rows on which nothing was chosen."""
    examples = read(config, trial)
    refuse_misfits(config, examples)
    if config.objective == "oracle" and examples.oracle() is None:
        trial.progress("no known subclasses, so no oracle: name their column with --subclass")
        return {"accuracy": None, "subclasses_known": 0.0}
    teachers = Teachers(config, trial, examples)
    taught = teachers.teach()
    if config.objective == "none":
        return measure_teacher(taught, examples)

    course = course_of(config, trial, examples, teachers, taught)
    tuned = trial.tune(
        candidates(config.objective, config.grid),
        fit=course.learn,
        metric=lambda pupil: pupil.accuracy_on(examples.validation),
    )
    trial.count("gradient_steps", config.learning.steps * len(tuned.scores))
    for number, score in enumerate(tuned.scores):
        trial.log(number, validation_accuracy=score)
    trial.save("student", tuned.fitted.artefact())
    metrics: dict[str, Value] = {
        "accuracy": tuned.fitted.accuracy_on(examples.test),
        "agreement": tuned.fitted.agreement(taught["read"]["test"]["logits"]),
        "preparation_flops": trial.counters["preparation_flops"],
    }
    if config.objective == "oracle":
        metrics["subclasses_known"] = float(course.signal.n_subclasses)
    return metrics


def ablate(config: Distil, trial: Trial) -> dict[str, Value]:
    """Distil without one part of the method."""
    return distil(config, trial)


def compare(config: Distil, trial: Trial) -> dict[str, Value]:
    """Distil with other losses and with other pseudo-subclasses."""
    return distil(config, trial)


def across(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, Value]:
    """Return what is left to gain over vanilla distillation: the oracle's lead, or else the teacher's."""
    best = arms["oracle"]["accuracy"]
    return {"room": (arms["teacher"]["accuracy"] if best is None else best) - arms["kd"]["accuracy"]}


def measure_teacher(taught: Mapping[str, Any], examples: Examples) -> dict[str, Value]:
    """Return how good the teacher is, also beyond naming the most frequent class."""
    labels = examples.labels[examples.test]
    found = accuracy(taught["read"]["test"]["logits"], labels)
    most_frequent = labels.bincount().max().item() / len(labels)
    return {"accuracy": found, "skill": (found - most_frequent) / max(1 - most_frequent, 1e-9)}
