"""Training a teacher and its students."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from assay.data import read_tensors
from assay.errors import InputError, refusals
from assay.papers.vision.instageo.config import Backbone, Compress, Distil, Finetune, Vit
from assay.papers.vision.instageo.evaluation import score
from assay.papers.vision.instageo.inputs import ChipSplit, split_chips
from assay.papers.vision.instageo.method import (
    Augmentation,
    DepthDistiller,
    DistillationLoss,
    EncoderShape,
    RegressionDistillationLoss,
    SegmentationModel,
    class_weights,
    fetch_prithvi,
    load_prithvi,
    prune,
    reset_head,
)
from assay.papers.vision.instageo.method.distil import Keep
from assay.training import Compute, batches, predict, warmup_cosine
from assay.training.loader import TensorBatches
from assay.trial import Trial

MOST_LOGITS = 2**30
"""Bytes of teacher's logits that are kept instead of computed at every step."""


@dataclass(frozen=True)
class TrainingPlan:
    """How a model is made and trained; `teacher` says that it is a teacher."""

    finetune: Finetune
    vit: Vit
    backbone: Backbone
    kd_weight: float = 0.0
    ce_weight: float = 1.0
    everywhere: bool = False
    teacher: bool = False

    @classmethod
    def of(cls, config: Distil | Compress) -> TrainingPlan:
        """Return a student's plan."""
        given = {name: getattr(config, name) for name in ("kd_weight", "ce_weight", "everywhere")}
        return cls(config.finetune, config.vit, config.backbone, **given)

    def of_teacher(self) -> TrainingPlan:
        """Return the plan of the teacher."""
        return TrainingPlan(self.finetune, self.vit, self.backbone, teacher=True)

    def steps(self, rows: int) -> int:
        """Return the gradient steps for so many chips."""
        finetune = self.finetune
        fixed = finetune.teacher_steps if self.teacher else finetune.gradient_steps
        return finetune.epochs * -(-rows // finetune.batch_size) if fixed is None else fixed


# --- the teacher --------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainedModel:
    """Weights, and the logits on the training chips where they are few and always the same."""

    weights: dict[str, Tensor]
    logits: Tensor | None


def build_teacher(plan: TrainingPlan, split: ChipSplit, fetch: bool = True) -> SegmentationModel:
    """Return an untrained teacher for these chips: small, or with published weights in its encoder.

    Without `fetch`, published weights are left out: those of a trained teacher take their place.
    """
    vit, backbone = plan.vit, plan.backbone
    _, bands, dates, height, _ = split.train.chips.shape
    side = split.side or height
    with refusals():
        if backbone.source is None:
            shape = EncoderShape(vit.dim, vit.depth, vit.heads, vit.patch_size, bands, dates, side)
        else:
            shape = EncoderShape.prithvi(backbone.name, dates, side)
        model = SegmentationModel(shape, split.outputs, vit.dropout, vit.projection)
        if backbone.source is not None and fetch:
            place = backbone.path
            load_prithvi(model.encoder, read_tensors(place) if place else fetch_prithvi(backbone.name))
    model.fit_normalisation(split.train.chips, split.no_data)
    return model


def train_teacher(plan: TrainingPlan, split: ChipSplit, compute: Compute) -> TrainedModel:
    """Train a model by a plan, on labels alone."""
    model = build_teacher(plan, split)
    generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    Studies(split, model, plan).train(model, compute, generator)
    few = 4 * split.train.labels.numel() * split.outputs <= MOST_LOGITS
    constant = plan.finetune.augment == "none"  # what is changed has other logits
    kept = plan.teacher and constant and few
    logits = predict(model, split.train.chips, batch_size=16) if kept else None
    return TrainedModel(model.cpu().state_dict(), logits)


def shared_model(
    plan: TrainingPlan, split: ChipSplit, trial: Trial, stage: str
) -> tuple[SegmentationModel, Tensor | None]:
    """Return a model that all arms with these labels share, and its logits on the training chips."""
    validation = split.validation if plan.finetune.select == "best" else split.train
    known = replace(split, validation=validation, test=split.train)  # the test chips change nothing
    trained = trial.once(stage, train_teacher, plan, known, trial.compute)
    model = build_teacher(plan, split, fetch=False)
    model.load_state_dict(trained.weights)
    return model.eval(), trained.logits


# --- students -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Studies:
    """What a model learns from: chips, a teacher with its logits on them, and a plan."""

    split: ChipSplit
    teacher: SegmentationModel
    plan: TrainingPlan
    logits: Tensor | None = None

    @classmethod
    def prepare(cls, config: Distil | Compress, trial: Trial) -> Studies:
        """Split the chips of a config, and train the teacher or take the one that other arms have trained."""
        split, plan = split_chips(config, trial), TrainingPlan.of(config)
        trial.progress("teacher")
        teacher, logits = shared_model(plan.of_teacher(), split, trial, "teacher")
        return cls(split, teacher, plan, logits)

    def train_student(
        self, depth: int, trial: Trial, start: str = "teacher", keep: Keep = "first"
    ) -> SegmentationModel:
        """Train a student of the teacher's blocks with a new head, or of random weights."""
        known = self.teacher
        with refusals():
            if start == "teacher":
                student = prune(known, depth, "encoder.blocks", keep).requires_grad_(True)
                assert isinstance(student, SegmentationModel)
                reset_head(student.head)
            else:
                shape = replace(known.shape, depth=depth)
                student = SegmentationModel(shape, known.num_classes, known.head.drop.p, known.projection)
                student.mean, student.deviation = known.mean.clone(), known.deviation.clone()
        self.train(student, trial.compute, trial.generator("batches"))
        return student

    def train(self, student: SegmentationModel, compute: Compute, generator: torch.Generator) -> None:
        """Train a model by the plan; it ends with its last weights, or with its best ones."""
        plan, finetune, chips = self.plan, self.plan.finetune, self.split.train
        logits = [] if self.logits is None or not plan.kd_weight else [self.logits]
        size = min(finetune.batch_size, len(chips))
        loader: Any = batches(chips.chips, chips.labels, *logits, batch_size=size, generator=generator)
        passes, steps = len(loader), plan.steps(len(chips))
        if finetune.augment != "none":
            make = Augmentation.full if finetune.augment == "all" else Augmentation
            loader = Augmented(loader, make(crop=finetune.crop, no_data=self.split.no_data), generator)
        best = Best(student, self.split, passes, steps) if finetune.select == "best" else None
        schedule = warmup_cosine(steps, round(finetune.warmup * steps))
        DepthDistiller(
            self.teacher,
            student.shape.depth,
            loss=make_loss(plan, self.split),
            learning_rate=finetune.learning_rate,
            weight_decay=finetune.weight_decay,
            compute=compute,
        ).fit(
            loader,
            steps=steps,
            student=student,
            scheduler=lambda optimizer: LambdaLR(optimizer, schedule),
            on_step=best,
        )
        if best is not None:
            student.load_state_dict(best.weights)


@dataclass
class Best:
    """Keeps the weights that did best on the validation chips; looks after each pass and the last step."""

    model: nn.Module
    split: ChipSplit
    every: int
    steps: int
    quality: float = -math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, step: int, loss: Tensor) -> None:
        if step % self.every and step != self.steps:
            return
        found = score(self.model, self.split.validation, self.split)[self.split.quality]
        if not self.weights or found > self.quality:
            self.quality = found
            self.weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}


@dataclass(frozen=True)
class Augmented:
    """Batches of chips and labels that are changed at random."""

    loader: TensorBatches
    change: Augmentation
    generator: torch.Generator

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for chips, labels in self.loader:
            yield self.change(chips, labels, self.generator)


def make_loss(plan: TrainingPlan, split: ChipSplit) -> nn.Module:
    """Return the paper's loss with a plan's weights: for classes, or for values."""
    if split.regression:
        if plan.ce_weight != 1 or plan.everywhere or plan.finetune.weigh_classes:
            raise InputError(
                "these chips have values for regression: ce_weight, everywhere and finetune.weigh_classes are"
                " for classes. Leave them out."
            )
        return RegressionDistillationLoss(kd_weight=plan.kd_weight)
    weights = class_weights(split.train.labels, split.outputs) if plan.finetune.weigh_classes else None
    return DistillationLoss(
        weights, ce_weight=plan.ce_weight, kd_weight=plan.kd_weight, everywhere=plan.everywhere
    )
