"""From learners to a trained tracer: what each model is tried with, and one way to fit them all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from assay.papers.education.ednet.config import Actions, Leak, Train
from assay.papers.education.ednet.method import BKT, IRT, PFA, MeanModel, Steps
from assay.papers.education.ednet.method.leakage import MaskedDKT, questions_of
from assay.papers.education.ednet.method.networks import Network, NetworkSize
from assay.papers.education.ednet.method.tracer import (
    NeuralTracer,
    Predictor,
    Trained,
    Training,
    build_network,
    scored_auc,
    train_network,
)
from assay.training import Compute
from assay.trial import Trial, Tuned

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


def tune_baseline(name: str, train: Steps, validation: Steps, count: int, trial: Trial) -> Tuned[Any, Fitted]:
    """Fit a baseline with each setting, and keep the best on validation learners."""
    return trial.tune(
        SETTINGS[name][:count],
        fit=lambda make: Fitted(make().fit(train)),
        metric=lambda fitted: scored_auc(fitted.model, validation),
    )


def tune_network(
    name: str,
    train: Steps,
    validation: Steps,
    config: Train | Actions | Leak,
    trial: Trial,
    blind: bool = False,
) -> Tuned[Any, Fitted]:
    """Train a network with each setting, and keep the best on validation learners."""

    def train_with(setting: tuple[float, float]) -> Fitted:
        rate, dropout = setting
        network = _network(name, train, config, dropout, blind)
        chosen = config.optimisation
        trained = train_network(
            network,
            train,
            validation,
            Training(chosen.epochs, chosen.patience, rate, chosen.batch_size),
            generator=trial.generator("batches"),
            compute=Compute(accelerator="cuda" if trial.device.type == "cuda" else "cpu"),
        )
        trial.count("gradient_steps", trained.gradient_steps)
        return Fitted(NeuralTracer(network), trained)

    return trial.tune(
        RATES[: config.candidates],
        fit=train_with,
        metric=lambda fitted: -np.inf if fitted.trained is None else fitted.trained.best,
    )


def _network(name: str, train: Steps, config: Train | Actions | Leak, dropout: float, blind: bool) -> Network:
    shape = config.architecture
    size = NetworkSize(
        shape.width, shape.layers, shape.heads, shape.slots, dropout, shape.seq_len, shape.times, blind
    )
    if name != "masked":
        return build_network(name, train.catalogue, size)
    book = train.catalogue
    return MaskedDKT(torch.from_numpy(book.tags), len(book.skills), size, questions_of(book))


def log_training(fitted: Fitted, trial: Trial) -> None:
    """Write the learning curve down."""
    for epoch, value in enumerate(fitted.trained.validation if fitted.trained else (), 1):
        trial.log(epoch, validation_auc=value)
