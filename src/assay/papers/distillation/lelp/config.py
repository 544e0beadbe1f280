"""The options of LELP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.bounds import (
    NonNegativeFloat,
    NonNegativeInt,
    OpenShare,
    PositiveFloat,
    PositiveFloats,
    PositiveInt,
    PositiveShare,
    Share,
    ShareBelowOne,
)
from assay.data import Table
from assay.models import ModelSource, OwnModel

Objective = Literal[
    "lelp",
    "kd",
    "labels",
    "random",
    "kmeans",
    "agglomerative",
    "tsne",
    "oracle",
    "subclass_distillation",
    "fitnet",
    "vid",
    "rkd",
    "crd",
    "dkd",
    "none",
]


@dataclass(frozen=True)
class Teaching:
    """How the teacher is trained."""

    epochs: NonNegativeInt = 0
    """Passes over the labelled rows that fine-tune a given teacher with a new head; 0 uses it as it is."""
    encoder: ModelSource = ModelSource("bundled:minilm")
    """Frozen sentence encoder below a teacher that is trained here, on text."""
    steps: PositiveInt = 400
    """Gradient steps, unless a given teacher is fine-tuned."""
    batch_size: PositiveInt = 128
    """Rows a gradient step."""
    learning_rate: PositiveFloat = 1e-3
    """Of AdamW, falling to zero as a cosine."""


@dataclass(frozen=True)
class Learning:
    """The student that is made here, and how a student is trained."""

    hidden: tuple[int, ...] | None = None
    """Hidden units of each layer; by default 16 on features, and 64 above a bag of hashed words on text."""
    steps: PositiveInt = 600
    """Gradient steps of each candidate."""
    batch_size: PositiveInt = 256
    """Rows a gradient step."""
    learning_rate: PositiveFloat = 1e-2
    """Of AdamW, falling to zero as a cosine."""
    weight_decay: NonNegativeFloat = 0.0
    """Of AdamW."""


@dataclass(frozen=True)
class Distil:
    """Options of `distil`, `ablate` and `compare`."""

    data: Table = Table("bundled:docstrings")
    """Rows with a label and a text, features or a picture."""
    subclass: str | None = None
    """Column with known subclasses, which only the oracle reads."""
    merge: Literal["no", "halves", "parity"] = "no"
    """Merge the classes into two, those of either half or of even and odd number; they become the
    known subclasses."""
    labelled: PositiveShare = 1.0
    """Share of training rows whose label the teacher and `labels` see; the others are unlabelled."""
    max_train: PositiveInt | None = 3000
    """Training rows of a seed; further ones are left out."""
    test: OpenShare = 0.25
    """Share of rows for testing, unless the table has a test split of its own."""
    validation: ShareBelowOne = 0.15
    """Share of rows on which the candidate is chosen."""
    objective: Objective = "lelp"
    """What the student learns from; `none` evaluates the teacher."""
    n_subclasses: PositiveInt = 5
    """S, subclasses a class; fewer where a class has too few rows."""
    class_temperatures: PositiveFloats = (1.0, 4.0)
    """Candidates for tau. Other objectives try as many settings of their own as there are pairs of tau and
    beta."""
    subclass_temperatures: PositiveFloats = (0.3, 1.0)
    """Candidates for beta, in units of a class's root mean square coordinate."""
    without: Literal["nothing", "principal_directions", "null_space", "rotation"] = "nothing"
    """The part of LELP that is left out."""
    label_weight: Share = 0.0
    """alpha: share of the cross entropy with labels in the loss, where there are labels for all rows."""
    augment: bool = False
    """Crop and flip pictures at random; the teacher then sees each view."""
    image_size: PositiveInt = 32
    """Pictures are read as this many pixels squared."""
    resnets: tuple[int, int] | None = None
    """On pictures, layers of the teacher's and of the student's CIFAR ResNet, 9 n + 2 each; by default both
    are small convolutional networks."""
    max_tokens: PositiveInt = 128
    """Tokens of a text that transformers read."""
    teacher: OwnModel = OwnModel()
    """The teacher: folder:DIR or hub:NAME, a sequence classifier. By default one is trained."""
    student: OwnModel = OwnModel()
    """The student's encoder: folder:DIR or hub:NAME. By default it is a small network."""
    teaching: Teaching = Teaching()
    """How the teacher is trained."""
    learning: Learning = Learning()
    """The student that is made here, and how a student is trained."""
