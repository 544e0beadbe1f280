"""A small synthetic region as raw data on disk: scenes of two tiles in two zones, STAC items and points.

`cut_oracle` cuts the chips of its points out of the arrays in memory, with numpy alone: an independent
way to the same result, which the files never went through.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pystac
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS

from assay import files
from assay.papers.vision.geo.rasters import Grid, write_raster
from assay.papers.vision.geo.scenes import BANDS
from assay.papers.vision.instageo.synthetic.landscapes import Part, Terrain, make_landscape

PIXEL = 30.0
ZONES = (32636, 32637)
ORIGIN = (786_000.0, 3_330_000.0)
"""Top left of the first tile in its zone, close to the border of the two zones at 36 degrees east."""
DATES = ("2022-04-03", "2022-05-03", "2022-06-02")
LAG = timedelta(days=2)
"""How much later the second tile is seen."""


@dataclass(frozen=True)
class Tile:
    """A tile in memory. `values` is uint16 [dates, bands, h, w], newest date last."""

    name: str
    epsg: int
    left: float
    top: float
    values: np.ndarray
    clouds: np.ndarray
    classes: np.ndarray
    times: tuple[datetime, ...]

    @property
    def size(self) -> int:
        """Pixels of each side."""
        return len(self.classes)

    @functools.cached_property
    def covers(self) -> tuple[float, ...]:
        """The clouds of each date, in percent."""
        return tuple(round(100 * float(cloudy.mean()), 3) for cloudy in self.clouds)


@dataclass(frozen=True)
class Region:
    """Two tiles and labelled points: columns longitude, latitude, days since 1970, class."""

    tiles: tuple[Tile, ...]
    points: np.ndarray


def make_region(
    size: int, points: int, random: np.random.Generator, part: Part, parcel: float = 24.0
) -> Region:
    """Draw a landscape, see it in two tiles, and draw points on it and a few beside it."""
    width = round(1.7 * size)
    landscape = make_landscape((size, width), part, random, Terrain(parcel, cloud_share=0.06))
    left, top = ORIGIN
    times = tuple(datetime.fromisoformat(day).replace(hour=8, tzinfo=UTC) for day in DATES)
    values, clouds, classes = landscape.reflectance, landscape.clouds, landscape.classes
    west = np.s_[..., :size]
    first = Tile("T36AAA", ZONES[0], left, top, values[west], clouds[west], classes[west], times)
    to_second = Transformer.from_crs(ZONES[0], ZONES[1], always_xy=True)
    corner = to_second.transform(left + 0.72 * size * PIXEL, top)
    x, y = (float(np.round(value / PIXEL) * PIXEL) for value in corner)
    rows, columns, inside = _locate(ZONES[1], (x, y), size, ZONES[0], (left, top), (size, width))
    seen = np.where(inside, values[..., rows, columns], 0).astype(np.uint16)
    cloudy = clouds[..., rows, columns] & inside
    there = np.where(inside, classes[rows, columns], -1)
    second = Tile("T37AAA", ZONES[1], x, y, seen, cloudy, there, tuple(time + LAG for time in times))
    east = left + random.uniform(-0.05, 1.75, points) * size * PIXEL
    north = top - random.uniform(-0.05, 1.05, points) * size * PIXEL
    longitude, latitude = Transformer.from_crs(ZONES[0], 4326, always_xy=True).transform(east, north)
    row, column = np.floor((top - north) / PIXEL).astype(int), np.floor((east - left) / PIXEL).astype(int)
    known = classes[np.clip(row, 0, size - 1), np.clip(column, 0, width - 1)]
    day = random.choice([19_147, 19_150, 19_153], size=points)  # around 2022-06-06
    return Region((first, second), np.column_stack([longitude, latitude, day, known]))


def _locate(
    epsg: int, corner: Any, size: int, to_epsg: int, to_corner: Any, to_shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the row and column of another grid at each pixel of one, and whether it has one there."""
    middle = (np.arange(size) + 0.5) * PIXEL
    x, y = np.meshgrid(corner[0] + middle, corner[1] - middle)
    east, north = Transformer.from_crs(epsg, to_epsg, always_xy=True).transform(x, y)
    rows = np.floor((to_corner[1] - north) / PIXEL).astype(int)
    columns = np.floor((east - to_corner[0]) / PIXEL).astype(int)
    inside = (rows >= 0) & (rows < to_shape[0]) & (columns >= 0) & (columns < to_shape[1])
    return np.clip(rows, 0, to_shape[0] - 1), np.clip(columns, 0, to_shape[1] - 1), inside


# --- on disk ------------------------------------------------------------------------------------


def write_region(region: Region, folder: Path) -> Path:
    """Write GeoTIFFs (cloud-optimised), a STAC catalogue and `points.csv`; return the catalogue."""
    catalog = pystac.Catalog("region", "A synthetic region", href=str(folder / "catalog.json"))
    for tile in region.tiles:
        place = Affine(PIXEL, 0, tile.left, 0, -PIXEL, tile.top)
        grid = Grid(CRS.from_epsg(tile.epsg), place, tile.size, tile.size)
        corners = grid.outline()
        footprint = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
        for time, cover, values, cloudy in zip(
            tile.times, tile.covers, tile.values, tile.clouds, strict=True
        ):
            name = f"{tile.name}_{time:%Y%m%d}"
            item = pystac.Item(name, footprint, None, time, {"eo:cloud_cover": cover})
            layers = dict(zip(BANDS, values, strict=True)) | {"Fmask": cloudy.astype(np.uint8) << 1}
            for band, layer in layers.items():
                path = folder / name / f"{name}_{band}.tif"
                write_raster(path, layer[None], grid, 255 if band == "Fmask" else 0, driver="COG")
                item.add_asset(band, pystac.Asset(f"./{path.name}", media_type="image/tiff"))
            catalog.add_item(item)
    catalog.normalize_hrefs(str(folder))
    catalog.save(pystac.CatalogType.SELF_CONTAINED)
    lines = [
        f"{x!r},{y!r},{np.datetime64(int(day), 'D')},{int(label)}"
        for x, y, day, label in region.points.tolist()
    ]
    files.write_atomic(folder / "points.csv", "\n".join(["x,y,date,label", *lines]) + "\n")
    return folder / "catalog.json"


