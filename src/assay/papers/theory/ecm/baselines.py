"""What the circuit is compared with: regressions on the same items, with as many settings tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from assay.papers.theory.ecm.method import Readings, log_loss
from assay.papers.theory.ecm.stages import Results
from assay.trial import Trial

Array = np.ndarray


@dataclass(frozen=True)
class Setting:
    """One candidate: the load as it is or its logarithm, and the strength C (a weaker penalty is larger)."""

    load: Literal["linear", "log"]
    strength: float


def settings_of(predictor: str, candidates: int) -> list[Setting]:
    """Return settings of the logistic regression on what the circuit sees, or of the scaling law."""
    if predictor != "logistic":
        return [Setting("linear", float(strength)) for strength in np.logspace(-2, 2, candidates)]
    strengths = np.logspace(-2, 2, max(1, candidates // 2))
    forms: tuple[Literal["linear", "log"], ...] = ("linear", "log")
    return [Setting(form, float(strength)) for form in forms for strength in strengths][:candidates]


def logistic_features(readings: Readings, setting: Setting) -> Array:
    """Return what the circuit sees, one row an item: steps, load, flux, and each way with its own slopes.

    These are as many coefficients as the circuit has constants.
    """
    load = np.log1p(readings.load) if setting.load == "log" else readings.load
    columns = [readings.steps, load, readings.flux, np.log(readings.samples)]
    for way in sorted(set(readings.ways))[1:]:
        here = np.array([each == way for each in readings.ways], dtype=np.float64)
        columns += [here, here * readings.steps, here * load]
    return np.stack(columns, axis=1)


def scaling_features(results: Results) -> Array:
    """Return log(1 + demonstrations) and log(1 + tokens of reasoning).

    The reasoning is counted after the reply, which is more than the circuit is given.
    """
    return np.stack([np.log1p(results.shots), np.log1p(results.reasoning)], axis=1)


def regression(setting: Setting) -> Pipeline:
    """Return an untrained logistic regression on standardised features."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=setting.strength, max_iter=1000))


def cross_validated_loss(features: Array, correct: Array, setting: Setting, seed: int) -> float:
    """Return the log-loss of predictions for folds that were left out."""
    rarer = int(min(correct.sum(), len(correct) - correct.sum()))
    folds = StratifiedKFold(min(5, rarer), shuffle=True, random_state=seed % 2**32)
    found = cross_val_predict(regression(setting), features, correct, cv=folds, method="predict_proba")
    return log_loss(found[:, 1], correct)


def tuned_regression(
    predictor: str, features: Callable[[Setting], Array], correct: Array, candidates: int, trial: Trial
) -> tuple[Setting, Pipeline]:
    """Return a fitted regression, whose setting cross-validation on these items chose."""
    tuned = trial.tune(
        settings_of(predictor, candidates),
        fit=lambda setting: setting,
        metric=lambda setting: cross_validated_loss(features(setting), correct, setting, trial.seed),
        better="lower",
    )
    return tuned.candidate, regression(tuned.candidate).fit(features(tuned.candidate), correct)
