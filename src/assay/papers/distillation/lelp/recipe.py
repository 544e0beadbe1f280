"""How LELP is run: a teacher, targets from its embeddings, a student, and all that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.paper import Value
from assay.papers.distillation.lelp.baselines import candidates
from assay.papers.distillation.lelp.config import Distil
from assay.papers.distillation.lelp.inputs import TransferSet, read
from assay.papers.distillation.lelp.stages import Teacher
from assay.papers.distillation.lelp.training import Distillation
from assay.training import accuracy
from assay.trial import Trial


def distil(config: Distil, trial: Trial) -> dict[str, Value]:
    """Train a student with one objective, and evaluate it on rows on which nothing was chosen."""
    data = read(config, trial)
    if config.objective == "oracle" and data.oracle() is None:
        trial.progress("no known subclasses, so no oracle: name their column with --subclass")
        return {"accuracy": None, "subclasses_known": 0.0}
    distillation = Distillation(config, trial, data)
    teacher = distillation.teacher
    if config.objective == "none":
        return evaluate_teacher(teacher, data)

    tuned = trial.tune(
        candidates(config),
        fit=distillation.train_student,
        metric=lambda student: student.accuracy_on(data.validation),
    )
    trial.count("gradient_steps", config.learning.steps * len(tuned.scores))
    for number, score in enumerate(tuned.scores):
        trial.log(number, validation_accuracy=score)
    student = tuned.fitted
    metrics: dict[str, Value] = {
        "accuracy": student.accuracy_on(data.test),
        "agreement": accuracy(student.logits(data.test), teacher.test.logits.argmax(1)),
        "preparation_flops": trial.counters["preparation_flops"],
    }
    if config.objective == "oracle":
        metrics["subclasses_known"] = float(distillation.subclasses.n)
    trial.save("student", student.artefact())
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


def evaluate_teacher(teacher: Teacher, data: TransferSet) -> dict[str, Value]:
    """Return how accurate the teacher is, also beyond predicting the most frequent class."""
    labels = data.labels[data.test]
    found = accuracy(teacher.test.logits, labels)
    most_frequent = labels.bincount().max().item() / len(labels)
    return {"accuracy": found, "skill": (found - most_frequent) / max(1 - most_frequent, 1e-9)}