# --- the independent way ------------------------------------------------------------------------


def cut_oracle(
    region: Region, chip_size: int, steps: int, cloud_coverage: float, tolerance: float = 5.0
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], dict[str, int]]:
    """Cut the chips of a region's points, point by point: masks `each`, no window, from the month's start.

    Returns:
        Chips uint16 [steps * bands, h, w] with label maps int16 [h, w] by name, and counts of points.
    """
    counts = dict.fromkeys(("in_a_scene", "with_all_steps", "in_a_whole_chip", "not_cloudy"), 0)
    wanted: dict[tuple[Any, ...], list[tuple[int, int, int]]] = {}
    for longitude, latitude, day, label in region.points.tolist():
        pixels = [_pixel(tile, longitude, latitude) for tile in region.tiles]
        inside = [
            0 <= row < tile.size and 0 <= column < tile.size
            for tile, (row, column) in zip(region.tiles, pixels, strict=True)
        ]
        usable = [min(tile.covers) <= cloud_coverage for tile in region.tiles]
        counts["in_a_scene"] += any(a and b for a, b in zip(inside, usable, strict=True))
        granules = _granules(region, inside, int(day), steps, cloud_coverage, tolerance)
        if None in granules or len(set(granules)) < steps:
            continue
        counts["with_all_steps"] += 1
        tile = granules[0][0]
        row, column = pixels[tile]
        whole = region.tiles[tile].size // chip_size * chip_size
        if row < whole and column < whole:
            counts["in_a_whole_chip"] += 1
            key = (tuple(granules), row // chip_size, column // chip_size)
            wanted.setdefault(key, []).append((row % chip_size, column % chip_size, int(label)))
    chips = {}
    for (granules, row, column), labels in wanted.items():
        chip = _cut_one(region, granules, row, column, chip_size)
        painted = np.full((chip_size, chip_size), -1, np.int16)
        for y, x, label in labels:
            painted[y, x] = label
        painted[(chip == 0).all(axis=0)] = -1
        counts["not_cloudy"] += sum(int(painted[y, x]) != -1 for y, x, _ in labels)
        if (painted != -1).any():
            newest = region.tiles[granules[0][0]]
            name = f"{newest.times[granules[0][1]]:%Y%m%d}/{granules}/{column}_{row}"
            chips[name] = (chip, painted)
    return chips, counts


def _pixel(tile: Tile, longitude: float, latitude: float) -> tuple[int, int]:
    east, north = _from_globe(tile.epsg).transform(longitude, latitude)
    return int(np.floor((tile.top - north) / PIXEL)), int(np.floor((east - tile.left) / PIXEL))


@functools.cache
def _from_globe(epsg: int) -> Any:
    return Transformer.from_crs(4326, epsg, always_xy=True)


def _granules(
    region: Region, inside: list[bool], day: int, steps: int, cloud_coverage: float, tolerance: float
) -> list[Any]:
    """Return (tile, number of the date) of each step, newest first, or `None`."""
    date = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)
    start = date.replace(day=1) if steps > 1 else date
    found: list[Any] = []
    for step in range(steps):
        query = start - timedelta(days=30 * step)
        near = [
            (tile.covers[number], abs(time - query), tile.name, (index, number))
            for index, tile in enumerate(region.tiles)
            for number, time in enumerate(tile.times)
            if inside[index]
            and abs(time - query) <= timedelta(days=tolerance)
            and tile.covers[number] <= cloud_coverage
        ]
        found.append(min(near)[-1] if near else None)
    return found


def _cut_one(region: Region, granules: tuple[Any, ...], row: int, column: int, size: int) -> np.ndarray:
    """Return one chip on the grid of the newest granule's tile, clouds blanked date by date."""
    base = region.tiles[granules[0][0]]
    corner = (base.left + column * size * PIXEL, base.top - row * size * PIXEL)
    layers = []
    for index, number in granules:
        tile = region.tiles[index]
        shape = (tile.size, tile.size)
        rows, columns, inside = _locate(base.epsg, corner, size, tile.epsg, (tile.left, tile.top), shape)
        seen = inside & ~tile.clouds[number][rows, columns]
        layers.append(np.where(seen, tile.values[number][:, rows, columns], 0))
    return np.concatenate(layers).astype(np.uint16)


def fully_labelled(region: Region, chip_size: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return every chip of the first tile, newest date first, with its whole truth."""
    tile = region.tiles[0]
    chips, labels = [], []
    granules = tuple((0, len(tile.times) - 1 - step) for step in range(steps))
    for row in range(tile.size // chip_size):
        for column in range(tile.size // chip_size):
            chip = _cut_one(region, granules, row, column, chip_size)
            at = np.s_[row * chip_size : (row + 1) * chip_size, column * chip_size : (column + 1) * chip_size]
            chips.append(chip)
            labels.append(np.where((chip == 0).all(axis=0), -1, tile.classes[at]))
    return np.stack(chips), np.stack(labels)
