"""Classifiers of pictures that learn from data as it was published, and how well they then do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from assay.models import ConvNet, Training, train_classifier
from assay.papers.privacy.networks import ResNet18
from assay.papers.privacy.options import Victim
from assay.training import Compute, accuracy, predict

SGD = Training(epochs=12, batch_size=128, learning_rate=0.1, weight_decay=5e-4, momentum=0.9, cosine=True)
"""How papers on unlearnable pictures train classifiers, all but the number of epochs."""


def build_network(victim: Victim, channels: int, classes: int) -> nn.Module:
    """Build a network with `features(images)` and a linear `head`, from the global random state."""
    if victim.network == "resnet18":
        return ResNet18(channels, classes, victim.width or 64)
    return ConvNet(channels, classes, victim.width or 32)


def train_network(
    build: Callable[[], nn.Module],
    training: Training,
    data: tuple[Float[Tensor, "n c h w"], Int[Tensor, " n"]],
    generator: torch.Generator,
    compute: Compute | None = None,
) -> nn.Module:
    """Train a fresh network on pictures from 0 to 1, on the device where they are; it is left in eval mode.

    Args:
        build: gives a network with random weights that maps pictures to logits.
        training: how it is trained.
        data: the pictures and their classes, from 0.
        generator: draws the first weights and the order of the pictures.
        compute: device and precision; by default the pictures' device and float32.
    """
    kind = data[0].device.type
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**40, (), generator=generator)))
        network = build().to(data[0].device)
    compute = compute or Compute(accelerator=kind)  # type: ignore[arg-type]  # it is checked
    train_classifier(network, data, training, generator, compute=compute)
    return network


def test_accuracy(network: nn.Module, pixels: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]) -> float:
    """Return the fraction of pictures that a network puts into their class."""
    return accuracy(predict(network, pixels), labels)


test_accuracy.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test
