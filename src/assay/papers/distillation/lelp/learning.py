"""From what the teacher said to a student: the signal of an objective, and the training of one candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from assay.errors import InputError
from assay.models import ModelSource
from assay.papers.distillation.lelp.config import Distil
from assay.papers.distillation.lelp.examples import Examples
from assay.papers.distillation.lelp.networks import BodySpec, Classifier, crop_and_flip, prepare
from assay.papers.distillation.lelp.objectives import (
    PARTITIONS,
    Candidate,
    Lesson,
    ObjectiveLoss,
    fit_projector,
    on_features,
    partition,
)
from assay.papers.distillation.lelp.student import DistilledStudent
from assay.papers.distillation.lelp.teaching import ask_teacher, compute_on, encode, read_rows, train_teacher
from assay.training import accuracy, batches, fit
from assay.trial import Trial, derive_seed

from .method import PseudoSubclasses, SubspaceProjector, class_logits, teacher_labels

CHUNK_TEXTS = 1024
"""Texts that are embedded in one go."""


class View(NamedTuple):
    """A network's body, and all rows as it reads them."""

    spec: BodySpec
    rows: Tensor


@dataclass(frozen=True)
class Signal:
    """What an objective adds to the teacher's logits."""

    n_subclasses: int
    """S of the student's head."""
    coordinates: Float[Tensor, "n c s"]
    """Of every training row, where there are directions or a partition; else zero wide."""
    projector: SubspaceProjector | None = None
    """Directions in the teacher's embeddings, for LELP."""


def refuse_misfits(config: Distil, examples: Examples) -> None:
    """Refuse options that these rows have no use for.

    Raises:
        InputError: says which, and what they need.
    """
    for name, model in (("teacher", config.teacher), ("student", config.student)):
        if model.source is not None and examples.kind != "text":
            raise InputError(
                f"--{name} is a model of texts, and this table has none. Name it with --data.text."
            )
    if config.augment and examples.kind != "images":
        raise InputError("--augment crops and flips pictures; this table has none.")
    if config.label_weight and examples.labelled < len(examples.train):
        raise InputError("--label-weight above 0 needs the labels of all training rows: give --labelled 1.")
    if config.teaching.epochs and config.teacher.source is None:
        raise InputError("--teaching.epochs fine-tunes a given teacher: give --teacher, or --teaching.steps.")
    asked_only = config.teacher.source is not None and not config.teaching.epochs
    if asked_only and config.objective == "subclass_distillation":
        raise InputError("Subclass Distillation trains its teacher: give --teaching.epochs with --teacher.")


# --- the teacher --------------------------------------------------------------------------------


