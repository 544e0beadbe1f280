"""What a student can learn from: one loss an arm, each with the same number of candidates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from assay.papers.distillation.lelp.config import Distil, Grid, Objective

from .method import (
    ContrastiveDistillation,
    DecoupledDistillation,
    FitNet,
    PseudoSubclasses,
    RelationalDistillation,
    SubclassDistillationLoss,
    SubspaceProjector,
    VariationalInformation,
    partition_classes,
    partition_coordinates,
    pseudo_subclass_targets,
)
from .method.partitions import Partition

PARTITIONS = ("random", "kmeans", "agglomerative", "tsne", "oracle")
ON_FEATURES = ("fitnet", "vid", "rkd", "crd")


@dataclass(frozen=True)
class Candidate:
    """One setting of an objective's own hyper-parameters."""

    class_temperature: float = 1.0
    """tau."""
    subclass_temperature: float = 1.0
    """beta."""
    weight: float = 0.0
    """Of a loss on features, or of the auxiliary loss of Subclass Distillation."""
    smoothing: float = 0.0
    """Of labels."""


@dataclass(frozen=True)
class Lesson:
    """What the teacher says of the student's training rows."""

    embeddings: Float[Tensor, "n d"]
    """h."""
    logits: Float[Tensor, "n z"]
    """z, one a class; of Subclass Distillation's teacher, one a subclass."""
    weight: Float[Tensor, "z d"]
    """W of the teacher's last layer."""
    labels: Int[Tensor, " n"]
    """The class of each row: its label, or the teacher's choice where the label is not seen."""


def candidates(objective: Objective, grid: Grid) -> list[Candidate]:
    """Return what an objective tries on validation rows."""
    if objective == "labels":
        return [Candidate(smoothing=value) for value in grid.smoothings]
    if objective in ("kd", "dkd"):
        return [Candidate(class_temperature=value) for value in grid.kd_temperatures]
    if objective in ON_FEATURES:
        return [Candidate(weight=value) for value in grid.feature_weights]
    if objective == "subclass_distillation":
        pairs = product(grid.class_temperatures, grid.diversity_weights)
        return [Candidate(class_temperature=tau, weight=value) for tau, value in pairs]
    pairs = product(grid.class_temperatures, grid.subclass_temperatures)
    return [Candidate(class_temperature=tau, subclass_temperature=beta) for tau, beta in pairs]


def fit_projector(config: Distil, lesson: Lesson, n_subclasses: int, seed: int) -> SubspaceProjector:
    """Find the directions of every class in the teacher's embeddings."""
    projector = SubspaceProjector(
        n_subclasses,
        null_space=config.null_space,
        rows=config.rows,
        rotate=config.rotate,
        directions=config.directions,
        seed=seed,
    )
    return projector.fit(lesson.embeddings, lesson.labels, lesson.weight)


def partition(
    objective: Objective, lesson: Lesson, n_subclasses: int, seed: int, known: Int[Tensor, " n"] | None
) -> Float[Tensor, "n c s"]:
    """Return the coordinates of a hard partition of every class."""
    if objective == "oracle":
        assert known is not None
        subclasses = known
    else:
        method = cast(Partition, objective)
        subclasses = partition_classes(lesson.embeddings, lesson.labels, n_subclasses, method, seed)
    return partition_coordinates(subclasses, lesson.labels, lesson.logits.shape[1], n_subclasses)


class ObjectiveLoss(nn.Module):
    """The loss of one objective: targets from the teacher's outputs, compared with the student's.

    Called with the student's features and logits, and for the same rows the teacher's embeddings h, logits z,
    classes y and coordinates a (zero wide where the objective has none). With a `projector` the coordinates
    come from h instead, which differs from view to view of an augmented row.
    """

    def __init__(
        self,
        objective: Objective,
        candidate: Candidate,
        n_subclasses: int,
        label_weight: float = 0.0,
        projector: SubspaceProjector | None = None,
        on_features: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.objective = objective
        self.candidate = candidate
        self.projector = projector
        self.on_features = on_features
        self.cross_entropy = SubclassDistillationLoss(label_weight, n_subclasses)
        self.decoupled = DecoupledDistillation(temperature=candidate.class_temperature)

    def forward(
        self,
        features: Float[Tensor, "n f"],
        logits: Float[Tensor, "n cs"],
        embeddings: Float[Tensor, "n d"],
        class_logits: Float[Tensor, "n z"],
        labels: Int[Tensor, " n"],
        coordinates: Float[Tensor, "n c s"],
    ) -> Float[Tensor, ""]:
        """Return the loss."""
        if self.objective == "dkd":
            decoupled: Tensor = self.decoupled(logits, class_logits, labels)
            return decoupled
        targets = self.targets(embeddings, class_logits, labels, coordinates)
        loss: Tensor = self.cross_entropy(logits, targets, labels)
        if self.on_features is None:
            return loss
        rest = (labels,) if isinstance(self.on_features, ContrastiveDistillation) else ()
        extra: Tensor = self.on_features(features, embeddings, *rest)
        return loss + self.candidate.weight * extra

    def targets(
        self, embeddings: Tensor, class_logits: Tensor, labels: Tensor, coordinates: Tensor
    ) -> Float[Tensor, "n cs"]:
        """Return what the student's softmax should be."""
        tau, beta = self.candidate.class_temperature, self.candidate.subclass_temperature
        if self.objective == "labels":
            classes = class_logits.shape[1]
            smoothing = self.candidate.smoothing
            return functional.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
        if self.projector is not None:
            return PseudoSubclasses(self.projector, tau, beta)(embeddings, class_logits)
        if coordinates.shape[2]:
            return pseudo_subclass_targets(class_logits, coordinates, tau, beta)
        return torch.softmax(class_logits / tau, dim=1)


def on_features(objective: Objective, student_features: int, teacher_features: int) -> nn.Module | None:
    """Return the loss on features that an objective adds to vanilla distillation."""
    if objective == "rkd":
        return RelationalDistillation()
    losses = {"fitnet": FitNet, "vid": VariationalInformation, "crd": ContrastiveDistillation}
    return losses[objective](student_features, teacher_features) if objective in losses else None
