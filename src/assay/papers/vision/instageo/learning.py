"""Training a teacher and its students, and measuring them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from assay.errors import InputError, refusals
from assay.papers.vision.instageo.chipping import Parts, Rows
from assay.papers.vision.instageo.config import Backbone, Finetune, Vit
from assay.papers.vision.instageo.method import (
    HUB,
    Augmentation,
    ConfusionMatrix,
    DepthDistiller,
    DistillationLoss,
    EncoderShape,
    RegressionDistillationLoss,
    RocHistogram,
    SegmentationModel,
    ValueErrors,
    class_weights,
    count_macs,
    count_parameters,
    load_prithvi,
)
from assay.training import Compute, batches, warmup_cosine
from assay.training.evaluation import mode
from assay.training.loader import TensorBatches
from assay.trial import Trial

MOST_LOGITS = 2**30
"""Bytes of teacher's logits that are kept instead of computed at every step."""


@dataclass(frozen=True)
class Plan:
    """How a model is trained: the user's settings, the loss, and how many steps that makes."""

    finetune: Finetune
    kd_weight: float = 0.0
    ce_weight: float = 1.0
    everywhere: bool = False
    teaches: bool = False

    def steps(self, rows: int) -> int:
        """Return the gradient steps for so many chips."""
        finetune = self.finetune
        fixed = finetune.teacher_steps if self.teaches else finetune.gradient_steps
        if fixed is not None:
            return fixed
        return self.finetune.epochs * -(-rows // self.finetune.batch_size)


def build_teacher(vit: Vit, backbone: Backbone, parts: Parts) -> SegmentationModel:
    """Return an untrained teacher for these chips: small, or with published weights in its encoder."""
    _, bands, dates, height, _ = parts.train.chips.shape
    height = parts.side or height
    with refusals():
        if backbone.source is None:
            shape = EncoderShape(
                vit.dim, vit.depth, vit.heads, vit.patch_size, bands, dates, image_size=height
            )
        else:
            shape = EncoderShape.prithvi(backbone.name, dates, height)
        model = SegmentationModel(shape, parts.outputs, vit.dropout, vit.projection)
        if backbone.source is not None:
            load_prithvi(model.encoder, backbone.path or download_weights(backbone.name))
    model.fit_normalisation(parts.train.chips, parts.no_data)
    return model


def download_weights(name: str) -> str:
    """Fetch published weights."""
    from huggingface_hub import hf_hub_download

    repository, file = HUB[name]
    return str(hf_hub_download(repository, file))


def train_teacher(
    vit: Vit, backbone: Backbone, parts: dict[str, Any], plan: Plan, device: str
) -> dict[str, Any]:
    """Fine-tune a teacher; return its weights, and its logits where they are few and always the same."""
    whole = unpack_parts(parts)
    teacher = build_teacher(vit, backbone, whole)
    distiller = DepthDistiller(
        teacher,
        teacher.shape.depth,
        loss=make_loss(plan, whole),
        learning_rate=plan.finetune.learning_rate,
        weight_decay=plan.finetune.weight_decay,
    )
    generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    train_with(distiller, whole, plan, device, generator, student=teacher)
    found: dict[str, Any] = {"weights": teacher.cpu().state_dict(), "logits": None}
    few = 4 * whole.train.labels.numel() * whole.outputs <= MOST_LOGITS
    if plan.teaches and plan.finetune.augment == "none" and few:  # what is changed has other logits
        found["logits"] = logits_in_batches(teacher.to(device), whole.train.chips).cpu()
    return found


def train_with(
    distiller: DepthDistiller,
    parts: Parts,
    plan: Plan,
    device: str,
    generator: torch.Generator,
    student: nn.Module,
    logits: Tensor | None = None,
) -> nn.Module:
    """Train a student by a plan and return it, with its last weights or its best ones."""
    finetune, rows = plan.finetune, parts.train
    tensors = (rows.chips, rows.labels) if logits is None else (rows.chips, rows.labels, logits)
    loader: Any = batches(*tensors, batch_size=min(finetune.batch_size, len(rows)), generator=generator)
    passes = len(loader)
    if finetune.augment != "none":
        full = Augmentation.full if finetune.augment == "all" else Augmentation
        loader = Augmented(loader, full(crop=finetune.crop, no_data=parts.no_data), generator)
    kind = "cuda" if torch.device(device).type == "cuda" else "cpu"
    steps = plan.steps(len(rows))
    best = Best(student, parts, passes, steps) if finetune.select == "best" else None
    distiller.fit(
        loader,
        steps=steps,
        student=student,
        scheduler=lambda optimizer: LambdaLR(optimizer, warmup_cosine(steps, round(finetune.warmup * steps))),
        compute=Compute(accelerator=kind, precision=finetune.precision),  # type: ignore[arg-type]
        on_step=best,
    )
    if best is not None:
        student.load_state_dict(best.weights)
    return student


@dataclass
class Best:
    """Keeps the weights that did best on the validation chips; looks after each pass and the last step."""

    model: nn.Module
    parts: Parts
    every: int
    steps: int
    quality: float = -math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, step: int, loss: Tensor) -> None:
        if step % self.every and step != self.steps:
            return
        found = score(self.model, self.parts.validation, self.parts)[self.parts.quality]
        if not self.weights or found > self.quality:
            self.quality = found
            self.weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}


