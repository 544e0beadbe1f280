"""From rows to a student: the teacher, the subclasses of an objective, and the training of one candidate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from assay.errors import refusals
from assay.models import (
    Classifier,
    ClassifierSpec,
    ModelSource,
    Training,
    prepare_rows,
    train_classifier,
)
from assay.papers.distillation.lelp.artefact import DistilledStudent
from assay.papers.distillation.lelp.baselines import (
    PARTITIONS,
    Candidate,
    ObjectiveLoss,
    on_features,
)
from assay.papers.distillation.lelp.config import Distil
from assay.papers.distillation.lelp.inputs import TransferSet
from assay.papers.distillation.lelp.method import (
    PseudoSubclasses,
    SubclassHead,
    SubspaceProjector,
    class_logits,
    partition_classes,
    partition_coordinates,
    teacher_labels,
)
from assay.papers.distillation.lelp.method.partitions import Partition
from assay.papers.distillation.lelp.stages import (
    Teacher,
    TeacherPlan,
    ask_teacher,
    crop_and_flip,
    encode,
    read_rows,
    train_teacher,
)
from assay.training import accuracy
from assay.trial import Trial, derive_seed

CHUNK_TEXTS = 1024
"""Texts that are embedded in one go."""
# Sizes that nobody has asked to change; the paper's networks are given as --teacher, --student or --resnets.
TEACHER_HIDDEN, TEACHER_DROPOUT = (512, 128), 0.3
STUDENT_HIDDEN, WORD_HIDDEN = (16,), (64,)
WORD_BUCKETS, WORD_WIDTH, WORDS, WORD_DROPOUT = 2048, 32, 32, 0.5
TEACHER_CONVOLUTIONS, STUDENT_CONVOLUTIONS = (16, 3), (8, 2)
"""Channels of the first block, and blocks."""


@dataclass(frozen=True)
class Distillation:
    """What one arm distils: the options, the rows, and the trial that draws and shares."""

    config: Distil
    trial: Trial
    data: TransferSet

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher that was trained here, or the user's; all arms share it."""
        config, data = self.config, self.data
        if config.teacher.source is not None and not config.teaching.epochs:
            texts = data.take(data.train), data.take(data.test)
            source = ModelSource(config.teacher.source)
            teacher = self.trial.once(
                "teacher", ask_teacher, source, data.names, texts, config.max_tokens, self.trial.compute
            )
        else:
            spec, rows = self._teacher_rows()
            teacher = self._train_teacher(self._plan(spec), rows, "teacher")
        self.trial.count("preparation_flops", len(data.train) * teacher.forward_flops)
        return teacher

    def retrained_teacher(self, n_subclasses: int, diversity_weight: float) -> Teacher:
        """Train a teacher with C * S logits, for one candidate of Subclass Distillation."""
        spec, rows = self._teacher_rows()
        plan = self._plan(spec, n_subclasses, diversity_weight)
        teacher = self._train_teacher(plan, rows, f"subclass-teacher-{diversity_weight:g}")
        # Training costs about three forward passes.
        passes = 3 * teacher.examples + len(self.data.train)
        self.trial.count("preparation_flops", passes * teacher.forward_flops)
        return teacher

    def _plan(
        self, spec: ClassifierSpec, n_subclasses: int = 1, diversity_weight: float = 0.0
    ) -> TeacherPlan:
        config, classes = self.config, len(self.data.names)
        return TeacherPlan(spec, classes, config.teaching, config.augment, n_subclasses, diversity_weight)

    def _train_teacher(self, plan: TeacherPlan, rows: Tensor, stage: str) -> Teacher:
        data = self.data
        seen = data.train[: data.labelled]
        labelled = (rows[seen], data.labels[seen])
        parts = (rows[data.train], rows[data.test])
        return self.trial.once(stage, train_teacher, plan, labelled, *parts, self.trial.compute)

    def _teacher_rows(self) -> tuple[ClassifierSpec, Tensor]:
        """Return the network of a teacher that is trained here, and all rows as it reads them."""
        config, rows = self.config, self.data.rows
        if config.teacher.source is not None:
            spec = ClassifierSpec("transformer", source=config.teacher.source, max_words=config.max_tokens)
            return spec, prepare_rows(spec, rows)
        if self.data.kind == "images":
            assert isinstance(rows, Tensor)
            return _picture_spec(rows, TEACHER_CONVOLUTIONS, config.resnets and config.resnets[0]), rows
        if not isinstance(rows, Tensor):
            rows = self._sentences(rows)
        return ClassifierSpec("mlp", rows.shape[1], TEACHER_HIDDEN, TEACHER_DROPOUT), rows

    def _sentences(self, texts: list[str]) -> Float[Tensor, "n d"]:
        """Embed all texts, chunk by chunk: workers begin at different ones and share what is done."""
        chunks = [texts[start : start + CHUNK_TEXTS] for start in range(0, len(texts), CHUNK_TEXTS)]
        first = self.trial.seed % 2 * (len(chunks) // 2)
        order = [*range(first, len(chunks)), *range(first)]
        encoder, compute = self.config.teaching.encoder, self.trial.compute
        parts = {
            number: self.trial.once("sentences", encode, chunks[number], encoder, compute, seedless=True)
            for number in order
        }
        return torch.cat([parts[number] for number in range(len(chunks))])

    @cached_property
    def subclasses(self) -> Subclasses:
        """The directions or the partition that the objective needs."""
        config, outputs, labels = self.config, self.teacher.train, self.labels
        embeddings, seed = outputs.embeddings, derive_seed(self.trial.seed, "directions") % 2**31
        wanted = possible_subclasses(config.n_subclasses, outputs.weight, labels)
        if config.objective == "lelp":
            rows, dimensions = embeddings.shape
            self.trial.count("preparation_flops", rows * dimensions**2)
            with refusals():
                projector = build_projector(config, wanted, seed)
                projector.fit(embeddings, labels, outputs.weight)
            return Subclasses(wanted, projector.transform(embeddings), projector)
        if config.objective not in PARTITIONS:
            none = torch.zeros(*outputs.logits.shape, 0)
            return Subclasses(wanted if config.objective == "subclass_distillation" else 1, none)
        if config.objective == "oracle":
            known = self.data.oracle()
            assert known is not None
            numbers, wanted = known
        else:
            method = cast(Partition, config.objective)
            numbers = partition_classes(embeddings, labels, wanted, method, seed)
        return Subclasses(wanted, partition_coordinates(numbers, labels, len(self.data.names), wanted))

    @cached_property
    def labels(self) -> Int[Tensor, " n"]:
        """Each training row's class: its label, or what the teacher predicts where there is none."""
        labels = self.data.labels[self.data.train].clone()
        labels[self.data.labelled :] = -1
        return teacher_labels(self.teacher.train.logits, labels)

    @cached_property
    def student_rows(self) -> tuple[ClassifierSpec, Tensor]:
        """The student's network below its head, and all rows as it reads them."""
        config, rows = self.config, self.data.rows
        if isinstance(rows, Tensor) and self.data.kind == "images":
            return _picture_spec(rows, STUDENT_CONVOLUTIONS, config.resnets and config.resnets[1]), rows
        hidden, columns = config.learning.hidden, self.data.columns
        if isinstance(rows, Tensor):
            hidden = STUDENT_HIDDEN if hidden is None else hidden
            return ClassifierSpec("mlp", rows.shape[1], hidden, columns=columns), rows
        if config.student.source is not None:
            source, most = config.student.source, config.max_tokens
            spec = ClassifierSpec("transformer", max_words=most, source=source, columns=columns)
        else:
            spec = ClassifierSpec(
                "words",
                hidden=WORD_HIDDEN if hidden is None else hidden,
                dropout=WORD_DROPOUT,
                buckets=WORD_BUCKETS,
                width=WORD_WIDTH,
                max_words=WORDS,
                columns=columns,
            )
        return spec, prepare_rows(spec, rows)

    def train_student(self, candidate: Candidate) -> TrainedStudent:
        """Train a student with one candidate; Subclass Distillation trains a teacher for it first."""
        config, data, teacher, subclasses = self.config, self.data, self.teacher, self.subclasses
        if config.objective == "subclass_distillation":
            teacher = self.retrained_teacher(subclasses.n, candidate.weight)
        spec, all_rows = self.student_rows
        rows = all_rows[data.train]
        student = Classifier(
            spec,
            len(data.names) * subclasses.n,
            head=lambda width: SubclassHead(width, len(data.names), subclasses.n),
        ).standardise(rows)
        embeddings, logits = teacher.train.embeddings, teacher.train.logits
        loss = ObjectiveLoss(
            config.objective,
            candidate,
            subclasses.n,
            config.label_weight,
            subclasses.projector if config.augment else None,
            on_features(config.objective, student.head.in_features, embeddings.shape[1]),
        )
        learner = Learner(student, loss, teacher.restore() if config.augment else None)
        tensors = (rows, embeddings, logits, self.labels, subclasses.coordinates)
        seen = data.labelled if config.objective == "labels" else len(rows)
        options = config.learning
        train_classifier(
            learner,
            tuple(tensor[:seen] for tensor in tensors),
            Training(
                steps=options.steps,
                batch_size=options.batch_size,
                learning_rate=options.learning_rate,
                weight_decay=options.weight_decay,
                cosine=True,
                fused=True,
            ),
            self.trial.generator("batches"),
            loss_of_batch,
            self.trial.compute,
        )
        return TrainedStudent(student, self, candidate)


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
                embeddings = teacher.to(rows.device).features(rows)
                logits = teacher.head(embeddings)
        features = self.student.features(rows)
        loss: Tensor = self.loss(
            features, self.student.head(features), embeddings, logits, labels, coordinates
        )
        return loss


def loss_of_batch(learner: nn.Module, batch: tuple[Tensor, ...]) -> Float[Tensor, ""]:
    """Return the learner's loss of a batch."""
    loss: Tensor = learner(*batch)
    return loss


@dataclass(frozen=True)
class Subclasses:
    """What an objective adds to the teacher's logits."""

    n: int
    """S of the student's head."""
    coordinates: Float[Tensor, "n c s"]
    """Of every training row, where there are directions or a partition; else zero wide."""
    projector: SubspaceProjector | None = None
    """Directions in the teacher's embeddings, for LELP."""


@dataclass(frozen=True)
class TrainedStudent:
    """A student, and the rows on which it is evaluated."""

    classifier: Classifier
    distillation: Distillation
    candidate: Candidate

    def logits(self, numbers: Int[Tensor, " k"]) -> Float[Tensor, "k c"]:
        """Return one logit a class for some rows."""
        _, rows = self.distillation.student_rows
        return class_logits(read_rows(self.classifier, rows[numbers]).logits, self.distillation.subclasses.n)

    def accuracy_on(self, numbers: Int[Tensor, " k"]) -> float:
        """Return the share of right answers."""
        return accuracy(self.logits(numbers), self.distillation.data.labels[numbers])

    def artefact(self) -> DistilledStudent:
        """Return the student with the projection and the temperatures that taught it."""
        projector = self.distillation.subclasses.projector
        tau, beta = self.candidate.class_temperature, self.candidate.subclass_temperature
        targets = None if projector is None else PseudoSubclasses(projector, tau, beta)
        return DistilledStudent(self.classifier.cpu(), self.distillation.data.names, targets)


def build_projector(config: Distil, n_subclasses: int, seed: int) -> SubspaceProjector:
    """Return the projector of an arm, not fitted yet."""
    return SubspaceProjector(
        n_subclasses,
        null_space=config.without != "null_space",
        rotate=config.without != "rotation",
        directions="random" if config.without == "principal_directions" else "principal",
        seed=seed,
    )


def possible_subclasses(wanted: int, weight: Float[Tensor, "c d"], labels: Int[Tensor, " n"]) -> int:
    """Return S, or fewer where the smallest class has too few rows for so many directions."""
    classes, dimensions = weight.shape
    smallest = int(labels.bincount(minlength=classes).min())
    return max(1, min(wanted, smallest - 1 - classes, dimensions - classes))


def _picture_spec(rows: Tensor, plain: tuple[int, int], layers: int | None) -> ClassifierSpec:
    if layers is not None:
        return ClassifierSpec("resnet", rows.shape[1], depth=layers)
    width, blocks = plain
    return ClassifierSpec("conv", rows.shape[1], width=width, depth=blocks)
