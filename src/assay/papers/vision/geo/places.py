"""Places on the globe: their tiles, their distances, and splits that keep neighbours together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EARTH_KM = 6371.0088
"""Mean radius."""


def mgrs_tiles(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return the 100 km square of each point (MGRS with precision 0), such as `36RUU` or `03MVQ`.

    Args:
        longitude: degrees east, WGS 84.
        latitude: degrees north, from -80 to 84.

    Raises:
        ValueError: a point is at the poles, where the grid is another one.
    """
    from mgrs import MGRS

    beyond = latitude[(latitude < -80) | (latitude > 84)]
    if len(beyond):
        raise ValueError(
            f"{len(beyond)} points have a latitude outside -80 to 84 (such as {beyond[0]:g}), where UTM ends."
            " Leave them out."
        )
    square = MGRS().toMGRS
    places = zip(latitude.tolist(), longitude.tolist(), strict=True)
    return np.array([square(*place, MGRSPrecision=0).zfill(5) for place in places], dtype=str)


def utm_zone(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return the UTM zone of each point, from 1 to 60, with the exceptions of Norway and Svalbard."""
    return np.array([int(tile[:2]) for tile in mgrs_tiles(longitude, latitude)], int)


def great_circle(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return distances in km [n, m] between places [n, 2] and [m, 2] of (longitude, latitude) in degrees."""
    from sklearn.metrics.pairwise import haversine_distances

    first, second = (np.radians(np.asarray(each, float)[:, ::-1]) for each in (places, others))
    distances: np.ndarray = EARTH_KM * haversine_distances(first, second)
    return distances


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
    """Assign whole groups to parts of about the given shares of rows; return the rows of each part.

    Groups come in random order, large ones first; each goes to the part that lacks most.

    Raises:
        ValueError: there are fewer groups than parts.
    """
    names, which, counts = np.unique(groups, return_inverse=True, return_counts=True)
    wanted = sum(share > 0 for share in shares)
    if len(names) < wanted:
        raise ValueError(
            f"{len(names)} groups of places cannot fill {wanted} parts. Use a smaller distance or more"
            " clusters."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-counts[order], kind="stable")]
    goal = np.asarray(shares, float) / sum(shares) * len(groups)
    filled, part_of = np.zeros(len(shares)), np.zeros(len(names), int)
    for position, group in enumerate(order):
        empty = np.flatnonzero((goal > 0) & (filled == 0))
        needed = len(empty) and len(order) - position <= len(empty)  # no part may stay empty
        candidates = empty if needed else np.arange(len(shares))
        part_of[group] = candidates[np.argmax((goal - filled)[candidates])]
        filled[part_of[group]] += counts[group]
    return [np.flatnonzero(part_of[which.reshape(-1)] == part) for part in range(len(shares))]
