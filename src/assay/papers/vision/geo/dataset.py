"""Chips on disk as a data set: written by `ChipCreator`, or in the layouts in which they are published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.utils.data import Dataset

from assay.data import read_json_file, read_rows, read_text
from assay.papers.vision.geo.rasters import open_raster, read_raster

SENTINEL_2_HAND = (1, 2, 3, 8, 11, 12)
"""B02, B03, B04, B8A, B11 and B12 among the 13 bands of Sen1Floods11's pictures, from 0."""
LISTS = {"train": ("training", "train"), "validation": ("validation", "valid"), "test": ("test",)}
"""Words in the names of published lists, by the part that they list."""


@dataclass(frozen=True)
class ChipDataset(Dataset[tuple[Tensor, Tensor]]):
    """Chips with label maps: item i is x float (bands, steps, h, w) and y long (h, w), -1 without a label.

    `bands` picks bands of each step by number; `label_shift` is added to labels (-1 where 0 means none).
    `about` is what `chips.json` says.
    """

    inputs: tuple[Path, ...]
    labels: tuple[Path, ...]
    num_steps: int = 1
    bands: tuple[int, ...] | None = None
    label_shift: int = 0
    no_data: float = 0.0
    task: str = "segmentation"
    places: tuple[tuple[float, float], ...] = ()
    tiles: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict, hash=False)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def funnel(self) -> dict[str, int]:
        """How many points were left at each stage when the chips were cut."""
        return dict(self.about.get("funnel", {}))

    def __getitem__(self, row: int) -> tuple[Float[Tensor, "bands steps h w"], Shaped[Tensor, "h w"]]:
        chip = to_steps(self.chip(row), self.num_steps)
        if self.bands is not None:
            chip = chip[list(self.bands)]
        return torch.from_numpy(chip), torch.from_numpy(self.label(row))

    def chip(self, row: int) -> np.ndarray:
        """Return the values of a chip as they stand in the file, float32 [steps * bands, h, w]."""
        return read_raster(self.inputs[row]).astype(np.float32)

    def label(self, row: int) -> np.ndarray:
        """Return a label map [h, w]: int64 with -1 where there is no label, or float32."""
        with open_raster(self.labels[row]) as file:
            values, no_data = file.read(1), file.nodata
        if self.task != "segmentation":
            return np.asarray(values, np.float32)
        empty = values == no_data if no_data is not None else np.zeros(values.shape, bool)
        shifted = values.astype(np.int64) + self.label_shift
        return np.where(empty | (shifted < 0), -1, shifted)

    def tensors(
        self, rows: Sequence[int] | None = None
    ) -> tuple[Float[Tensor, "n bands steps h w"], Shaped[Tensor, "n h w"]]:
        """Read chips into memory.

        Raises:
            ValueError: they have several sizes.
        """
        read = [self[row] for row in (range(len(self)) if rows is None else rows)]
        sizes = {tuple(chip.shape) for chip, _ in read}
        if len(sizes) != 1:
            raise ValueError(f"the chips have several shapes: {sorted(sizes)}. Cut them to one.")
        return torch.stack([chip for chip, _ in read]), torch.stack([label for _, label in read])

    def subset(self, rows: Sequence[int]) -> ChipDataset:
        """Return some of the chips."""
        picked = {
            name: tuple(value[row] for row in rows)
            for name in ("inputs", "labels", "places", "tiles", "parts")
            if (value := getattr(self, name))
        }
        return replace(self, **picked)  # type: ignore[arg-type]

    def save(self, folder: str | Path) -> None:
        """Do nothing: the files are written as they are made."""

    @classmethod
    def load(cls, folder: str | Path) -> ChipDataset:
        """Read a folder of chips.

        | layout | is known by |
        |---|---|
        | of `ChipCreator` | `chips.csv` with the columns Input and Label |
        | crop classification, burn scars | pairs `*_merged.tif`, `*.mask.tif` |
        | Sen1Floods11 | pairs `*_S2Hand.tif`, `*_LabelHand.tif` |

        Raises:
            ValueError: it is none of them, a chip has no label map, or a file is missing.
        """
        folder = Path(folder)
        if (folder / "chips.csv").exists():
            return _listed(folder)
        merged, hand = sorted(folder.rglob("*_merged.tif")), sorted(folder.rglob("*_S2Hand.tif"))
        if merged:
            return _paired(merged, "_merged.tif", ".mask.tif", folder)
        if hand:
            return replace(_paired(hand, "_S2Hand.tif", "_LabelHand.tif", folder), bands=SENTINEL_2_HAND)
        raise ValueError(
            f"{folder} holds no chips: expected chips.csv (columns Input and Label), or pairs *_merged.tif"
            " and *.mask.tif, or *_S2Hand.tif and *_LabelHand.tif."
        )


