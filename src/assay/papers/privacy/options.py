"""Options that several entries put into their configs. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.bounds import PositiveFloat, PositiveInt, ShareBelowOne


@dataclass(frozen=True)
class ErrorMinimising:
    """Error-minimising noise (Huang et al. 2021): weights and noise in turn lower the training loss."""

    class_wise: bool = False
    """One pattern a class in place of one a picture."""
    rounds: PositiveInt = 60
    """At most so many alternations of training and noise."""
    train_steps: PositiveInt = 10
    """Gradient steps of the network in each round."""
    noise_steps: PositiveInt = 20
    """Signed steps of the noise in each round."""
    stop_error: ShareBelowOne = 0.01
    """Training error on the perturbed pictures at which it stops."""


@dataclass(frozen=True)
class Victim:
    """A classifier of pictures and its training: SGD with a cosine schedule, without augmentation."""

    network: Literal["convnet", "resnet18"] = "convnet"
    """A plain convolutional network, or ResNet-18 with the stem for small pictures."""
    width: PositiveInt | None = None
    """Channels of the first block, doubled by later ones; by default 32, and 64 for ResNet-18."""
    depth: PositiveInt = 3
    """Blocks of the convolutional network."""
    epochs: PositiveInt = 12
    """Passes over the training pictures."""
    batch_size: PositiveInt = 128
    """Pictures a gradient step."""
    learning_rate: PositiveFloat = 0.1
    """At the first step; it falls to 0 along a cosine."""
    momentum: float = 0.9
    """Of SGD."""
    weight_decay: float = 5e-4
    """Of SGD."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Number format of training."""
