"""Labelled points: reading them from a table, checking them at the door, and naming their tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .geopackage import read_geopackage

if TYPE_CHECKING:
    import pandas as pd

Task = Literal["segmentation", "regression"]

NO_LABEL = -1
"""What a label map holds where there is no label."""


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

    x and y of a GeoPackage are those of its points, whatever columns it has.

    Dates without a time zone count as UTC, others are brought to UTC.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing; a coordinate is missing, or outside the globe; a date cannot be
            read; a label is no whole number from 0 to 32767 (segmentation), not finite, or the value that
            means no label. Says what was given, in which row, and what to do.
    """
    import pandas as pd

    columns = columns or Columns()
    if isinstance(source, pd.DataFrame):
        frame, name = source, "the table"
    elif Path(source).suffix.lower() == ".gpkg":
        frame, crs = read_geopackage(Path(source), columns.x, columns.y)
        name = Path(source).name
        columns = replace(columns, crs=columns.crs or crs)
    else:
        frame, name = _read(Path(source))
    for column in (columns.x, columns.y, columns.date, columns.label):
        if column not in frame.columns:
            close = get_close_matches(column, [str(each) for each in frame.columns], n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            listing = ", ".join(str(each) for each in frame.columns[:30])
            raise ValueError(f"{name} has no column {column!r}.{hint} Its columns: {listing}.")
    if not len(frame):
        raise ValueError(f"{name} has no rows.")
    longitude, latitude = _coordinates(frame, columns, name)
    return Points(longitude, latitude, _dates(frame[columns.date], name), _labels(frame[columns.label], task))


def _read(path: Path) -> tuple[pd.DataFrame, str]:
    import pandas as pd

    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    if path.suffix.lower() == ".parquet":
        return pd.read_parquet(path), path.name
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        try:
            return pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ","), path.name
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read as CSV: {error}") from None
    raise ValueError(f"{path} should be a .csv, .parquet or .gpkg file with a point in each row.")


def _coordinates(frame: pd.DataFrame, columns: Columns, name: str) -> tuple[np.ndarray, np.ndarray]:
    import pandas as pd
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError

    x, y = (
        pd.to_numeric(frame[column], errors="coerce").to_numpy(float) for column in (columns.x, columns.y)
    )
    bad = np.flatnonzero(~(np.isfinite(x) & np.isfinite(y)))
    if len(bad):
        row = frame.iloc[int(bad[0])]
        raise ValueError(
            f"{len(bad)} points have no number as a coordinate, first in row {bad[0] + 1}:"
            f" {row[columns.x]!r}, {row[columns.y]!r}. Correct or remove them."
        )
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


def _dates(values: pd.Series, name: str) -> np.ndarray:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values):
        values = values.astype("Int64").astype(str)  # 20220531
    dates = pd.to_datetime(values, errors="coerce", utc=True, format="mixed")
    bad = np.flatnonzero(dates.isna().to_numpy())
    if len(bad):
        raise ValueError(
            f"{len(bad)} dates of {name} cannot be read, first in row {bad[0] + 1}:"
            f" {str(values.iloc[int(bad[0])])[:40]!r}. Write them like 2022-05-31 or 2022-05-31T10:30+02:00."
        )
    seconds: np.ndarray = dates.dt.tz_convert(None).to_numpy().astype("datetime64[s]")
    return seconds


def _labels(values: pd.Series, task: Task) -> np.ndarray:
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce").to_numpy(float)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise ValueError(
            f"{len(bad)} labels are no numbers, first in row {bad[0] + 1}: {values.iloc[int(bad[0])]!r}."
            " Number the classes 0, 1, 2, ..."
        )
    collides = np.flatnonzero(numbers == NO_LABEL)
    if len(collides):
        raise ValueError(
            f"{len(collides)} labels are {NO_LABEL}, first in row {collides[0] + 1}: that means no label."
            " Use other values."
        )
    if task == "regression":
        return numbers.astype(np.float32)
    off = np.flatnonzero((numbers != np.round(numbers)) | (numbers < 0) | (numbers > 32767))
    if len(off):
        raise ValueError(
            f"{len(off)} labels are no class numbers from 0 to 32767, first in row {off[0] + 1}:"
            f" {numbers[off[0]]:g}. Number the classes 0, 1, 2, ...; measured values need regression."
        )
    return numbers.astype(np.int16)


def label_dtype(task: Task) -> Any:
    """Return the type of a label map: int16 for classes, float32 for values."""
    return np.int16 if task == "segmentation" else np.float32