class Teachers:
    """Makes the teachers of a trial: one that its arms share, and those that Subclass Distillation needs."""

    def __init__(self, config: Distil, trial: Trial, examples: Examples) -> None:
        self.config, self.trial, self.examples = config, trial, examples
        self.parts = {"train": examples.train, "test": examples.test}
        self.view = None if self._is_asked_only() else self._view()

    def teach(self) -> dict[str, Any]:
        """Train the teacher, or ask the user's own, and read training and test rows with it."""
        if self.view is None:
            source = ModelSource(str(self.config.teacher.source))
            texts = {name: self.examples.rows(numbers) for name, numbers in self.parts.items()}
            arguments = (source, self.examples.names, texts, self.config.max_tokens, str(self.trial.device))
            taught: dict[str, Any] = self.trial.once("teacher", ask_teacher, *arguments)
        else:
            taught = self._train("teacher", 1, 0.0)
        self.trial.count("preparation_flops", len(self.examples.train) * taught["forward_flops"])
        return taught

    def teach_again(self, n_subclasses: int, diversity_weight: float) -> dict[str, Any]:
        """Train a teacher with C * S logits, for one candidate of Subclass Distillation."""
        taught = self._train(f"subclass-teacher-{diversity_weight:g}", n_subclasses, diversity_weight)
        passes = 3 * taught["examples"] + len(
            self.examples.train
        )  # training costs about three forward passes
        self.trial.count("preparation_flops", passes * taught["forward_flops"])
        return taught

    def rebuilt(self, taught: Mapping[str, Any]) -> Classifier:
        """Return a trained teacher, frozen, to be asked about augmented pictures."""
        assert self.view is not None
        n_subclasses = len(taught["weight"]) // len(self.examples.names)
        teacher = Classifier(self.view.spec, len(self.examples.names), n_subclasses)
        teacher.load_state_dict(taught["model"])
        return teacher.eval().requires_grad_(False)

    def _is_asked_only(self) -> bool:
        return self.config.teacher.source is not None and not self.config.teaching.epochs

    def _train(self, stage: str, n_subclasses: int, diversity_weight: float) -> dict[str, Any]:
        assert self.view is not None
        spec, rows = self.view
        seen = self.examples.train[: self.examples.labelled]
        taught: dict[str, Any] = self.trial.once(
            stage,
            train_teacher,
            spec,
            (len(self.examples.names), n_subclasses),
            self.config.teaching,
            (rows[seen], self.examples.labels[seen]),
            {name: rows[numbers] for name, numbers in self.parts.items()},
            diversity_weight,
            self.config.augment,
            str(self.trial.device),
        )
        return taught

    def _view(self) -> View:
        options, raw = self.config.teaching, self.examples.raw
        if self.config.teacher.source is not None:
            spec = BodySpec(
                "transformer", source=self.config.teacher.source, max_words=self.config.max_tokens
            )
            return View(spec, prepare(spec, raw))
        if isinstance(raw, Tensor) and self.examples.kind == "images":
            return View(BodySpec(options.network, inputs=raw.shape[1], depth=options.depth), raw)
        rows = raw if isinstance(raw, Tensor) else self._sentences(list(raw))
        return View(
            BodySpec("mlp", inputs=rows.shape[1], hidden=options.hidden, dropout=options.dropout), rows
        )

    def _sentences(self, texts: list[str]) -> Float[Tensor, "n d"]:
        """Embed all texts, chunk by chunk: workers begin at different ones and share what is done."""
        chunks = [texts[start : start + CHUNK_TEXTS] for start in range(0, len(texts), CHUNK_TEXTS)]
        first = self.trial.seed % 2 * (len(chunks) // 2)
        order = [*range(first, len(chunks)), *range(first)]
        encoder, device = self.config.teaching.encoder, str(self.trial.device)
        parts = {
            number: self.trial.once("sentences", encode, chunks[number], encoder, device, seedless=True)
            for number in order
        }
        return torch.cat([parts[number] for number in range(len(chunks))])


def lesson_of(taught: Mapping[str, Any], examples: Examples) -> Lesson:
    """Return what the teacher says of the training rows; unlabelled ones get the class that it chooses."""
    read = taught["read"]["train"]
    labels = examples.labels[examples.train].clone()
    labels[examples.labelled :] = -1
    return Lesson(
        read["embeddings"], read["logits"], taught["weight"], teacher_labels(read["logits"], labels)
    )


# --- the signal ---------------------------------------------------------------------------------


def signal_of(config: Distil, trial: Trial, examples: Examples, lesson: Lesson) -> Signal:
    """Find the directions or the partition that an objective needs."""
    seed = derive_seed(trial.seed, "directions") % 2**31
    none = torch.zeros(*lesson.logits.shape, 0)
    wanted = possible_subclasses(config.n_subclasses, lesson)
    if config.objective == "lelp":
        rows, dimensions = lesson.embeddings.shape
        trial.count("preparation_flops", rows * dimensions**2)
        try:
            projector = fit_projector(config, lesson, wanted, seed)
        except ValueError as error:
            raise InputError(str(error)) from error
        return Signal(wanted, projector.transform(lesson.embeddings), projector)
    if config.objective in PARTITIONS:
        known, n_known = examples.oracle() or (None, 0)
        n = n_known if config.objective == "oracle" else wanted
        return Signal(n, partition(config.objective, lesson, n, seed, known))
    return Signal(wanted if config.objective == "subclass_distillation" else 1, none)


def possible_subclasses(wanted: int, lesson: Lesson) -> int:
    """Return S, or fewer where the smallest class has too few rows for so many directions."""
    classes, dimensions = lesson.weight.shape
    smallest = int(lesson.labels.bincount(minlength=classes).min())
    return max(1, min(wanted, smallest - 1 - classes, dimensions - classes))


# --- the student --------------------------------------------------------------------------------


class Learner(nn.Module):
    """A student while it learns, with the loss of its objective.

    With a `teacher` it sees each picture cropped and flipped at random, and the teacher sees the same view.
    """

    def __init__(self, student: Classifier, loss: ObjectiveLoss, teacher: Classifier | None = None) -> None:
        super().__init__()
        self.student = student
        self.loss = loss
        self.teacher = (teacher,)  # in a tuple, so that its parameters are not among those to be trained

    def forward(
        self,
        rows: Tensor,
        embeddings: Float[Tensor, "n d"],
        logits: Float[Tensor, "n z"],
        labels: Int[Tensor, " n"],
        coordinates: Float[Tensor, "n c s"],
    ) -> Float[Tensor, ""]:
        """Return the loss of some training rows."""
        (teacher,) = self.teacher
        if teacher is not None:
            rows = crop_and_flip(rows)
            with torch.no_grad():
                embeddings, logits = teacher.to(rows.device)(rows)
        loss: Tensor = self.loss(*self.student(rows), embeddings, logits, labels, coordinates)
        return loss


@dataclass(frozen=True)
class Course:
    """All that the candidates of one arm share."""

    config: Distil
    trial: Trial
    examples: Examples
    teachers: Teachers
    taught: dict[str, Any]
    lesson: Lesson
    signal: Signal
    view: View
    """The student's."""

    def learn(self, candidate: Candidate) -> Pupil:
        """Train a student with one candidate; Subclass Distillation trains a teacher for it first."""
        config, examples, signal = self.config, self.examples, self.signal
        taught, lesson = self.taught, self.lesson
        if config.objective == "subclass_distillation":
            taught = self.teachers.teach_again(signal.n_subclasses, candidate.weight)
            read = taught["read"]["train"]
            lesson = Lesson(read["embeddings"], read["logits"], taught["weight"], lesson.labels)
        student = Classifier(self.view.spec, len(examples.names), signal.n_subclasses)
        student.adapt(self.view.rows[examples.train])
        loss = ObjectiveLoss(
            config.objective,
            candidate,
            signal.n_subclasses,
            label_weight=config.label_weight,
            projector=signal.projector if config.augment else None,
            on_features=on_features(config.objective, student.body.features, lesson.embeddings.shape[1]),
        )
        learner = Learner(student, loss, self.teachers.rebuilt(taught) if config.augment else None)
        rows = self.view.rows[examples.train]
        self._train(learner, rows, lesson.embeddings, lesson.logits, lesson.labels, signal.coordinates)
        return Pupil(student, self.view.rows, examples, signal, candidate)

    def _train(self, learner: Learner, *tensors: Tensor) -> None:
        """Train in place, with AdamW under a cosine."""
        options = self.config.learning
        seen = self.examples.labelled if self.config.objective == "labels" else len(tensors[0])
        optimizer = AdamW(
            learner.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
        )
        fit(
            learner,
            batches(
                *(tensor[:seen] for tensor in tensors),
                batch_size=min(options.batch_size, seen),
                generator=self.trial.generator("batches"),
            ),
            loss_of_batch,
            optimizer=optimizer,
            scheduler=CosineAnnealingLR(optimizer, options.steps),
            steps=options.steps,
            compute=compute_on(str(self.trial.device)),
        )
        learner.eval()


def course_of(
    config: Distil, trial: Trial, examples: Examples, teachers: Teachers, taught: dict[str, Any]
) -> Course:
    """Prepare what the candidates of one arm share."""
    lesson = lesson_of(taught, examples)
    signal = signal_of(config, trial, examples, lesson)
    spec = student_spec(config, examples)
    view = View(spec, prepare(spec, examples.raw))
    return Course(config, trial, examples, teachers, taught, lesson, signal, view)


def loss_of_batch(learner: nn.Module, batch: tuple[Tensor, ...]) -> Float[Tensor, ""]:
    """Return the learner's loss of a batch."""
    loss: Tensor = learner(*batch)
    return loss


def student_spec(config: Distil, examples: Examples) -> BodySpec:
    """Return the student's body for this kind of rows."""
    options, raw = config.learning, examples.raw
    if isinstance(raw, Tensor):
        if examples.kind == "images":
            return BodySpec(options.network, inputs=raw.shape[1], width=8, depth=options.depth)
        return BodySpec("mlp", inputs=raw.shape[1], hidden=options.hidden)
    if config.student.source is not None:
        return BodySpec("transformer", source=config.student.source, max_words=config.max_tokens)
    return BodySpec(
        "words",
        hidden=(options.word_hidden,),
        dropout=options.word_dropout,
        buckets=options.word_buckets,
        width=options.word_width,
    )


@dataclass(frozen=True)
class Pupil:
    """A trained student, with the rows that it is asked about."""

    student: Classifier
    rows: Tensor
    examples: Examples
    signal: Signal
    candidate: Candidate

    def logits(self, numbers: Int[Tensor, " k"]) -> Float[Tensor, "k c"]:
        """Return one logit a class for some rows."""
        logits = read_rows(self.student, self.rows[numbers])["logits"]
        return class_logits(logits, self.signal.n_subclasses)

    def accuracy_on(self, numbers: Int[Tensor, " k"]) -> float:
        """Return the share of right answers."""
        return accuracy(self.logits(numbers), self.examples.labels[numbers])

    def agreement(self, teacher_logits: Float[Tensor, "n c"]) -> float:
        """Return the share of test rows on which it says what the teacher says."""
        return accuracy(self.logits(self.examples.test), teacher_logits.argmax(1))

    def artefact(self) -> DistilledStudent:
        """Return the student with the projection and the temperatures that taught it."""
        projector = self.signal.projector
        tau, beta = self.candidate.class_temperature, self.candidate.subclass_temperature
        targets = None if projector is None else PseudoSubclasses(projector, tau, beta)
        return DistilledStudent(self.student.cpu(), self.examples.names, targets)
