"""How E-LANG is run: a pair of models, a threshold from calibration rows, a measurement on test rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, refusals
from assay.models import Classifier, ClassifierSpec, ModelSource, Training
from assay.paper import Value
from assay.papers.language.elang.artefact import RoutedPair
from assay.papers.language.elang.config import Route
from assay.papers.language.elang.evaluation import measure_alone, measure_pair
from assay.papers.language.elang.inputs import LabelledRows, Task, read
from assay.papers.language.elang.method import (
    Observations,
    PairReadings,
    RoutingPolicy,
    calibrate,
    length_score,
    oracle_score,
    random_score,
)
from assay.papers.language.elang.stages import (
    GivenPair,
    PairRead,
    TrainedPair,
    read_given_pair,
    train_pair,
)
from assay.trial import Trial

TEMPERATURES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Temperatures at which the shared stage writes the scores down."""
BUCKETS, WIDTH = 4096, 16
"""Word ids and numbers a word embedding of Swift on text."""
MOST_TOKENS = 512
"""Tokens of a text that fine-tuned encoders read, if they can."""


def route(config: Route, trial: Trial) -> dict[str, Value]:
    """Calibrate a pair on some rows and measure it on others."""
    refuse_half_a_pair(config)
    task = read(config, trial)
    temperatures = tuple(sorted({*TEMPERATURES, *config.temperatures}))
    if config.swift.source is None or config.finetuning.epochs:
        pair = pair_to_train(config, task)
        found = trial.once("pair", train_pair, pair, task.rows, temperatures, trial.compute)
    else:
        swift, super_ = (ModelSource(str(model.source)) for model in (config.swift, config.super))
        options = (config.read_from, config.max_new_tokens, config.dtype)
        given = GivenPair(swift, super_, task.label_names, *options)
        found = trial.once("pair", read_given_pair, given, task.rows, temperatures, trial.compute)
    trial.count("gradient_steps", found.gradient_steps)
    if config.answers != "pair":
        return measure_alone(config.answers, found, task.rows.test.labels.numpy())

    def observed(part: str, temperature: float) -> Observations:
        seen, rows = (
            (found.test, task.rows.test) if part == "test" else (found.calibration, task.rows.validation)
        )
        scores = scores_of(config, part, seen, rows, temperature, trial)
        return seen.observations(scores)

    tuned = trial.tune(
        config.temperatures,
        fit=lambda temperature: observed("calibration", temperature),
        metric=lambda observations: observations.curve().area(),
    )
    test = observed("test", tuned.candidate)
    blank = replace(found.policy, score=config.score, temperature=tuned.candidate)
    value = {"match_super": config.tolerance, "budget": config.budget, "share": config.share}[config.target]
    with refusals():
        policy = calibrate(tuned.fitted, config.target, value, held_out=test, policy=blank)
    trial.save("policy", lambda: artefact(policy, found))
    return measure_pair(policy, test, found, trial)


def refuse_half_a_pair(config: Route) -> None:
    """Refuse one model without the other, and options that need models."""
    swift, super_ = config.swift.source, config.super.source
    if (swift is None) != (super_ is None):
        missing = "--swift" if swift is None else "--super"
        raise InputError(f"{missing} is missing: give both models, or none to have a pair trained.")
    if swift is None and (config.read_from == "encoder" or config.finetuning.epochs):
        raise InputError("--read-from encoder and --finetuning.epochs need models: give --swift and --super.")
    if config.read_from == "encoder" and config.finetuning.epochs:
        raise InputError("--finetuning.epochs is for classifiers, --read-from encoder for encoder-decoders.")


def pair_to_train(config: Route, task: Task) -> TrainedPair:
    """Return what pair to train for these rows, and how."""
    pair, columns = config.pair, task.columns
    if config.finetuning.epochs:
        options = config.finetuning
        swift, super_ = (
            ClassifierSpec("transformer", max_words=MOST_TOKENS, source=model.source, columns=columns)
            for model in (config.swift, config.super)
        )
        training = Training(
            epochs=options.epochs,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            clip=1.0,
        )
        return TrainedPair(swift, super_, task.label_names, training, options.keep)
    inputs = task.rows.train.inputs
    if isinstance(inputs, Tensor):
        features = inputs.shape[1]
        swift = ClassifierSpec("mlp", features, pair.swift_hidden, columns=columns)
        super_ = ClassifierSpec("mlp", features, pair.super_hidden, columns=columns)
    else:
        swift = ClassifierSpec("words", buckets=BUCKETS, width=WIDTH, columns=columns)
        super_ = ClassifierSpec("sentences", source=pair.encoder.source, columns=columns)
    training = Training(epochs=pair.epochs, batch_size=pair.batch_size, learning_rate=pair.learning_rate)
    return TrainedPair(swift, super_, task.label_names, training)


def scores_of(
    config: Route, part: str, seen: PairReadings, rows: LabelledRows, temperature: float, trial: Trial
) -> np.ndarray:
    """Return the routing score of each row of a part."""
    if config.score == "random":
        return random_score(len(rows), trial.generator(f"random/{part}")).numpy()
    if config.score == "oracle":
        return oracle_score(*map(torch.from_numpy, (seen.swift_quality, seen.super_quality))).numpy()
    if config.score == "length":
        if isinstance(rows.inputs, Tensor):
            raise InputError("--score length needs texts; these rows are features or pictures.")
        return length_score(rows.inputs).numpy()
    return seen.scores[config.score, temperature]


def artefact(policy: RoutingPolicy, found: PairRead) -> RoutingPolicy | RoutedPair:
    """Return the policy together with the models that were trained for it."""
    if not found.models:
        return policy
    return RoutedPair(policy, *(Classifier.from_record(saved) for saved in found.models))
