"""The artefact: a trained model with what it predicts for the test bags, written without pickle."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from assay import files
from assay.artefact import Artefact
from assay.papers.vision.abmilx.evaluation import evaluate
from assay.papers.vision.abmilx.inputs.bags import Bag, InMemory
from assay.papers.vision.abmilx.method import EndToEndMIL, hazard_risk
from assay.papers.vision.abmilx.training import ModelSpec, build_model


@dataclass(frozen=True)
class TrainedMIL(Artefact):
    """A trained encoder and aggregator.

    Its methods take raw bags as training read them: uint8 pictures [n, c, h, w] or features [n, d].
    """

    module: EndToEndMIL
    """The model, in evaluation mode: an ordinary PyTorch module."""
    spec: ModelSpec
    """What it was built from."""
    label_names: tuple[str, ...] = ()
    """The classes in the order of the logits; empty for survival."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Measured on the test bags, with bootstrap intervals."""
    predictions: tuple[dict[str, Any], ...] = ()
    """One row for each test bag."""
    maps: tuple[tuple[str, Image.Image], ...] = ()
    """Pictures of the attention, by the bag's name; they are written, and not read again."""

    def predict(self, bags: Sequence[Tensor | np.ndarray]) -> np.ndarray:
        """Return the class of each bag by its name; for survival its risk.

        Raises:
            ValueError: a bag is not as training read them.
        """
        if not self.label_names:
            return hazard_risk(self._logits(bags)).numpy()
        names: np.ndarray = np.array(self.label_names)[self._logits(bags).argmax(dim=1).numpy()]
        return names

    def predict_proba(self, bags: Sequence[Tensor | np.ndarray]) -> np.ndarray:
        """Return the probability of each class [B, C], in the order of `label_names`.

        Raises:
            ValueError: a bag is not as training read them, or the model predicts survival.
        """
        if not self.label_names:
            raise ValueError("This model predicts survival, not classes: use predict, which gives risks.")
        return self._logits(bags).softmax(dim=1).numpy()

    def attention(self, bag: Tensor | np.ndarray) -> Tensor:
        """Return the attention on each instance of a bag [n], the mean over heads."""
        return evaluate(self.module, [self._checked(bag, 0)]).attention[0].mean(dim=0)

    def _logits(self, bags: Sequence[Tensor | np.ndarray]) -> Tensor:
        return evaluate(self.module, [self._checked(bag, n) for n, bag in enumerate(bags)]).logits

    def _checked(self, bag: Tensor | np.ndarray, number: int) -> Bag:
        """Refuse what the model would take for something else, such as pixels from 0 to 1."""
        instances, shape = torch.as_tensor(bag), self.spec.encoder.shape
        if instances.ndim != len(shape) + 1 or tuple(instances.shape[1:]) != shape:
            raise ValueError(
                f"Bag {number} has the shape {tuple(instances.shape)}; this model takes instances of {shape}."
            )
        if len(shape) == 3 and instances.dtype != torch.uint8:
            raise ValueError(
                f"Bag {number} holds {instances.dtype}; this model takes pictures of torch.uint8, from 0 to"
                " 255. Of values from 0 to 1: (255 * bag).round().to(torch.uint8)."
            )
        return Bag(str(number), (InMemory(instances),), (len(instances),))

    def record(self) -> tuple[Any, ...]:
        return self.spec, self.label_names, dict(self.module.state_dict()), self.metrics

    @classmethod
    def from_record(cls, record: Any) -> TrainedMIL:
        spec, label_names, state, metrics = record
        module = build_model(spec)
        module.load_state_dict(state)
        return cls(module.eval(), spec, label_names, metrics)

    def save(self, folder: str | Path) -> None:
        """Write the record, and metrics.json, predictions.csv and heat_maps/ for people."""
        super().save(folder)
        folder = files.user_path(folder)
        files.write_json(folder / "metrics.json", self.metrics)
        if self.predictions:
            table = pd.DataFrame(self.predictions).to_csv(index=False)
            files.write_atomic(folder / "predictions.csv", table)
        for number, (name, picture) in enumerate(self.maps):
            buffer = io.BytesIO()
            picture.save(buffer, "PNG")
            safe = re.sub(r"[^\w.-]+", "_", name).strip(".")[:80]
            files.write_atomic(folder / "heat_maps" / f"{number:04d}_{safe}.png", buffer.getvalue())
