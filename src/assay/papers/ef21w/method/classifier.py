"""What training leaves: a linear classifier with the scaling of its inputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file

from .smoothness import SmoothnessProfile


@dataclass(frozen=True)
class LinearClassifier:
    """Two classes by the sign of w^T ((a - mean) / scale).

    `labels` are the names of the classes at negative and positive margins; `profile` holds the smoothness
    constants of the clients that it was trained on.
    """

    weights: Float[np.ndarray, " d"]
    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    labels: tuple[str, str]
    profile: SmoothnessProfile

    def decision_function(self, features: Float[np.ndarray, "m d"]) -> Float[np.ndarray, " m"]:
        """Return the margins; positive ones speak for the second label. A sparse matrix does too."""
        if features.ndim != 2 or features.shape[1] != len(self.weights):
            raise ValueError(
                f"features have the shape {features.shape}, expected (rows, {len(self.weights)})."
            )
        scaled = self.weights / self.scale
        return np.asarray(features @ scaled - self.mean @ scaled)

    def predict(self, features: Float[np.ndarray, "m d"]) -> Int[np.ndarray, " m"]:
        """Return 0 or 1, positions in `labels`."""
        return (self.decision_function(features) > 0).astype(np.int64)

    def save(self, folder: Path) -> None:
        """Write classifier.safetensors and classifier.json."""
        arrays = {"weights": self.weights, "mean": self.mean, "scale": self.scale}
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        save_file(tensors, folder / "classifier.safetensors")
        plain = {"labels": list(self.labels), "profile": self.profile.to_dict()}
        (folder / "classifier.json").write_text(json.dumps(plain, indent=2))

    @classmethod
    def load(cls, folder: Path) -> LinearClassifier:
        """Read what `save` wrote."""
        arrays = {
            name: tensor.numpy() for name, tensor in load_file(folder / "classifier.safetensors").items()
        }
        plain = json.loads((folder / "classifier.json").read_text())
        negative, positive = plain["labels"]
        return cls(
            **arrays, labels=(negative, positive), profile=SmoothnessProfile.from_dict(plain["profile"])
        )
