"""Prediction rasters, one for each chip, and a map of them as one HTML file.

The page loads nothing from outside, and works from the disk.
"""

from __future__ import annotations

import base64
import colorsys
import html
import io
import itertools
import json
import pkgutil
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from assay import files
from assay.papers.vision.geo.dataset import ChipDataset
from assay.papers.vision.geo.labels import NO_LABEL
from assay.papers.vision.geo.rasters import read_header, read_in_mercator, read_raster, write_raster
from assay.training.evaluation import predict

VALUE_STEPS = 8
_BARE = re.compile(r"^chip_|_merged$|_S2Hand$")
"""What a chip's name has beside the chip's own: see `ChipDataset.load`."""
LARGEST_SIDE = 1024
"""Pixels of an overlay's longer side; larger rasters are thinned out."""
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
    stopped run resumes.

    Raises:
        ValueError: there are more than 255 classes, or two chips have one name.
    """
    wanted = [Path(out) / f"prediction_{_BARE.sub('', path.stem)}.tif" for path in chips.inputs]
    if len(set(wanted)) != len(wanted):
        raise ValueError("two chips have the same file name; predict for their folders one by one.")
    todo = [row for row, path in enumerate(wanted) if not path.exists()]
    for start in range(0, len(todo), batch_size):
        rows = todo[start : start + batch_size]
        inputs = torch.stack([chips[row][0] for row in rows])
        empty = (inputs == chips.no_data).flatten(1, 2).all(dim=1)
        predicted = predict(model, inputs, batch_size=batch_size)
        for row, logits, nothing in zip(rows, predicted, empty, strict=True):
            _write_prediction(logits, nothing.numpy(), chips.inputs[row], wanted[row])
    return [Predicted(*paths) for paths in zip(wanted, chips.inputs, chips.labels, strict=True)]


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


# --- the map ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StaticMap:
    """Writes predictions as coloured overlays into one page that can be moved, zoomed and clicked.

    Values (rasters of float32) are shown in eight equal steps between their 2nd and 98th percentiles.
    Layers are the predictions, the labels and the picture that the chip's bands 3, 2 and 1 make; each can
    be shown and hidden. A click says the class at that place.

    Args:
        class_names: in the order of their numbers; numbers where there are none.
        title: heads the page. All texts are escaped.
        colors: `#rrggbb` for each class; by default evenly spaced hues.
    """

    class_names: Sequence[str] = ()
    title: str = "Predictions"
    colors: Sequence[str] = ()

    def export(self, predictions: Sequence[Predicted], out: str | Path) -> Path:
        """Write `map.html` into a folder and return its path.

        Raises:
            ValueError: there is no prediction with a CRS, or a class has no colour.
        """
        layers: dict[str, list[dict[str, Any]]] = {"picture": [], "labels": [], "prediction": []}
        steps = value_steps([each.path for each in predictions])
        for each in predictions:
            found = _overlay(each.path, each.path.stem, NO_CLASS, steps)
            if found is None:
                continue
            layers["prediction"].append(found)
            layers["picture"].append(_picture(each.chip))
            if each.label and each.label.exists():
                labels = _overlay(each.label, each.path.stem, NO_LABEL, steps)
                layers["labels"] += [labels] if labels else []
        if not layers["prediction"]:
            raise ValueError("no prediction has a CRS and a pixel, so that none has a place on a map.")
        if steps is None:
            seen = 1 + max(item["most"] for name in ("labels", "prediction") for item in layers[name])
            more = range(len(self.class_names), seen)
            names = [*map(str, self.class_names), *(f"class {number}" for number in more)]
        else:
            names = step_names(steps)
        if self.colors and len(self.colors) < len(names):
            raise ValueError(f"{len(self.colors)} colours are given for {len(names)} classes.")
        colors = self.colors or distinct_colors(len(names))
        data = {
            "layers": {name: items for name, items in layers.items() if items},
            "classes": [
                {"name": name, "color": rgb(color)} for name, color in zip(names, colors, strict=False)
            ],
        }
        path = Path(out) / "map.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(path, _page(self.title, data))
        return path


def _overlay(path: Path, name: str, nothing: int, steps: np.ndarray | None) -> dict[str, Any] | None:
    """Return a raster of classes, or of values in steps, or `None` where it has no CRS or nothing to see."""
    warped = read_in_mercator(path, [1], nothing if steps is None else np.nan, LARGEST_SIDE)
    if warped is None:
        return None
    values, box = warped
    if steps is None:
        classes = values[0].astype(np.int64)
        empty = (classes < 0) | (classes == NO_CLASS)
    else:
        classes = np.digitize(values[0], steps[1:-1])
        empty = np.isnan(values[0]) | (values[0] == NO_LABEL if nothing == NO_LABEL else False)
    if empty.all():
        return None
    # the class stands in the red channel; the page colours it
    pixels = np.zeros((*classes.shape, 4), np.uint8)
    pixels[..., 0] = np.where(empty, 0, classes)
    pixels[..., 3] = np.where(empty, 0, 255)
    return {"name": name, "png": _png(pixels), "box": box, "most": int(classes[~empty].max())}


def value_steps(paths: Sequence[Path]) -> np.ndarray | None:
    """Return the limits [9] of the steps in which values are shown, or `None` where rasters hold classes."""
    if any(read_header(path).dtype != "float32" for path in paths):
        return None
    together = np.concatenate([read_raster(path).ravel() for path in paths] or [np.zeros(0)])
    together = together[np.isfinite(together)]
    if not len(together):
        return None
    low, high = np.percentile(together, [2, 98])
    return np.linspace(low, high if high > low else low + 1, VALUE_STEPS + 1)


def step_names(steps: np.ndarray) -> list[str]:
    """Return what each step is called; the outer ones are open."""
    inner = [f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(steps[1:-1])]
    return [f"below {steps[1]:.4g}", *inner, f"from {steps[-2]:.4g}"]


def distinct_colors(count: int) -> list[str]:
    """Return `#rrggbb` colours that differ in hue (by the golden angle), and in lightness by turns."""
    hues = ((0.58 + number * 0.381966) % 1 for number in range(count))
    rgb = [colorsys.hls_to_rgb(hue, (0.6, 0.42)[number % 2], 0.65) for number, hue in enumerate(hues)]
    return ["#" + "".join(f"{round(255 * part):02x}" for part in color) for color in rgb]


def _picture(chip: Path) -> dict[str, Any]:
    """Return the first date's red, green and blue bands, stretched between their 2nd and 98th percentiles."""
    header = read_header(chip)
    empty = 0 if header.no_data is None else header.no_data
    warped = read_in_mercator(chip, [3, 2, 1] if len(header.names) >= 3 else [1, 1, 1], empty, LARGEST_SIDE)
    assert warped is not None
    values, box = warped
    there = (values != empty).any(axis=0)
    pixels = np.zeros((*there.shape, 4), np.uint8)
    for channel, band in enumerate(values.astype(float)):
        low, high = np.percentile(band[there], [2, 98]) if there.any() else (0, 1)
        pixels[..., channel] = np.clip((band - low) / max(high - low, 1e-9) * 255, 0, 255)
    pixels[..., 3] = 255 * there
    return {"name": chip.stem, "png": _png(pixels), "box": box}


def _png(pixels: np.ndarray) -> str:
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def rgb(color: str) -> tuple[int, int, int]:
    """Return red, green and blue, from 0 to 255, of `#rrggbb`."""
    digits = color.removeprefix("#")
    if len(digits) != 6 or set(digits) - set(string.hexdigits):
        raise ValueError(f"{color!r} is no colour; write #rrggbb.")
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def _page(title: str, data: dict[str, Any]) -> str:
    """Fill the template; what goes into the script cannot end it."""
    template = pkgutil.get_data(__package__, "map.html")
    assert template is not None
    text = template.decode()
    escapes = str.maketrans({letter: f"\\u{ord(letter):04x}" for letter in "<>&"})
    plain = json.dumps(data, separators=(",", ":")).translate(escapes)
    return text.replace("@@TITLE@@", html.escape(title)).replace("@@DATA@@", plain)
