"""Prediction rasters: a map for each chip, where the chip lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from assay.papers.vision.geo.dataset import ChipDataset
from assay.papers.vision.geo.rasters import read_header, write_raster
from assay.training.evaluation import predict

NO_CLASS = 255
"""What a raster of classes holds where there is no observation."""


@dataclass(frozen=True)
class Predicted:
    """A prediction raster and the chip that it was made from."""

    path: Path
    chip: Path
    label: Path | None = None


def predict_rasters(
    model: nn.Module, chips: ChipDataset, out: str | Path, batch_size: int = 16
) -> list[Predicted]:
    """Write a GeoTIFF for each chip, with its CRS and transform: uint8 classes, or float32 values.

    The model predicts on the device that it is on. Pixels that no band has observed are 255 (NaN for
    values). `chip_NAME.tif` becomes `prediction_NAME.tif`. Files that are there already are kept, so that a
    stopped run goes on.

    Raises:
        ValueError: there are more than 255 classes, or two chips have one name.
    """
    folder = Path(out)
    wanted = [folder / f"prediction_{_bare(path)}.tif" for path in chips.inputs]
    if len(set(wanted)) != len(wanted):
        raise ValueError("two chips have the same file name; predict for their folders one by one.")
    todo = [row for row, path in enumerate(wanted) if not path.exists()]
    for start in range(0, len(todo), batch_size):
        rows = todo[start : start + batch_size]
        inputs = torch.stack([chips[row][0] for row in rows])
        empty = (inputs == chips.no_data).flatten(1, 2).all(dim=1)
        for row, each, nothing in zip(
            rows, predict(model, inputs, batch_size=batch_size), empty, strict=True
        ):
            _write_prediction(each, nothing.numpy(), chips.inputs[row], wanted[row])
    listed = zip(wanted, chips.inputs, chips.labels, strict=True)
    return [Predicted(path, chip, label) for path, chip, label in listed]


def _write_prediction(logits: torch.Tensor, empty: np.ndarray, chip: Path, path: Path) -> None:
    grid = read_header(chip).grid
    if len(logits) == 1:
        values = np.where(empty, np.nan, logits[0].numpy()).astype(np.float32)
        write_raster(path, values[None], grid, np.nan, ["value"])
        return
    if len(logits) > NO_CLASS:
        raise ValueError(f"a raster of 8 bits holds {NO_CLASS} classes at most, not {len(logits)}.")
    classes = np.where(empty, NO_CLASS, logits.argmax(dim=0).numpy()).astype(np.uint8)
    write_raster(path, classes[None], grid, NO_CLASS, ["class"])


def _bare(chip: Path) -> str:
    return chip.stem.removeprefix("chip_").removesuffix("_merged").removesuffix("_S2Hand")
