"""How E-LANG is run: a pair of models, a threshold from calibration rows, a measurement on test rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.data import LoadedTable, require_classes
from assay.errors import InputError
from assay.models import ModelSource
from assay.paper import Value
from assay.papers.language.elang.config import Route
from assay.papers.language.elang.given import FinetunedPair, load_for_finetuning
from assay.papers.language.elang.method import (
    Costs,
    EncoderEnergyHead,
    Observations,
    RoutingPolicy,
    calibrate,
    length_score,
    oracle_score,
    random_score,
)
from assay.papers.language.elang.pair import PairShape, RoutedPair
from assay.papers.language.elang.readings import Given, Rows, read_given, read_trained
from assay.papers.language.elang.rows import raw_rows, split
from assay.trial import Trial

SHARES = (10, 20, 30, 40, 50)
"""Percentages of Super at which the scores are compared."""
SPEEDUP = 3.2
"""How many times fewer FLOPs than Super the paper's BERT pair needs, and about what its T5 pair does."""
TEMPERATURES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Temperatures at which the shared stage writes the scores down."""


def route(config: Route, trial: Trial) -> dict[str, Value]:
    """Calibrate a pair on some rows and measure it on others."""
    table = config.data.load()
    require_classes(table, least_rows=8)
    given = given_models(config, keep=trial.out is not None)
    parts = split(table, config, trial)
    named = {"train": parts.train, "calibration": parts.validation, "test": parts.test}
    raw = {part: raw_rows(table, rows, config) for part, rows in named.items() if len(rows)}
    temperatures = tuple(sorted({*TEMPERATURES, *config.temperatures}))
    device = str(trial.device)
    shape = None
    if given is None:
        shape = pair_shape(table, raw["train"], config)
        seen = trial.once("pair", read_trained, shape, raw, temperatures, device)
    else:
        seen = trial.once("pair", read_given, given, raw, table.label_names, temperatures, device)
    trial.count("gradient_steps", seen["gradient_steps"])
    if config.answers != "pair":
        return measure_alone(config.answers, seen, table.labels(parts.test))

    def observed(part: str, temperature: float) -> Observations:
        scores = scores_of(config, part, seen[part], raw[part], temperature, trial)
        return Observations(scores, seen[part]["swift"], seen[part]["super"], Costs(**seen["flops"]))

    tuned = trial.tune(
        config.temperatures,
        fit=lambda temperature: observed("calibration", temperature),
        metric=lambda observations: observations.curve().area(),
    )
    test = observed("test", tuned.candidate)
    policy = calibrated(config, tuned.fitted, test, seen, tuned.candidate, table.label_names)
    if trial.out is not None:
        trial.save("policy", artefact(policy, shape, given, seen["weights"], table.label_names))
    return measure_pair(policy.threshold, test, Costs(**seen["seconds"]), trial)


# --- the pair -----------------------------------------------------------------------------------


def given_models(config: Route, keep: bool) -> Given | None:
    """Return the user's own pair, or None where one is to be trained.

    Raises:
        InputError: Only one of the models is given, or there is nothing for an option to act on.
    """
    swift, super_ = config.swift.source, config.super.source
    if swift is None and super_ is None:
        if config.read_from == "encoder" or config.finetuning.epochs:
            raise InputError(
                "--read-from encoder and --finetuning.epochs need models: give --swift and --super."
            )
        return None
    if swift is None or super_ is None:
        missing = "--swift" if swift is None else "--super"
        raise InputError(f"{missing} is missing: give both models, or none to have a pair trained.")
    return Given(
        ModelSource(swift),
        ModelSource(super_),
        config.finetuning,
        config.read_from,
        config.max_new_tokens,
        config.dtype,
        keep,
    )


def pair_shape(table: LoadedTable, train: Rows, config: Route) -> PairShape:
    """Return what pair to train for these rows."""
    features = train[0].shape[1] if isinstance(train[0], Tensor) else None
    return PairShape(config.pair, features, len(table.label_names))


# --- scores, policy and metrics -----------------------------------------------------------------


def scores_of(
    config: Route, part: str, seen: dict[str, Any], rows: Rows, temperature: float, trial: Trial
) -> np.ndarray:
    """Return the routing score of each row of a part."""
    if config.score == "random":
        return random_score(len(rows[1]), trial.generator(f"random/{part}")).numpy()
    if config.score == "oracle":
        return oracle_score(*(torch.from_numpy(seen[which]) for which in ("swift", "super"))).numpy()
    if config.score == "length":
        if isinstance(rows[0], Tensor):
            raise InputError("--score length needs texts; these rows are features or pictures.")
        return length_score(rows[0]).numpy()
    scores: np.ndarray = seen["scores"][config.score][str(temperature)]
    return scores


def calibrated(
    config: Route,
    calibration: Observations,
    test: Observations,
    seen: dict[str, Any],
    temperature: float,
    label_names: Sequence[str],
) -> RoutingPolicy:
    """Return the policy that the calibration rows choose, with what it gives on the test rows.

    Raises:
        InputError: The target cannot be met.
    """
    identity = seen["identity"] | {"score": config.score, "temperature": temperature}
    if config.swift.source is None:
        identity["label_names"] = tuple(label_names)
    try:
        return calibrate(
            calibration,
            config.target,
            tolerance=config.tolerance,
            budget=config.budget,
            share=config.share,
            held_out=test,
            wall_time=Costs(**seen["seconds"]),
            **identity,
        )
    except ValueError as error:  # what the method refuses is the user's to mend
        raise InputError(f"--target {config.target}: {error}") from error


def measure_pair(threshold: float, test: Observations, seconds: Costs, trial: Trial) -> dict[str, Value]:
    """Return what the policy gives on the test rows, and how good its score is whatever the threshold."""
    assert test.costs is not None
    curve, found, costs = test.curve(), test.measure(threshold), test.costs
    trial.count("matched_super_calls", sum(round(share / 100 * found.rows) for share in SHARES))
    for share, quality in zip(curve.share[::8], curve.quality[::8], strict=True):
        trial.log(float(share), accuracy=float(quality))
    to_match = curve.cost_to_reach(curve.super_quality - 0.005)
    affordable = (costs.super_ / SPEEDUP - costs.always) / costs.routed
    metrics: dict[str, Value] = {
        "accuracy": found.quality,
        "super_share": found.super_share,
        "relative_flops": costs.per_row(found.super_share) / costs.super_,
        "area": curve.area(),
        "accuracy_at_speedup": curve.quality_at_share(affordable) if affordable >= 0 else None,
        "flops_to_match": None if to_match is None else to_match / costs.super_,
        "seconds_per_row": seconds.per_row(found.super_share),
    }
    return metrics | {f"accuracy_at_{share}": curve.quality_at_share(share / 100) for share in SHARES}


def measure_alone(model: str, seen: dict[str, Any], labels: np.ndarray) -> dict[str, Value]:
    """Return what one model does alone, and what makes the pair worth routing."""
    swift, super_ = seen["test"]["swift"], seen["test"]["super"]
    costs, seconds = Costs(**seen["flops"]), Costs(**seen["seconds"])
    accuracy = float(seen["test"][model].mean())
    same: dict[str, Value] = {f"accuracy_at_{point}": accuracy for point in (*SHARES, "speedup")}
    if model == "super":
        return same | {
            "accuracy": accuracy,
            "super_share": 1.0,
            "relative_flops": 1.0,
            "seconds_per_row": seconds.super_,
            "super_gain": float(super_.mean() - swift.mean()),
            "rescued": float(super_[~swift].mean()) if not swift.all() else 0.0,
        }
    most_frequent = np.bincount(labels).max() / len(labels)
    return same | {
        "accuracy": accuracy,
        "super_share": 0.0,
        "relative_flops": costs.always / costs.super_,
        "seconds_per_row": seconds.always,
        "skill": float((accuracy - most_frequent) / (1 - most_frequent)),
    }


# --- the artefact -------------------------------------------------------------------------------


def artefact(
    policy: RoutingPolicy,
    shape: PairShape | None,
    given: Given | None,
    weights: dict[str, Any],
    label_names: Sequence[str],
) -> RoutingPolicy | RoutedPair | FinetunedPair:
    """Return the policy together with whatever was trained for it, and with nothing that the user has."""
    if shape is not None:
        return RoutedPair.build(policy, shape, weights)
    if "head" in weights:
        return dataclasses.replace(policy, head=EncoderEnergyHead.of(weights["head"]))
    if weights:
        assert given is not None
        swift, super_ = (load_for_finetuning(source, label_names) for source in (given.swift, given.super_))
        swift.model.load_state_dict(weights["swift"])
        super_.model.load_state_dict(weights["super"])
        return FinetunedPair(policy, swift.eval(), super_.eval())
    return policy
