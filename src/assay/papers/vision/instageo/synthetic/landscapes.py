"""Synthetic landscapes with real textures: parcels of six classes, seen in six bands on three dates.

The spectra are typical reflectances of each class in spring, early and late summer; the textures are pixels
of photographs that come with scikit-image and scikit-learn. Scenes to learn from take them from the left
part of each photograph, scenes to test on from the right part.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from assay.data import read_picture

Part = Literal["train", "test"]

CLASSES = ("water", "forest", "winter crop", "summer crop", "grass", "built-up")
SHARES = (0.12, 0.22, 0.2, 0.18, 0.16, 0.12)
"""Of the parcels."""
SPECTRA = 10.0 * np.array(
    [
        [[45, 50, 35, 20, 10, 6], [43, 48, 34, 19, 10, 6], [46, 52, 37, 21, 11, 7]],
        [[35, 55, 45, 220, 140, 70], [25, 45, 25, 380, 170, 70], [28, 48, 30, 340, 165, 72]],
        [[30, 60, 35, 390, 160, 70], [60, 95, 100, 290, 230, 140], [100, 135, 170, 250, 300, 230]],
        [[90, 120, 150, 210, 280, 220], [55, 85, 85, 270, 230, 150], [28, 60, 32, 430, 190, 80]],
        [[40, 75, 50, 310, 210, 110], [45, 80, 60, 330, 230, 125], [55, 90, 90, 270, 250, 150]],
        [[110, 130, 145, 190, 210, 190], [110, 130, 145, 190, 210, 190], [110, 130, 145, 190, 210, 190]],
    ]
)
"""Reflectance times 10,000 by class, date and band (blue, green, red, near and two short-wave infrared)."""
PHOTOGRAPHS = (
    "skimage/data/moon.png",
    "skimage/data/gravel.png",
    "skimage/data/grass.png",
    "skimage/data/brick.png",
    "skimage/data/chelsea.png",
    "sklearn/datasets/images/china.jpg",
)
CONTRAST = (0.04, 0.22, 0.12, 0.15, 0.1, 0.3)
"""Relative deviation of the texture of each class."""
TRAIN_SHARE = 0.6


@dataclass(frozen=True)
class Terrain:
    """How a landscape looks."""

    parcel: float = 24.0
    """Pixels of a parcel's side, on average."""
    cloud_share: float = 0.08
    """Of the area, on each date, on average."""
    noise: float = 80.0
    """Deviation of the sensor's noise, reflectance / 10,000."""


@dataclass(frozen=True)
class Landscape:
    """A scene and its classes. `reflectance` is uint16 [dates, bands, h, w]; dates go from spring on."""

    reflectance: np.ndarray
    classes: np.ndarray
    clouds: np.ndarray


def make_landscape(
    size: tuple[int, int], part: Part, random: np.random.Generator, terrain: Terrain
) -> Landscape:
    """Draw a landscape of (height, width) pixels.

    `part` says which part of the photographs gives the textures; `random` draws everything.
    """
    height, width = size
    count = max(len(CLASSES), round(height * width / terrain.parcel**2))
    centres = random.random((count, 2)) * size
    pixels = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1)
    parcels = cKDTree(centres).query(pixels + 0.5)[1]
    kinds = random.choice(len(CLASSES), size=count, p=SHARES)
    classes = kinds[parcels]
    spectra = _seasons(SPECTRA[kinds], random)[parcels]  # h, w, dates, bands
    shade = np.ones(size)
    for number in range(len(CLASSES)):
        texture = _texture(PHOTOGRAPHS[number], part, size, random)
        shade = np.where(classes == number, 1 + CONTRAST[number] * texture, shade)
    values = spectra * shade[..., None, None]
    values += random.normal(0, terrain.noise, values.shape) + random.normal(0, 0.02, values.shape) * values
    clouds = np.stack([_cloud(height, width, terrain.cloud_share, random) for _ in range(SPECTRA.shape[1])])
    values = values.transpose(2, 3, 0, 1)
    values = np.where(clouds[:, None], 6000 + 0.3 * values, values)
    return Landscape(np.clip(np.round(values), 1, 10_000).astype(np.uint16), classes, clouds)


def _seasons(spectra: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the spectra [parcels, dates, bands] of early and late, bright and dark parcels."""
    dates = spectra.shape[1]
    early = np.clip(np.arange(dates) + random.normal(0, 0.25, (len(spectra), 1)), 0, dates - 1)
    before = np.minimum(early.astype(int), dates - 2)
    share = (early - before)[..., None]
    each = np.arange(len(spectra))[:, None]
    shifted = spectra[each, before] * (1 - share) + spectra[each, before + 1] * share
    bands = random.normal(1, 0.06, (len(spectra), 1, spectra.shape[2]))
    seasons: np.ndarray = shifted * bands * random.normal(1, 0.12, (len(spectra), 1, 1))
    return seasons


def _texture(name: str, part: Part, size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Return pixels of one part of a photograph, mirrored where it is too small: mean 0, deviation 1."""
    grey = _photograph(name)
    cut = round(TRAIN_SHARE * grey.shape[1])
    own = grey[:, :cut] if part == "train" else grey[:, cut:]
    if random.random() < 0.5:
        own = own[::-1]
    top, left = random.integers(own.shape[0]), random.integers(own.shape[1])
    rows, columns = (
        _mirrored(np.arange(start, start + length), total)
        for start, length, total in zip((top, left), size, own.shape, strict=True)
    )
    taken = own[np.ix_(rows, columns)]
    texture: np.ndarray = np.clip((taken - taken.mean()) / (taken.std() + 1e-9), -2.5, 2.5)
    return texture


def _mirrored(positions: np.ndarray, size: int) -> np.ndarray:
    folded: np.ndarray = np.minimum(np.abs((positions + size) % (2 * size) - size), size - 1)
    return folded


@functools.cache
def _photograph(name: str) -> np.ndarray:
    """Return a photograph in grey without what is larger than some 20 pixels, so that texture is left."""
    package, _, inner = name.partition("/")
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    grey = read_picture(Path(next(iter(spec.submodule_search_locations))) / inner, "L").astype(float)
    fine: np.ndarray = grey - ndimage.gaussian_filter(grey, 20)
    return fine


def _cloud(height: int, width: int, share: float, random: np.random.Generator) -> np.ndarray:
    """Return where a cloud is: smooth noise above a level, or nothing where the share is 0."""
    smooth = ndimage.gaussian_filter(random.normal(size=(height, width)), min(height, width) / 12)
    drawn = share * random.uniform(0, 2)
    cloudy: np.ndarray = smooth > np.quantile(smooth, 1 - drawn) if drawn > 0 else smooth > np.inf
    return cloudy


def cut_tiles(values: np.ndarray, size: int) -> np.ndarray:
    """Cut [..., h, w] into tiles [tiles, ..., size, size], row by row; what is left over is dropped."""
    *outer, height, width = values.shape
    down, across = height // size, width // size
    cut = values[..., : down * size, : across * size].reshape(*outer, down, size, across, size)
    tiles = np.moveaxis(cut, (-4, -2), (0, 1))
    return np.ascontiguousarray(tiles.reshape(down * across, *outer, size, size))
