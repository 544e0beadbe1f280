"""Label rasters: maps of classes or values with a date; chips are cut on their grids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay.data import existing_file, hash_file, parse_dates, read_rows
from assay.papers.vision.geo.points import MOST_CLASSES, NO_LABEL, Task, label_dtype, not_classes
from assay.papers.vision.geo.rasters import open_raster, read_header, read_square, tiffs_in
from assay.papers.vision.geo.scenes import date_of


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
        ValueError: there is no such folder or file, it names none, a date is missing or cannot be read, or
            two rasters have one name.
    """
    source = Path(source)
    found = _in_folder(source) if source.is_dir() else _in_table(existing_file(source, (".csv",)))
    if not found:
        raise ValueError(f"{source} names no label raster (.tif, .tiff).")
    names = [raster.path.stem for raster in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"two label rasters are called {twice}: chips are named by it.")
    return found


def _in_folder(folder: Path) -> list[LabelRaster]:
    dated = [(path, date_of(path.stem, read_header(path).tags)) for path in tiffs_in(folder)]
    return [LabelRaster(path, np.datetime64(date.replace(tzinfo=None), "s")) for path, date in dated]


def _in_table(path: Path) -> list[LabelRaster]:
    rows = read_rows(path)
    rows.require("path", "date")
    dates = parse_dates([row["date"] for _, row in rows], f"{path.name}: column 'date'")
    files = [existing_file(path.parent / row["path"]) for _, row in rows]
    return [LabelRaster(file, date) for file, date in zip(files, dates, strict=True)]


def labelled_cells(path: Path, size: int, task: Task) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield column, row and labelled pixels [n, 2] of each cell of a raster, also of those it cuts off.

    Raises:
        ValueError: the raster has several bands, or labels that are none.
    """
    with open_raster(path) as file:
        if file.count != 1:
            raise ValueError(f"{path} has {file.count} bands; labels have one.")
        for row in range(-(-file.height // size)):
            for column in range(-(-file.width // size)):
                pixels = np.argwhere(_read_cell(file, column, row, size, task) != NO_LABEL)
                if len(pixels):
                    yield column, row, pixels


def read_labels(path: Path, column: int, row: int, size: int, task: Task) -> np.ndarray:
    """Return the labels of one cell, -1 without one."""
    with open_raster(path) as file:
        return _read_cell(file, column, row, size, task)


def _read_cell(file: Any, column: int, row: int, size: int, task: Task) -> np.ndarray:
    values = read_square(file, (1,), column, row, size)[0]
    empty = np.zeros(values.shape, bool) if file.nodata is None else values == file.nodata
    if values.dtype.kind == "f":
        empty |= np.isnan(values)
    if task == "segmentation":
        empty |= values == NO_LABEL
        labels = values[~empty].astype(np.float64)
        bad = labels[not_classes(labels)]
        if len(bad):
            raise ValueError(
                f"{file.name} has the label {bad[0]:g}, which is no class number from 0 to {MOST_CLASSES}."
                " Number the classes 0, 1, 2, ..., or set the file's no-data value to it; measured values"
                " need regression."
            )
    elif (values[~empty] == NO_LABEL).any():
        raise ValueError(
            f"{file.name} has the value {NO_LABEL}, which means no label. Set the file's no-data value."
        )
    return np.where(empty, NO_LABEL, values).astype(label_dtype(task))


def describe_rasters(rasters: Sequence[LabelRaster]) -> bytes:
    """Return what tells one set of rasters from another: names, dates and content."""
    lines = (f"{raster.path.stem} {raster.date} {hash_file(raster.path)}" for raster in rasters)
    return "\n".join(lines).encode()
