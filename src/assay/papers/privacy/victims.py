"""Classifiers of pictures that learn from data as it was published, and how well they then do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from assay.errors import InputError
from assay.models import ConvNet
from assay.papers.privacy.networks import ResNet18
from assay.papers.privacy.options import Victim
from assay.training import Compute, accuracy, batches, fit, predict

__all__ = ["Victim", "build_network", "test_accuracy", "train_network", "train_victim"]


def build_network(
    name: str, channels: int, classes: int, width: int | None = None, depth: int = 3
) -> nn.Module:
    """Build a network with `features(images)` and a linear `head`, from the global random state.

    Args:
        name: `convnet` or `resnet18`.
        channels: of the pictures.
        classes: number of outputs.
        width: channels of the first block; by default 32 for `convnet` and 64 for `resnet18`.
        depth: blocks of the `convnet`.

    Raises:
        InputError: there is no such network.
    """
    if name == "convnet":
        return ConvNet(channels, classes, width or 32, depth)
    if name == "resnet18":
        return ResNet18(channels, classes, width or 64)
    raise InputError(f"There is no network {name!r}. Known: convnet, resnet18.")


def train_victim(
    victim: Victim,
    pixels: Float[Tensor, "n c h w"],
    labels: Int[Tensor, " n"],
    classes: int,
    generator: torch.Generator,
    steps: int | None = None,
) -> nn.Module:
    """Train a fresh network on pictures from 0 to 1, on the device where they are; it is left in eval mode.

    Args:
        victim: the network and its training.
        pixels: the pictures.
        labels: their classes, from 0 to `classes` - 1.
        classes: number of classes.
        generator: draws the first weights and the order of the pictures.
        steps: gradient steps in place of `victim.epochs` passes.
    """

    def build() -> nn.Module:
        return build_network(victim.network, pixels.shape[1], classes, victim.width, victim.depth)

    return train_network(build, victim, pixels, labels, generator, steps)


def train_network(
    build: Callable[[], nn.Module],
    victim: Victim,
    pixels: Float[Tensor, "n c h w"],
    labels: Int[Tensor, " n"],
    generator: torch.Generator,
    steps: int | None = None,
) -> nn.Module:
    """Train what `build()` gives, which gives logits, as `victim` says; see `train_victim`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**40, (), generator=generator)))
        network = build().to(pixels.device)
    # Batch norm cannot learn from a last batch of one picture.
    alone = len(pixels) > victim.batch_size and len(pixels) % victim.batch_size == 1
    train = batches(pixels, labels, batch_size=victim.batch_size, generator=generator, drop_last=alone)
    optimizer = torch.optim.SGD(
        network.parameters(), victim.learning_rate, victim.momentum, weight_decay=victim.weight_decay
    )
    steps = steps or victim.epochs * len(train)
    fit(
        network,
        train,
        classification_loss,
        optimizer=optimizer,
        steps=steps,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps),
        compute=Compute(
            accelerator="cuda" if pixels.is_cuda else "cpu",
            precision=victim.precision,
        ),
    )
    return network.eval()


def classification_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the cross entropy of a batch of pictures and classes."""
    pixels, labels = batch
    return cross_entropy(model(pixels), labels)


def test_accuracy(network: nn.Module, pixels: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]) -> float:
    """Return the fraction of pictures that a network puts into their class."""
    return accuracy(predict(network, pixels), labels)


test_accuracy.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test
