"""Noise of earlier protections: error-minimising noise, and random signs that see no picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from assay.papers.privacy.options import check_eps
from assay.papers.privacy.pictures import check_unit_range, clip_to_ball
from assay.training import predict
from assay.training.evaluation import mode
from assay.training.loader import batches


@dataclass(frozen=True)
class ErrorMinimising:
    """Error-minimising noise (Huang et al. 2021): weights and noise in turn lower the training loss."""

    class_wise: bool = False
    """One pattern a class in place of one a picture."""
    rounds: int = 60
    """At most so many alternations of training and noise."""
    train_steps: int = 10
    """Gradient steps of the network in each round."""
    noise_steps: int | None = None
    """Signed steps of the noise in each round; by default as published: 1 class-wise, 20 sample-wise."""
    stop_error: float | None = None
    """Training error on the perturbed pictures at which it stops; as published: 0.1, and 0.01 sample-wise."""
    batch_size: int = 128
    """Pictures a step."""
    learning_rate: float = 0.1
    """Of the network's SGD, whose momentum is 0.9 and weight decay 5e-4."""


def random_sign_noise(
    count: int, shape: Sequence[int], eps: float, generator: torch.Generator
) -> Float[Tensor, "count ..."]:
    """Return `count` patterns of `shape` whose every entry is -eps or +eps with equal chances.

    `count` is the number of pictures, or of classes for one pattern a class: `noise[labels]`.
    """
    signs = torch.randint(0, 2, (count, *shape), generator=generator)
    return (2.0 * signs - 1.0) * eps


def error_minimising_noise(
    build: Callable[[], nn.Module],
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, " n"],
    eps: float,
    generator: torch.Generator,
    em: ErrorMinimising = ErrorMinimising(),
) -> Float[Tensor, "patterns c h w"]:
    """Return noise that makes pictures seem learnt already (Huang et al. 2021, "EM").

    min over noise, min over weights, of the cross entropy of the perturbed pictures: rounds of
    `em.train_steps` steps of SGD on the weights and `em.noise_steps` signed steps of eps / 10 on the noise,
    from pictures projected onto [0, 1], until the network errs on at most `em.stop_error` of the perturbed
    pictures. Class-wise, each batch replaces a class's pattern by the mean of what its pictures stepped to.

    Args:
        build: gives a network with random weights that maps pictures to logits.
        images: from 0 to 1.
        labels: classes from 0.
        eps: the largest change of a pixel.
        generator: draws the first weights and the batches.
        em: steps, rounds and when to stop.

    Returns:
        [n, c, h, w], or [classes, c, h, w] for `em.class_wise`. `images + noise` may leave the range from 0
        to 1; clip it.
    """
    check_unit_range(images)
    check_eps(eps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**40, (), generator=generator)))
        network = build().to(images.device)
    optimizer = torch.optim.SGD(network.parameters(), em.learning_rate, momentum=0.9, weight_decay=5e-4)
    rows = torch.arange(len(images), device=images.device)
    patterns = labels if em.class_wise else rows
    noise = images.new_zeros(int(patterns.max()) + 1, *images.shape[1:])
    loader = batches(images, labels, patterns, batch_size=em.batch_size, generator=generator)
    stream = iter(loader)
    stop_error = em.stop_error if em.stop_error is not None else 0.1 if em.class_wise else 0.01
    for _ in range(em.rounds):
        for _ in range(em.train_steps):
            batch = next(stream, None)
            if batch is None:
                stream = iter(loader)
                batch = next(stream)
            pictures, classes, own = batch
            if len(pictures) > 1:  # batch norm learns nothing from one picture
                optimizer.zero_grad()
                cross_entropy(network(clip_to_ball(pictures + noise[own], pictures, eps)), classes).backward()
                optimizer.step()
        parts = [(images[part], labels[part], patterns[part]) for part in rows.split(em.batch_size)]
        with mode(network, training=False):
            for part in parts:
                _minimise(network, part, noise, eps, em)
        if sum(_mistakes(network, part, noise, eps) for part in parts) / len(images) <= stop_error:
            break
    return noise


def _minimise(
    network: nn.Module, batch: tuple[Tensor, Tensor, Tensor], noise: Tensor, eps: float, em: ErrorMinimising
) -> None:
    """Step the noise of a batch down the loss in place; a class gets the mean over its pictures."""
    images, labels, patterns = batch
    change = noise[patterns]
    for _ in range(em.noise_steps or (1 if em.class_wise else 20)):
        pictures = clip_to_ball(images + change, images, eps).requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(network(pictures), labels), pictures)
        change = (pictures.detach() - eps / 10 * slope.sign() - images).clamp(-eps, eps)
    shares = 1 / patterns.bincount(minlength=len(noise))[patterns]
    noise[patterns] = 0
    noise.index_add_(0, patterns, change * shares.view(-1, 1, 1, 1))


def _mistakes(network: nn.Module, batch: tuple[Tensor, Tensor, Tensor], noise: Tensor, eps: float) -> int:
    """Return how many of a batch's perturbed pictures a network takes for another class."""
    images, labels, patterns = batch
    perturbed = clip_to_ball(images + noise[patterns], images, eps)
    return int((predict(network, perturbed).argmax(1) != labels).sum())
