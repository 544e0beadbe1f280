"""What training leaves: a linear classifier, how its inputs are scaled, and how it was trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file

from .smoothness import SmoothnessProfile
from .stepsize import StepSize


@dataclass(frozen=True)
class LinearClassifier:
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

    def save(self, folder: Path) -> None:
        """Write weights.safetensors, classifier.json, stepsize.json and history.parquet."""
        arrays = {"weights": self.weights, "mean": self.mean, "scale": self.scale}
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        save_file(tensors, folder / "weights.safetensors")
        plain = {"labels": self.labels, "features": self.features, "profile": self.profile.to_dict()}
        (folder / "classifier.json").write_text(json.dumps(plain, indent=2), encoding="utf-8")
        reason = json.dumps(self.stepsize.to_dict(), indent=2, ensure_ascii=False)
        (folder / "stepsize.json").write_text(reason, encoding="utf-8")
        self.history.to_parquet(folder / "history.parquet")

    @classmethod
    def load(cls, folder: Path) -> LinearClassifier:
        """Read what `save` wrote."""
        arrays = {name: tensor.numpy() for name, tensor in load_file(folder / "weights.safetensors").items()}
        plain = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
        negative, positive = plain["labels"]
        return cls(
            **arrays,
            labels=(negative, positive),
            features=tuple(plain["features"]),
            profile=SmoothnessProfile.from_dict(plain["profile"]),
            stepsize=StepSize(**json.loads((folder / "stepsize.json").read_text(encoding="utf-8"))),
            history=pd.read_parquet(folder / "history.parquet"),
        )
