"""From learners to a trained tracer: what each model is tried with, and one way to fit them all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from assay.papers.education.ednet.config import Actions, Leak, Train
from assay.papers.education.ednet.method.leakage import MaskedDKT, questions_of
from assay.papers.education.ednet.method.networks import Network, NetworkSize
from assay.papers.education.ednet.method.simple import BKT, IRT, PFA, MeanModel
from assay.papers.education.ednet.method.tracer import (
    NeuralTracer,
    Predictor,
    Trained,
    Training,
    build_network,
    scored_auc,
    train_network,
)
from assay.papers.education.steps import Steps
from assay.trial import Trial

SETTINGS: dict[str, list[Callable[[], Any]]] = {
    "mean": [functools.partial(MeanModel, value) for value in (10.0, 3.0, 30.0, 1.0, 100.0)],
    "irt": [functools.partial(IRT, value) for value in (1.0, 0.5, 2.0, 0.25, 4.0)],
    "pfa": [functools.partial(PFA, value) for value in (1.0, 0.1, 0.03, 0.3, 10.0)],
    "bkt": [
        functools.partial(BKT, start, prior)
        for start, prior in (
            ((0.4, 0.1, 0.1, 0.25), 2.0),
            ((0.2, 0.2, 0.1, 0.2), 20.0),
            ((0.6, 0.05, 0.1, 0.3), 20.0),
            ((0.4, 0.1, 0.2, 0.25), 10.0),
            ((0.3, 0.3, 0.1, 0.2), 2.0),
        )
    ],
}
"""What each baseline is tried with, in this order."""
RATES = ((5e-3, 0.2), (2e-3, 0.2), (5e-3, 0.5), (1e-3, 0.1), (1e-2, 0.3))
"""Learning rate and dropout that each network is tried with, in this order."""


@dataclass(frozen=True)
class Fitted:
    """A fitted model and, for a network, how its training went."""

    model: Predictor
    trained: Trained | None = None


def tune_baseline(name: str, train: Steps, validation: Steps, count: int, trial: Trial) -> Fitted:
    """Fit a baseline with each setting, and keep the best on validation learners."""
    return trial.tune(
        SETTINGS[name][:count],
        fit=lambda make: Fitted(make().fit(train)),
        metric=lambda fitted: scored_auc(fitted.model, validation),
    ).fitted


def tune_network(
    name: str,
    train: Steps,
    validation: Steps,
    config: Train | Actions | Leak,
    trial: Trial,
    blind: bool = False,
) -> Fitted:
    """Train a network with each setting, and keep the best on validation learners."""
    chosen = config.optimisation

    def train_with(setting: tuple[float, float]) -> Fitted:
        rate, dropout = setting
        size = NetworkSize(**vars(config.architecture), dropout=dropout, blind=blind)
        network = _network(name, train, size)
        training = Training(chosen.epochs, chosen.patience, rate, chosen.batch_size, compute=trial.compute)
        trained = train_network(network, train, validation, training, generator=trial.generator("batches"))
        trial.count("gradient_steps", trained.gradient_steps)
        return Fitted(NeuralTracer(network), trained)

    return trial.tune(
        RATES[: config.candidates],
        fit=train_with,
        metric=lambda fitted: -np.inf if fitted.trained is None else fitted.trained.best,
    ).fitted


def _network(name: str, train: Steps, size: NetworkSize) -> Network:
    book = train.catalogue
    if name != "masked":
        return build_network(name, book, size)
    return MaskedDKT(torch.from_numpy(book.tags), len(book.skills), size, questions_of(book))


def log_training(fitted: Fitted, trial: Trial) -> None:
    """Write the learning curve down."""
    for epoch, value in enumerate(fitted.trained.validation if fitted.trained else (), 1):
        trial.log(epoch, validation_auc=value)
