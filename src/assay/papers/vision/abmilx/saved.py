"""The artefact: a trained model with what it says of the test bags, written without pickle."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from assay import files
from assay.errors import StorageError
from assay.options import from_plain
from assay.papers.vision.abmilx.building import EncoderSpec, ModelSpec, build_model
from assay.papers.vision.abmilx.config import Layers
from assay.papers.vision.abmilx.learning import Seen
from assay.papers.vision.abmilx.method import EndToEndMIL, contact_sheet, hazard_risk, heat_map
from assay.papers.vision.abmilx.sources import Bag


@dataclass(frozen=True)
class TrainedMIL:
    """A trained encoder and aggregator.

    `predict(bags)` takes raw bags as training read them: uint8 pictures [n, c, h, w] or features [n, d].
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
    """One row a test bag."""
    maps: tuple[tuple[str, Image.Image], ...] = ()
    """Pictures of the attention, by the bag's name; they are written, and not read again."""

    @torch.no_grad()
    def predict(self, bags: Sequence[Tensor]) -> Tensor:
        """Return the probability of each class [B, C]; for survival the risk [B]."""
        logits = torch.cat([self.module(bag[None]) for bag in bags])
        return logits.softmax(dim=1) if self.label_names else hazard_risk(logits)

    @torch.no_grad()
    def attention(self, bag: Tensor) -> Tensor:
        """Return the attention on each instance of a bag [n], the mean over heads."""
        return self.module.explain(bag[None]).attention[0].mean(dim=0)

    def save(self, folder: str | Path) -> None:
        """Write model.json, weights.safetensors, metrics.json, predictions.csv and heat_maps/."""
        folder = Path(folder)
        described = {"spec": dataclasses.asdict(self.spec), "label_names": list(self.label_names)}
        files.write_json(folder / "model.json", described)
        weights = {name: tensor.contiguous() for name, tensor in self.module.state_dict().items()}
        files.write_atomic(folder / "weights.safetensors", safetensors.torch.save(weights))
        files.write_json(folder / "metrics.json", self.metrics)
        if self.predictions:
            files.write_atomic(folder / "predictions.csv", as_csv(self.predictions))
        for number, (name, picture) in enumerate(self.maps):
            buffer = io.BytesIO()
            picture.save(buffer, "PNG")
            safe = re.sub(r"[^\w.-]+", "_", name).strip(".")[:80]
            files.write_atomic(folder / "heat_maps" / f"{number:04d}_{safe}.png", buffer.getvalue())

    @classmethod
    def load(cls, folder: str | Path) -> TrainedMIL:
        """Read what `save` wrote.

        Raises:
            StorageError: a file is missing or damaged.
        """
        folder = Path(folder)
        try:
            described = files.read_json(folder / "model.json")
            spec = read_spec(described["spec"])
            module = build_model(spec)
            module.load_state_dict(safetensors.torch.load_file(folder / "weights.safetensors"))
            metrics = files.read_json(folder / "metrics.json")
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
            raise StorageError(f"{folder} holds no whole model of abmilx ({error}).") from error
        return cls(module.eval(), spec, tuple(described["label_names"]), metrics)


def read_spec(plain: dict[str, Any]) -> ModelSpec:
    """Return the specification that JSON holds."""
    encoder = plain["encoder"] | {"shape": tuple(plain["encoder"]["shape"])}
    layers = from_plain(Layers, plain["layers"])
    return ModelSpec(**(plain | {"encoder": EncoderSpec(**encoder), "layers": layers}))


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def predictions_of(bags: Sequence[Bag], seen: Seen, label_names: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """Return one row a bag: its name, label, prediction and the probability of each class."""
    rows = []
    for bag, chances in zip(bags, seen.probabilities, strict=True):
        named = {f"p({name})": round(float(p), 6) for name, p in zip(label_names, chances, strict=True)}
        predicted = label_names[int(chances.argmax())]
        rows.append({"bag": bag.bag_id, "label": label_names[bag.label], "predicted": predicted, **named})
    return tuple(rows)


def attention_picture(bag: Bag, attention: Tensor) -> Image.Image:
    """Return a picture of a bag's attention: a map where patches have places, else patches in its order."""
    weights = attention.mean(dim=0).double().numpy()
    if bag.coords is not None:
        slide = bag.thumbnail() if bag.thumbnail is not None else None
        return heat_map(weights, bag.coords, bag.patch, slide, bag.extent)
    instances = bag.read()
    if instances.ndim == 4:
        return contact_sheet(instances.permute(0, 2, 3, 1).numpy(), weights)
    row = np.arange(len(weights))  # features have no look: one stripe an instance
    return heat_map(weights, np.stack([8 * row, 0 * row], axis=1), 8, longest=max(512, 8 * len(row)))
