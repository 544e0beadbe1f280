"""How ECM is run: results of a language model, constants fitted on some items, predictions for the others."""

from __future__ import annotations

import dataclasses

import numpy as np

from assay.errors import InputError, refusals
from assay.paper import Value
from assay.papers.theory.ecm.artefact import CalibratedCircuit
from assay.papers.theory.ecm.baselines import Setting, logistic_features, scaling_features, tuned_regression
from assay.papers.theory.ecm.config import Calibrate
from assay.papers.theory.ecm.method import (
    Bins,
    Calibration,
    CircuitConstants,
    DifficultyEstimator,
    ElectronicCircuitModel,
    LinearResistance,
    MathResistance,
    Readings,
    auc,
    binned_accuracy,
    log_loss,
    pearson,
    permutation_null,
    quantile_spearman,
)
from assay.papers.theory.ecm.stages import Results, results_of
from assay.trial import Split, Trial

PERMUTATIONS = 1000
"""Of the outcomes over the measured items, for the null of the binned correlation."""


def calibrate(config: Calibrate, trial: Trial) -> dict[str, Value]:
    """Calibrate on some items and measure on items of other groups."""
    results = results_of(config, trial)
    parts = split(results, config, trial)
    correct = results.correct
    if config.outcomes == "permuted":
        correct = trial.numpy("outcomes").permutation(correct)
    places = {question: place for place, question in enumerate(results.questions)}
    # The questions are embedded already.
    estimator = DifficultyEstimator(
        lambda questions: results.embeddings[[places[question] for question in questions]]
    )
    estimator.fit(
        [results.questions[row] for row in parts.train],
        results.readings.steps[parts.train],
        results.readings.load[parts.train],
    )
    trial.count("calibration_items", len(parts.train))
    metrics = what_was_asked(results)
    if config.predictor != "circuit":
        chance = regression_chances(results, correct, parts, config, trial)
        return metrics | item_metrics(chance[parts.test], correct[parts.test])

    model = fitted_circuit(results, correct, parts, config, trial)
    readings = calibration_readings(results, config, trial)
    if config.difficulty == "estimated":
        steps, load = estimator.predict(results.questions)
        readings = dataclasses.replace(readings, steps=steps, load=load)
    reading = model.predict(readings.take(parts.test))
    assert model.calibration is not None
    assert reading.accuracy is not None
    kept = CalibratedCircuit(model.calibration, config.encoder, config.pooling, estimator=estimator)
    trial.save("circuit", kept.with_pool(results.pool))
    metrics |= item_metrics(reading.accuracy, correct[parts.test])
    return metrics | bin_metrics(reading.power, correct[parts.test], config, trial)


# --- items --------------------------------------------------------------------------------------


def split(results: Results, config: Calibrate, trial: Trial) -> Split[np.ndarray]:
    """Return rows that calibrate and rows that measure; one wording, or question, is in one part."""
    parts: Split[np.ndarray] = trial.split(
        len(results), config.test, group=results.groups, fresh=results.fresh
    )
    if config.measured == "all":
        every = np.arange(len(results))
        parts = Split(every, parts.validation, every)
    for name, rows in (("calibrate", parts.train), ("measure", parts.test)):
        right = int(results.correct[rows].sum())
        if min(right, len(rows) - right) < 2:
            raise InputError(
                f"Of the {len(rows)} items to {name} on, {right} are right: all right or all wrong, or"
                " nearly. Give more, or results of a model that fails at some and not at others."
            )
    return parts


def calibration_readings(results: Results, config: Calibrate, trial: Trial) -> Readings:
    """Return what the circuit is given for the calibration; a control takes something away.

    A negative sum of flux counts as 0. Flux is permuted among items with as many demonstrations.
    """
    readings = dataclasses.replace(results.readings, flux=np.maximum(results.readings.flux, 0.0))
    if config.flux == "none":
        readings = dataclasses.replace(readings, flux=np.zeros(len(readings)))
    if config.flux == "permuted":
        random, permuted = trial.numpy("flux"), readings.flux.copy()
        for shots in np.unique(results.shots):
            rows = np.flatnonzero(results.shots == shots)
            permuted[rows] = permuted[random.permutation(rows)]
        readings = dataclasses.replace(readings, flux=permuted)
    if config.difficulty == "none":
        nothing = np.zeros(len(readings))
        readings = dataclasses.replace(readings, steps=nothing, load=nothing)
    return readings


