"""What training leaves: a linear classifier, how its inputs are scaled, and how it was trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from assay.artefact import Artefact
from assay.errors import nearest
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
        texts: whether the features are counts of words.
    """

    weights: Float[np.ndarray, " d"]
    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    labels: tuple[str, str]
    features: tuple[str, ...]
    profile: SmoothnessProfile
    stepsize: StepSize
    history: pd.DataFrame
    texts: bool = False

    def predict(self, rows: Any) -> list[str]:
        """Return the class of each row by name, in their order; errors as in `decision_function`."""
        return [self.labels[int(margin > 0)] for margin in self.decision_function(rows)]

    def predict_proba(self, rows: Any) -> Float[np.ndarray, "m 2"]:
        """Return the probability of each class, of the logistic loss; errors as in `decision_function`."""
        positive = 1.0 / (1.0 + np.exp(-np.clip(self.decision_function(rows), -700.0, 700.0)))
        return np.stack([1.0 - positive, positive], axis=1)

    def decision_function(self, rows: Any) -> Float[np.ndarray, " m"]:
        """Return the margins; positive ones speak for the second label.

        Args:
            rows: numbers (m, d), as a DataFrame (columns are found by name), an array, a tensor or nested
                lists; or texts, as a list or a DataFrame with one column, where it was trained on texts.

        Raises:
            ValueError: the rows are of another kind or width than those on which it was trained.
        """
        features = self._features(rows)
        if features.ndim != 2 or features.shape[1] != len(self.weights):
            raise ValueError(
                f"features have the shape {features.shape}, expected (rows, {len(self.weights)})."
            )
        return np.asarray(((features - self.mean) / self.scale) @ self.weights)

    def _features(self, rows: Any) -> np.ndarray:
        if isinstance(rows, pd.DataFrame):
            if self.texts and rows.shape[1] == 1:
                rows = rows.iloc[:, 0].tolist()
            elif self.features:
                for name in self.features:
                    if name not in rows:
                        hint = nearest(name, map(str, rows))
                        raise ValueError(f"the rows have no column {name!r}, which it was trained on.{hint}")
                rows = rows[list(self.features)]
        if self.texts and isinstance(rows, list | tuple) and all(isinstance(row, str) for row in rows):
            from sklearn.feature_extraction.text import CountVectorizer

            return np.asarray(CountVectorizer(vocabulary=self.features).transform(rows).toarray(), np.float64)
        return np.asarray(rows, np.float64)
