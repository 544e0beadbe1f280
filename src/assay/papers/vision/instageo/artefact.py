"""What the recipes keep: a trained model with the names of its classes, and a folder with a map."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from assay import files, records
from assay.errors import InputError
from assay.papers.vision.instageo.method import EncoderShape, SegmentationModel
from assay.training import predict

DESCRIPTION = "segmenter.json"


@dataclass(frozen=True)
class Segmenter:
    """A trained model, which bands and dates it reads, and what its classes are called (values: none)."""

    model: SegmentationModel
    class_names: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, chips: Float[Tensor, "n c t h w"], batch_size: int = 16) -> Shaped[Tensor, "n h w"]:
        """Return the class, or the value, of each pixel of chips as they stand in the files.

        Raises:
            ValueError: they have another number of bands or dates than the model.
        """
        self.check(chips.shape[1], chips.shape[2])
        found = predict(self.model, chips, batch_size=batch_size)
        return found.argmax(dim=1) if self.class_names else found[:, 0]

    def check(self, bands: int, dates: int) -> None:
        """Refuse chips that the model cannot read."""
        shape = self.model.shape
        if (bands, dates) != (shape.in_channels, shape.num_frames):
            raise ValueError(
                f"the model reads {shape.in_channels} bands on {shape.num_frames} dates; these chips have"
                f" {bands} bands on {dates}. Cut chips with --num-steps {shape.num_frames}."
            )

    def save(self, folder: str | Path) -> None:
        """Write safetensors and JSON."""
        described = {"model": self.model.describe(), "classes": self.class_names, "about": dict(self.about)}
        files.write_json(Path(folder) / DESCRIPTION, described)
        records.save(Path(folder), self.model.state_dict())

    @classmethod
    def load(cls, folder: str | Path) -> Segmenter:
        """Read what `save` wrote."""
        described = files.read_json(Path(folder) / DESCRIPTION)
        built = described["model"]
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are thrown away
            model = SegmentationModel(
                EncoderShape(**built["shape"]), built["num_classes"], projection=built["projection"]
            )
        model.load_state_dict(records.load(Path(folder)))
        return cls(model.eval(), tuple(described["classes"]), described["about"])


def find_segmenter(folder: Path) -> Segmenter:
    """Load a model from the folder of a run, or from the object's own folder.

    Raises:
        InputError: there is none.
    """
    for place in (folder, folder / "student"):
        if (place / DESCRIPTION).exists():
            return Segmenter.load(place)
    raise InputError(f"{folder} holds no model: give a folder that `assay run instageo distil` wrote.")


@dataclass(frozen=True)
class PredictionMap:
    """Prediction rasters and the map that shows them."""

    folder: Path
    """Where they are."""
    rasters: tuple[str, ...]
    """GeoTIFFs, one a chip, relative to the folder."""
    merged: tuple[str, ...] = ()
    """GeoTIFFs, one a zone."""
    page: str | None = "map.html"
    """The map; none where no chip has a place on the globe."""

    def save(self, folder: str | Path) -> None:
        """Write the listing beside the files, which are there already."""
        plain = {"rasters": list(self.rasters), "merged": list(self.merged), "page": self.page}
        (Path(folder) / "predictions.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> PredictionMap:
        """Read what `save` wrote."""
        plain = json.loads((Path(folder) / "predictions.json").read_text(encoding="utf-8"))
        return cls(Path(folder), tuple(plain["rasters"]), tuple(plain["merged"]), plain["page"])
