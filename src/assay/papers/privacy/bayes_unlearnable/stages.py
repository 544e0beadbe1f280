"""What arms share: the protected pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import UInt8
from torch import Tensor

from assay.errors import InputError
from assay.papers.privacy.bayes_unlearnable.config import Ascent, Protect
from assay.papers.privacy.bayes_unlearnable.method import (
    BayesErrorEstimator,
    BayesErrorProtector,
    largest_eps,
    raw_pixels,
)
from assay.papers.privacy.noise import ErrorMinimising, error_minimising_noise, random_sign_noise
from assay.papers.privacy.options import Victim, check_eps
from assay.papers.privacy.pictures import Norm, Pictures, clip_to_ball, to_uint8_within
from assay.papers.privacy.victims import SGD, build_network
from assay.training import Compute


@dataclass(frozen=True)
class Protection:
    """What one protection depends on, and nothing else: arms that agree in it share the stage."""

    kind: str
    classes: int
    eps: float = 0.0
    norm: Norm = "linf"
    ascent: Ascent | None = None
    em: ErrorMinimising | None = None
    network: Victim = Victim()
    batch_size: int = 0
    compute: Compute = Compute(accelerator="cpu")


@dataclass(frozen=True)
class ProtectedPixels:
    """What a protection made of pictures."""

    pixels: UInt8[Tensor, "n c h w"]
    """Inside the ball, as 8 bits."""
    bayes_errors: list[float]
    """What each ascent step saw."""


def protection_of(config: Protect, pictures: Pictures, classes: int, compute: Compute) -> Protection:
    """Return what the protection of these pictures depends on.

    Raises:
        InputError: eps is no small change, or not one that 8 bits can show, or not one for this protection.
    """
    kind, eps = config.protection, config.eps
    check_eps(eps, largest=largest_eps(config.norm, pictures.pixels[0].numel()))
    if config.norm == "linf" and eps * 255 < 1 - 1e-4:
        raise InputError(
            f"--eps {eps:g} is {eps * 255:.2g} of the 255 levels of a pixel: files of 8 bits cannot hold such"
            f" changes. Give at least {1 / 255:.4f}."
        )
    if kind == "none":
        return Protection(kind, classes)
    if kind == "em" and config.norm != "linf":
        raise InputError("--protection em limits each pixel's change: leave --norm at linf.")
    if kind == "random":
        return Protection(kind, classes, eps, config.norm)
    network, size = config.ascent.network, config.batch_size
    trained = Protection(kind, classes, eps, config.norm, network=network, batch_size=size, compute=compute)
    if kind == "beo":
        return replace(trained, ascent=config.ascent)
    return replace(trained, em=ErrorMinimising(rounds=config.em_rounds, batch_size=size))


def protect_pixels(
    pixels: UInt8[Tensor, "n c h w"], labels: Tensor, protection: Protection
) -> ProtectedPixels:
    """Protect pictures, from the global random state."""
    if protection.kind == "none":
        return ProtectedPixels(pixels, [])
    generator = torch.Generator().manual_seed(torch.initial_seed())
    images = (pixels.float() / 255).to(protection.compute.accelerator)
    labels = labels.to(images.device)
    build = partial(build_network, protection.network, images.shape[1], protection.classes)
    seen: list[float] = []
    if protection.ascent is not None:
        ascent = protection.ascent
        protector = BayesErrorProtector(
            build,
            feature_layer=raw_pixels if ascent.neighbours == "pixels" else None,
            eps=protection.eps,
            norm=protection.norm,
            outer_steps=ascent.steps,
            inner=replace(SGD, epochs=protection.network.epochs, batch_size=protection.batch_size),
            lr=ascent.learning_rate,
            refresh_every=ascent.refresh_every,
            estimator=estimator(ascent),
            compute=protection.compute,
        )
        fitted = protector.fit(images, labels, generator)
        perturbed, seen = fitted.images, [step.bayes_error for step in fitted.history]
    elif protection.em is not None:
        perturbed = images + error_minimising_noise(
            build, images, labels, protection.eps, generator, protection.em
        )
    else:
        perturbed = images + random_sign_noise(len(images), images.shape[1:], protection.eps, generator)
    inside = clip_to_ball(perturbed, images, protection.eps, protection.norm).cpu()
    return ProtectedPixels(to_uint8_within(inside, pixels, protection.eps, protection.norm), seen)


def estimator(ascent: Ascent) -> BayesErrorEstimator:
    """Return the estimator that these options describe."""
    return BayesErrorEstimator(ascent.kernel, ascent.sigma)
