"""A map of predictions as one HTML file: nothing outside is loaded, and it works from the disk."""

from __future__ import annotations

import base64
import colorsys
import html
import io
import itertools
import json
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay import files
from assay.papers.vision.geo.points import NO_LABEL
from assay.papers.vision.geo.predict import NO_CLASS, Predicted
from assay.papers.vision.geo.rasters import read_header, read_in_mercator, read_raster

VALUE_STEPS = 8
LARGEST_SIDE = 1024
"""Pixels of an overlay's longer side; larger rasters are thinned out."""


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
            if each.label is not None and each.label.exists():
                labels = _overlay(each.label, each.path.stem, NO_LABEL, steps)
                layers["labels"] += [labels] if labels else []
        if not layers["prediction"]:
            raise ValueError("no prediction has a CRS and a pixel, so that none has a place on a map.")
        names = self._names(layers) if steps is None else step_names(steps)
        palette = [_rgb(color) for color in self._palette(len(names))]
        data = {
            "layers": {name: items for name, items in layers.items() if items},
            "classes": [
                {"name": name, "color": list(color)} for name, color in zip(names, palette, strict=True)
            ],
        }
        path = Path(out) / "map.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(path, _page(self.title, data))
        return path

    def _names(self, layers: dict[str, list[dict[str, Any]]]) -> list[str]:
        seen = 1 + max(item["most"] for name in ("labels", "prediction") for item in layers[name])
        return [
            str(self.class_names[number]) if number < len(self.class_names) else f"class {number}"
            for number in range(max(seen, len(self.class_names)))
        ]

    def _palette(self, count: int) -> list[str]:
        if self.colors and len(self.colors) < count:
            raise ValueError(f"{len(self.colors)} colours are given for {count} classes.")
        return list(self.colors[:count]) if self.colors else distinct_colors(count)


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


def _rgb(color: str) -> tuple[int, int, int]:
    digits = color.removeprefix("#")
    if len(digits) != 6 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
        raise ValueError(f"{color!r} is no colour; write #rrggbb.")
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def _page(title: str, data: dict[str, Any]) -> str:
    """Fill the template; what goes into the script cannot end it."""
    template = pkgutil.get_data(__package__, "map.html")
    assert template is not None
    text = template.decode()
    plain = json.dumps(data, separators=(",", ":"))
    for letter in "<>&":
        plain = plain.replace(letter, f"\\u{ord(letter):04x}")
    return text.replace("@@TITLE@@", html.escape(title)).replace("@@DATA@@", plain)
