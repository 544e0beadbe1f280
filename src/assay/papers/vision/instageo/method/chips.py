"""Chips for a model out of raw scenes and labelled points."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from assay import files
from assay.papers.vision.geo.dataset import ChipDataset
from assay.papers.vision.geo.labels import (
    NO_LABEL,
    LabelRaster,
    Points,
    Task,
    describe_rasters,
    label_dtype,
    labelled_cells,
    read_label_rasters,
    read_labels,
    read_points,
)
from assay.papers.vision.geo.masks import MaskType, Strategy, blank, observed, quality_mask
from assay.papers.vision.geo.rasters import Grid, open_raster, read_raster, read_square, write_raster
from assay.papers.vision.geo.scenes import BandFile, Scene, SceneCatalog, SceneList

from .observations import Funnel, Group, Matching, TimeSteps, contains, group_observations

if TYPE_CHECKING:
    import pandas as pd

CELLS_AT_ONCE = 32
"""Chips of a granule set that are read together: bounds the memory."""
MOST = 65535
"""The largest value of a chip's type, uint16."""
FULL = 10_000
"""What a reflectance of 1 is in chips, and what the values of chips for label rasters are clipped to."""


@dataclass(frozen=True)
class Cell:
    """One chip to be: its place in the grid of cells, the points in it (rows) and their pixels in it."""

    column: int
    row: int
    points: np.ndarray
    pixels: np.ndarray