def make_loss(plan: Plan, parts: Parts) -> nn.Module:
    """Return the paper's loss with a plan's weights: for classes, or for values."""
    if parts.regression:
        if plan.ce_weight != 1 or plan.everywhere or plan.finetune.weigh_classes:
            raise InputError(
                "these chips have values for regression: ce_weight, everywhere and finetune.weigh_classes are"
                " for classes. Leave them out."
            )
        return RegressionDistillationLoss(kd_weight=plan.kd_weight)
    weights = class_weights(parts.train.labels, parts.outputs) if plan.finetune.weigh_classes else None
    return DistillationLoss(
        weights, ce_weight=plan.ce_weight, kd_weight=plan.kd_weight, everywhere=plan.everywhere
    )


@dataclass(frozen=True)
class Augmented:
    """Batches of chips and labels that are changed at random."""

    loader: TensorBatches
    change: Augmentation
    generator: torch.Generator

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for chips, labels in self.loader:
            yield self.change(chips, labels, self.generator)


def student_of(
    teacher: SegmentationModel,
    depth: int,
    start: str,
    plan: Plan,
    parts: Parts,
    keep: str = "first",
) -> tuple[DepthDistiller, nn.Module]:
    """Return a distiller and its student: the teacher's blocks with a new head, or all of it new."""
    distiller = DepthDistiller(
        teacher,
        depth,
        blocks="encoder.blocks",
        keep=keep,  # type: ignore[arg-type]
        reset=("head",),
        loss=make_loss(plan, parts),
        learning_rate=plan.finetune.learning_rate,
        weight_decay=plan.finetune.weight_decay,
    )
    with refusals():
        if start == "teacher":
            return distiller, distiller.student()
    fresh = SegmentationModel(
        replace(teacher.shape, depth=depth),
        teacher.num_classes,
        teacher.head.drop.p,
        teacher.projection,
    )
    fresh.mean, fresh.deviation = teacher.mean.clone(), teacher.deviation.clone()
    return distiller, fresh


# --- measuring ----------------------------------------------------------------------------------


def logits_in_batches(model: nn.Module, chips: Tensor, batch_size: int = 16) -> Tensor:
    """Return a model's logits for many chips."""
    device = next(model.parameters()).device
    with mode(model, training=False), torch.no_grad():
        return torch.cat([model(part.to(device)) for part in chips.split(batch_size)])


def score(model: nn.Module, rows: Rows, parts: Parts) -> dict[str, float]:
    """Return mIoU and the area under the ROC curve, or R^2 and the error of values, from one pass."""
    matrix, areas, errors = ConfusionMatrix(parts.outputs), RocHistogram(parts.outputs), ValueErrors()
    device = next(model.parameters()).device
    with mode(model, training=False), torch.no_grad():
        for chips, labels in zip(rows.chips.split(16), rows.labels.split(16), strict=True):
            logits = model(chips.to(device)).float().cpu()
            if parts.regression:
                errors.add(logits[:, 0], labels)
                continue
            matrix.add(logits.argmax(dim=1), labels)
            areas.add(logits, labels)
    if parts.regression:
        return {"r2": errors.r2(), "rmse": errors.rmse()}
    return {"miou": matrix.miou(), "auc": areas.auc()}


def measure(model: nn.Module, teacher: nn.Module, parts: Parts, trial: Trial) -> dict[str, float]:
    """Return how good a model is on the test chips, and how much smaller and faster than the teacher."""
    one = parts.test.chips[:1]
    on_device = one.to(trial.device)

    def run() -> None:
        with torch.no_grad():
            model(on_device)

    found = score(model.to(trial.device), parts.test, parts)
    with mode(model, training=False):
        seconds = trial.timed(run)
    model.cpu()
    teacher.cpu()
    return found | {
        "size_ratio": count_parameters(teacher) / count_parameters(model),
        "macs_ratio": count_macs(teacher, one) / count_macs(model, one),
        "seconds_per_chip": seconds,
    }


def pack_parts(parts: Parts, plan: Plan) -> dict[str, Any]:
    """Return what a plan trains on as plain values for a shared stage."""
    held = parts.validation if plan.finetune.select == "best" else parts.train
    return {
        "train": [parts.train.chips, parts.train.labels],
        "validation": [held.chips, held.labels] if held is not parts.train else None,
        "class_names": list(parts.class_names),
        "no_data": parts.no_data,
        "side": parts.side,
    }


def unpack_parts(packed: dict[str, Any]) -> Parts:
    """Undo `pack_parts`; the test chips are not there."""
    train = Rows(*packed["train"])
    held = train if packed["validation"] is None else Rows(*packed["validation"])
    names = tuple(packed["class_names"])
    return Parts(train, held, train, names, packed["no_data"], packed["side"])
