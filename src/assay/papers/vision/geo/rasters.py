"""Rasters that lie on the globe, such as GeoTIFFs: the only module of vision that opens them.

rasterio (GDAL) reads and writes these files; `assay.data` has no reader of them.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay.data import files_in

WARP_ERROR = 1e-6
"""Pixels by which a warped place may be off; GDAL accepts no 0."""
WEB_MERCATOR = 3857


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a raster lie. `crs` is `None` where that is not known."""

    crs: Any
    transform: Any
    height: int
    width: int

    @classmethod
    def in_file(cls, file: Any) -> Grid:
        """Return the grid of an open file."""
        return cls(file.crs, file.transform, file.height, file.width)

    @classmethod
    def of(cls, path: str | Path) -> Grid:
        """Read the grid of a file.

        Raises:
            ValueError: it has no CRS.
        """
        grid = read_header(path).grid
        if grid.crs is None:
            raise ValueError(
                f"{Path(path).name} has no coordinate reference system (CRS), so its pixels have no place."
                " Set one, such as with gdal_edit.py -a_srs EPSG:32636 FILE."
            )
        return grid

    def place(self, column: Any, row: Any) -> tuple[Any, Any]:
        """Return x and y of a position in pixels; arrays too."""
        return _apply(self.transform, column, row)

    def to_globe(self, columns: Any, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return longitudes [n], from -180 to 180, and latitudes of positions in pixels."""
        from rasterio.warp import transform

        x, y = self.place(np.atleast_1d(columns), np.atleast_1d(rows))
        longitude, latitude = (np.array(v) for v in transform(self.crs, 4326, x.tolist(), y.tolist()))
        return np.where(np.abs(longitude) > 180, (longitude + 180) % 360 - 180, longitude), latitude

    def outline(self) -> tuple[tuple[float, float], ...]:
        """Return (longitude, latitude) along the edges, in 20 steps each."""
        steps, full, none = np.arange(20) / 20, np.ones(20), np.zeros(20)
        across = np.concatenate([steps, full, 1 - steps, none]) * self.width
        down = np.concatenate([none, steps, full, 1 - steps]) * self.height
        longitude, latitude = self.to_globe(across, down)
        return tuple(zip(longitude.tolist(), latitude.tolist(), strict=True))

    def from_globe(self, longitude: np.ndarray, latitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return columns and rows of places, as whole numbers by floor."""
        from rasterio.warp import transform

        x, y = (np.asarray(v) for v in transform(4326, self.crs, longitude.tolist(), latitude.tolist()))
        if self.crs.is_geographic:  # a grid in degrees may go on beyond 180
            west = min(self.place(0, 0)[0], self.place(self.width, self.height)[0])
            x = west + (x - west) % 360
        columns, rows = _apply(~self.transform, x, y)
        return np.floor(columns).astype(int), np.floor(rows).astype(int)

    def cut(self, column: int, row: int, size: int) -> Grid:
        """Return the grid of a square whose top-left pixel is given."""
        a, b, _, d, e, _ = tuple(self.transform)[:6]
        x, y = self.place(column, row)
        return Grid(self.crs, type(self.transform)(a, b, x, d, e, y), size, size)


@dataclass(frozen=True)
class Header:
    """What a raster says of itself."""

    grid: Grid
    names: tuple[str | None, ...]
    tags: dict[str, str]
    dtype: str
    no_data: float | None


@contextlib.contextmanager
def open_raster(path: str | Path, grid: Grid | None = None, resampling: str = "nearest") -> Iterator[Any]:
    """Open a raster for reading, as rasterio does; with a grid, as if the raster lay on it.

    A raster on another grid is warped exactly, not by rasterio's approximation.
    """
    import rasterio

    with rasterio.open(path) as file:
        if grid is None or Grid.in_file(file) == grid:
            yield file
            return
        if file.crs is None:
            raise ValueError(f"{path} has no coordinate reference system (CRS). Set one.")
        with _warped(file, grid, 0, resampling, tolerance=WARP_ERROR) as warped:
            yield warped


def _warped(file: Any, grid: Grid, empty: Any, resampling: str = "nearest", **options: Any) -> Any:
    """Return an open raster as it is on another grid; `empty` marks no data where the file does not say."""
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    no_data = empty if file.nodata is None else file.nodata
    options |= {"crs": grid.crs, "transform": grid.transform, "width": grid.width, "height": grid.height}
    return WarpedVRT(file, src_nodata=no_data, nodata=no_data, resampling=Resampling[resampling], **options)


def tiffs_in(folder: str | Path) -> list[Path]:
    """Return the GeoTIFFs in a folder and its subfolders, by name."""
    return [path for path in files_in(Path(folder)) if path.suffix.lower() in (".tif", ".tiff")]


def read_header(path: str | Path) -> Header:
    """Read what a raster says of itself."""
    with open_raster(path) as file:
        names, tags = tuple(file.descriptions), dict(file.tags())
        return Header(Grid.in_file(file), names, tags, file.dtypes[0], file.nodata)


def read_raster(path: str | Path) -> np.ndarray:
    """Read all bands [bands, h, w]."""
    with open_raster(path) as file:
        values: np.ndarray = file.read()
        return values


def read_square(file: Any, indexes: Sequence[int], column: int, row: int, size: int) -> np.ndarray:
    """Read the part of a square [bands, h, w] that is inside an open raster."""
    from rasterio.windows import Window

    left, top = column * size, row * size
    window = Window(left, top, min(size, file.width - left), min(size, file.height - top))
    values: np.ndarray = file.read(list(indexes), window=window)
    return values


def write_raster(
    path: Path,
    values: np.ndarray,
    grid: Grid,
    no_data: float | int | None,
    bands: Sequence[str] = (),
    driver: str = "GTiff",
) -> None:
    """Write [bands, h, w] with the place of a grid, whole or not at all."""
    import rasterio

    count, height, width = values.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    options = {"driver": driver, "count": count, "height": height, "width": width, "dtype": values.dtype}
    options |= {"crs": grid.crs, "transform": grid.transform, "nodata": no_data}
    with rasterio.open(temporary, "w", **options, compress="deflate") as file:
        file.write(values)
        for number, name in enumerate(bands, start=1):
            file.set_band_description(number, name)
    os.replace(temporary, path)


def merge_rasters(paths: Sequence[Path], out: str | Path) -> list[Path]:
    """Merge rasters to one cloud-optimised GeoTIFF for each CRS: `merged_EPSG_32636.tif`."""
    from rasterio.merge import merge

    by_crs: dict[str, list[Path]] = {}
    for path in paths:
        crs = read_header(path).grid.crs
        if crs is not None:
            by_crs.setdefault(crs.to_string(), []).append(path)
    written = []
    for name, members in sorted(by_crs.items()):
        with _quiet_affine():
            values, transform = merge([str(path) for path in members])
        first = read_header(members[0])
        plain = "".join(letter if letter.isalnum() else "_" for letter in name)[:40]
        target = Path(out) / f"merged_{plain}.tif"
        grid = Grid(first.grid.crs, transform, *values.shape[1:])
        write_raster(target, values, grid, first.no_data, driver="COG")
        written.append(target)
    return written


def read_in_mercator(
    path: Path, indexes: Sequence[int], empty: float | int, largest: int
) -> tuple[np.ndarray, list[float]] | None:
    """Return bands in Web Mercator, thinned to `largest` pixels, and their box in metres.

    The box is [west, south, east, north]; a raster over 180 degrees goes on to the east of it. A raster
    without a CRS gives `None`.
    """
    from rasterio.warp import calculate_default_transform

    with _quiet_affine(), open_raster(path) as file:
        if file.crs is None:
            return None
        thin = max(1.0, max(file.shape) / largest)
        longitude, _ = Grid.in_file(file).to_globe(
            [0, file.width, file.width, 0], [0, 0, file.height, file.height]
        )
        over = longitude.max() - longitude.min() > 180
        mercator = "+proj=merc +a=6378137 +b=6378137 +lon_0=180 +units=m" if over else WEB_MERCATOR
        size = {"dst_width": round(file.width / thin), "dst_height": round(file.height / thin)}
        transform, width, height = calculate_default_transform(
            file.crs, mercator, file.width, file.height, *file.bounds, **size
        )
        with _warped(file, Grid(mercator, transform, height, width), empty) as warped:
            values = np.nan_to_num(warped.read(list(indexes)), nan=empty)
            west, south, east, north = (float(edge) for edge in warped.bounds)
    half = np.pi * 6378137 if over else 0.0
    return values, [west + half, south, east + half, north]


def _apply(transform: Any, column: Any, row: Any) -> tuple[Any, Any]:
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * column + b * row + c, d * column + e * row + f


@contextlib.contextmanager
def _quiet_affine() -> Iterator[None]:
    """Hide that rasterio multiplies transforms in a way that a newer affine warns about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        yield
