"""After training: what a model gives on test bags, and what is kept of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.paper import Value
from assay.papers.vision.abmilx.config import Train
from assay.papers.vision.abmilx.learning import Learnt, Plan, Seen, accuracy, evaluate
from assay.papers.vision.abmilx.measures import area_under_curve, bootstrap, classification
from assay.papers.vision.abmilx.method import attention_sparsity
from assay.papers.vision.abmilx.saved import TrainedMIL, attention_picture, predictions_of
from assay.papers.vision.abmilx.sources import BagSet
from assay.trial import Trial

SHOWN = 200
"""Pixels of the longer side of a picture for the report."""
MOST_TRAIN = 400
"""Training bags on which the training accuracy is measured."""


def measured(
    config: Train, plan: Plan, learnt: Learnt, train_bags: BagSet, test_bags: BagSet, trial: Trial
) -> dict[str, Value]:
    """Return what a model gives on test bags, and keep it where something is to be kept."""
    trial.count("gradient_steps", learnt.gradient_steps)
    trial.count("bags_seen", learnt.bags_seen)
    log_losses(learnt, trial)
    seen = evaluate(learnt.model, test_bags.bags)
    labels, probabilities = test_bags.labels, seen.probabilities
    metrics: dict[str, Value] = dict(classification(labels, probabilities))
    some = train_bags.select(range(min(len(train_bags), MOST_TRAIN)))
    metrics["train_accuracy"] = accuracy(evaluate(learnt.model, some.bags), some.labels)
    metrics["sparsity"] = sparsity(seen)
    metrics["instance_auc"] = instance_auc(test_bags, seen)
    metrics["learning_rate"] = learnt.rate
    shown = int(labels.argmax())
    caption = (
        f"{trial.arm or config.aggregator}: bag {test_bags.bags[shown].bag_id}, most attention first or red"
    )
    picture = attention_picture(test_bags.bags[shown], seen.attention[shown])
    picture.thumbnail((SHOWN, SHOWN))
    trial.show(picture, caption)
    if trial.out is not None:
        rows = bootstrap(
            lambda rows: classification(labels[rows], probabilities[rows]),
            len(labels),
            trial.numpy("bootstrap"),
        )
        kept = {"metrics": metrics, "intervals": rows, "test_bags": len(labels)}
        predictions = predictions_of(test_bags.bags, seen, test_bags.label_names)
        trial.save("model", trained(plan, learnt, test_bags, seen, kept, predictions, config.heat_maps))
    return metrics


def trained(
    plan: Plan,
    learnt: Learnt,
    bags: BagSet,
    seen: Seen,
    metrics: dict[str, Any],
    predictions: tuple[dict[str, Any], ...],
    most_maps: int,
) -> TrainedMIL:
    """Return the artefact."""
    maps = tuple(
        (bag.bag_id, attention_picture(bag, attention))
        for bag, attention in list(zip(bags, seen.attention, strict=True))[:most_maps]
    )
    return TrainedMIL(learnt.model, plan.model, bags.label_names, metrics, predictions, maps)


def log_losses(learnt: Learnt, trial: Trial) -> None:
    """Log the loss some thirty times over the training, the mean since the last time."""
    every = max(1, len(learnt.losses) // 30)
    for step in range(every, len(learnt.losses) + 1, every):
        trial.log(step, loss=float(np.mean(learnt.losses[step - every : step])))


def sparsity(seen: Seen) -> float:
    """Return the mean sparsity of the attention over bags."""
    return float(np.mean([attention_sparsity(weights[None]).item() for weights in seen.attention]))


def instance_auc(bags: BagSet, seen: Seen) -> float | None:
    """Return how well the attention tells key instances from others, the mean over bags that have both."""
    areas = [
        area_under_curve(bag.keys, weights.mean(dim=0).numpy())
        for bag, weights in zip(bags, seen.attention, strict=True)
        if bag.keys is not None
    ]
    known = [area for area in areas if area is not None]
    return float(np.mean(known)) if known else None
