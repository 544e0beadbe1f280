"""From points to granules: which scenes an observation needs, and which observations share them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from assay.papers.vision.geo.labels import Points
from assay.papers.vision.geo.places import mgrs_tiles
from assay.papers.vision.geo.scenes import Scene, SceneCatalog

NO_CLOUD_COVER = 100.0
"""What a scene without a cloud cover is ranked as, in percent."""


@dataclass(frozen=True)
class TimeSteps:
    """When an observation is looked at: D - i * `step` days for i = 0 .. `count` - 1, the newest first."""

    count: int = 3
    step: int = 30
    tolerance: float = 5.0
    month_start: bool = True

    def __post_init__(self) -> None:
        if self.count < 1 or self.step < 0 or self.tolerance < 0:
            raise ValueError(f"{self}: count must be at least 1, step and tolerance at least 0 days.")

    def queries(self, date: np.ndarray) -> np.ndarray:
        """Return the query dates datetime64[s] [n, count] of dates [n].

        Several steps start at the first of the month where `month_start` is set.
        """
        if self.count > 1 and self.month_start:
            date = date.astype("datetime64[M]").astype("datetime64[s]")
        queried: np.ndarray = date[:, None] - np.arange(self.count) * np.timedelta64(self.step, "D")
        return queried


@dataclass(frozen=True)
class Matching:
    """How observations find scenes: see `ChipCreator` for the two limits."""

    steps: TimeSteps = TimeSteps()
    min_count: int = 1
    cloud_coverage: float = 10.0


@dataclass(frozen=True)
class Group:
    """Observations that need the same granules: `rows` are their numbers, `scenes` the newest first."""

    scenes: tuple[Scene, ...]
    rows: np.ndarray
    tile: str


@dataclass
class Funnel:
    """How many points are left at each stage, and what was written."""

    points: int = 0
    in_kept_tiles: int = 0
    in_a_scene: int = 0
    with_all_steps: int = 0
    with_distinct_granules: int = 0
    in_a_whole_chip: int = 0
    not_cloudy: int = 0
    chips: int = 0
    chips_without_label: int = 0
    labelled_pixels: int = 0
    granule_sets: int = 0

    def rows(self) -> list[tuple[str, int]]:
        """Return the stages in words, in order."""
        return [(name.replace("_", " "), number) for name, number in asdict(self).items()]

    def __str__(self) -> str:
        stages = [f"{name} {number}" for name, number in self.rows()]
        return f"{' -> '.join(stages[:7])}; {', '.join(stages[7:])}"


def group_observations(
    points: Points, catalog: SceneCatalog, matching: Matching, weights: np.ndarray | None = None
) -> tuple[list[Group], Funnel]:
    """Find the granules of each observation, and group observations with the same ordered granules.

    For each query date of a point, the candidates are scenes whose footprint contains the point and that
    are within the tolerance; the one with the least cloud cover is taken. A point counts when all its
    steps have a granule and no two have the same. It counts as many times as `weights` says, by default
    once.

    Raises:
        ValueError: no tile has `min_count` points.
    """
    tiles = mgrs_tiles(points.longitude, points.latitude)
    weights = np.ones(len(points), int) if weights is None else weights
    names, which = np.unique(tiles, return_inverse=True)
    counts = np.bincount(which, weights).astype(int)
    kept = names[counts >= matching.min_count].tolist()
    if not kept:
        raise ValueError(
            f"none of {len(names)} tiles has {matching.min_count} points (the most: {counts.max()} in"
            f" {names[counts.argmax()]}). Lower min_count."
        )
    funnel = Funnel(points=int(weights.sum()))
    grouped: dict[tuple[str, ...], tuple[tuple[Scene, ...], list[int], str]] = {}
    for tile in kept:
        rows = np.flatnonzero(tiles == tile)
        funnel.in_kept_tiles += int(weights[rows].sum())
        for row, granules in _match(points[rows], catalog, matching, weights[rows], funnel):
            key = tuple(scene.id for scene in granules)
            grouped.setdefault(key, (granules, [], tile))[1].append(int(rows[row]))
    groups = [Group(scenes, np.array(rows), tile) for _, (scenes, rows, tile) in sorted(grouped.items())]
    funnel.granule_sets = len(groups)
    return groups, funnel


def _match(
    points: Points, catalog: SceneCatalog, matching: Matching, weights: np.ndarray, funnel: Funnel
) -> Iterator[tuple[int, tuple[Scene, ...]]]:
    """Yield the points of one tile that have all their granules, with them, and count the stages."""
    queries = matching.steps.queries(points.date)
    margin = timedelta(days=matching.steps.tolerance)
    longitude, latitude = points.longitude, points.latitude
    box = (float(longitude.min()), float(latitude.min()), float(longitude.max()), float(latitude.max()))
    found = catalog.search(box, _moment(queries.min()) - margin, _moment(queries.max()) + margin)
    scenes = [s for s in found if s.cloud_cover is None or s.cloud_cover <= matching.cloud_coverage]
    if not scenes:
        return
    inside = contains(scenes, longitude, latitude)
    picked = pick_granules(scenes, inside, queries, matching.steps.tolerance)
    complete = (picked >= 0).all(axis=1)
    distinct = complete & (np.diff(np.sort(picked, axis=1), axis=1) != 0).all(axis=1)
    funnel.in_a_scene += int(weights[inside.any(axis=0)].sum())
    funnel.with_all_steps += int(weights[complete].sum())
    funnel.with_distinct_granules += int(weights[distinct].sum())
    for row in np.flatnonzero(distinct):
        yield int(row), tuple(scenes[index] for index in picked[row])


def contains(scenes: Sequence[Scene], longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return whether each scene's footprint contains each point: bool [scenes, points]."""
    return np.stack([scene.contains(longitude, latitude) for scene in scenes])


def pick_granules(
    scenes: Sequence[Scene], inside: np.ndarray, queries: np.ndarray, tolerance: float
) -> np.ndarray:
    """Return the scene of each point and step, [points, steps]; -1 where there is none.

    Of scenes with the same cloud cover the one nearest in time is taken, then the first by name.
    """
    moments = [scene.datetime.astimezone(UTC).replace(tzinfo=None) for scene in scenes]
    times = np.array(moments, "datetime64[s]")
    cover = np.array([NO_CLOUD_COVER if s.cloud_cover is None else s.cloud_cover for s in scenes])
    names = np.argsort(np.argsort([scene.id for scene in scenes]))
    limit = np.timedelta64(round(tolerance * 86_400), "s")
    picked = np.full(queries.shape, -1)
    for step in range(queries.shape[1]):
        days, which = np.unique(queries[:, step], return_inverse=True)  # few dates, many points
        for number, day in enumerate(days):
            apart = np.abs(times - day)
            order = np.lexsort((names, apart, cover))
            order = order[apart[order] <= limit]
            at = np.flatnonzero(which == number)
            fits = inside[np.ix_(order, at)]
            if len(order):
                picked[at, step] = np.where(fits.any(axis=0), order[fits.argmax(axis=0)], -1)
    return picked


def _moment(value: np.datetime64) -> datetime:
    moment: datetime = value.astype("datetime64[s]").item()
    return moment.replace(tzinfo=UTC)
