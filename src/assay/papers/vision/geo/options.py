"""Options for data on the globe: points, label rasters, scenes, chips. Importing this loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from assay import files
from assay.bounds import PositiveInt
from assay.data import hash_file, hash_folder
from assay.errors import InputError


@dataclass(frozen=True)
class PointTable:
    """Labelled points in a table, or none. `--points FILE` is short for `--points.source FILE`."""

    source: str | None = None
    """FILE.csv, FILE.parquet or FILE.gpkg with a point in each row. By default a small synthetic region."""
    x: str | None = None
    """Column with the longitude, or the easting of `crs`. By default x."""
    y: str | None = None
    """Column with the latitude, or the northing of `crs`. By default y."""
    date: str | None = None
    """Column with the date; one without a time zone is UTC. By default date."""
    label: str | None = None
    """Column with the class from 0, or the value for regression. By default label."""
    crs: str | None = None
    """Coordinate reference system of x and y. By default that of a GeoPackage, else EPSG:4326."""

    def fingerprint(self) -> str:
        """Identify the points by their content."""
        return "synthetic" if self.source is None else hash_file(files.user_path(self.source))


@dataclass(frozen=True)
class LabelRasters:
    """Maps of labels, or none. `--label-rasters SOURCE` is short for `--label-rasters.source SOURCE`."""

    source: str | None = None
    """folder:DIR of GeoTIFFs with the date as a tag or in the name, or FILE.csv with the columns path and
    date."""

    def __post_init__(self) -> None:
        if self.source is not None and not (
            self.source.startswith("folder:") or self.source.lower().endswith(".csv")
        ):
            raise InputError(
                f"{self.source!r} names no label rasters: write folder:DIR, or FILE.csv with the"
                " columns path and date."
            )

    @property
    def path(self) -> Path:
        """The folder or table."""
        return files.user_path((self.source or "").removeprefix("folder:"))

    def fingerprint(self) -> str:
        """Identify the rasters by their content; those of a table by the table."""
        if self.source is None:
            return "none"
        return hash_folder(self.path) if self.path.is_dir() else hash_file(self.path)


@dataclass(frozen=True)
class Imagery:
    """Where the scenes are. `--imagery SOURCE` is short for `--imagery.source SOURCE`."""

    source: str | None = None
    """folder:DIR of GeoTIFFs, stac:CATALOG.json (or its folder), or the https:// address of a STAC API."""
    bands: tuple[str, ...] | None = None
    """Names of the bands to stack, in the order blue, green, red, near infrared, short-wave infrared 1 and 2.
    By default those of HLS, Sentinel-2 or Landsat, as found."""
    collections: tuple[str, ...] | None = None
    """Collections of a STAC API to search. By default all."""

    def __post_init__(self) -> None:
        if self.source is not None and self.kind not in ("folder", "stac", "http", "https"):
            raise InputError(
                f"{self.source!r} does not say what the scenes are: write folder:DIR, stac:CATALOG.json or"
                " https://HOST/stac."
            )

    @property
    def kind(self) -> str:
        """What stands before the colon."""
        return (self.source or "").partition(":")[0]

    @property
    def path(self) -> Path:
        """The folder or file."""
        return files.user_path((self.source or "").partition(":")[2])

    def fingerprint(self) -> str:
        """Identify the scenes by their content; a server by its address."""
        if self.source is None:
            return "synthetic"
        if self.kind in ("http", "https"):
            return self.source.rpartition("@")[2].partition("?")[0]
        return hash_folder(self.path if self.path.is_dir() else self.path.parent)


@dataclass(frozen=True)
class Chips:
    """Chips with label maps, or none. `--chips DIR` is short for `--chips.source DIR`."""

    source: str | None = None
    """Folder that `assay run instageo chips` wrote, or one in a published layout (pairs *_merged.tif and
    *.mask.tif, or *_S2Hand.tif and *_LabelHand.tif), or hub:NAME of such a data set. By default synthetic
    landscapes."""
    num_steps: PositiveInt | None = None
    """Dates of a chip. By default as written with the chips, else 1."""
    label_shift: int | None = None
    """Added to labels: -1 where 0 means no label. By default 0."""
    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of their numbers. By default their numbers."""

    def fingerprint(self) -> str:
        """Identify the chips by their content; a data set on the hub by its name."""
        if self.source is None:
            return "synthetic"
        if self.source.startswith("hub:"):
            return self.source
        return hash_folder(files.user_path(self.source))
