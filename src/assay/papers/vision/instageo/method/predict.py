"""Prediction rasters: a map for each chip, where the chip lies, and one for each zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from assay.training.evaluation import mode

from .chips import quiet_affine, write_raster
from .dataset import ChipDataset

NO_CLASS = 255
"""What a raster of classes holds where there is no observation."""


@dataclass(frozen=True)
class Predicted:
    """A prediction raster and the chip that it was made from."""

    path: Path
    chip: Path
    label: Path | None = None


def predict_rasters(
    model: nn.Module,
    chips: ChipDataset,
    out: str | Path,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
) -> list[Predicted]:
    """Write a GeoTIFF for each chip, with its CRS and transform: uint8 classes, or float32 values.

    Pixels that no band has observed are 255 (NaN for values). `chip_NAME.tif` becomes
    `prediction_NAME.tif`. Names that are there already are kept, so that a stopped run goes on.

    Raises:
        ValueError: there are more than 255 classes.
    """
    folder = Path(out)
    wanted = [folder / f"prediction_{_bare(path)}.tif" for path in chips.inputs]
    if len(set(wanted)) != len(wanted):
        raise ValueError("two chips have the same file name; predict for their folders one by one.")
    todo = [row for row, path in enumerate(wanted) if not path.exists()]
    with mode(model, training=False), torch.inference_mode():
        for start in range(0, len(todo), batch_size):
            rows = todo[start : start + batch_size]
            inputs = torch.stack([chips[row][0] for row in rows])
            logits = model(inputs.to(device)).cpu()
            empty = (inputs == chips.no_data).flatten(1, 2).all(dim=1)
            for row, each, nothing in zip(rows, logits, empty, strict=True):
                _write_prediction(each, nothing.numpy(), chips.inputs[row], wanted[row])
    return [
        Predicted(path, chip, label)
        for path, chip, label in zip(wanted, chips.inputs, chips.labels, strict=True)
    ]


def _write_prediction(logits: torch.Tensor, empty: np.ndarray, chip: Path, path: Path) -> None:
    import rasterio

    with rasterio.open(chip) as file:
        crs, transform = file.crs, file.transform
    if len(logits) == 1:
        values = np.where(empty, np.nan, logits[0].numpy()).astype(np.float32)
        write_raster(path, values[None], crs, transform, np.nan, ["value"])
        return
    if len(logits) > NO_CLASS:
        raise ValueError(f"a raster of 8 bits holds {NO_CLASS} classes at most, not {len(logits)}.")
    classes = np.where(empty, NO_CLASS, logits.argmax(dim=0).numpy()).astype(np.uint8)
    write_raster(path, classes[None], crs, transform, NO_CLASS, ["class"])


def merge_rasters(paths: Sequence[Path], out: str | Path) -> list[Path]:
    """Merge rasters to one cloud-optimised GeoTIFF for each CRS: `merged_EPSG_32636.tif`."""
    import rasterio
    from rasterio.merge import merge

    by_crs: dict[str, list[Path]] = {}
    for path in paths:
        with rasterio.open(path) as file:
            if file.crs is not None:
                by_crs.setdefault(file.crs.to_string(), []).append(path)
    written = []
    for name, members in sorted(by_crs.items()):
        with quiet_affine():
            values, transform = merge([str(path) for path in members])
        with rasterio.open(members[0]) as file:
            crs, no_data = file.crs, file.nodata
        plain = "".join(letter if letter.isalnum() else "_" for letter in name)[:40]
        target = Path(out) / f"merged_{plain}.tif"
        write_raster(target, values, crs, transform, no_data, driver="COG")
        written.append(target)
    return written


def _bare(chip: Path) -> str:
    return chip.stem.removeprefix("chip_").removesuffix("_merged").removesuffix("_S2Hand")


__all__ = ["NO_CLASS", "Predicted", "merge_rasters", "predict_rasters"]
