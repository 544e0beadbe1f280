"""From learners to a trained tracer: what each model is tried with, and one way to fit them all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from assay.papers.education.ednet.config import Actions, Leak, Train
from assay.papers.education.ednet.method.leakage import MaskedDKT, questions_of
from assay.papers.education.ednet.method.networks import NetworkSize
from assay.papers.education.ednet.method.simple import BKT, IRT, PFA, MeanModel
from assay.papers.education.ednet.method.tracer import (
    BASELINES,
    NeuralTracer,
    Predictor,
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


def tune(
    name: str,
    train: Steps,
    validation: Steps,
    config: Train | Actions | Leak,
    trial: Trial,
    blind: bool = False,
) -> Predictor:
    """Fit a model with each of its settings, and keep the best on validation learners."""
    if name in BASELINES:
        found: Predictor = trial.tune(
            SETTINGS[name][: config.candidates],
            fit=lambda make: make().fit(train),
            metric=lambda model: scored_auc(model, validation),
        ).fitted
        return found
    book, chosen = train.catalogue, config.optimisation

    def train_with(setting: tuple[float, float]) -> NeuralTracer:
        rate, dropout = setting
        size = NetworkSize(**vars(config.architecture), dropout=dropout, blind=blind)
        network = (
            MaskedDKT(torch.from_numpy(book.tags), len(book.skills), size, questions_of(book))
            if name == "masked"
            else build_network(name, book, size)
        )
        training = Training(chosen.epochs, chosen.patience, rate, chosen.batch_size, compute=trial.compute)
        trained = train_network(network, train, validation, training, generator=trial.generator("batches"))
        trial.count("gradient_steps", trained.gradient_steps)
        return NeuralTracer(network, trained)

    return trial.tune(
        RATES[: config.candidates], fit=train_with, metric=lambda tracer: tracer.trained.best
    ).fitted


def log_training(model: Predictor, trial: Trial) -> None:
    """Write a network's learning curve down."""
    if isinstance(model, NeuralTracer):
        for epoch, value in enumerate(model.trained.validation, 1):
            trial.log(epoch, validation_auc=value)
