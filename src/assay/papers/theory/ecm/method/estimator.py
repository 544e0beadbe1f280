"""Steps and load of a question without a written solution, from its text alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from sklearn.linear_model import RidgeCV
from torch import Tensor

from assay.artefact import Artefact

from .circuit import Array, Numbers
from .flux import Encode

_NUMBER = re.compile(r"[0-9][0-9,]*(?:\.[0-9]+)?")
PENALTIES = tuple(float(value) for value in np.logspace(-1, 5, 13))


class DifficultyEstimator(Artefact):
    """Ridge regressions of r1 and log(1 + r2) on a question's embedding and its numbers.

    The paper takes steps and load from gold solutions, which a new question does not have. The penalty is
    chosen by leave-one-out error.

    Args:
        encoder: texts to embeddings [n, d].
    """

    def __init__(self, encoder: Encode | None = None) -> None:
        self.encoder = encoder
        self.state: dict[str, Tensor] = {}

    def fit(self, questions: Sequence[str], steps: Numbers, load: Numbers) -> DifficultyEstimator:
        """Learn from questions with known steps and load.

        Raises:
            ValueError: there are fewer than 10, or the lists differ in length.
        """
        columns = [np.atleast_1d(np.asarray(each, dtype=np.float64)) for each in (steps, load)]
        if any(column.shape != (len(questions),) for column in columns):
            raise ValueError(f"{len(questions)} questions, and steps and load of other lengths, differ.")
        if len(questions) < 10:
            raise ValueError(f"{len(questions)} questions are too few to learn from; give at least 10.")
        features = self._features(questions)
        mean, scale = features.mean(0), features.std(0)
        scale[scale < 1e-9] = 1.0
        targets = np.stack([columns[0], np.log1p(columns[1])], axis=1)
        scaled = (features - mean) / scale
        ridges = [RidgeCV(alphas=PENALTIES).fit(scaled, column) for column in targets.T]
        arrays = {
            "mean": mean,
            "scale": scale,
            "weights": np.stack([ridge.coef_ for ridge in ridges]),
            "intercepts": np.array([ridge.intercept_ for ridge in ridges]),
            "most": targets.max(0),
        }
        self.state = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
        return self

    def predict(self, questions: Sequence[str]) -> tuple[Array, Array]:
        """Return estimated steps and load; neither leaves the range of the fit.

        Raises:
            ValueError: nothing was fitted yet.
        """
        if not self.state:
            raise ValueError("The estimator is not fitted yet: call fit first.")
        state = {name: value.numpy() for name, value in self.state.items()}
        features = (self._features(questions) - state["mean"]) / state["scale"]
        found = np.clip(features @ state["weights"].T + state["intercepts"], 0.0, state["most"])
        return found[:, 0], np.expm1(found[:, 1])

    def record(self) -> dict[str, Tensor]:
        """Return what was fitted; the encoder is not part of it."""
        return self.state

    @classmethod
    def from_record(cls, record: dict[str, Tensor]) -> DifficultyEstimator:
        """Return the estimator, without its encoder."""
        estimator = cls()
        estimator.state = record
        return estimator

    def _features(self, questions: Sequence[str]) -> Array:
        if self.encoder is None:
            raise ValueError("The estimator needs the encoder that it was fitted with: set `encoder`.")
        embeddings: Float[Tensor, "n d"] = self.encoder(list(questions))
        surface = np.array([surface_features(question) for question in questions])
        return np.concatenate([embeddings.detach().cpu().double().numpy(), surface], axis=1)


def surface_features(question: str) -> list[float]:
    """Return what a question's numbers and length say: how many, how long, how large, and their products."""
    numbers = sorted((float(text.replace(",", "")) for text in _NUMBER.findall(question)), reverse=True)
    sizes = [float(np.log1p(number)) for number in numbers]
    digits = sum(character.isdigit() for character in question)
    breaks = sum(character in ",;:" for character in question)
    counts = (len(numbers), digits, len(question.split()), breaks)
    return [*map(float, counts), *[*sizes, 0.0, 0.0][:2], float(sum(sizes))]
