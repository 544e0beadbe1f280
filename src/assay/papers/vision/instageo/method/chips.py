"""Chips for a model out of raw scenes and labelled points."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .dataset import ChipDataset
from .label_rasters import LabelRaster, describe_rasters, labelled_cells, read_label_rasters, read_labels
from .masks import MaskType, Strategy, blank, observed, quality_mask
from .observations import Funnel, Group, TimeSteps, contains, group_observations
from .points import NO_LABEL, Points, Task, label_dtype, read_points
from .scenes import BandFile, Scene, SceneCatalog, SceneList

if TYPE_CHECKING:
    import pandas as pd

WARP_ERROR = 1e-6
"""Pixels by which a warped place may be off; GDAL takes no 0."""
CELLS_AT_ONCE = 32
"""Chips of a granule set that are read together: bounds the memory."""


MOST = 65535
"""The largest value of a chip's type, uint16."""
MOST_REFLECTANCE = 10_000
"""What the values of chips for label rasters are clipped to."""


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a scene lie."""

    crs: Any
    transform: Any
    height: int
    width: int

    @classmethod
    def of(cls, path: str) -> Grid:
        """Read the grid of a file.

        Raises:
            ValueError: it has no CRS.
        """
        import rasterio

        with rasterio.open(path) as file:
            if file.crs is None:
                raise ValueError(f"{path} has no coordinate reference system (CRS). Give it one.")
            return cls(file.crs, file.transform, file.height, file.width)


@dataclass(frozen=True)
class Cell:
    """One chip to be: its place in the grid of cells, the points in it (rows) and their pixels in it."""

    column: int
    row: int
    points: np.ndarray
    pixels: np.ndarray


@dataclass(frozen=True)
class Job:
    """Named cells on one grid, what gives their labels, and what their values are clipped to."""

    grid: Grid
    cells: Sequence[tuple[Cell, str]]
    labels: Callable[[Cell], np.ndarray]
    most: int = MOST


@dataclass(frozen=True)
class ChipCreator:
    """Cuts chips and label maps out of scenes, where and when there are labelled points.

    The cells of a chip lie on a grid from the top-left corner of the newest scene; scenes on another grid
    are warped to it. Observations with the same granules are cut together, so that each file of a set is
    opened once; files are read by a pool of threads. Band t * B + b of a chip is band b at step t.

    Args:
        source: finds scenes.
        chip_size: pixels of each side.
        num_steps: dates of an observation.
        temporal_step: days between two dates.
        temporal_tolerance: days that a scene may be off.
        shift_to_month_start: with several dates, count from the first of the observation's month.
        mask_types: what is blanked, by the scenes' Fmask or SCL.
        masking_strategy: `each` blanks the step that is masked, `any` all steps.
        window_size: each label also fills so many pixels around its own.
        min_count: tiles of 100 km with fewer points are left out.
        cloud_coverage: scenes with more, in percent, are left out.
        task: whether labels are classes (int16) or values (float32).
        dtype: what chips hold: `uint16` (rounded, clipped), or `float32` as measured, for radar.
        no_data: what a chip holds where there is nothing; the original has -1 for Sentinel-1.
        scale: is multiplied with what the files hold: 10000 for reflectance in [0, 1].
        resampling: of scenes on another grid: `nearest`, `bilinear` or `cubic`.
        workers: threads.
    """

    source: SceneCatalog
    chip_size: int = 256
    num_steps: int = 3
    temporal_step: int = 30
    temporal_tolerance: float = 5.0
    shift_to_month_start: bool = True
    mask_types: tuple[MaskType, ...] = ()
    masking_strategy: Strategy = "each"
    window_size: int = 0
    min_count: int = 1
    cloud_coverage: float = 10.0
    task: Task = "segmentation"
    dtype: Literal["uint16", "float32"] = "uint16"
    no_data: int = 0
    scale: float = 1.0
    resampling: str = "nearest"
    workers: int = 4
    notes: list[str] = field(default_factory=list, compare=False)

    def __post_init__(self) -> None:
        for name, least in (("chip_size", 1), ("window_size", 0), ("min_count", 1), ("workers", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}.")
        if self.dtype == "uint16" and not 0 <= self.no_data <= 65535:
            raise ValueError(f"no_data must be a value of uint16, from 0 to 65535, not {self.no_data}.")

    def create(self, points: Points | pd.DataFrame | str | Path, out: str | Path) -> ChipDataset:
        """Write `chips/*.tif`, `seg_maps/*.tif`, `chips.csv` and `chips.json`, and return them as a data set.

        Chips that are there already are kept, so that a stopped run goes on where it was.

        Raises:
            ValueError: points or scenes cannot be used, `out` holds chips of other points or settings, or
                not one chip could be made; the message has the funnel of counts.
        """
        given = points if isinstance(points, Points) else read_points(points, task=self.task)
        folder = Path(out)
        names = ("longitude", "latitude", "date", "label")
        self._claim(folder, b"".join(np.ascontiguousarray(getattr(given, name)).tobytes() for name in names))
        taken: set[str] = set()

        def jobs(group: Group, funnel: Funnel) -> Iterator[Job]:
            grid = Grid.of(next(iter(group.scenes[0].bands.values())).path)
            cells = list(self._cells(group, given, grid, funnel))
            named = [(cell, _unique(_name(group, cell), group, taken)) for cell in cells]
            yield Job(grid, named, lambda cell: self._paint(given.label[cell.points], cell))

        return self._create(given, folder, jobs)

    def create_from_rasters(
        self, rasters: Sequence[LabelRaster] | str | Path, out: str | Path
    ) -> ChipDataset:
        """Write chips for label rasters: on the grid of each raster, and with its labels.

        Cells lie on a grid from a raster's top-left corner; scenes are warped to the raster's CRS and
        resolution, and clipped to [0, 10000]. A cell takes the scenes whose footprints hold its middle.
        The funnel counts labelled pixels instead of points. See `create` for what is written.

        Args:
            rasters: or a folder of GeoTIFFs or a CSV file, see `read_label_rasters`.
            out: where chips are written.

        Raises:
            ValueError: rasters or scenes cannot be used, `out` holds other chips, or not one chip could be
                made; the message has the funnel of counts.
        """
        read = read_label_rasters(rasters) if isinstance(rasters, str | Path) else list(rasters)
        folder = Path(out)
        self._claim(folder, describe_rasters(read))
        grids = [Grid.of(str(raster.path)) for raster in read]
        cells: list[tuple[int, Cell]] = []
        for number, raster in enumerate(read):
            grid = grids[number]
            if min(grid.width, grid.height) < self.chip_size:
                self.notes.append(
                    f"{raster.path.name} has {grid.width} x {grid.height} pixels, less than a chip of"
                    f" {self.chip_size}; its labels are lost."
                )
            for column, row, pixels in labelled_cells(raster.path, self.chip_size, self.task):
                rows = np.full(len(pixels), len(cells))
                cells.append((number, Cell(column, row, rows, pixels)))
        if not cells:
            raise ValueError(f"none of {len(read)} label rasters has a label: all pixels are no data.")
        middles = self._middles(cells, grids, [raster.date for raster in read])

        def jobs(group: Group, funnel: Funnel) -> Iterator[Job]:
            for number, grid in enumerate(grids):
                raster = read[number]
                named = []
                for row in group.rows:
                    owner, cell = cells[row]
                    if owner == number and _is_whole(cell, grid, self.chip_size):
                        funnel.in_a_whole_chip += len(cell.pixels)
                        named.append((cell, _name(group, cell, f"_{raster.path.stem}")))
                if named:
                    yield Job(grid, named, self._reader(raster), MOST_REFLECTANCE)

        weights = np.array([len(cell.pixels) for _, cell in cells])
        return self._create(middles, folder, jobs, weights)

    def _create(
        self,
        points: Points,
        folder: Path,
        jobs: Callable[[Group, Funnel], Iterable[Job]],
        weights: np.ndarray | None = None,
    ) -> ChipDataset:
        """Match points with scenes, and cut what each set of granules has to give."""
        steps = TimeSteps(
            self.num_steps, self.temporal_step, self.temporal_tolerance, self.shift_to_month_start
        )
        groups, funnel = group_observations(
            points, self.source, steps, self.min_count, self.cloud_coverage, weights
        )
        self._check_masks(groups)
        rows = []
        with ThreadPoolExecutor(self.workers) as pool:
            for group in groups:
                for job in jobs(group, funnel):
                    rows += self._cut(group, job, folder, funnel, pool)
        self.notes.extend(note for note in self.source.notes if note not in self.notes)
        funnel.chips = len(rows)
        if not rows:
            raise ValueError(self._nothing(points, funnel, steps))
        return self._finish(folder, rows, funnel, groups)

    def _paint(self, labels: np.ndarray, cell: Cell) -> np.ndarray:
        return paint_labels(labels, cell.pixels, self.chip_size, self.window_size, label_dtype(self.task))

    def _reader(self, raster: LabelRaster) -> Callable[[Cell], np.ndarray]:
        return lambda cell: read_labels(raster.path, cell.column, cell.row, self.chip_size, self.task)

    def _middles(
        self, cells: Sequence[tuple[int, Cell]], grids: Sequence[Grid], dates: Sequence[np.datetime64]
    ) -> Points:
        """Return the middle of each cell of label rasters, inside its raster, as a point."""
        from rasterio.warp import transform

        places = []
        for number, cell in cells:
            grid, size = grids[number], self.chip_size
            column = (cell.column * size + min(grid.width, (cell.column + 1) * size)) / 2
            row = (cell.row * size + min(grid.height, (cell.row + 1) * size)) / 2
            x, y = apply_affine(grid.transform, column, row)
            (longitude,), (latitude,) = transform(grid.crs, 4326, [x], [y])
            places.append((longitude, latitude))
        longitudes, latitudes = np.array(places).T
        when = np.array([dates[number] for number, _ in cells], "datetime64[s]")
        return Points(longitudes, latitudes, when, np.zeros(len(cells), label_dtype(self.task)))

    # --- one set of granules --------------------------------------------------------------------

    def _cut(
        self, group: Group, job: Job, folder: Path, funnel: Funnel, pool: ThreadPoolExecutor
    ) -> list[dict[str, Any]]:
        """Write the chips of one granule set on one grid; return what the listing says of them."""
        rows: list[dict[str, Any]] = []
        missing = []
        for cell, name in job.cells:
            if all((folder / kind / f"{kind[:-1]}_{name}.tif").exists() for kind in ("chips", "seg_maps")):
                rows.append(self._described(cell, name, group, job.grid, folder, funnel))
            else:
                missing.append((cell, name))
        for start in range(0, len(missing), CELLS_AT_ONCE):
            block = missing[start : start + CELLS_AT_ONCE]
            read = self._read(group.scenes, [cell for cell, _ in block], job.grid, pool, job.most)
            made = [
                self._make(cell, name, chip, masks, job.labels(cell))
                for (cell, name), chip, masks in zip(block, *read, strict=True)
            ]
            funnel.chips_without_label += made.count(None)
            whole = [chip for chip in made if chip is not None]
            list(pool.map(lambda chip: self._write(chip, job.grid, group, folder), whole))
            rows += [
                self._described(chip[0], chip[1], group, job.grid, folder, funnel, chip[3]) for chip in whole
            ]
        return rows

    def _cells(self, group: Group, points: Points, grid: Grid, funnel: Funnel) -> Iterator[Cell]:
        """Yield the cells with points, and count the points that lie in a whole cell."""
        from rasterio.warp import transform

        mine = points[group.rows]
        x, y = transform(4326, grid.crs, mine.longitude.tolist(), mine.latitude.tolist())
        columns, lines = apply_affine(~grid.transform, np.asarray(x), np.asarray(y))
        columns, lines = (np.floor(values).astype(int) for values in (columns, lines))
        across, down = grid.width // self.chip_size, grid.height // self.chip_size
        if not across or not down:
            self.notes.append(
                f"{group.scenes[0].id} has {grid.width} x {grid.height} pixels, less than a chip of"
                f" {self.chip_size}; its {len(group.rows)} points are lost."
            )
        whole = (columns >= 0) & (columns < across * self.chip_size)
        whole &= (lines >= 0) & (lines < down * self.chip_size)
        funnel.in_a_whole_chip += int(whole.sum())
        at = np.flatnonzero(whole)
        cell = lines[at] // self.chip_size * across + columns[at] // self.chip_size
        for number in np.unique(cell):
            inside = at[cell == number]
            pixels = np.stack([lines[inside], columns[inside]], axis=1) % self.chip_size
            row, column = divmod(int(number), across)
            yield Cell(column, row, group.rows[inside], pixels)

    def _read(
        self,
        scenes: Sequence[Scene],
        cells: Sequence[Cell],
        grid: Grid,
        pool: ThreadPoolExecutor,
        most: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read chips [cells, steps * bands, h, w] and masks bool [cells, steps, h, w]."""
        size, bands = self.chip_size, len(scenes[0].bands)
        chips = np.empty((len(cells), len(scenes) * bands, size, size), self.dtype)
        masks = np.zeros((len(cells), len(scenes), size, size), bool)
        files: dict[str, list[tuple[int, int]]] = {}
        for step, scene in enumerate(scenes):
            for number, band in enumerate(scene.bands.values()):
                files.setdefault(band.path, []).append((step * bands + number, band.index))

        def read_bands(path: str) -> None:
            slots, indexes = zip(*files[path], strict=True)
            for at, values, no_data in read_windows(path, indexes, cells, size, grid, self.resampling):
                chips[at, list(slots)] = self._converted(values, no_data, path, most)

        def read_mask(step: int) -> None:
            mask = scenes[step].mask
            assert mask is not None
            for at, values, _ in read_windows(mask.path, (mask.index,), cells, size, grid, "nearest"):
                masks[at, step] = quality_mask(values[0], scenes[step].mask_kind or "", self.mask_types)

        jobs = [pool.submit(read_bands, path) for path in files]
        if self.mask_types:
            jobs += [pool.submit(read_mask, step) for step in range(len(scenes))]
        for job in jobs:
            job.result()
        return chips, masks

    def _converted(
        self, values: np.ndarray, no_data: float | None, path: str, most: int = MOST
    ) -> np.ndarray:
        """Scale what a file holds, round and clip it for uint16; what it calls no data becomes ours."""
        empty = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
        if no_data is not None and not np.isnan(no_data):
            empty |= values == no_data
        if self.dtype == "float32":
            return np.where(empty, self.no_data, values * self.scale).astype(np.float32)
        lowest = int(no_data not in (None, 0) and self.no_data == 0)  # its zeros are measurements
        plain = values.dtype == np.uint16 and self.scale == 1 and not lowest and most == MOST
        if plain and not empty.any():
            return values
        if values.dtype.kind == "f" and self.scale == 1 and not empty.all() and values[~empty].max() <= 2:
            raise ValueError(
                f"{path} holds fractions (at most {values[~empty].max():.3g}), which would be rounded to 0"
                " and 1. Give a scale of 10000."
            )
        scaled = np.clip(np.round(np.where(empty, 0, values) * self.scale), lowest, most)
        return np.where(empty, self.no_data, scaled).astype(np.uint16)

    def _make(
        self, cell: Cell, name: str, chip: np.ndarray, masks: np.ndarray, labels: np.ndarray
    ) -> tuple[Cell, str, np.ndarray, np.ndarray] | None:
        """Return the blanked chip and its label map, or `None` where nothing is left of either."""
        if self.mask_types:
            chip = blank(chip, masks, self.masking_strategy, self.no_data)
        labels[~observed(chip, self.masking_strategy, self.no_data)] = NO_LABEL
        return (cell, name, chip, labels) if (labels != NO_LABEL).any() else None

    # --- writing --------------------------------------------------------------------------------

    def _write(
        self, made: tuple[Cell, str, np.ndarray, np.ndarray], grid: Grid, group: Group, folder: Path
    ) -> None:
        cell, name, chip, labels = made
        corner = apply_affine(grid.transform, cell.column * self.chip_size, cell.row * self.chip_size)
        placed = moved_affine(grid.transform, *corner)
        bands = [f"{band}_{step}" for step in range(len(group.scenes)) for band in group.scenes[0].bands]
        write_raster(folder / "chips" / f"chip_{name}.tif", chip, grid.crs, placed, self.no_data, bands)
        write_raster(folder / "seg_maps" / f"seg_map_{name}.tif", labels[None], grid.crs, placed, NO_LABEL)

    def _described(
        self,
        cell: Cell,
        name: str,
        group: Group,
        grid: Grid,
        folder: Path,
        funnel: Funnel,
        labels: np.ndarray | None = None,
    ) -> dict[str, Any]:
        """Return a chip's row in the listing, and count what is left in it."""
        from rasterio.warp import transform

        if labels is None:
            labels = read_raster(folder / "seg_maps" / f"seg_map_{name}.tif")[0]
        visible = labels[cell.pixels[:, 0], cell.pixels[:, 1]] != NO_LABEL
        funnel.not_cloudy += int(visible.sum())
        funnel.labelled_pixels += int((labels != NO_LABEL).sum())
        middle = apply_affine(
            grid.transform, (cell.column + 0.5) * self.chip_size, (cell.row + 0.5) * self.chip_size
        )
        (longitude,), (latitude,) = transform(grid.crs, 4326, [middle[0]], [middle[1]])
        return {
            "Input": f"chips/chip_{name}.tif",
            "Label": f"seg_maps/seg_map_{name}.tif",
            "date": group.scenes[0].datetime.date().isoformat(),
            "tile": group.tile,
            "longitude": round(longitude, 6),
            "latitude": round(latitude, 6),
            "points": len(cell.points),
        }

    def _finish(
        self, folder: Path, rows: list[dict[str, Any]], funnel: Funnel, groups: Sequence[Group]
    ) -> ChipDataset:
        import pandas as pd

        listing = pd.DataFrame(rows).sort_values("Input")
        _replace(folder / "chips.csv", listing.to_csv(index=False))
        described = json.loads((folder / "chips.json").read_text(encoding="utf-8"))
        described |= {
            "funnel": dict(funnel.rows()),
            "notes": self.notes,
            "bands": list(groups[0].scenes[0].bands),
            "granules": sorted({scene.id for group in groups for scene in group.scenes}),
        }
        _replace(folder / "chips.json", json.dumps(described, indent=1) + "\n")
        return ChipDataset.load(folder)

    # --- at the door ----------------------------------------------------------------------------

    def _claim(self, folder: Path, content: bytes) -> None:
        """Take a folder for these labels and settings, or refuse one that has others."""
        settings = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("source", "workers", "notes")
        }
        mine = {
            "settings": json.loads(json.dumps(settings)),
            "points": hashlib.sha256(content).hexdigest(),
            "num_steps": self.num_steps,
            "no_data": self.no_data,
            "task": self.task,
        }
        path = folder / "chips.json"
        if path.exists():
            there = json.loads(path.read_text(encoding="utf-8"))
            if any(there.get(name) != mine[name] for name in ("settings", "points")):
                raise ValueError(
                    f"{folder} holds chips of other points or settings. Give an empty folder, or the points"
                    " and settings of before to go on there."
                )
            return
        for kind in ("chips", "seg_maps"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        _replace(path, json.dumps(mine, indent=1) + "\n")

    def _check_masks(self, groups: Sequence[Group]) -> None:
        for scene in {scene.id: scene for group in groups for scene in group.scenes}.values():
            if self.mask_types and scene.mask is None:
                raise ValueError(
                    f"{scene.id} has neither Fmask nor SCL, which mask_types={self.mask_types} need."
                    " Leave mask_types empty, or add the quality band."
                )
            if self.mask_types:
                quality_mask(np.zeros(1, np.uint8), scene.mask_kind or "", self.mask_types)
            first = next(iter(groups[0].scenes[0].bands))
            if list(scene.bands) != list(groups[0].scenes[0].bands):
                raise ValueError(
                    f"{scene.id} has the bands {', '.join(scene.bands)}, but {groups[0].scenes[0].id} has"
                    f" {first}, ... Name the bands that all scenes have."
                )

    def _nothing(self, points: Points, funnel: Funnel, steps: TimeSteps) -> str:
        """Say why there is no chip."""
        hints = [str(note) for note in (*self.notes, *self.source.notes)][:3]
        if funnel.with_all_steps == 0 and isinstance(self.source, SceneList):
            hints.insert(0, _missing(points, self.source.scenes, steps))
        if funnel.in_a_scene == 0 and len(points):
            swapped = replace(points, longitude=points.latitude, latitude=points.longitude)
            if (np.abs(swapped.latitude) <= 84).all():
                there = group_observations(swapped, self.source, steps)[1].in_a_scene
                if there:
                    hints.insert(
                        0, f"with x and y exchanged {there} would be: longitude and latitude seem swapped"
                    )
        return f"no chip could be made. {funnel}." + "".join(f" ({hint})" for hint in hints)


# --- files --------------------------------------------------------------------------------------


def read_windows(
    path: str, indexes: Sequence[int], cells: Sequence[Cell], size: int, grid: Grid, resampling: str
) -> Iterator[tuple[int, np.ndarray, float | None]]:
    """Yield (number of the cell, values [bands, h, w], no-data value) of one file, opened once.

    A file on another grid is warped to `grid`, exactly and not by rasterio's approximation.
    """
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT
    from rasterio.windows import Window

    with ExitStack() as opened:
        file = opened.enter_context(rasterio.open(path))
        no_data = file.nodata
        if (file.crs, file.transform, file.shape) != (grid.crs, grid.transform, (grid.height, grid.width)):
            if file.crs is None:
                raise ValueError(f"{path} has no coordinate reference system (CRS). Give it one.")
            no_data = 0 if no_data is None else no_data
            file = opened.enter_context(
                WarpedVRT(
                    file,
                    crs=grid.crs,
                    transform=grid.transform,
                    width=grid.width,
                    height=grid.height,
                    src_nodata=no_data,
                    nodata=no_data,
                    resampling=Resampling[resampling],
                    tolerance=WARP_ERROR,
                )
            )
        for number, cell in enumerate(cells):
            window = Window(cell.column * size, cell.row * size, size, size)
            yield number, file.read(list(indexes), window=window), None if no_data is None else float(no_data)


@contextlib.contextmanager
def quiet_affine() -> Iterator[None]:
    """Hide that rasterio multiplies transforms in a way that a newer affine would have written otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        yield


def apply_affine(transform: Any, column: Any, row: Any) -> tuple[Any, Any]:
    """Return x and y of a place in pixels; arrays too."""
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * column + b * row + c, d * column + e * row + f


def moved_affine(transform: Any, x: float, y: float) -> Any:
    """Return a transform with its corner at x and y."""
    a, b, _, d, e, _ = tuple(transform)[:6]
    return type(transform)(a, b, x, d, e, y)


def read_raster(path: str | Path) -> np.ndarray:
    """Read all bands [bands, h, w]."""
    import rasterio

    with rasterio.open(path) as file:
        values: np.ndarray = file.read()
        return values


def write_raster(
    path: Path,
    values: np.ndarray,
    crs: Any,
    transform: Any,
    no_data: float | int | None,
    bands: Sequence[str] = (),
    driver: str = "GTiff",
) -> None:
    """Write [bands, h, w] as a GeoTIFF, whole or not at all."""
    import rasterio

    count, height, width = values.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    options = {"driver": driver, "count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(
        temporary, "w", **options, crs=crs, transform=transform, nodata=no_data, compress="deflate"
    ) as file:
        file.write(values)
        for number, name in enumerate(bands, start=1):
            file.set_band_description(number, name)
    os.replace(temporary, path)


def paint_labels(labels: np.ndarray, pixels: np.ndarray, size: int, window: int, dtype: Any) -> np.ndarray:
    """Return a map [size, size] with each label in the square around its pixel; later ones overwrite."""
    painted = np.full((size, size), NO_LABEL, dtype)
    for label, (row, column) in zip(labels, pixels.tolist(), strict=True):
        rows = slice(max(0, row - window), row + window + 1)
        painted[rows, max(0, column - window) : column + window + 1] = label
    return painted


def _name(group: Group, cell: Cell, raster: str = "") -> str:
    return f"{group.scenes[0].datetime:%Y%m%d}_{group.tile}{raster}_{cell.column}_{cell.row}"


def _is_whole(cell: Cell, grid: Grid, size: int) -> bool:
    return (cell.column + 1) * size <= grid.width and (cell.row + 1) * size <= grid.height


def _missing(points: Points, scenes: Sequence[Scene], steps: TimeSteps) -> str:
    """Say whether the place or the date of the scenes is another one."""
    there: np.ndarray = np.any(contains(scenes, points.longitude, points.latitude), axis=1)
    days = sorted(f"{scene.datetime:%Y-%m-%d}" for scene, here in zip(scenes, there, strict=True) if here)
    if not days:
        return "no scene holds any of the places"
    wanted = ", ".join(
        sorted(set(steps.queries(points.date).astype("datetime64[D]").astype(str).ravel()))[:6]
    )
    return (
        f"scenes there are from {days[0]} to {days[-1]}; looked for within {steps.tolerance:g} days: {wanted}"
    )


def _unique(name: str, group: Group, taken: set[str]) -> str:
    """Return the name, with a digest of the granules where another set has a chip of that name."""
    if name in taken:
        granules = "/".join(scene.id for scene in group.scenes)
        name = f"{name}_{hashlib.sha256(granules.encode()).hexdigest()[:6]}"
    taken.add(name)
    return name


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


__all__ = [
    "BandFile",
    "Cell",
    "ChipCreator",
    "Grid",
    "apply_affine",
    "paint_labels",
    "read_raster",
    "write_raster",
]
