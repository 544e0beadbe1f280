"""Labelled points: read from a table or a layer, and checked where they come in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from assay.data import existing_file, parse_dates, read_frame
from assay.errors import nearest

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
