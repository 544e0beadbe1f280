"""Names of the 100 km squares of the Military Grid Reference System, for many points at once."""

from __future__ import annotations

import numpy as np

BANDS = "CDEFGHJKLMNPQRSTUVWX"
"""Latitude bands of 8 degrees from 80 south; the last one has 12."""
COLUMNS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
ROWS = "ABCDEFGHJKLMNPQRSTUV"


def utm_zone(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return the UTM zone of each point, from 1 to 60, with the exceptions of Norway and Svalbard."""
    longitude = (longitude + 180) % 360 - 180
    zone = (np.floor((longitude + 180) / 6).astype(int) % 60) + 1
    zone = np.where((latitude >= 56) & (latitude < 64) & (longitude >= 3) & (longitude < 12), 32, zone)
    svalbard = (latitude >= 72) & (longitude >= 0) & (longitude < 42)
    inner = 31 + 2 * np.searchsorted([9.0, 21.0, 33.0], longitude, side="right")
    return np.where(svalbard, inner, zone)


def mgrs_tiles(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return the 100 km square of each point (MGRS with precision 0), such as `36RUU` or `03MVQ`.

    Args:
        longitude: degrees east, WGS 84.
        latitude: degrees north, from -80 to 84.

    Raises:
        ValueError: a point is at the poles, where the grid is another one.
    """
    from pyproj import Transformer

    if len(latitude) and (latitude.min() < -80 or latitude.max() > 84):
        beyond = latitude[(latitude < -80) | (latitude > 84)]
        raise ValueError(
            f"{len(beyond)} points have a latitude outside -80 to 84 (such as {beyond[0]:g}), where UTM ends."
            " Leave them out."
        )
    zones = utm_zone(longitude, latitude)
    names = np.empty(len(zones), dtype=object)
    bands = np.clip(np.floor((latitude + 80) / 8).astype(int), 0, len(BANDS) - 1)
    for zone in np.unique(zones):
        for south in (False, True):
            rows = np.flatnonzero((zones == zone) & ((latitude < 0) == south))
            if len(rows):
                utm = Transformer.from_crs(4326, (32700 if south else 32600) + int(zone), always_xy=True)
                east, north = utm.transform(longitude[rows], latitude[rows])
                for row, column, line in zip(rows, east // 100_000, north // 100_000, strict=True):
                    letters = COLUMNS[8 * ((zone - 1) % 3) + int(column) - 1]
                    letters += ROWS[(int(line) + (5 if zone % 2 == 0 else 0)) % 20]
                    names[row] = f"{zone:02d}{BANDS[bands[row]]}{letters}"
    return names.astype(str)
