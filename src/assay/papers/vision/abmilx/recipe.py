"""How ABMILX is run: bags, an encoder to start from, a learning rate, joint training, a measurement."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch

from assay.data import Table
from assay.errors import InputError
from assay.paper import Value
from assay.papers.vision.abmilx.artefact import TrainedMIL
from assay.papers.vision.abmilx.config import Needle, Survival, Train
from assay.papers.vision.abmilx.evaluation import (
    Measures,
    Predictions,
    attention_picture,
    bootstrap,
    classification,
    evaluate,
    prediction_rows,
)
from assay.papers.vision.abmilx.inputs.bags import BagSet
from assay.papers.vision.abmilx.inputs.reading import read_bags
from assay.papers.vision.abmilx.inputs.tables import has_bags
from assay.papers.vision.abmilx.method import HazardBins, concordance_index, hazard_risk
from assay.papers.vision.abmilx.stages import Search, read_pools, search_rates, starting_encoder
from assay.papers.vision.abmilx.synthetic import GRADE, NEEDLE, BagTask, draw_bags
from assay.papers.vision.abmilx.training import Trained, TrainingSetup, prepare, setup_of, train_model
from assay.trial import Split, Trial

VALIDATION = 4 / 15
"""Share of the bags that are not for testing on which learning rates are compared."""
MOST_TRAIN = 400
"""Training bags on which the training accuracy is measured."""
MOST_MAPS = 100
"""Test bags whose attention is kept as a picture."""
SHOWN = 200
"""Pixels of the longer side of a picture for the report."""


def train(config: Train, trial: Trial) -> dict[str, Value]:
    """Train an encoder and an aggregator from one label a bag, and measure them on other bags."""
    data = config.data
    if data.kind is None and not trial.once("bags", has_bags, data, seedless=True):
        return on_drawn_bags(config, data.table(), GRADE, trial)
    bags = read_bags(data, config.slides, config.patches.pixels)
    rates = config.training.learning_rates
    parts = split_bags(bags, config.test, VALIDATION if len(rates) > 1 else 0.0, trial)
    setup, start = prepare(config, parts.train, len(bags.label_names), trial)
    targets = torch.from_numpy(parts.train.labels)
    held_out = parts.validation
    trial.progress("searching a learning rate")
    tuned = trial.tune(
        rates,
        fit=lambda rate: train_model(setup, start, parts.train, targets, rate, trial.generator("order")),
        metric=lambda trained: (
            evaluate(trained.model, held_out.bags).accuracy(held_out.labels) if held_out else 0.0
        ),
    )
    return measure(setup, tuned.fitted, parts.train, parts.test, trial)


def needle(config: Needle, trial: Trial) -> dict[str, Value]:
    """Train on bags whose label one instance decides, and measure on other bags."""
    return on_drawn_bags(_as_train(config), config.instances_of, NEEDLE, trial)


def on_drawn_bags(config: Train, data: Table, task: BagTask, trial: Trial) -> dict[str, Value]:
    """Train on bags drawn from instances, measure on bags from others; a third pool chose the rate."""
    for option, given in (
        ("patch-encoder", config.patch_encoder.source),
        ("patches.low-share", config.patches.low_share),
    ):
        if given:
            raise InputError(
                f"--{option} needs bags, and {data.source} names none: they are drawn from its rows."
            )
    drawn = config.drawn
    pools = trial.once("instances", read_pools, data, drawn.key, config.patches.pixels, seedless=True)
    # Instances are split before bags are drawn: no digit is in a training bag and in a test bag.
    others = pools.others
    cut = trial.split(len(others.labels), config.test, stratify=others.labels.tolist())
    bags, test_bags = (
        draw_bags(others.select(rows), task, count, trial.numpy(name), name)
        for name, rows, count in (("train", cut.train, drawn.train_bags), ("test", cut.test, drawn.test_bags))
    )
    setup = setup_of(config, tuple(others.values.shape[1:]), len(task.names), trial.compute)
    rates = config.training.learning_rates
    rate = rates[0]
    trial.count("candidates", len(rates))
    if len(rates) > 1:
        trial.progress("searching a learning rate")
        search = Search(setup, task, drawn)
        rate = trial.once("search", search_rates, search, pools.search, seedless=True).best()

    trial.progress("training")
    start = trial.once("start", starting_encoder, setup, pools.search)
    targets = torch.from_numpy(bags.labels)
    trained = train_model(setup, start, bags, targets, rate, trial.generator("order"))
    return measure(setup, trained, bags, test_bags, trial)


def measure(
    setup: TrainingSetup, trained: Trained, train_bags: BagSet, test_bags: BagSet, trial: Trial
) -> dict[str, Value]:
    """Return how good a model is on test bags, and keep it."""
    trial.count("gradient_steps", trained.history.gradient_steps)
    trial.count("bags_seen", trained.history.examples)
    log_losses(trained, trial)
    found = evaluate(trained.model, test_bags.bags)
    labels, probabilities = test_bags.labels, found.probabilities
    some = train_bags.select(range(min(len(train_bags), MOST_TRAIN)))
    metrics: dict[str, Value] = {
        **classification(labels, probabilities),
        "train_accuracy": evaluate(trained.model, some.bags).accuracy(some.labels),
        "sparsity": found.sparsity(),
        "instance_auc": found.instance_auc(test_bags),
        "learning_rate": trained.rate,
    }
    shown = int(labels.argmax())
    bag = test_bags.bags[shown]
    picture = attention_picture(bag, found.attention[shown])
    picture.thumbnail((SHOWN, SHOWN))
    who = trial.arm or setup.model.aggregator
    trial.show(picture, f"{who}: bag {bag.bag_id}, most attention first or red")

    def resampled(rows: np.ndarray) -> Measures:
        return classification(labels[rows], probabilities[rows])

    def kept() -> TrainedMIL:
        intervals = bootstrap(resampled, len(labels), trial.numpy("bootstrap"))
        about = {"metrics": metrics, "intervals": intervals, "test_bags": len(labels)}
        return artefact(setup, trained, test_bags, found, about, prediction_rows(test_bags, found))

    trial.save("model", kept)
    return metrics


def survival(config: Survival, trial: Trial) -> dict[str, Value]:
    """Train on the survival of patients, and measure the concordance index on other patients."""
    bags = read_bags(config.data, config.slides, config.patches.pixels, (config.time, config.died))
    parts = split_bags(bags, config.test, 0.0, trial)
    train_bags, test_bags = parts.train, parts.test
    try:
        bins = HazardBins.fit(train_bags.times, train_bags.deaths, config.bins)
    except ValueError as error:
        raise InputError(f"--bins {config.bins}: {error}") from error
    setup, start = prepare(_as_train(config), train_bags, len(bins), trial)
    censored = torch.from_numpy(~train_bags.deaths).long()
    targets = torch.stack([bins.assign(train_bags.times), censored], dim=1)
    rate = config.training.learning_rates[0]
    trained = train_model(setup, start, train_bags, targets, rate, trial.generator("order"))
    log_losses(trained, trial)

    found = evaluate(trained.model, test_bags.bags)
    risk = hazard_risk(found.logits).double().numpy()

    def concordance(rows: np.ndarray) -> Measures:
        return {"c_index": concordance_index(risk[rows], test_bags.times[rows], test_bags.deaths[rows])}

    metrics: dict[str, Value] = {**concordance(np.arange(len(risk))), "sparsity": found.sparsity()}

    def kept() -> TrainedMIL:
        intervals = bootstrap(concordance, len(risk), trial.numpy("bootstrap"))
        about = {"metrics": metrics, "intervals": intervals, "test_bags": len(risk)}
        about["edges"] = list(bins.edges)
        rows = [
            {"bag": bag.bag_id, "time": bag.time, "died": int(bag.died), "risk": round(float(value), 6)}
            for bag, value in zip(test_bags, risk, strict=True)
        ]
        return artefact(setup, trained, test_bags, found, about, rows)

    trial.save("model", kept)
    return metrics


# --- parts of the story -------------------------------------------------------------------------


def split_bags(bags: BagSet, test: float, validation: float, trial: Trial) -> Split[BagSet]:
    """Return train, validation and test bags: the published parts, else at random, patients kept together.

    `test` is a share of all bags, `validation` one of those that are not for testing.
    """
    part_of = np.array([bag.part for bag in bags], dtype=object)
    groups = np.array([bag.bag_id if bag.group is None else bag.group for bag in bags])

    def cut(rows: np.ndarray, share: float, fresh: bool) -> tuple[np.ndarray, np.ndarray]:
        alone = len(set(groups[rows])) == len(rows)
        classes = bags.labels[rows].tolist() if bags.label_names else None
        group = None if alone else groups[rows].tolist()
        found = trial.split(len(rows), share, group=group, stratify=classes, fresh=fresh)
        return rows[found.train], rows[found.test]

    train_rows = np.flatnonzero(~np.isin(part_of, ["test", "validation"]))
    test_rows, validation_rows = (np.flatnonzero(part_of == name) for name in ("test", "validation"))
    if not len(test_rows):
        train_rows, test_rows = cut(train_rows, test, fresh=False)
    if validation and not len(validation_rows):
        train_rows, validation_rows = cut(train_rows, validation, fresh=True)
    train_rows = train_rows.repeat([bags.bags[row].copies for row in train_rows])
    return Split(*(bags.select(rows) for rows in (train_rows, validation_rows, test_rows)))


def artefact(
    setup: TrainingSetup,
    trained: Trained,
    bags: BagSet,
    found: Predictions,
    metrics: dict[str, Any],
    rows: list[dict[str, Any]],
) -> TrainedMIL:
    """Return what is kept of a run."""
    shown = list(zip(bags, found.attention, strict=True))[:MOST_MAPS]
    maps = tuple((bag.bag_id, attention_picture(bag, attention)) for bag, attention in shown)
    return TrainedMIL(trained.model, setup.model, bags.label_names, metrics, tuple(rows), maps)


def log_losses(trained: Trained, trial: Trial) -> None:
    """Log the loss some thirty times over the training, the mean since the last time."""
    losses = trained.history.losses
    every = max(1, len(losses) // 30)
    for step in range(every, len(losses) + 1, every):
        trial.log(step, loss=float(np.mean(losses[step - every : step])))


def _as_train(config: Needle | Survival) -> Train:
    """Return the options that a recipe shares with `train`."""
    shared = {field.name for field in fields(Train)} & set(vars(config))
    return Train(**{name: getattr(config, name) for name in shared})
