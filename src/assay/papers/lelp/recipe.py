"""How LELP is run: a teacher, targets from its embeddings, a student, and the same for all that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from assay.errors import InputError
from assay.models import ModelSource
from assay.paper import Value
from assay.papers.lelp.config import Distil
from assay.papers.lelp.examples import Examples, read
from assay.papers.lelp.networks import BodySpec, Classifier, crop_and_flip, prepare
from assay.papers.lelp.objectives import (
    PARTITIONS,
    Candidate,
    Lesson,
    ObjectiveLoss,
    candidates,
    fit_projector,
    on_features,
    partition,
)
from assay.papers.lelp.student import DistilledStudent
from assay.papers.lelp.teaching import ask_teacher, compute_on, encode, train_teacher
from assay.training import accuracy, batches, fit, predict
from assay.trial import Trial, derive_seed

from .method import PseudoSubclasses, class_logits, teacher_labels


def distil(config: Distil, trial: Trial) -> dict[str, Value]:
    """Teach a student with one objective, and measure it on rows that nothing was chosen on."""
    examples = read(config, trial)
    classroom = Classroom(config, trial, examples)
    taught = classroom.teach()
    if config.objective == "none":
        return measure_teacher(taught, examples)
    if config.objective == "oracle" and examples.oracle() is None:
        trial.progress("no known subclasses, so no oracle: name their column with --subclass")
        return {"accuracy": None, "subclasses_known": 0.0}

    tuned = trial.tune(
        candidates(config.objective, config.grid),
        fit=lambda candidate: classroom.learn(candidate, taught),
        metric=lambda student: student.accuracy_on(examples.validation),
    )
    learner = tuned.fitted
    trial.count("gradient_steps", config.student.steps)
    trial.log(0, **{f"candidate_{n}": score for n, score in enumerate(tuned.scores)})
    trial.save("student", learner.artefact(tuned.candidate))
    return {
        "accuracy": learner.accuracy_on(examples.test),
        "validation_accuracy": tuned.score,
        "agreement": learner.agreement(taught["read"]["test"]["logits"]),
        "preparation_flops": float(classroom.flops),
        "subclasses": float(learner.n_subclasses),
        **({"subclasses_known": float(learner.n_subclasses)} if config.objective == "oracle" else {}),
    }


def ablate(config: Distil, trial: Trial) -> dict[str, Value]:
    """Distil without one part of the method."""
    return distil(config, trial)


def compare(config: Distil, trial: Trial) -> dict[str, Value]:
    """Distil with other losses and other pseudo-subclasses."""
    return distil(config, trial)


def across(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, Value]:
    """Return what is left to gain over vanilla distillation: the oracle's lead, or else the teacher's."""
    best = arms["oracle"]["accuracy"]
    return {"room": (arms["teacher"]["accuracy"] if best is None else best) - arms["kd"]["accuracy"]}


def measure_teacher(taught: Mapping[str, Any], examples: Examples) -> dict[str, Value]:
    """Return how good the teacher is, and by how much better than naming the most frequent class."""
    labels = examples.labels[examples.test]
    found = accuracy(taught["read"]["test"]["logits"], labels)
    most_frequent = labels.bincount().max().item() / len(labels)
    return {"accuracy": found, "skill": (found - most_frequent) / max(1 - most_frequent, 1e-9)}


@dataclass
class Learner:
    """A student after training, with the rows it is asked about."""

    classifier: Classifier
    rows: Tensor
    examples: Examples
    loss: ObjectiveLoss

    @property
    def n_subclasses(self) -> int:
        """S of its head."""
        return self.classifier.head.n_subclasses

    def logits(self, numbers: Tensor) -> Tensor:
        """Return one logit a class for some rows."""
        return predict(_ClassLogits(self.classifier), self.rows[numbers])

    def accuracy_on(self, numbers: Tensor) -> float:
        """Return the share of right answers."""
        return accuracy(self.logits(numbers), self.examples.labels[numbers])

    def agreement(self, teacher_logits: Tensor) -> float:
        """Return the share of test rows on which it says what the teacher says."""
        return accuracy(self.logits(self.examples.test), teacher_logits.argmax(1))

    def artefact(self, candidate: Candidate) -> DistilledStudent:
        """Return the student with the projection that taught it."""
        projector = self.loss.projector
        tau, beta = candidate.class_temperature, candidate.subclass_temperature
        targets = None if projector is None else PseudoSubclasses(projector, tau, beta)
        return DistilledStudent(self.classifier, self.examples.names, targets)


class _ClassLogits(nn.Module):
    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, rows: Tensor) -> Tensor:
        return class_logits(self.classifier(rows)[1], self.classifier.head.n_subclasses)


class Classroom:
    """The teacher and the students of one trial. `flops` counts what targets cost once the teacher is trained."""

    def __init__(self, config: Distil, trial: Trial, examples: Examples) -> None:
        self.config, self.trial, self.examples = config, trial, examples
        self.device = str(trial.device)
        self.flops = 0

    # --- the teacher ----------------------------------------------------------------------------

    def teach(self) -> dict[str, Any]:
        """Make the teacher, or ask the user's own, and read training and test rows with it."""
        taught: dict[str, Any]
        if self._is_given():
            if self.examples.kind != "text":
                raise InputError("--teacher is a model of texts, and this table has none. Name it with --data.text.")
            parts = {name: self.examples.rows(numbers) for name, numbers in self._parts().items()}
            source = ModelSource(str(self.config.teacher.source))
            taught = self.trial.once(
                "teacher", ask_teacher, source, self.examples.names, parts, self.config.max_tokens, self.device
            )
        else:
            taught = self._train("teacher", n_subclasses=1)
        self.flops = len(self.examples.train) * taught["forward_flops"]
        return taught

    def _is_given(self) -> bool:
        return self.config.teacher.source is not None and not self.config.teacher.epochs

    def _train(self, stage: str, n_subclasses: int, diversity_weight: float = 0.0) -> dict[str, Any]:
        spec, rows = self._teacher_view()
        seen = self.examples.train[: self.examples.labelled]
        trained: dict[str, Any] = self.trial.once(
            stage,
            train_teacher,
            spec,
            (len(self.examples.names), n_subclasses),
            self.config.teacher,
            (rows[seen], self.examples.labels[seen]),
            {name: rows[numbers] for name, numbers in self._parts().items()},
            diversity_weight,
            self.config.augment,
            self.device,
        )
        return trained

    def _parts(self) -> dict[str, Tensor]:
        return {"train": self.examples.train, "test": self.examples.test}

    def _teacher_view(self) -> tuple[BodySpec, Tensor]:
        """Return the teacher's body and all rows as it reads them."""
        teacher, raw = self.config.teacher, self.examples.raw
        if teacher.source is not None:
            spec = BodySpec("transformer", source=teacher.source, max_words=self.config.max_tokens)
            return spec, prepare(spec, raw)
        if isinstance(raw, Tensor) and self.examples.kind == "images":
            return BodySpec(teacher.network, inputs=raw.shape[1], width=16, depth=teacher.depth), raw
        rows = raw if isinstance(raw, Tensor) else self._embeddings()
        return BodySpec("mlp", inputs=rows.shape[1], hidden=teacher.hidden, dropout=teacher.dropout), rows

    def _embeddings(self) -> Tensor:
        """Return sentence embeddings of all texts. They depend on no seed, so all seeds share the stage."""
        shared = Trial(seed=0, device=self.trial.device, stages=self.trial.stages, code=self.trial.code)
        embeddings: Tensor = shared.once(
            "sentences", encode, list(self.examples.raw), self.config.teacher.encoder, self.device
        )
        self.trial.shared_seconds += shared.shared_seconds
        return embeddings

    # --- a student ------------------------------------------------------------------------------

    def learn(self, candidate: Candidate, taught: Mapping[str, Any]) -> Learner:
        """Train a student with one candidate."""
        lesson, n_subclasses = self._lesson(candidate, taught)
        loss, coordinates = self._objective(candidate, lesson, n_subclasses)
        spec, rows = self._student_view()
        classifier = Classifier(spec, lesson.logits.shape[1] // self._split_logits(n_subclasses), loss_subclasses(loss))
        if spec.kind == "mlp":
            classifier.body.adapt(rows[self.examples.train])  # type: ignore[operator]
        if self.config.objective in ("fitnet", "vid", "rkd", "crd"):
            loss.on_features = on_features(
                self.config.objective, classifier.body.features, lesson.embeddings.shape[1]
            )
        return Learner(classifier, rows, self.examples, loss)