# --- predictors ---------------------------------------------------------------------------------


def fitted_circuit(
    results: Results, correct: np.ndarray, parts: Split[np.ndarray], config: Calibrate, trial: Trial
) -> ElectronicCircuitModel:
    """Return the circuit, calibrated on the training rows."""
    readings = calibration_readings(results, config, trial).take(parts.train)
    if config.constants == "published":
        return published_circuit(readings, correct[parts.train], config, trial)
    seed = int(trial.numpy("starts").integers(2**31))
    trial.count("candidates", config.candidates)
    with refusals():
        return ElectronicCircuitModel().fit(
            readings, correct[parts.train], restarts=config.candidates, seed=seed
        )


def published_circuit(
    readings: Readings, correct: np.ndarray, config: Calibrate, trial: Trial
) -> ElectronicCircuitModel:
    """Return the circuit with the authors' constants; only log P to accuracy is fitted."""
    model = ElectronicCircuitModel(constants=CircuitConstants.paper())
    log_power = np.log(model.predict(readings).power)[:, None]
    _, (scaler, line) = tuned_regression("scaling", lambda _: log_power, correct, config.candidates, trial)
    beta = float(line.coef_[0, 0] / scaler.scale_[0])
    model.calibration = Calibration(
        model.constants,
        LinearResistance(),
        float(line.intercept_[0] - beta * scaler.mean_[0]),
        beta,
        items=len(correct),
    )
    model.resistance = MathResistance()
    return model


def regression_chances(
    results: Results, correct: np.ndarray, parts: Split[np.ndarray], config: Calibrate, trial: Trial
) -> np.ndarray:
    """Return the chances of a regression whose setting is chosen by cross-validation on training rows."""
    readings, scaling = calibration_readings(results, config, trial), config.predictor == "scaling"

    def features(setting: Setting) -> np.ndarray:
        return scaling_features(results) if scaling else logistic_features(readings, setting)

    setting, fitted = tuned_regression(
        config.predictor,
        lambda setting: features(setting)[parts.train],
        correct[parts.train],
        config.candidates,
        trial,
    )
    scaler, line = fitted
    trial.save(
        config.predictor,
        {
            "load": setting.load,
            "strength": setting.strength,
            "mean": scaler.mean_,
            "scale": scaler.scale_,
            "coefficients": line.coef_[0],
            "intercept": float(line.intercept_[0]),
        },
    )
    chances: np.ndarray = fitted.predict_proba(features(setting))[:, 1]
    return chances


# --- metrics ------------------------------------------------------------------------------------


def what_was_asked(results: Results) -> dict[str, Value]:
    """Return how good the language model is, and what the demonstrations do for it."""
    metrics: dict[str, Value] = {"solver_accuracy": float(results.correct.mean()), "demo_gain": None}
    informed = results.shots > 0 if results.informed is None else results.informed
    reasoned = np.array([way != "direct" for way in results.readings.ways])
    with_, without = informed & reasoned, ~informed & reasoned
    if with_.any() and without.any():
        metrics["demo_gain"] = float(results.correct[with_].mean() - results.correct[without].mean())
    return metrics


def item_metrics(chance: np.ndarray, correct: np.ndarray) -> dict[str, Value]:
    """Return how well chances predict the outcomes of items."""
    found = {"auc": auc, "item_log_loss": log_loss, "item_correlation": pearson}
    return {name: metric(chance, correct) for name, metric in found.items()}


def bin_metrics(power: np.ndarray, correct: np.ndarray, config: Calibrate, trial: Trial) -> dict[str, Value]:
    """Return the paper's correlation over bins of power, and how large it gets without any relation."""
    bins = Bins(config.bin_width, config.power_limit, config.bin_items)
    binned = binned_accuracy(power, correct, bins)
    for edge, share in zip(binned.power, binned.accuracy, strict=True):
        trial.log(float(edge), accuracy=float(share))
    null = permutation_null(power, correct, bins, permutations=PERMUTATIONS, seed=trial.seed)
    over = None if binned.spearman is None or null is None else binned.spearman - null
    return {
        "bins": len(binned.power),
        "binned_share": float(binned.items.sum() / len(power)),
        "spearman": binned.spearman,
        "r_squared": binned.r_squared,
        "null_spearman": null,
        "spearman_over_null": over,
        "decile_spearman": quantile_spearman(power, correct),
    }
