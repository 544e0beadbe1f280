"""Noise of earlier protections: error-minimising noise, and random signs that see no picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from assay.papers.privacy.options import ErrorMinimising, Victim
from assay.papers.privacy.pictures import check_eps, check_unit_range, clip_to_ball
from assay.papers.privacy.victims import build_network
from assay.training.evaluation import mode
from assay.training.loader import batches


def random_sign_noise(
    count: int, shape: Sequence[int], eps: float, generator: torch.Generator
) -> Float[Tensor, "count ..."]:
    """Return `count` patterns of `shape` whose every entry is -eps or +eps with equal chances.

    `count` is the number of pictures, or of classes for one pattern a class: `noise[labels]`.
    """
    signs = torch.randint(0, 2, (count, *shape), generator=generator)
    return (2.0 * signs - 1.0) * eps


def error_minimising_noise(
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, " n"],
    classes: int,
    eps: float,
    generator: torch.Generator,
    *,
    em: ErrorMinimising | None = None,
    victim: Victim | None = None,
) -> Float[Tensor, "patterns c h w"]:
    """Return noise that makes pictures seem learnt already (Huang et al. 2021, "EM").

    min over noise, min over weights, of the cross entropy of the perturbed pictures: rounds of
    `em.train_steps` steps of SGD on the weights and `em.noise_steps` signed steps of eps / 10 on the noise,
    until the network errs on less than `em.stop_error` of the perturbed pictures.

    Args:
        images: from 0 to 1.
        labels: from 0 to `classes` - 1.
        classes: number of classes.
        eps: the largest change of a pixel.
        generator: draws the first weights and the batches.
        em: steps, rounds and when to stop.
        victim: the network, and batch size and rates of its SGD; by default a small convolutional network.

    Returns:
        [n, c, h, w], or [classes, c, h, w] for `em.class_wise`. `images + noise` may leave the range from 0
        to 1; clip it.
    """
    check_unit_range(images)
    check_eps(eps)
    em, victim = em or ErrorMinimising(), victim or Victim()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**40, (), generator=generator)))
        network = build_network(victim.network, images.shape[1], classes, victim.width, victim.depth)
    network.to(images.device)
    optimizer = torch.optim.SGD(
        network.parameters(), victim.learning_rate, victim.momentum, weight_decay=victim.weight_decay
    )
    patterns = labels if em.class_wise else torch.arange(len(images), device=images.device)
    noise = images.new_zeros(int(classes if em.class_wise else len(images)), *images.shape[1:])
    loader = batches(images, labels, patterns, batch_size=victim.batch_size, generator=generator)
    stream = iter(loader)
    for _ in range(em.rounds):
        for _ in range(em.train_steps):
            batch = next(stream, None)
            if batch is None:
                stream = iter(loader)
                batch = next(stream)
            pictures, classes_seen, rows = batch
            if len(pictures) > 1:
                _learn(network, optimizer, clip_to_ball(pictures + noise[rows], pictures, eps), classes_seen)
        error = _minimise(network, images, labels, patterns, noise, eps, em.noise_steps, victim.batch_size)
        if error < em.stop_error:
            break
    return noise


def _learn(network: nn.Module, optimizer: torch.optim.Optimizer, pictures: Tensor, labels: Tensor) -> None:
    optimizer.zero_grad()
    cross_entropy(network(pictures), labels).backward()
    optimizer.step()


def _minimise(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    patterns: Tensor,
    noise: Tensor,
    eps: float,
    steps: int,
    batch_size: int,
) -> float:
    """Step the noise down the loss in place, and return the share of pictures still taken wrongly."""
    with mode(network, training=False):
        for _ in range(steps):
            slope = torch.zeros_like(noise)
            wrong = 0
            for rows in torch.arange(len(images), device=images.device).split(batch_size):
                pictures = clip_to_ball(images[rows] + noise[patterns[rows]], images[rows], eps)
                pictures.requires_grad_()
                logits = network(pictures)
                (gradient,) = torch.autograd.grad(
                    cross_entropy(logits, labels[rows], reduction="sum"), pictures
                )
                slope.index_add_(0, patterns[rows], gradient)
                wrong += int((logits.argmax(1) != labels[rows]).sum())
            noise.sub_(slope.sign(), alpha=eps / 10).clamp_(-eps, eps)
    return wrong / len(images)
