"""What the recipes keep: a trained model with the names of its classes, and a folder with a map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float, Shaped
from torch import Tensor

from assay import artefact
from assay.artefact import Artefact
from assay.errors import InputError
from assay.papers.vision.instageo.method import SegmentationModel
from assay.training import predict


@dataclass(frozen=True)
class DepthReport:
    """What students of several depths cost and give, by depth (`teacher` is the whole model).

    `validation` and `test` are of the metric `quality`; energy is `None` where it was not counted.
    """

    depth: int
    within_tolerance: bool
    quality: str
    validation: dict[str, float]
    test: dict[str, float]
    parameters: dict[str, int]
    multiply_adds: dict[str, int]
    training_seconds: dict[str, float]
    training_joules: dict[str, float | None]
    grams_co2: dict[str, float | None] | None


@dataclass(frozen=True)
class Segmenter(Artefact):
    """A trained model, and what its classes are called (values: none).

    `report` compares the students from which `distil` chose this model.
    """

    model: SegmentationModel
    class_names: tuple[str, ...]
    report: DepthReport | None = None

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


def find_segmenter(folder: Path) -> Segmenter:
    """Load a model from the folder of a run, or from the object's own folder.

    Raises:
        InputError: there is none.
    """
    try:
        if (folder / artefact.MANIFEST).exists():
            found = artefact.load(folder, "student")
            assert isinstance(found, Segmenter)
            return found
        return Segmenter.load(folder)
    except InputError as error:
        raise InputError(
            f"{folder} holds no model: give a folder that `assay run instageo distil` wrote. {error}"
        ) from None


@dataclass(frozen=True)
class PredictionMap:
    """A folder with prediction rasters and the map that shows them.

    `rasters` are GeoTIFFs, one a chip, and `merged` one a zone, relative to the folder. `page` is the map;
    there is none where no chip has a place on the globe.
    """

    folder: Path
    rasters: tuple[str, ...]
    merged: tuple[str, ...] = ()
    page: str | None = "map.html"

    def save(self, folder: str | Path) -> None:
        """Do nothing: the files are written as they are made."""

    @classmethod
    def load(cls, folder: str | Path) -> PredictionMap:
        """Find what `assay run instageo map` wrote."""
        folder = Path(folder)
        rasters, merged = (
            tuple(path.name for path in sorted(folder.glob(f"{kind}_*.tif")))
            for kind in ("prediction", "merged")
        )
        return cls(folder, rasters, merged, "map.html" if (folder / "map.html").exists() else None)
