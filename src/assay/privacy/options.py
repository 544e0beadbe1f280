"""Options that several entries put into their configs. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.errors import InputError


@dataclass(frozen=True)
class ErrorMinimising:
    """Error-minimising noise (Huang et al. 2021): weights and noise in turn lower the training loss."""

    class_wise: bool = False
    """One pattern a class in place of one a picture."""
    rounds: int = 60
    """At most so many alternations of training and noise."""
    train_steps: int = 10
    """Gradient steps of the network in each round."""
    noise_steps: int = 20
    """Signed steps of the noise in each round."""
    stop_error: float = 0.01
    """Training error on the perturbed pictures at which it stops."""

    def __post_init__(self) -> None:
        for name in ("rounds", "train_steps", "noise_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.stop_error < 1:
            raise InputError(f"stop_error must be at least 0 and below 1, got {self.stop_error}")


@dataclass(frozen=True)
class Victim:
    """A classifier of pictures and its training: SGD with a cosine schedule, without augmentation."""

    network: Literal["convnet", "resnet18"] = "convnet"
    """A plain convolutional network, or ResNet-18 with the stem for small pictures."""
    width: int | None = None
    """Channels of the first block, doubled by later ones; by default 32, and 64 for ResNet-18."""
    depth: int = 3
    """Blocks of the convolutional network."""
    epochs: int = 12
    """Passes over the training pictures."""
    batch_size: int = 128
    """Pictures a gradient step."""
    learning_rate: float = 0.1
    """At the first step; it falls to 0 along a cosine."""
    momentum: float = 0.9
    """Of SGD."""
    weight_decay: float = 5e-4
    """Of SGD."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Number format of training."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "epochs", "batch_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be above 0, got {self.learning_rate}")
