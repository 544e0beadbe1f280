"""How Bayes Error Optimisation is run: pictures are protected, published, and learnt from by victims."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from assay.data import Table, require_classes
from assay.errors import InputError
from assay.paper import Value
from assay.papers.privacy.bayes_unlearnable.config import Ascent, Protect
from assay.papers.privacy.bayes_unlearnable.method import (
    BayesErrorEstimator,
    BayesErrorProtector,
    FeatureMap,
    raw_pixels,
)
from assay.papers.privacy.bayes_unlearnable.published import PublishedPictures
from assay.papers.privacy.mixing import mix_rows
from assay.papers.privacy.noise import error_minimising_noise, random_sign_noise
from assay.papers.privacy.options import ErrorMinimising, Victim
from assay.papers.privacy.pictures import Pictures, check_eps, clip_to_ball, read_pictures, to_uint8_within
from assay.papers.privacy.victims import build_network, test_accuracy, train_victim
from assay.trial import Trial


def protect(config: Protect, trial: Trial) -> dict[str, Value]:
    """Protect pictures, publish them, and measure what victims learn from them."""
    seen = trial.once("pictures", decoded, config.data, config.size, seedless=True)
    pictures, train, test = parts(seen, config, trial)
    classes = len(seen["label_names"])
    protection = settings(config, pictures, classes, str(trial.device))
    protected = trial.once("protect", protected_pixels, pictures.pixels, pictures.labels, protection)
    trial.progress("victims learn")

    mixed = mix_rows(len(pictures), config.ratio, config.mixing, trial.generator("mix"))
    published = {
        "all": protected["pixels"],
        "mix": torch.where(mixed.view(-1, 1, 1, 1), protected["pixels"], pictures.pixels),
        "clean_part": pictures.pixels,
    }[config.training]
    learnt = train & ~mixed if config.training == "clean_part" else train
    data = dataclasses.replace(pictures, pixels=published).select(learnt)
    metrics: dict[str, Value] = {"largest_change": largest_change(published, pictures.pixels)}
    victims = {"": config.victim} | ({"_second": config.second_victim} if config.transfer else {})
    for suffix, victim in victims.items():
        # As many gradient steps as on all pictures, so that the clean part is not merely under-trained.
        steps = victim.epochs * -(-int(train.sum()) // victim.batch_size)
        trial.count(f"gradient_steps{suffix}", steps)
        found = measure(victim, data, test, classes, estimator(config.ascent), steps, trial)
        metrics |= {f"{name}{suffix}": value for name, value in found.items()}
    for number, value in enumerate(protected["bayes_errors"]):
        trial.log(number, bayes_error_climbed=value)
    if trial.out is not None:
        about = {"protection": config.protection, "eps": config.eps, "norm": config.norm, "metrics": metrics}
        trial.save(
            "pictures",
            PublishedPictures(
                protected["pixels"], pictures.labels, pictures.names, seen["label_names"], about
            ),
        )
    return metrics


# --- pictures -----------------------------------------------------------------------------------


def decoded(data: Table, size: int | None) -> dict[str, Any]:
    """Return the pictures to learn from, those of the test split if there is one, and the classes' names."""
    table = data.load()
    require_classes(table, least_rows=2)
    test = None if table.test is None else vars(read_pictures(table, table.test, size))
    return {
        "learn": vars(read_pictures(table, size=size)),
        "test": test,
        "label_names": table.label_names,
    }


def parts(seen: dict[str, Any], config: Protect, trial: Trial) -> tuple[Pictures, Tensor, Pictures]:
    """Return the pictures to protect, which of them victims may learn from, and the clean test pictures.

    Without a test split, pictures are held out. A run protects those too, since its user publishes all, but
    no victim learns from them.
    """
    pictures = Pictures(**seen["learn"])
    if config.max_pictures is not None and config.max_pictures < len(pictures):
        pictures = pictures.select(torch.from_numpy(trial.deal(len(pictures), config.max_pictures)[0]))
    train = torch.ones(len(pictures), dtype=torch.bool)
    if seen["test"] is not None:
        test = Pictures(**seen["test"])
        if test.pixels.shape[1:] != pictures.pixels.shape[1:]:
            raise InputError("Pictures to learn from and test pictures have different sizes: set --size.")
        return pictures, train, test
    split = trial.split(
        len(pictures), test=config.test, stratify=pictures.labels.tolist(), group=pictures.groups
    )
    held_out = torch.from_numpy(split.test)
    test = pictures.select(held_out)
    if trial.out is None:
        return pictures.select(torch.from_numpy(split.train)), train[split.train], test
    train[held_out] = False
    return pictures, train, test


