"""Before training: which bags are for what, how the model is built, and what its encoder starts from."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError
from assay.models import ModelSource
from assay.papers.vision.abmilx.building import EncoderSpec, Kind, ModelSpec, build_model, given_encoder
from assay.papers.vision.abmilx.config import Survival, Train
from assay.papers.vision.abmilx.learning import Plan, fresh_encoder, pretrained_encoder
from assay.papers.vision.abmilx.method import RandomInstanceSampler
from assay.papers.vision.abmilx.sources import BagSet
from assay.trial import Trial, derive_seed, random_state

LARGEST_PERCEPTRON = 16
"""Pixels of a picture's side up to which its encoder is a perceptron, unless the user says otherwise."""
LARGEST_POOL = 4096
"""Training instances that features are standardised by, and encoders pre-trained on, where bags are given."""


# --- which bags are for what --------------------------------------------------------------------


def split(bags: BagSet, config: Train | Survival, trial: Trial) -> dict[str, BagSet]:
    """Return train, validation and test bags: the published parts, else at random, patients kept together."""
    parts = np.array([bag.part for bag in bags], dtype=object)
    groups = np.array([bag.bag_id if bag.group is None else bag.group for bag in bags])
    learnt = np.flatnonzero(~np.isin(parts, ["test", "validation"]))
    named = {name: np.flatnonzero(parts == name) for name in ("test", "validation")}
    if not len(named["test"]):
        cut = cut_off(bags, learnt, groups, config.test, trial, fresh=False)
        learnt, named["test"] = cut
    validation = getattr(config, "validation", 0.0)
    searched = isinstance(config, Train) and len(config.learning_rates) > 1
    if searched and not len(named["validation"]):
        if not 0 < validation < 1 - config.test:
            raise InputError(
                f"--validation {validation} leaves no bags to choose among {len(config.learning_rates)}"
                " learning rates. Give a share above 0, or one --learning-rates."
            )
        learnt, named["validation"] = cut_off(
            bags, learnt, groups, validation / (1 - config.test), trial, fresh=True
        )
    return {"train": bags.select(learnt), **{name: bags.select(rows) for name, rows in named.items()}}


def cut_off(
    bags: BagSet, rows: np.ndarray, groups: np.ndarray, share: float, trial: Trial, fresh: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a share of the bags off; patients stay together, and classes keep their shares if they can."""
    alone = len(set(groups[rows])) == len(rows)
    classes = bags.labels[rows].tolist() if bags.label_names else None
    cut = trial.split(
        len(rows), share, group=None if alone else groups[rows].tolist(), stratify=classes, fresh=fresh
    )
    return rows[cut.train], rows[cut.test]


# --- model, sampling, and what it starts from ---------------------------------------------------


def plan_for(
    config: Train | Survival, bags: BagSet, outputs: int, trial: Trial
) -> tuple[Plan, dict[str, Tensor]]:
    """Return how a model of these bags is trained, and the weights that its encoder starts from."""
    single = [bag.bag_id for bag in bags if len(bag.sizes) < 2]
    if config.low_share and single:
        raise InputError(
            f"--low-share needs a second magnification, which the bag {single[0]!r} does not have."
        )
    first = bags.bags[0].read(torch.arange(1))
    shape = tuple(first.shape[1:])
    if config.patch_encoder.source is not None:
        if len(shape) != 3:
            raise InputError("--patch-encoder needs pictures; these bags hold features.")
        source = ModelSource(config.patch_encoder.source)
        crop, flips = config.training.smallest_crop, config.training.flips
        try:
            spec, weights = given_encoder(source, shape, config.encoder_stages, crop, flips)
        except ValueError as error:
            raise InputError(f"--patch-encoder {source}: {error}") from error
        return plan_of(config, shape, outputs, trial, spec), weights
    plan = plan_of(config, shape, outputs, trial)
    pretrained = getattr(config, "start", "random") == "pretrained"
    with random_state(derive_seed(trial.seed, "encoder")):
        if len(shape) == 3 and not pretrained:
            return plan, fresh_encoder(plan.model.encoder, first)
        values, labels = some_instances(bags, trial.generator("instances"))
        if not pretrained:
            return plan, fresh_encoder(plan.model.encoder, values)
        return plan, pretrained_encoder(plan.model.encoder, values, labels, config.training)


def plan_of(
    config: Train | Survival,
    shape: tuple[int, ...],
    outputs: int,
    trial: Trial,
    encoder: EncoderSpec | None = None,
) -> Plan:
    """Return how a model of instances of this shape is trained.

    Raises:
        InputError: layers do not fit together.
    """
    if config.layers.norm == "batch" and config.training.batch_size < 2:
        raise InputError("--layers.norm batch needs a --training.batch-size of at least 2, or give layer.")
    spec = ModelSpec(
        encoder or encoder_of(config, shape),
        config.aggregator,
        outputs,
        config.layers,
        config.chunk,
        config.checkpointing,
    )
    sampler = None
    try:
        build_model(spec)
        if config.instances is not None:
            shares = (1 - config.low_share, config.low_share) if config.low_share else (1.0,)
            sampler = RandomInstanceSampler(config.instances, shares)
    except ValueError as error:
        raise InputError(str(error)) from error
    compute = config.compute
    if trial.device.type != "cpu":
        compute = dataclasses.replace(compute, accelerator="cuda" if trial.device.type == "cuda" else "auto")
    frozen = getattr(config, "encoder_training", "joint") == "frozen"
    return Plan(spec, config.training, frozen, sampler, compute, config.readers)


def encoder_of(config: Train | Survival, shape: tuple[int, ...]) -> EncoderSpec:
    """Return which encoder is made here."""
    crop, flips = config.training.smallest_crop, config.training.flips
    asked = config.layers.network
    if asked == "convolutional" and len(shape) != 3:
        raise InputError("--layers.network convolutional needs pictures; these bags hold features.")
    network: Kind
    if asked != "auto":
        network = asked
    elif len(shape) != 3:
        network = "none"
    else:
        network = "convolutional" if max(shape[1:]) > LARGEST_PERCEPTRON else "perceptron"
    return EncoderSpec(network, shape, None, None, crop, flips)


def some_instances(bags: BagSet, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return instances of all bags, as many of each as there is room for, with their bags' labels."""
    each = max(1, LARGEST_POOL // len(bags))
    rows = [torch.randperm(len(bag), generator=generator)[:each] for bag in bags]
    labels = torch.cat([torch.full((len(row),), bag.label) for bag, row in zip(bags, rows, strict=True)])
    return torch.cat([bag.read(row) for bag, row in zip(bags, rows, strict=True)]), labels
