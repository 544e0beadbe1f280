"""What arms share: pools of instances, the search of learning rates, encoders to start from."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from assay.data import Table
from assay.errors import DivergedError
from assay.papers.vision.abmilx.config import DrawnBags
from assay.papers.vision.abmilx.evaluation import evaluate
from assay.papers.vision.abmilx.synthetic import BagTask, Instances, draw_bags, read_instances
from assay.papers.vision.abmilx.training import TrainingSetup, fresh_encoder, pretrained_encoder, train_model
from assay.trial import derive_seed, random_state

SEARCH_SHARE = 0.3
"""Share of instances for the search and for pre-training, on which no seed trains or tests."""
REPEATS = 2
"""Trainings with each learning rate in the search, each with its own bags."""


@dataclass(frozen=True)
class Pools:
    """Labelled instances: those of the search, and those that seeds train and test on."""

    search: Instances
    others: Instances


def read_pools(data: Table, key: str, pixels: int | None) -> Pools:
    """Read labelled instances and set a share of each class aside, the same in all seeds."""
    others, search = read_instances(data, key, pixels).cut(SEARCH_SHARE, np.random.default_rng(0))
    return Pools(search, others)


@dataclass(frozen=True)
class Search:
    """A search among learning rates."""

    setup: TrainingSetup
    task: BagTask
    drawn: DrawnBags
    """How many bags: those for testing are for validation here."""


@dataclass(frozen=True)
class RateScores:
    """The validation accuracy of each learning rate, the mean over repeats; NaN where one diverged."""

    rates: tuple[float, ...]
    scores: tuple[float, ...]

    def best(self) -> float:
        """Return the learning rate with the highest score; the first wins a tie."""
        if np.isnan(self.scores).all():
            raise DivergedError(
                f"Training diverged at each of --training.learning-rates {self.rates}. Give lower ones."
            )
        return self.rates[int(np.nanargmax(self.scores))]


def search_rates(search: Search, pool: Instances) -> RateScores:
    """Try each learning rate on bags of the pool: two thirds of it for training, the rest for validation."""
    rates = search.setup.learning.learning_rates
    scores = np.full((REPEATS, len(rates)), math.nan)
    for repeat in range(REPEATS):
        random = np.random.default_rng(derive_seed(repeat, "search"))
        train, validation = pool.cut(1 / 3, random)
        bags = draw_bags(train, search.task, search.drawn.train_bags, random, "train")
        held_out = draw_bags(validation, search.task, search.drawn.test_bags, random, "validation")
        with random_state(derive_seed(repeat, "start")):
            start = starting_encoder(search.setup, train)
        targets = torch.from_numpy(bags.labels)
        for number, rate in enumerate(rates):
            with suppress(DivergedError), random_state(derive_seed(repeat, "learn")):
                generator = torch.Generator().manual_seed(repeat)
                trained = train_model(search.setup, start, bags, targets, rate, generator)
                scores[repeat, number] = evaluate(trained.model, held_out.bags).accuracy(held_out.labels)
    return RateScores(rates, tuple(scores.mean(axis=0).tolist()))


def starting_encoder(setup: TrainingSetup, pool: Instances) -> dict[str, Tensor]:
    """Return the encoder that training starts from; a pre-trained one has never seen the key class."""
    if setup.encoder_training == "joint":
        return fresh_encoder(setup.model.encoder, pool.values).state_dict()
    others = pool.labels != pool.key
    return pretrained_encoder(setup, pool.values[others], pool.labels[others])