def largest_change(published: Tensor, original: Tensor) -> float:
    """Return the largest change of a pixel, in levels of 255."""
    return float((published.int() - original.int()).abs().max())


# --- protections --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Protection:
    """What one protection depends on, and nothing else: arms that agree in it share the stage."""

    kind: str
    classes: int
    eps: float = 0.0
    norm: Any = "linf"
    ascent: Ascent | None = None
    em: ErrorMinimising | None = None
    network: Victim | None = None
    device: str = "cpu"


def settings(config: Protect, pictures: Pictures, classes: int, device: str) -> Protection:
    """Return what the protection depends on.

    Raises:
        InputError: eps is no small change, or not one that 8 bits can show, or not one for this protection.
    """
    kind, eps = config.protection, config.eps
    per_pixel = 0.25 if config.norm == "linf" else 0.25 * pictures.pixels[0].numel() ** 0.5
    check_eps(eps, largest=per_pixel)
    if config.norm == "linf" and eps * 255 < 1 - 1e-4:
        raise InputError(
            f"--eps {eps:g} is {eps * 255:.2g} of the 255 levels of a pixel: files of 8 bits cannot hold such"
            f" changes. Give at least {1 / 255:.4f}."
        )
    if kind == "none":
        return Protection(kind, classes)
    if kind == "random":
        return Protection(kind, classes, eps, config.norm)
    if kind == "beo":
        return Protection(kind, classes, eps, config.norm, ascent=config.ascent, device=device)
    if config.norm != "linf":
        raise InputError("--protection em limits each pixel's change: leave --norm at linf.")
    return Protection(kind, classes, eps, em=config.em, network=config.ascent.network, device=device)


def protected_pixels(pixels: Tensor, labels: Tensor, protection: Protection) -> dict[str, Any]:
    """Return the protected pictures as 8 bits, and the Bayes error that each ascent step saw."""
    generator = torch.Generator().manual_seed(torch.initial_seed())
    images = (pixels.float() / 255).to(protection.device)
    labels = labels.to(protection.device)
    seen: list[float] = []
    if protection.ascent is not None:
        protector = protector_of(protection, protection.ascent, images.shape[1])
        fitted = protector.fit(images, labels, generator)
        perturbed, seen = fitted.images, [step.bayes_error for step in fitted.history]
    elif protection.em is not None:
        noise = error_minimising_noise(
            images,
            labels,
            protection.classes,
            protection.eps,
            generator=generator,
            em=protection.em,
            victim=protection.network,
        )
        perturbed = images + (noise[labels] if protection.em.class_wise else noise)
    elif protection.kind == "random":
        perturbed = images + random_sign_noise(len(images), images.shape[1:], protection.eps, generator)
    else:
        return {"pixels": pixels, "bayes_errors": seen}
    inside = clip_to_ball(perturbed, images, protection.eps, protection.norm).cpu()
    return {
        "pixels": to_uint8_within(inside, pixels, protection.eps, protection.norm),
        "bayes_errors": seen,
    }


def protector_of(protection: Protection, ascent: Ascent, channels: int) -> BayesErrorProtector:
    """Return the protector that these options describe."""
    network = ascent.network

    def make_model() -> nn.Module:
        return build_network(network.network, channels, protection.classes, network.width, network.depth)

    return BayesErrorProtector(
        make_model,
        feature_layer=raw_pixels if ascent.neighbours == "pixels" else None,
        eps=protection.eps,
        norm=protection.norm,
        outer_steps=ascent.steps,
        inner=network,
        optimizer=ascent.optimizer,
        lr=ascent.learning_rate,
        weight_decay=ascent.weight_decay,
        refresh_every=ascent.refresh_every,
        estimator=estimator(ascent),
    )


def estimator(ascent: Ascent) -> BayesErrorEstimator:
    """Return the estimator that these options describe."""
    return BayesErrorEstimator(ascent.kernel, ascent.sigma, chunk=ascent.chunk)


# --- victims ------------------------------------------------------------------------------------


def measure(
    victim: Victim,
    data: Pictures,
    test: Pictures,
    classes: int,
    bayes: BayesErrorEstimator,
    steps: int,
    trial: Trial,
) -> dict[str, Value]:
    """Train a fresh victim on published pictures; return its accuracy and the Bayes error on its features."""
    images, labels = data.float().to(trial.device), data.labels.to(trial.device)
    stream = trial.generator(f"victim/{victim.network}")
    network = train_victim(victim, images, labels, classes, stream, steps)
    return {
        "accuracy": test_accuracy(network, test.float(), test.labels),
        "train_accuracy": test_accuracy(network, images, labels),
        "bayes_error": bayes.mean(FeatureMap(network).all(images), labels),
    }
