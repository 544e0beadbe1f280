"""The options of LELP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.bounds import (
    NonNegativeFloat,
    NonNegativeInt,
    OpenShare,
    PositiveFloat,
    PositiveInt,
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
    """The teacher that is trained here."""

    epochs: NonNegativeInt = 0
    """Passes over the labelled rows that fine-tune a given teacher with a new head; 0 uses it as it is."""
    hidden: tuple[int, ...] = (512, 128)
    """Hidden units of each layer, on features and on sentence embeddings."""
    dropout: ShareBelowOne = 0.3
    """Probability of dropping a hidden unit."""
    encoder: ModelSource = ModelSource("bundled:minilm")
    """Frozen sentence encoder below the layers, on text."""
    network: Literal["conv", "resnet"] = "conv"
    """On pictures: a small convolutional network, or a CIFAR ResNet with bottlenecks."""
    depth: PositiveInt = 3
    """Blocks of the convolutional network, or layers of the ResNet: 9 n + 2."""
    steps: PositiveInt = 400
    """Gradient steps, unless a given teacher is fine-tuned."""
    batch_size: PositiveInt = 128
    """Rows a gradient step."""
    learning_rate: PositiveFloat = 1e-3
    """Of AdamW, falling to zero as a cosine."""


@dataclass(frozen=True)
class Learning:
    """The student, and how it is trained."""

    hidden: tuple[int, ...] = (16,)
    """Hidden units of each layer, on features."""
    word_buckets: PositiveInt = 2048
    """Word ids on text: a bag of hashed words."""
    word_width: PositiveInt = 32
    """Numbers a word embedding."""
    word_hidden: PositiveInt = 64
    """Hidden units above the mean word embedding."""
    word_dropout: ShareBelowOne = 0.5
    """Probability of leaving out a word while training."""
    network: Literal["conv", "resnet"] = "conv"
    """On pictures: a small convolutional network, or a CIFAR ResNet with bottlenecks."""
    depth: PositiveInt = 2
    """Blocks of the convolutional network, or layers of the ResNet: 9 n + 2."""
    steps: PositiveInt = 600
    """Gradient steps of each candidate."""
    batch_size: PositiveInt = 256
    """Rows a gradient step."""
    learning_rate: PositiveFloat = 1e-2
    """Of AdamW, falling to zero as a cosine."""
    weight_decay: NonNegativeFloat = 0.0
    """Of AdamW."""


@dataclass(frozen=True)
class Grid:
    """What is tried on validation rows. Every objective tries equally many candidates."""

    class_temperatures: tuple[float, ...] = (1.0, 4.0)
    """tau, for objectives with subclasses: each with each beta."""
    subclass_temperatures: tuple[float, ...] = (0.3, 1.0)
    """beta, in units of a class's root mean square coordinate."""
    kd_temperatures: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    """tau of vanilla and of decoupled distillation."""
    smoothings: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2)
    """Label smoothing, for labels only."""
    feature_weights: tuple[float, ...] = (0.03, 0.3, 3.0, 30.0)
    """Weight of the loss on features beside vanilla distillation at tau = 1."""
    diversity_weights: tuple[float, ...] = (0.1, 1.0)
    """Weight of the auxiliary loss of Subclass Distillation: each with each class temperature."""


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
    labelled: float = 1.0
    """Share of training rows whose label the teacher and `labels` see; the others are unlabelled."""
    max_train: PositiveInt | None = 3000
    """Training rows of a seed; further ones are left out."""
    test: OpenShare = 0.25
    """Share of rows that measure, unless the table has a test split of its own."""
    validation: ShareBelowOne = 0.15
    """Share of rows that choose the candidate."""
    objective: Objective = "lelp"
    """What the student learns from; `none` measures the teacher."""
    n_subclasses: PositiveInt = 5
    """S, subclasses a class; fewer where a class has too few rows."""
    null_space: bool = True
    """Remove what the teacher's logits express before directions are sought."""
    rows: Literal["all", "centered"] = "all"
    """Rows of the last layer's weight that are removed: all, or only their differences."""
    rotate: bool = True
    """Mix the directions of a class by a random rotation."""
    directions: Literal["principal", "random"] = "principal"
    """Directions in the teacher's embedding space."""
    label_weight: Share = 0.0
    """alpha: share of the cross entropy with labels in the loss, where there are labels for all rows."""
    augment: bool = False
    """Crop and flip pictures at random; the teacher then sees each view."""
    image_size: PositiveInt = 32
    """Pictures are read as this many pixels squared."""
    max_tokens: PositiveInt = 128
    """Tokens of a text that transformers read."""
    grid: Grid = Grid()
    """What is tried on validation rows."""
    teacher: OwnModel = OwnModel()
    """The teacher: folder:DIR or hub:NAME, a sequence classifier. By default one is trained."""
    student: OwnModel = OwnModel()
    """The student's encoder: folder:DIR or hub:NAME. By default it is a small network."""
    teaching: Teaching = Teaching()
    """The teacher that is trained here."""
    learning: Learning = Learning()
    """The student, and how it is trained."""