@dataclass(frozen=True)
class Job:
    """What is cut out of one set of granules on one grid.

    `cells` have the names of their chips; `labels` gives the label map of a cell; values are clipped to
    `most`.
    """

    group: Group
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
        scale: is multiplied with what was measured: what the files hold, times their own scale plus their own
            offset. By default 10000 for whole numbers where files have a scale or an offset, else 1.
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
    scale: float | None = None
    resampling: str = "nearest"
    workers: int = 4
    notes: list[str] = field(default_factory=list, compare=False)

    def __post_init__(self) -> None:
        for name, least in (("chip_size", 1), ("window_size", 0), ("min_count", 1), ("workers", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}.")
        if self.dtype == "uint16" and not 0 <= self.no_data <= MOST:
            raise ValueError(f"no_data must be a value of uint16, from 0 to {MOST}, not {self.no_data}.")

    def create(self, points: Points | pd.DataFrame | str | Path, out: str | Path) -> ChipDataset:
        """Write `chips/*.tif`, `seg_maps/*.tif`, `chips.csv` and `chips.json`, and return them as a data set.

        Chips that are there already are kept, so that a stopped run resumes.

        Raises:
            ValueError: points or scenes cannot be used, `out` holds chips of other points or settings, or
                not one chip could be made; the message has the funnel of counts.
        """
        given = points if isinstance(points, Points) else read_points(points, task=self.task)
        folder = Path(out)
        columns = (given.longitude, given.latitude, given.date, given.label)
        self._claim(folder, b"".join(column.tobytes() for column in columns))
        taken: set[str] = set()
        size, window, dtype = self.chip_size, self.window_size, label_dtype(self.task)

        def paint(cell: Cell) -> np.ndarray:
            return paint_labels(given.label[cell.points], cell.pixels, size, window, dtype)

        def jobs(group: Group, funnel: Funnel) -> Iterator[Job]:
            grid = Grid.of(next(iter(group.scenes[0].bands.values())).path)
            cells = self._cells(group, given, grid, funnel)
            named = [(cell, _unique(_name(group, cell), group, taken)) for cell in cells]
            yield Job(group, grid, named, paint)

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
        folder, size = Path(out), self.chip_size
        self._claim(folder, describe_rasters(read))
        grids = [Grid.of(raster.path) for raster in read]
        cells: list[tuple[int, Cell]] = []
        places: list[np.ndarray] = []
        for number, (raster, grid) in enumerate(zip(read, grids, strict=True)):
            if min(grid.width, grid.height) < size:
                self._note_small(raster.path.name, grid, "its labels are lost")
            for column, row, pixels in labelled_cells(raster.path, size, self.task):
                cells.append((number, Cell(column, row, np.full(len(pixels), len(cells)), pixels)))
                # the middle of what is inside the raster, which may cut the cell off
                right, bottom = min(grid.width, (column + 1) * size), min(grid.height, (row + 1) * size)
                places.append(np.stack(grid.to_globe((column * size + right) / 2, (row * size + bottom) / 2)))
        if not cells:
            raise ValueError(f"none of {len(read)} label rasters has a label: all pixels are no data.")
        longitude, latitude = np.concatenate(places, axis=1)
        dates = np.array([read[number].date for number, _ in cells], "datetime64[s]")
        points = Points(longitude, latitude, dates, np.zeros(len(cells), label_dtype(self.task)))

        def jobs(group: Group, funnel: Funnel) -> Iterator[Job]:
            for number, (raster, grid) in enumerate(zip(read, grids, strict=True)):
                mine = [
                    cell
                    for owner, cell in (cells[row] for row in group.rows)
                    if owner == number
                    and (cell.column + 1) * size <= grid.width
                    and (cell.row + 1) * size <= grid.height
                ]
                funnel.in_a_whole_chip += sum(len(cell.pixels) for cell in mine)
                named = [(cell, _name(group, cell, f"_{raster.path.stem}")) for cell in mine]
                yield Job(group, grid, named, functools.partial(self._labels, raster.path), FULL)

        weights = np.array([len(cell.pixels) for _, cell in cells])
        return self._create(points, folder, jobs, weights)

    def _labels(self, raster: Path, cell: Cell) -> np.ndarray:
        return read_labels(raster, cell.column, cell.row, self.chip_size, self.task)

    def _create(
        self,
        points: Points,
        folder: Path,
        jobs: Callable[[Group, Funnel], Iterable[Job]],
        weights: np.ndarray | None = None,
    ) -> ChipDataset:
        """Match points with scenes, and cut the chips of each set of granules."""
        import pandas as pd

        steps = TimeSteps(
            self.num_steps, self.temporal_step, self.temporal_tolerance, self.shift_to_month_start
        )
        matching = Matching(steps, self.min_count, self.cloud_coverage)
        groups, funnel = group_observations(points, self.source, matching, weights)
        self._check_scenes(groups)
        rows: list[dict[str, Any]] = []
        with ThreadPoolExecutor(self.workers) as pool:
            for group in groups:
                for job in jobs(group, funnel):
                    rows += self._cut(job, folder, funnel, pool)
        self.notes.extend(note for note in self.source.notes if note not in self.notes)
        funnel.chips = len(rows)
        if not rows:
            raise ValueError(self._nothing(points, funnel, matching))
        listing = pd.DataFrame(rows).sort_values("Input")
        files.write_atomic(folder / "chips.csv", listing.to_csv(index=False))
        described = files.read_json(folder / "chips.json") | {
            "funnel": dict(funnel.rows()),
            "notes": self.notes,
            "bands": list(groups[0].scenes[0].bands),
            "granules": sorted({scene.id for group in groups for scene in group.scenes}),
        }
        files.write_json(folder / "chips.json", described)
        return ChipDataset.load(folder)

    # --- one set of granules --------------------------------------------------------------------

    def _cut(self, job: Job, folder: Path, funnel: Funnel, pool: ThreadPoolExecutor) -> list[dict[str, Any]]:
        """Write the chips of a job that are not there yet, and list all of them."""
        missing = [one for one in job.cells if not all(path.exists() for path in _pair(folder, one[1]))]
        labels_of: dict[str, np.ndarray] = {}
        for start in range(0, len(missing), CELLS_AT_ONCE):
            block = missing[start : start + CELLS_AT_ONCE]
            chips, masks = self._read(job, [cell for cell, _ in block], pool)
            writes = []
            for (cell, name), chip, mask in zip(block, chips, masks, strict=True):
                if self.mask_types:
                    chip = blank(chip, mask, self.masking_strategy, self.no_data)
                labels = labels_of[name] = job.labels(cell)
                labels[~observed(chip, self.masking_strategy, self.no_data)] = NO_LABEL
                if (labels != NO_LABEL).any():
                    writes.append(pool.submit(self._write, job, cell, _pair(folder, name), chip, labels))
                else:
                    funnel.chips_without_label += 1
            for write in writes:
                write.result()
        rows = []
        for cell, name in job.cells:
            labels = labels_of[name] if name in labels_of else read_raster(_pair(folder, name)[1])[0]
            if (labels != NO_LABEL).any():
                rows.append(self._listed(job, cell, name, labels, funnel))
        return rows

    def _cells(self, group: Group, points: Points, grid: Grid, funnel: Funnel) -> Iterator[Cell]:
        """Yield the cells with points, and count the points that lie in a whole cell."""
        mine, size = points[group.rows], self.chip_size
        columns, lines = grid.from_globe(mine.longitude, mine.latitude)
        across, down = grid.width // size, grid.height // size
        if not across or not down:
            self._note_small(group.scenes[0].id, grid, f"its {len(group.rows)} points are lost")
        whole = (columns >= 0) & (columns < across * size) & (lines >= 0) & (lines < down * size)
        funnel.in_a_whole_chip += int(whole.sum())
        at = np.flatnonzero(whole)
        cell = lines[at] // size * across + columns[at] // size
        for number in np.unique(cell):
            inside = at[cell == number]
            row, column = divmod(int(number), across)
            pixels = np.stack([lines[inside], columns[inside]], axis=1) % size
            yield Cell(column, row, group.rows[inside], pixels)

    def _read(
        self, job: Job, cells: Sequence[Cell], pool: ThreadPoolExecutor
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read chips [cells, steps * bands, h, w] and masks bool [cells, steps, h, w], each file once."""
        scenes, size = job.group.scenes, self.chip_size
        bands = [band for scene in scenes for band in scene.bands.values()]
        chips = np.empty((len(cells), len(bands), size, size), self.dtype)
        masks = np.zeros((len(cells), len(scenes), size, size), bool)
        slots: dict[str, list[int]] = {}
        for slot, band in enumerate(bands):
            slots.setdefault(band.path, []).append(slot)

        def read_bands(path: str) -> None:
            mine = [bands[slot] for slot in slots[path]]
            with open_raster(path, job.grid, self.resampling) as file:
                for at, cell in enumerate(cells):
                    values = read_square(file, [band.index for band in mine], cell.column, cell.row, size)
                    for slot, band, layer in zip(slots[path], mine, values, strict=True):
                        chips[at, slot] = self._converted(layer, file, band, job.most)

        def read_mask(step: int) -> None:
            mask = scenes[step].mask
            assert mask is not None
            with open_raster(mask.path, job.grid) as file:
                for at, cell in enumerate(cells):
                    (quality,) = read_square(file, (mask.index,), cell.column, cell.row, size)
                    masks[at, step] = quality_mask(quality, scenes[step].mask_kind or "", self.mask_types)

        reads = [pool.submit(read_bands, path) for path in slots]
        if self.mask_types:
            reads += [pool.submit(read_mask, step) for step in range(len(scenes))]
        for read in reads:
            read.result()
        return chips, masks

    def _converted(self, values: np.ndarray, file: Any, band: BandFile, most: int) -> np.ndarray:
        """Turn what a file holds into what a chip holds: measured values, scaled, rounded and clipped."""
        source = getattr(file, "src_dataset", file)  # a warped file does not say them
        factor, offset = source.scales[band.index - 1], source.offsets[band.index - 1]
        if (factor, offset) == (1, 0):
            factor, offset = band.scale, band.offset
        said = (factor, offset) != (1, 0)
        no_data = 0 if file.nodata is None and said else file.nodata
        empty = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
        if no_data is not None and not np.isnan(no_data):
            empty |= values == no_data
        measured = values * factor + offset if said else values
        if said:
            self._note(f"scale {factor:g} and offset {offset:g} were applied, as files or catalogue say")
        if self.dtype == "float32":
            return np.where(empty, self.no_data, measured * (self.scale or 1)).astype(np.float32)
        scale = self.scale or (FULL if said else 1)
        lowest = int((said or no_data not in (None, 0)) and self.no_data == 0)  # zeros are measurements
        plain = values.dtype == np.uint16 and scale == 1 and not said and not lowest and most == MOST
        if plain and not empty.any():
            return values
        if self.scale is None and not empty.all():
            there = measured[~empty]
            if said and np.median(there) > 2:
                raise ValueError(
                    f"{band.path} has the scale {factor:g} and the offset {offset:g}, with which its values"
                    f" are no reflectances (their median is {np.median(there):.4g}). Give a scale for them."
                )
            if not said and values.dtype.kind == "f" and there.max() <= 2:
                raise ValueError(
                    f"{band.path} holds fractions (at most {there.max():.3g}), which would be rounded to 0"
                    " and 1. Give a scale of 10000."
                )
        scaled = np.clip(np.round(np.where(empty, 0, measured) * scale), lowest, most)
        return np.where(empty, self.no_data, scaled).astype(np.uint16)

    # --- writing --------------------------------------------------------------------------------

    def _write(
        self, job: Job, cell: Cell, paths: tuple[Path, Path], chip: np.ndarray, labels: np.ndarray
    ) -> None:
        scenes, size = job.group.scenes, self.chip_size
        placed = job.grid.cut(cell.column * size, cell.row * size, size)
        bands = [f"{band}_{step}" for step in range(len(scenes)) for band in scenes[0].bands]
        write_raster(paths[0], chip, placed, self.no_data, bands)
        write_raster(paths[1], labels[None], placed, NO_LABEL)

    def _listed(self, job: Job, cell: Cell, name: str, labels: np.ndarray, funnel: Funnel) -> dict[str, Any]:
        """Return a chip's row of `chips.csv`, and count what is left in it."""
        funnel.not_cloudy += int((labels[cell.pixels[:, 0], cell.pixels[:, 1]] != NO_LABEL).sum())
        funnel.labelled_pixels += int((labels != NO_LABEL).sum())
        size = self.chip_size
        (longitude,), (latitude,) = job.grid.to_globe((cell.column + 0.5) * size, (cell.row + 0.5) * size)
        return {
            "Input": f"chips/chip_{name}.tif",
            "Label": f"seg_maps/seg_map_{name}.tif",
            "date": job.group.scenes[0].datetime.date().isoformat(),
            "tile": job.group.tile,
            "longitude": round(longitude, 6),
            "latitude": round(latitude, 6),
            "points": len(cell.points),
        }

    # --- checks ---------------------------------------------------------------------------------

    def _claim(self, folder: Path, content: bytes) -> None:
        """Take a folder for these labels and settings, or refuse one that has others."""
        names = set(self.__dataclass_fields__) - {"source", "workers", "notes"}
        settings = {name: getattr(self, name) for name in sorted(names)}
        mine = {
            "settings": settings | {"mask_types": list(self.mask_types)},  # as JSON has it
            "points": hashlib.sha256(content).hexdigest(),
            **{name: settings[name] for name in ("num_steps", "no_data", "task")},
        }
        path = folder / "chips.json"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            files.write_json(path, mine)
            return
        there = files.read_json(path)
        if any(there.get(name) != mine[name] for name in ("settings", "points")):
            raise ValueError(
                f"{folder} holds chips of other points or settings. Give an empty folder, or the points"
                " and settings of before to resume there."
            )

    def _check_scenes(self, groups: Sequence[Group]) -> None:
        """Refuse scenes that lack a quality band which is needed, or have other bands than the first."""
        for scene in {scene.id: scene for group in groups for scene in group.scenes}.values():
            if self.mask_types and scene.mask is None:
                raise ValueError(
                    f"{scene.id} has neither Fmask nor SCL, which mask_types={self.mask_types} need."
                    " Leave mask_types empty, or add the quality band."
                )
            if self.mask_types:
                quality_mask(np.zeros(1, np.uint8), scene.mask_kind or "", self.mask_types)
            first = groups[0].scenes[0]
            if list(scene.bands) != list(first.bands):
                raise ValueError(
                    f"{scene.id} has the bands {', '.join(scene.bands)}, but {first.id} has"
                    f" {', '.join(first.bands)}. Name the bands that all scenes have."
                )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _note_small(self, name: str, grid: Grid, lost: str) -> None:
        size = f"{grid.width} x {grid.height} pixels, less than a chip of {self.chip_size}"
        self._note(f"{name} has {size}; {lost}.")

    def _nothing(self, points: Points, funnel: Funnel, matching: Matching) -> str:
        """Say why there is no chip."""
        hints = [str(note) for note in (*self.notes, *self.source.notes)][:3]
        if funnel.with_all_steps == 0 and isinstance(self.source, SceneList):
            hints.insert(0, _missing(points, self.source.scenes, matching.steps))
        if funnel.in_a_scene == 0 and len(points) and (np.abs(points.longitude) <= 80).all():
            swapped = replace(points, longitude=points.latitude, latitude=points.longitude)
            there = group_observations(swapped, self.source, Matching(matching.steps))[1].in_a_scene
            if there:
                hints = [
                    f"with x and y exchanged {there} would be: longitude and latitude seem swapped",
                    *hints,
                ]
        return f"no chip could be made. {funnel}." + "".join(f" ({hint})" for hint in hints)


def paint_labels(labels: np.ndarray, pixels: np.ndarray, size: int, window: int, dtype: Any) -> np.ndarray:
    """Return a map [size, size] with each label in the square around its pixel; later ones overwrite."""
    painted = np.full((size, size), NO_LABEL, dtype)
    for label, (row, column) in zip(labels, pixels.tolist(), strict=True):
        rows = slice(max(0, row - window), row + window + 1)
        painted[rows, max(0, column - window) : column + window + 1] = label
    return painted


def _pair(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / "chips" / f"chip_{name}.tif", folder / "seg_maps" / f"seg_map_{name}.tif"


def _name(group: Group, cell: Cell, raster: str = "") -> str:
    return f"{group.scenes[0].datetime:%Y%m%d}_{group.tile}{raster}_{cell.column}_{cell.row}"


def _unique(name: str, group: Group, taken: set[str]) -> str:
    """Return the name, with a digest of the granules where another set has a chip of that name."""
    if name in taken:
        granules = "/".join(scene.id for scene in group.scenes)
        name = f"{name}_{hashlib.sha256(granules.encode()).hexdigest()[:6]}"
    taken.add(name)
    return name


def _missing(points: Points, scenes: Sequence[Scene], steps: TimeSteps) -> str:
    """Say whether the place or the date of the scenes is another one."""
    there: np.ndarray = np.any(contains(scenes, points.longitude, points.latitude), axis=1)
    days = sorted(f"{scene.datetime:%Y-%m-%d}" for scene, here in zip(scenes, there, strict=True) if here)
    if not days:
        return "no scene holds any of the places"
    wanted = sorted(set(steps.queries(points.date).astype("datetime64[D]").astype(str).ravel()))[:6]
    return (
        f"scenes there are from {days[0]} to {days[-1]}; looked for within {steps.tolerance:g} days:"
        f" {', '.join(wanted)}"
    )
