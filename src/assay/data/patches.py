"""Real pictures that are already installed: small crops of ten photographs, to be told apart.

The pictures come with scikit-image and scikit-learn. Crops of the left part are there to learn from, crops of
the right part are the test split, and a strip between them is left out. A caption, written by hand, says what
the upper, middle or lower part of the picture shows.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import PIL.Image
    import pyarrow as pa

PICTURES = {
    "astronaut": (
        "skimage/data/astronaut.png",
        (
            "a smiling astronaut in front of a flag",
            "an orange space suit",
            "a white space helmet",
        ),
    ),
    "cat": (
        "skimage/data/chelsea.png",
        ("the ears of a tabby cat", "the face and eyes of a cat", "the striped fur and whiskers of a cat"),
    ),
    "coffee": (
        "skimage/data/coffee.png",
        ("the rim of a cup on a table", "a cup of espresso with foam", "a spoon on a red saucer"),
    ),
    "galaxies": (
        "skimage/data/hubble_deep_field.jpg",
        ("distant galaxies in the dark", "spiral galaxies in deep space", "faint stars and galaxies"),
    ),
    "tissue": (
        "skimage/data/ihc.png",
        ("stained tissue under a microscope", "brown glands in blue tissue", "cells of a stained section"),
    ),
    "motorcycle": (
        "skimage/data/motorcycle_left.png",
        ("shelves of a garage", "a red motorcycle in a garage", "the wheel of a motorcycle on the floor"),
    ),
    "retina": (
        "skimage/data/retina.jpg",
        ("the upper retina of an eye", "blood vessels of a retina", "the lower retina of an eye"),
    ),
    "rocket": (
        "skimage/data/rocket.jpg",
        ("towers against a dusk sky", "a rocket on its launch pad", "the lights of a launch pad"),
    ),
    "temple": (
        "sklearn/datasets/images/china.jpg",
        ("the sky above a temple", "the roof of a Chinese temple", "trees in front of a temple"),
    ),
    "dahlia": (
        "sklearn/datasets/images/flower.jpg",
        ("dark leaves behind a flower", "the petals of an orange dahlia", "a dahlia in a garden"),
    ),
}
"""File and captions (from top to bottom) of each picture."""

HEIGHT = 384
TILE = 48
SIZE = 32
TRAIN_SHARE = 0.6
CROPS = {"train": 300, "test": 100}
"""Crops of each picture."""


def versions() -> list[str]:
    """Return what the rows depend on."""
    return [f"{name} {version(name)}" for name in ("scikit-image", "scikit-learn")]


def read_patches() -> tuple[pa.Table, pa.Table]:
    """Return the rows to learn from and the test rows.

    Their columns are image (PNG, 32 by 32 pixels), label (the picture), text (the caption) and group (the
    tile of 48 by 48 pixels from which a crop is: crops of one tile overlap).
    """
    import pyarrow as pa

    rows: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for name in PICTURES:
        for split, crops in zip(CROPS, _crops(name), strict=True):
            rows[split].extend(crops)
    return pa.Table.from_pylist(rows["train"]), pa.Table.from_pylist(rows["test"])


def _crops(name: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the crops of the left and of the right part of a picture, the same at every call."""
    picture = _open(name)
    columns = picture.shape[1] // TILE
    cut = round(TRAIN_SHARE * columns)
    parts = {"train": range(cut), "test": range(cut + 1, columns)}
    random = np.random.default_rng(list(PICTURES).index(name))
    for split, across in parts.items():
        tiles = [(row, column) for row in range(HEIGHT // TILE) for column in across]
        order = random.permutation(len(tiles))
        yield [_crop(name, picture, tiles[order[n % len(tiles)]], random) for n in range(CROPS[split])]


def _crop(
    name: str, picture: np.ndarray[Any, Any], tile: tuple[int, int], random: np.random.Generator
) -> dict[str, Any]:
    row, column = tile
    top, left = (np.array(tile) * TILE + random.integers(TILE - SIZE + 1, size=2)).tolist()
    captions = PICTURES[name][1]
    return {
        "image": {"bytes": _png(picture[top : top + SIZE, left : left + SIZE]), "path": None},
        "label": name,
        "text": captions[row * len(captions) // (HEIGHT // TILE)],
        "group": f"{name}-{row}-{column}",
    }


def _open(name: str) -> np.ndarray[Any, Any]:
    """Return a picture of 384 pixels' height: uint8 [h, w, 3]."""
    import PIL.Image

    package, _, inner = PICTURES[name][0].partition("/")
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    with PIL.Image.open(Path(next(iter(spec.submodule_search_locations))) / inner) as file:
        whole = file.convert("RGB")
    if name == "retina":  # round, on black
        whole = _middle(whole, 0.7)
    return np.asarray(whole.resize((round(whole.width * HEIGHT / whole.height), HEIGHT)))


def _middle(picture: PIL.Image.Image, share: float) -> PIL.Image.Image:
    left, top = (round(side * (1 - share) / 2) for side in picture.size)
    return picture.crop((left, top, picture.width - left, picture.height - top))


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
