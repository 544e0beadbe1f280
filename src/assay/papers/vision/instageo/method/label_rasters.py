"""Label rasters: maps of classes or values with a date, which chips are cut for as they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .points import NO_LABEL, Task, label_dtype
from .scenes import TIFF, date_of


@dataclass(frozen=True)
class LabelRaster:
    """A GeoTIFF with one band of labels, and its date as datetime64[s] in UTC."""

    path: Path
    date: np.datetime64


def read_label_rasters(source: str | Path) -> list[LabelRaster]:
    """Find label rasters: a folder of GeoTIFFs, or a CSV file with the columns path and date.

    The date of a file in a folder is a tag or stands in its name, as with scenes. Paths in a CSV file count
    from its folder.

    Raises:
        FileNotFoundError: there is no such folder or file, or it names one that is not there.
        ValueError: there are none, a date is missing or cannot be read, or two rasters have one name.
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"There is no {source}.")
    found = _in_folder(source) if source.is_dir() else _in_table(source)
    if not found:
        raise ValueError(f"{source} names no label raster (.tif, .tiff).")
    names: set[str] = set()
    for raster in found:
        if raster.path.stem in names:
            raise ValueError(f"two label rasters are called {raster.path.stem}: chips are named by it.")
        names.add(raster.path.stem)
    return found


def _in_folder(folder: Path) -> list[LabelRaster]:
    import rasterio

    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in TIFF and not path.name.startswith("."):
            with rasterio.open(path) as file:
                when = date_of(path.stem, file.tags())
            found.append(LabelRaster(path, np.datetime64(when.replace(tzinfo=None), "s")))
    return found


def _in_table(path: Path) -> list[LabelRaster]:
    import pandas as pd

    if path.suffix.lower() != ".csv":
        raise ValueError(f"{path} should be a folder of GeoTIFFs, or a .csv file with path and date.")
    frame = pd.read_csv(path, dtype=str)
    missing = [name for name in ("path", "date") if name not in frame.columns]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}; it needs path and date.")
    dates = pd.to_datetime(frame["date"], errors="coerce", utc=True, format="mixed")
    found = []
    for row, (name, when) in enumerate(zip(frame["path"], dates, strict=True), start=1):
        if pd.isna(when) or pd.isna(name):
            raise ValueError(f"row {row} of {path} has no path, or no date like 2022-05-31.")
        raster = path.parent / name
        if not raster.exists():
            raise FileNotFoundError(f"There is no {raster}, which row {row} of {path} names.")
        found.append(LabelRaster(raster, np.datetime64(when.tz_localize(None), "s")))
    return found


def labelled_cells(path: Path, size: int, task: Task) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield column, row and labelled pixels [n, 2] of each cell of a raster, also of those it cuts off.

    Raises:
        ValueError: the raster has several bands, or labels that are none.
    """
    import rasterio

    with rasterio.open(path) as file:
        if file.count != 1:
            raise ValueError(f"{path} has {file.count} bands; labels have one.")
        for row in range(-(-file.height // size)):
            for column in range(-(-file.width // size)):
                pixels = np.argwhere(_read_cell(file, column, row, size, task, path) != NO_LABEL)
                if len(pixels):
                    yield column, row, pixels


def read_labels(path: Path, column: int, row: int, size: int, task: Task) -> np.ndarray:
    """Return the labels of one cell, -1 without one."""
    import rasterio

    with rasterio.open(path) as file:
        return _read_cell(file, column, row, size, task, path)


def _read_cell(file: Any, column: int, row: int, size: int, task: Task, path: Path) -> np.ndarray:
    from rasterio.windows import Window

    width = min(size, file.width - column * size)
    height = min(size, file.height - row * size)
    values = file.read(1, window=Window(column * size, row * size, width, height))
    empty = np.zeros(values.shape, bool) if file.nodata is None else values == file.nodata
    if values.dtype.kind == "f":
        empty |= np.isnan(values)
    if task == "segmentation":
        empty |= values == NO_LABEL
        labels = values[~empty].astype(np.float64)
        bad = labels[(labels != np.round(labels)) | (labels < 0) | (labels > 32767)]
        if len(bad):
            raise ValueError(
                f"{path} has the label {bad[0]:g}, which is no class number from 0 to 32767. Number the"
                " classes 0, 1, 2, ..., or set the file's no-data value to it; measured values need"
                " regression."
            )
    elif (values[~empty] == NO_LABEL).any():
        raise ValueError(
            f"{path} has the value {NO_LABEL}, which means no label. Set the file's no-data value."
        )
    return np.where(empty, NO_LABEL, values).astype(label_dtype(task))


def describe_rasters(rasters: Sequence[LabelRaster]) -> bytes:
    """Return what tells one set of rasters from another: names, dates and content."""
    import hashlib

    parts = []
    for raster in rasters:
        with raster.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        parts.append(f"{raster.path.stem} {raster.date} {digest}")
    return "\n".join(parts).encode()