def to_steps(chip: np.ndarray, num_steps: int) -> np.ndarray:
    """Turn bands in time-major order [steps * bands, h, w] into [bands, steps, h, w].

    Raises:
        ValueError: the number of bands is no multiple of the number of steps.
    """
    if len(chip) % num_steps:
        raise ValueError(f"a chip of {len(chip)} bands cannot have {num_steps} dates of equally many bands.")
    steps = chip.reshape(num_steps, len(chip) // num_steps, *chip.shape[1:])
    return np.ascontiguousarray(steps.swapaxes(0, 1))


def _listed(folder: Path) -> ChipDataset:
    listing = read_rows(folder / "chips.csv")
    listing.require("Input", "Label")
    rows = [row for _, row in listing]
    inputs, labels = (tuple(folder / row[name] for row in rows) for name in ("Input", "Label"))
    missing = [path for path in (*inputs, *labels) if not path.exists()]
    if missing:
        raise ValueError(f"{len(missing)} files of {folder / 'chips.csv'} are missing, first {missing[0]}.")
    described = read_json_file(folder / "chips.json") if (folder / "chips.json").exists() else {}
    placed = {"longitude", "latitude"} <= set(listing.columns)
    return ChipDataset(
        inputs,
        labels,
        num_steps=int(described.get("num_steps", 1)),
        no_data=float(described.get("no_data", 0)),
        task=str(described.get("task", "segmentation")),
        places=tuple((float(row["longitude"]), float(row["latitude"])) for row in rows if placed),
        tiles=tuple(row["tile"] for row in rows if "tile" in row),
        about=described,
    )


def _paired(inputs: Sequence[Path], ending: str, of_label: str, folder: Path) -> ChipDataset:
    labels = tuple(_partner(path, ending, of_label) for path in inputs)
    return ChipDataset(tuple(inputs), labels, parts=_published_parts(inputs, ending, folder))


def _partner(path: Path, ending: str, of_label: str) -> Path:
    """Return the label map beside a chip, or in a folder called LabelHand beside its own."""
    name = path.name.removesuffix(ending) + of_label
    places = [path.parent / name, path.parent.parent / "LabelHand" / name]
    label = next((place for place in places if place.exists()), None)
    if label is None:
        raise ValueError(f"{path} has no label map {name} beside it.")
    return label


def _published_parts(inputs: Sequence[Path], ending: str, folder: Path) -> tuple[str, ...]:
    """Return the part of each chip by the published lists, such as `validation_data.txt`, if any."""
    part_of: dict[str, str] = {}
    for path in sorted([*folder.rglob("*.txt"), *folder.rglob("*_data.csv")]):
        part = next((p for p, words in LISTS.items() if any(word in path.name for word in words)), None)
        if part:
            for word in read_text(path).replace(",", " ").split():
                part_of[Path(word).name.removesuffix(".tif").removesuffix(ending.removesuffix(".tif"))] = part
    return tuple(part_of.get(path.name.removesuffix(ending), "") for path in inputs) if part_of else ()
