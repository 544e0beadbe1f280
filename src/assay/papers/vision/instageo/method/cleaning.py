"""Cleaning chips, and splitting them so that train and test are apart on the globe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .masks import Strategy
from .points import NO_LABEL

EARTH_KM = 6371.0088
"""Mean radius."""


@dataclass(frozen=True)
class ChipCleaner:
    """Leaves out chips with little to see, and widens or limits labels.

    Args:
        share: of a chip's pixels that may lack data.
        strategy: a pixel lacks data where `any` band, or where all bands (`each`), have none.
        no_data: what marks it.
    """

    share: float = 0.5
    strategy: Strategy = "any"
    no_data: int = 0

    def keeps(self, chip: np.ndarray) -> bool:
        """Return whether a chip [bands, h, w] has enough data."""
        empty = chip == self.no_data
        lacking = empty.any(axis=0) if self.strategy == "any" else empty.all(axis=0)
        return bool(lacking.mean() <= self.share)

    def clean(self, chips: Sequence[np.ndarray]) -> list[int]:
        """Return the numbers of the chips that are kept."""
        return [number for number, chip in enumerate(chips) if self.keeps(chip)]


def buffer_labels(labels: np.ndarray, window: int) -> np.ndarray:
    """Return a label map [h, w] in which each label also fills the empty pixels up to `window` around it.

    Of two labels at the same distance the one further down and right wins.
    """
    grown = labels.copy()
    height, width = labels.shape
    reach = np.where(labels != NO_LABEL, 0, np.iinfo(np.int64).max)
    for down in range(-window, window + 1):
        for across in range(-window, window + 1):
            source = labels[max(0, -down) : height - max(0, down), max(0, -across) : width - max(0, across)]
            here = (
                slice(max(0, down), height + min(0, down)),
                slice(max(0, across), width + min(0, across)),
            )
            distance = max(abs(down), abs(across))
            nearer = (source != NO_LABEL) & (distance < reach[here])
            grown[here][nearer] = source[nearer]
            reach[here][nearer] = distance
    return grown


def limit_labels(labels: np.ndarray, chip: np.ndarray, no_data: int = 0) -> np.ndarray:
    """Return a label map without labels where no band of the chip [bands, h, w] has data."""
    return np.where((chip == no_data).all(axis=0), NO_LABEL, labels)


def great_circle(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return distances in km [n, m] between places [n, 2] and [m, 2] of (longitude, latitude) in degrees."""
    a, b = np.radians(places)[:, None], np.radians(others)[None]
    half = np.sin((b - a) / 2) ** 2
    chord = half[..., 1] + np.cos(a[..., 1]) * np.cos(b[..., 1]) * half[..., 0]
    distance: np.ndarray = 2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(chord, 0, 1)))
    return distance


def connected_groups(places: np.ndarray, within_km: float = 400.0) -> np.ndarray:
    """Return a group number for each place [n]: places linked by steps of at most `within_km` share one."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    spots, which = np.unique(places, axis=0, return_inverse=True)
    near = great_circle(spots, spots) <= within_km
    groups: np.ndarray = connected_components(csr_matrix(near), directed=False)[1]
    return groups[which.reshape(-1)]


def kmeans_groups(
    places: np.ndarray, clusters: int = 20, years: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """Return a cluster number for each place [n], by k-means on scaled latitude, longitude and year."""
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    columns = places if years is None else np.column_stack([places, years])
    distinct = len(np.unique(columns, axis=0))
    scaled = StandardScaler().fit_transform(columns)
    found: np.ndarray = KMeans(min(clusters, distinct), n_init=10, random_state=seed).fit_predict(scaled)
    return found


def split_groups(
    groups: np.ndarray, shares: Sequence[float] = (0.6, 0.2, 0.2), seed: int = 0
) -> list[np.ndarray]:
    """Deal whole groups to parts of about the given shares of rows; return the rows of each part.

    Groups come in random order, large ones first; each goes to the part that lacks most.

    Raises:
        ValueError: there are fewer groups than parts.
    """
    names, counts = np.unique(groups, return_counts=True)
    wanted = sum(share > 0 for share in shares)
    if len(names) < wanted:
        raise ValueError(
            f"{len(names)} groups of places cannot fill {wanted} parts. Use a smaller distance or more"
            " clusters."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-counts[order], kind="stable")]
    goal = np.asarray(shares, float) / sum(shares) * len(groups)
    dealt = np.zeros(len(shares))
    part_of = {}
    for place, number in enumerate(order):
        empty = [part for part in range(len(shares)) if goal[part] > 0 and dealt[part] == 0]
        left = len(order) - place
        candidates = empty if empty and left <= len(empty) else range(len(shares))
        part = max(candidates, key=lambda part: goal[part] - dealt[part])
        part_of[names[number]] = part
        dealt[part] += counts[number]
    parts = np.array([part_of[name] for name in groups])
    return [np.flatnonzero(parts == part) for part in range(len(shares))]
