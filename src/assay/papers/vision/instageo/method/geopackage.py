"""Points of a GeoPackage: a SQLite file with a documented geometry (OGC 12-128)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

ENVELOPES = (0, 32, 48, 48, 64)
"""Bytes of the envelope by the number in the flags."""


def read_geopackage(path: Path, x: str = "x", y: str = "y") -> tuple[pd.DataFrame, str]:
    """Return the one layer of points, with their places in the columns `x` and `y`, and its CRS.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no GeoPackage, has not exactly one layer, the layer has no CRS, or something in
            it is no point.
    """
    import pandas as pd

    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as file:
            layers = file.execute(
                "SELECT table_name, column_name, srs_id FROM gpkg_geometry_columns ORDER BY table_name"
            ).fetchall()
            if len(layers) != 1:
                names = ", ".join(str(name) for name, *_ in layers) or "none"
                raise ValueError(f"{path} should have one layer of points; its layers: {names}. Export one.")
            layer, geometry, reference = layers[0]
            crs = _reference(file, reference, path)
            frame = pd.read_sql_query(f"SELECT * FROM {_quoted(layer)}", file)
    except (sqlite3.DatabaseError, pd.errors.DatabaseError) as error:
        raise ValueError(f"{path} cannot be read as a GeoPackage: {error}") from None
    places = [point_of(blob, row, path) for row, blob in enumerate(frame.pop(geometry), start=1)]
    xy = np.array(places, float).reshape(-1, 2)
    return frame.assign(**{x: xy[:, 0], y: xy[:, 1]}), crs


def point_of(blob: bytes | None, row: int, path: Path) -> tuple[float, float]:
    """Return x and y of a geometry: GP, version, flags, number of the CRS, envelope, then WKB."""
    import shapely

    try:
        if blob is None or blob[:2] != b"GP":
            raise ValueError("it has no geometry")
        start = 8 + ENVELOPES[blob[3] >> 1 & 7]
        shape = shapely.from_wkb(blob[start:])
        if shape.geom_type == "MultiPoint" and len(shape.geoms) == 1:
            shape = shape.geoms[0]
        if shape.geom_type != "Point" or shape.is_empty:
            raise ValueError(f"it is a {shape.geom_type}{' without a place' if shape.is_empty else ''}")
    except (ValueError, IndexError, shapely.errors.GEOSException) as error:
        raise ValueError(f"row {row} of {path} is no point: {error}. Remove it, or export points.") from None
    return shape.x, shape.y


def _reference(file: sqlite3.Connection, number: int, path: Path) -> str:
    """Return the CRS of a layer as `EPSG:32636`, or its definition."""
    found = file.execute(
        "SELECT organization, organization_coordsys_id, definition FROM gpkg_spatial_ref_sys"
        " WHERE srs_id = ?",
        (number,),
    ).fetchone()
    if number in (-1, 0) or found is None:
        raise ValueError(f"{path} has no coordinate reference system (CRS). Give its layer one.")
    organization, code, definition = found
    return f"EPSG:{code}" if str(organization).upper() == "EPSG" else str(definition)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
