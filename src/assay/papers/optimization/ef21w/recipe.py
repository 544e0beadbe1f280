"""How EF21-W is run: a linear classifier trained by clients that send compressed gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from assay.errors import InputError, refusals
from assay.paper import Value
from assay.papers.optimization.ef21w.artefact import LinearClassifier
from assay.papers.optimization.ef21w.config import Train
from assay.papers.optimization.ef21w.inputs import Prepared, prepare, read
from assay.papers.optimization.ef21w.method import (
    EF21,
    Compressor,
    DivergenceError,
    EF21Result,
    FeatureSupport,
    FixedGrid,
    Identity,
    L2Penalty,
    LinearModel,
    NonconvexPenalty,
    RandK,
    ScaledQuantizer,
    SignL1,
    SmoothnessProfile,
    StepSize,
    Threshold,
    TopK,
    divide,
    iterate_gap,
    logistic_regression,
    partition_dealt,
    partition_max_variance,
    partition_random,
    partition_sorted,
)
from assay.trial import Trial

COMPRESSORS: dict[str, tuple[Callable[..., Compressor], tuple[str, ...]]] = {
    "top-k": (TopK, ("k",)),
    "rand-k": (RandK, ("k",)),
    "sign": (SignL1, ()),
    "quantizer": (ScaledQuantizer, ("levels",)),
    "threshold": (Threshold, ("spacing",)),
    "fixed-grid": (FixedGrid, ("spacing",)),
}
"""Each compressor and the options that it takes."""
MULTIPLES = tuple(2.0**power for power in range(14))


def train(config: Train, trial: Trial) -> dict[str, Value]:
    """Divide the rows among clients, train with the rule's step, and count rounds and bits."""
    table = trial.once("table", read, config.data, config.positive, config.words)
    with refusals():
        rows = prepare(table, config, trial)
        problem = divide_among_clients(rows, config, trial)
        method = make_method(problem, config)
    trial.progress(f"step size {method.stepsize.value:.3g} = {method.stepsize.rule}")
    x0 = config.start * torch.randn(
        problem.dimension, generator=trial.generator("start"), dtype=torch.float64
    )
    result = fastest(problem, method, x0, config, trial)

    trial.count("rows", int(problem.rows.counts.sum()))
    trial.count("clients", problem.num_clients)
    trial.count("bits_per_message", method.start(x0, trial.generator("draws")).message_bits)
    for round_, loss, squared_norm, bits in result.history.itertuples(index=False):
        trial.log(round_, loss=loss, squared_gradient_norm=squared_norm, bits=bits)

    classifier = LinearClassifier(
        weights=result.x.numpy(),
        mean=rows.mean,
        scale=rows.scale,
        labels=table.classes,
        features=table.names,
        profile=method.profile,
        stepsize=result.stepsize,
        history=result.history,
        texts=table.texts,
    )
    trial.save("classifier", classifier)
    # how far the iterates of EF21 and EF21-W come apart at the same step
    other = make_method(problem, config, method.profile, method.stepsize, flipped=True)
    gap = iterate_gap(method, other, x0, config.compared_rounds, lambda: trial.generator("draws"))
    return {
        "rounds": result.rounds,
        "bits": None if result.rounds is None else result.state.bits,
        "accuracy": accuracy(classifier, rows),
        "stepsize": result.stepsize.value,
        "step_multiple": result.stepsize.value / method.stepsize.value,
        "weighting_gap": gap,
        "heterogeneity": method.profile.qm / method.profile.am,
        "roughest_client": float(method.profile.L_i.max() / method.profile.L_i.median()),
        "feature_share": FeatureSupport(problem.supports()).share(),
    }


def rare(config: Train, trial: Trial) -> dict[str, Value]:
    """Train on features that few clients have, with the step sizes that make use of it."""
    return train(config, trial)


def across(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, Value]:
    """Compare rounds between arms: with one another, and with what the step sizes predict."""
    old, new, same_step = (arms[name] for name in ("ef21", "ef21w", "ef21-new-step"))
    if None in (old["rounds"], new["rounds"], same_step["rounds"]):
        return {"rounds_apart": None, "prediction_error": None}
    measured, predicted = old["rounds"] / new["rounds"], new["stepsize"] / old["stepsize"]
    return {
        "rounds_apart": abs(new["rounds"] - same_step["rounds"]),
        "prediction_error": abs(math.log(measured / predicted)),
    }


def divide_among_clients(rows: Prepared, config: Train, trial: Trial) -> LinearModel:
    """Give each client its rows, and make the objective of them."""
    if config.even:
        parts = partition_dealt(rows.features, config.clients)
    elif config.partition == "sorted":
        parts = partition_sorted(rows.features, config.clients)
    elif config.partition == "random":
        parts = partition_random(rows.features, config.clients, trial.generator("partition"))
    else:
        # slow enough to be shared between arms
        parts = trial.once("greedy split", partition_max_variance, rows.features, config.clients)
    penalty = NonconvexPenalty if config.penalty == "nonconvex" else L2Penalty
    labels = [torch.from_numpy(rows.labels[part]) for part in parts]
    return logistic_regression(divide(rows.features, parts), labels, penalty(config.strength))


def accuracy(classifier: LinearClassifier, rows: Prepared) -> float | None:
    """Return the share of held-out rows classified right, or None where there are none."""
    if rows.test_labels is None:
        return None
    margins = classifier.decision_function(rows.test_features.toarray())
    return float(np.mean((margins > 0) == (rows.test_labels > 0)))


def make_method(
    problem: LinearModel,
    config: Train,
    profile: SmoothnessProfile | None = None,
    stepsize: StepSize | None = None,
    flipped: bool = False,
) -> EF21:
    """Return the algorithm of the config; `flipped` weights the clients the other way."""
    weighted = (config.algorithm == "ef21w") != flipped
    uncompressed = config.algorithm == "gd"
    return EF21(
        problem,
        Identity() if uncompressed else make_compressor(config),
        weights="smoothness" if weighted else None,
        stepsize=stepsize or config.rule,
        participation=config.participation,
        minibatch=config.minibatch or None,
        init="full" if uncompressed else "compressed",
        profile=profile,
    )


def make_compressor(config: Train) -> Compressor:
    """Return the compressor of the config."""
    kind, options = COMPRESSORS[config.compressor]
    return kind(*(getattr(config, option) for option in options))


def fastest(problem: LinearModel, method: EF21, x0: torch.Tensor, config: Train, trial: Trial) -> EF21Result:
    """Run with the rule's step or, where the config wants it tuned, with its fastest multiple."""

    def run(multiple: float) -> EF21Result | None:
        step = method.stepsize if multiple == 1 else method.stepsize.scaled(multiple)
        stepped = make_method(problem, config, method.profile, step)
        try:
            return stepped.run(
                x0,
                config.rounds,
                tolerance=config.tolerance or None,
                log_every=config.log_every,
                generator=trial.generator("draws"),
            )
        except DivergenceError:
            return None

    def rounds(result: EF21Result | None) -> float:
        return math.inf if result is None or result.rounds is None else float(result.rounds)

    found = trial.tune(MULTIPLES if config.tuned else (1.0,), run, rounds, better="lower").fitted
    if found is None:
        raise InputError("The gradients are not finite: look for huge or missing numbers in the data.")
    return found
