"""What a student can learn from: one loss an objective, each with the same number of candidates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from assay.errors import InputError
from assay.papers.distillation.lelp.config import Distil, Objective
from assay.papers.distillation.lelp.method import (
    ContrastiveDistillation,
    DecoupledDistillation,
    FitNet,
    PseudoSubclasses,
    RelationalDistillation,
    SubclassDistillationLoss,
    SubspaceProjector,
    VariationalInformation,
    pseudo_subclass_targets,
)

PARTITIONS = ("random", "kmeans", "agglomerative", "tsne", "oracle")
ON_FEATURES = ("fitnet", "vid", "rkd", "crd")
ANGLE_ROWS = 64  # of RKD: the angles of a batch of 256 rows would take most of a check's time


@dataclass(frozen=True)
class Candidate:
    """One setting of an objective's own hyper-parameters."""

    class_temperature: float = 1.0
    """tau."""
    subclass_temperature: float = 1.0
    """beta."""
    weight: float = 0.0
    """Of a loss on features, beside vanilla distillation at tau = 1, or of the auxiliary loss of Subclass
    Distillation."""
    smoothing: float = 0.0
    """Of labels."""


# What the objectives without subclasses try, by the number of candidates. The paper's grids are in an
# appendix that could not be read; these are ours.
TEMPERATURES = {
    1: (1.0,),
    4: (1.0, 2.0, 4.0, 8.0),
    9: (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0),
}
SMOOTHINGS = {
    1: (0.0,),
    4: (0.0, 0.05, 0.1, 0.2),
    9: (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4),
}
FEATURE_WEIGHTS = {
    1: (0.3,),
    4: (0.03, 0.3, 3.0, 30.0),
    9: (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
}
DIVERSITY_WEIGHTS = {1: (0.1,), 2: (0.1, 1.0), 3: (0.03, 0.1, 1.0)}
"""Of Subclass Distillation, by the number of betas: each with each tau."""


def candidates(config: Distil) -> list[Candidate]:
    """Return what an objective tries on validation rows.

    Raises:
        InputError: a baseline has no grid of as many settings as there are pairs of tau and beta.
    """
    objective, taus, betas = config.objective, config.class_temperatures, config.subclass_temperatures
    pairs = len(taus) * len(betas)
    plain = objective in ("labels", "kd", "dkd", *ON_FEATURES)
    if (plain and pairs not in TEMPERATURES) or (
        objective == "subclass_distillation" and len(betas) not in DIVERSITY_WEIGHTS
    ):
        raise InputError(
            f"{objective} has grids of 1, 4 and 9 candidates, and {len(taus)} class temperatures with"
            f" {len(betas)} subclass temperatures are {pairs}: give 1, 2 or 3 of each."
        )
    if objective == "labels":
        return [Candidate(smoothing=value) for value in SMOOTHINGS[pairs]]
    if objective in ("kd", "dkd"):
        return [Candidate(class_temperature=value) for value in TEMPERATURES[pairs]]
    if objective in ON_FEATURES:
        return [Candidate(weight=value) for value in FEATURE_WEIGHTS[pairs]]
    if objective == "subclass_distillation":
        weights = DIVERSITY_WEIGHTS[len(betas)]
        return [Candidate(class_temperature=tau, weight=value) for tau, value in product(taus, weights)]
    return [Candidate(class_temperature=tau, subclass_temperature=beta) for tau, beta in product(taus, betas)]


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
        tau, beta = candidate.class_temperature, candidate.subclass_temperature
        self.pseudo_subclasses = None if projector is None else PseudoSubclasses(projector, tau, beta)
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
        if self.pseudo_subclasses is not None:
            targets: Tensor = self.pseudo_subclasses(embeddings, class_logits)
            return targets
        if coordinates.shape[2]:
            return pseudo_subclass_targets(class_logits, coordinates, tau, beta)
        return torch.softmax(class_logits / tau, dim=1)


def on_features(objective: Objective, student_features: int, teacher_features: int) -> nn.Module | None:
    """Return the loss on features that an objective adds to vanilla distillation."""
    if objective == "rkd":
        return RelationalDistillation(angle_rows=ANGLE_ROWS)
    losses = {"fitnet": FitNet, "vid": VariationalInformation, "crd": ContrastiveDistillation}
    return losses[objective](student_features, teacher_features) if objective in losses else None
