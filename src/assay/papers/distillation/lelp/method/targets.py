"""Targets over S pseudo-subclasses a class (LELP, step 3)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from assay.artefact import Artefact

from .projector import SubspaceProjector


def pseudo_subclass_targets(
    class_logits: Float[Tensor, "n c"],
    coordinates: Float[Tensor, "n c s"],
    class_temperature: float = 1.0,
    subclass_temperature: float = 1.0,
) -> Float[Tensor, "n cs"]:
    """Split the teacher's class probabilities over subclasses.

        p(s | c, x) = softmax_s(a_{c,s}(x) / beta),   p(c | x) = softmax_c(z(x) / tau)
        q_{c,s}(x)  = p(c | x) p(s | c, x)

    Args:
        class_logits: z of the teacher.
        coordinates: a, from `SubspaceProjector.transform` or from `partition_coordinates`.
        class_temperature: tau.
        subclass_temperature: beta. Towards 0 the subclass is one-hot, at infinity all are equal.

    Returns:
        q flattened to C * S columns, class by class. Rows sum to 1 and each class's S columns to p(c | x),
        whatever beta is; with S = 1, q is softmax(z / tau).

    Raises:
        ValueError: a temperature is not positive, or the shapes disagree.
    """
    if not class_temperature > 0 or not subclass_temperature > 0:
        raise ValueError(
            f"Temperatures must be positive; got {class_temperature} for classes "
            f"and {subclass_temperature} for subclasses."
        )
    if class_logits.shape != coordinates.shape[:2]:
        raise ValueError(
            f"Logits of shape {tuple(class_logits.shape)} do not fit coordinates of shape "
            f"{tuple(coordinates.shape)}: expected (N, C) and (N, C, S)."
        )
    classes = torch.softmax(class_logits / class_temperature, dim=1)
    subclasses = torch.softmax(coordinates / subclass_temperature, dim=2)
    return (classes.unsqueeze(2) * subclasses).flatten(1)


def partition_coordinates(
    subclasses: Int[Tensor, " n"], labels: Int[Tensor, " n"], n_classes: int, n_subclasses: int
) -> Float[Tensor, "n c s"]:
    """Return coordinates that express a hard partition of every class, on the scale of a projector's.

        a_{c,s}(x) = 1[y(x) = c] 1[s(x) = s] / sigma_c,   sigma_c^2 = mean_s Var[1[s(x) = s] | y = c]

    so that the subclass temperature means the same as for directions. Towards 0 it gives the one-hot targets
    of cluster-based pseudo-subclasses; classes other than a row's own share equally among their subclasses.
    """
    one_hot = functional.one_hot(subclasses, n_subclasses).float()
    coordinates = torch.zeros(len(labels), n_classes, n_subclasses)
    for label in labels.unique().tolist():
        own = one_hot[labels == label]
        scale = own.var(0, correction=0).mean().sqrt()
        coordinates[labels == label, label] = own / (scale if scale > 0 else 1.0)
    return coordinates


class PseudoSubclasses(nn.Module, Artefact):
    """A fitted projector with its two temperatures: turns a teacher's outputs into targets.

    Kept beside the student, it makes targets for new inputs or augmented views from the teacher's embeddings
    and logits, without fitting anything again.
    """

    def __init__(
        self, projector: SubspaceProjector, class_temperature: float = 1.0, subclass_temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.projector = projector
        self.class_temperature = class_temperature
        self.subclass_temperature = subclass_temperature

    def forward(
        self, embeddings: Float[Tensor, "n d"], class_logits: Float[Tensor, "n c"]
    ) -> Float[Tensor, "n cs"]:
        """Return q for the teacher's embeddings and logits of some inputs."""
        return pseudo_subclass_targets(
            class_logits,
            self.projector.transform(embeddings),
            self.class_temperature,
            self.subclass_temperature,
        )

    def __repr__(self) -> str:
        """Return one line."""
        return f"PseudoSubclasses({self.projector}, {self.class_temperature}, {self.subclass_temperature})"

    def record(self) -> tuple[SubspaceProjector, float, float]:
        """Return what it consists of."""
        return self.projector, self.class_temperature, self.subclass_temperature

    @classmethod
    def from_record(cls, record: tuple[SubspaceProjector, float, float]) -> PseudoSubclasses:
        """Make the object of which `record` was returned."""
        return cls(*record)


def teacher_labels(
    class_logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"] | None = None
) -> Int[Tensor, " n"]:
    """Return each row's class: its label, or the teacher's choice where that is -1 or not given."""
    chosen = class_logits.argmax(1)
    return chosen if labels is None else torch.where(labels < 0, chosen, labels)
