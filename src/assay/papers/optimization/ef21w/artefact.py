"""What training leaves: a linear classifier, how its inputs are scaled, and how it was trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from assay.artefact import Artefact
from assay.papers.optimization.ef21w.method import SmoothnessProfile, StepSize


@dataclass(frozen=True)
class LinearClassifier(Artefact):
    """Two classes by the sign of w^T ((a - mean) / scale).

    Attributes:
        weights: w, [d].
        mean: what is taken from the features first, [d].
        scale: what they are divided by then, [d].
        labels: the names of the classes at negative and at positive margins.
        features: the names of the features (of a text, the words); empty where they have none.
        profile: the smoothness constants of the clients.
        stepsize: the step size, and why.
        history: the curve of the training, as `EF21Result.history`.
    """

    weights: Float[np.ndarray, " d"]
    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    labels: tuple[str, str]
    features: tuple[str, ...]
    profile: SmoothnessProfile
    stepsize: StepSize
    history: pd.DataFrame

    def decision_function(self, features: Float[np.ndarray, "m d"]) -> Float[np.ndarray, " m"]:
        """Return the margins; positive ones speak for the second label."""
        if features.ndim != 2 or features.shape[1] != len(self.weights):
            raise ValueError(
                f"features have the shape {features.shape}, expected (rows, {len(self.weights)})."
            )
        return np.asarray(((features - self.mean) / self.scale) @ self.weights)

    def predict(self, features: Float[np.ndarray, "m d"]) -> Int[np.ndarray, " m"]:
        """Return 0 or 1 for each row, positions in `labels`."""
        return (self.decision_function(features) > 0).astype(np.int64)
