"""Labels: points in a table or a layer, and rasters with a date. They are checked where they come in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from assay.data import existing_file, hash_file, parse_dates, read_frame, read_rows
from assay.errors import nearest
from assay.papers.vision.geo.rasters import open_raster, read_header, read_square, tiffs_in
from assay.papers.vision.geo.scenes import date_of

if TYPE_CHECKING:
    import pandas as pd

Task = Literal["segmentation", "regression"]

NO_LABEL = -1
"""What a label map holds where there is no label."""
MOST_CLASSES = 32767
"""The largest class number that a label map holds."""


@dataclass(frozen=True)
class Points:
    """Where, when and what was observed: equally long arrays.

    `longitude` and `latitude` are degrees in WGS 84, `date` is datetime64[s] in UTC.
    """

    longitude: np.ndarray
    latitude: np.ndarray
    date: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: np.ndarray) -> Points:
        return Points(self.longitude[rows], self.latitude[rows], self.date[rows], self.label[rows])


@dataclass(frozen=True)
class Columns:
    """Names of a table's columns, and the CRS of its coordinates: a GeoPackage's own, or else WGS 84."""

    x: str = "x"
    y: str = "y"
    date: str = "date"
    label: str = "label"
    crs: str | None = None


def read_points(
    source: str | Path | pd.DataFrame, columns: Columns | None = None, task: Task = "segmentation"
) -> Points:
    """Read points from a CSV, Parquet or GeoPackage file or a data frame.

    x and y of a GeoPackage are those of its points, whatever columns it has. Dates without a time zone count
    as UTC, others are converted to UTC.

    Raises:
        ValueError: there is no such file; a column is missing; a coordinate is missing, or outside the
            globe; a date is ambiguous or in no ISO form; a label is no whole number from 0 to 32767
            (segmentation), not finite, or the value that means no label. Says what was given, in which row,
            and what to do.
    """
    import pandas as pd

    columns = columns or Columns()
    name = "the table" if isinstance(source, pd.DataFrame) else Path(source).name
    if isinstance(source, pd.DataFrame):
        frame = source
    elif Path(source).suffix.lower() == ".gpkg":
        frame, crs = _read_layer(existing_file(source), columns)
        columns = replace(columns, crs=columns.crs or crs)
    else:
        frame = read_frame(source)
    for column in (columns.x, columns.y, columns.date, columns.label):
        if column not in frame.columns:
            listed = [str(each) for each in frame.columns]
            raise ValueError(
                f"{name} has no column {column!r}.{nearest(column, listed)} Its columns: "
                f"{', '.join(listed[:30])}."
            )
    if not len(frame):
        raise ValueError(f"{name} has no rows.")
    longitude, latitude = _coordinates(frame, columns, name)
    date = frame[columns.date]
    if pd.api.types.is_numeric_dtype(date):
        date = date.astype("Int64").astype(str)  # 20220531
    dates = parse_dates(date, f"{name}: column {columns.date!r}")
    return Points(longitude, latitude, dates, _labels(frame[columns.label], task))


def _read_layer(path: Path, columns: Columns) -> tuple[pd.DataFrame, str]:
    """Return the one layer of points of a GeoPackage, with their places in x and y, and its CRS."""
    import pandas as pd
    import pyogrio
    import shapely

    try:
        layers = [str(name) for name, _ in pyogrio.list_layers(path)]
        if len(layers) != 1:
            raise ValueError(
                f"{path} should have one layer of points; its layers: {', '.join(layers) or 'none'}."
            )
        read: Any = pyogrio.raw.read(path, datetime_as_string=True)
    except pyogrio.errors.DataSourceError as error:
        raise ValueError(f"{path} cannot be read as a GeoPackage: {error}") from None
    described, _, shapes, values = read
    if not described["crs"]:
        raise ValueError(f"{path} has no coordinate reference system (CRS). Set one for its layer.")
    places = shapely.from_wkb(shapes if shapes is not None else [])
    single = (shapely.get_type_id(places) == 4) & (shapely.get_num_geometries(places) == 1)
    places = np.where(single, shapely.get_geometry(places, 0), places)  # of a MultiPoint with one point
    bad = np.flatnonzero((shapely.get_type_id(places) != 0) | shapely.is_empty(places))
    if len(bad):
        shape = places[bad[0]]
        what = "it has no geometry" if shape is None else f"it is {shape.wkt[:40]}"
        raise ValueError(
            f"row {bad[0] + 1} of {path} is no point: {what}. Remove {len(bad)} such rows, or export points."
        )
    frame = pd.DataFrame(dict(zip(described["fields"], values, strict=True)))
    frame[columns.x], frame[columns.y] = shapely.get_x(places), shapely.get_y(places)
    return frame, str(described["crs"])


def _coordinates(frame: pd.DataFrame, columns: Columns, name: str) -> tuple[np.ndarray, np.ndarray]:
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError

    x, y = (_numbers(frame[column]) for column in (columns.x, columns.y))
    given = frame[[columns.x, columns.y]].to_numpy().tolist()
    missing = ~(np.isfinite(x) & np.isfinite(y))
    _refuse(missing, given, "points have no number as a coordinate", "Correct or remove them.")
    try:
        crs = CRS.from_user_input(columns.crs or "EPSG:4326")
    except CRSError:
        raise ValueError(f"{columns.crs!r} is no coordinate reference system. Write EPSG:4326.") from None
    if not crs.equals(CRS.from_epsg(4326), ignore_axis_order=True):
        x, y = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    beyond = np.flatnonzero((np.abs(y) > 90) | (np.abs(x) > 360) | ~np.isfinite(x) | ~np.isfinite(y))
    if len(beyond):
        swapped = bool((np.abs(x) <= 90).all() and (np.abs(y) <= 360).all())
        hint = " Longitude and latitude seem to be swapped." if swapped else " Is their CRS another one?"
        raise ValueError(
            f"{len(beyond)} points of {name} lie beyond the globe, first in row {beyond[0] + 1}: longitude"
            f" {x[beyond[0]]:g}, latitude {y[beyond[0]]:g}.{hint} x is the longitude, y the latitude."
        )
    return np.where(np.abs(x) > 180, (x + 180) % 360 - 180, x), y


def _labels(values: pd.Series, task: Task) -> np.ndarray:
    numbers, how = _numbers(values), "Number the classes 0, 1, 2, ..."
    _refuse(~np.isfinite(numbers), values.tolist(), "labels are no numbers", how)
    _refuse(numbers == NO_LABEL, values.tolist(), "labels mean that there is no label", "Use other values.")
    if task == "regression":
        return numbers.astype(np.float32)
    what = f"labels are no class numbers from 0 to {MOST_CLASSES}"
    _refuse(not_classes(numbers), values.tolist(), what, f"{how}; measured values need regression.")
    return numbers.astype(np.int16)


def _refuse(bad: np.ndarray, values: list[Any], what: str, how: str) -> None:
    """Name the number of bad rows, the first of them with its value, and what to do."""
    rows = np.flatnonzero(bad)
    if len(rows):
        raise ValueError(f"{len(rows)} {what}, first in row {rows[0] + 1}: {values[rows[0]]!r}. {how}")


def _numbers(values: pd.Series) -> np.ndarray:
    import pandas as pd

    found: np.ndarray = pd.to_numeric(values, errors="coerce").to_numpy(float, na_value=np.nan)
    return found


def not_classes(values: np.ndarray) -> np.ndarray:
    """Return which values are no class numbers."""
    found: np.ndarray = (values != np.round(values)) | (values < 0) | (values > MOST_CLASSES)
    return found


def label_dtype(task: Task) -> Any:
    """Return the type of a label map: int16 for classes, float32 for values."""
    return np.int16 if task == "segmentation" else np.float32


# --- rasters ------------------------------------------------------------------------------------


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
