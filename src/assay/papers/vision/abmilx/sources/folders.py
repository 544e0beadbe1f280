"""Bags as folders of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from assay.data.media import PICTURES, check_picture
from assay.data.paths import existing_folder
from assay.errors import InputError, nearest
from assay.files import inside
from assay.papers.vision.abmilx.sources.bag import Bag

LOW = "low"
"""A bag's folder may have this folder in it, with the patches at a lower magnification."""


def bags_of_folder(folder: Path, names: Sequence[str], pixels: int | None) -> list[Bag]:
    """Return the bags that are subfolders of a folder; their pictures are read when they are needed.

    Patches at a second magnification lie in a folder `low` inside the bag's folder. A picture whose name ends
    in `_X_Y` (`p_0_512.png`) has these coordinates.

    Raises:
        InputError: a bag has no folder, no picture, or one that is damaged or of another size.
    """
    existing_folder(folder)
    found = [(name, inside(folder, name)) for name in names]
    known = [path.name for path in folder.iterdir() if path.is_dir()]
    missing = [name for name, path in found if not path.is_dir()]
    if missing:
        raise InputError(
            f"{folder} has no folder {missing[0]!r} for the bag of that name ({len(missing)} missing)."
            f"{nearest(missing[0], known)}"
        )
    listed = [(name, _pictures(path), _pictures(path / LOW)) for name, path in found]
    empty = [name for name, pictures, _ in listed if not pictures]
    if empty:
        raise InputError(f"{folder}: the bag {empty[0]!r} has no picture. Leave it out of the labels.")
    first = _open(listed[0][1][0])
    size, mode = ((pixels, pixels) if pixels else first.size), ("L" if first.mode in ("1", "L") else "RGB")
    return [
        Bag(  # coordinates are in pixels of the slide, and so is the side of a patch, resized or not
            name,
            tuple(_Reader(paths, size, mode, bool(pixels)) for paths in (high, low) if paths),
            tuple(len(paths) for paths in (high, low) if paths),
            coords=_coordinates(high),
            patch=first.size[0],
        )
        for name, high, low in listed
    ]


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)


def _open(path: Path) -> PIL.Image.Image:
    fault = check_picture(path)
    if fault is not None:
        raise InputError(f"{path} is unreadable ({fault}). Repair or remove it.")
    with PIL.Image.open(path) as picture:
        picture.load()
        return picture


class _Reader:
    """Reads pictures of one size."""

    def __init__(self, paths: Sequence[Path], size: tuple[int, int], mode: str, resize: bool) -> None:
        self.paths, self.size, self.mode, self.resize = paths, size, mode, resize

    def __call__(self, rows: Tensor) -> Tensor:
        arrays = [np.atleast_3d(np.asarray(self._read(self.paths[row]))) for row in rows.tolist()]
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()

    def _read(self, path: Path) -> PIL.Image.Image:
        picture = _open(path).convert(self.mode)
        if picture.size == self.size:
            return picture
        if not self.resize:
            raise InputError(
                f"{path} has {picture.size[0]}x{picture.size[1]} pixels, the first picture"
                f" {self.size[0]}x{self.size[1]}. Give --patch-pixels to resize them all."
            )
        return picture.resize(self.size)


def _coordinates(paths: Sequence[Path]) -> np.ndarray | None:
    """Return x and y from names that end in them."""
    parts = [path.stem.rsplit("_", 2) for path in paths]
    if not all(len(part) == 3 and part[1].isdecimal() and part[2].isdecimal() for part in parts):
        return None
    return np.array([[int(part[1]), int(part[2])] for part in parts])
