"""Bags as folders of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from assay.data import PICTURES, existing_folder, read_picture
from assay.errors import InputError
from assay.papers.vision.abmilx.inputs.bags import Bag
from assay.papers.vision.abmilx.inputs.tables import as_tensor, at_size

LOW = "low"
"""A bag's folder may have this folder in it, with the patches at a lower magnification."""


class PictureFolder:
    """A folder with a folder of pictures for each bag; the pictures are read when they are needed.

    Patches at a second magnification lie in a folder `low` inside the bag's folder. A picture whose name ends
    in `_X_Y` (`p_0_512.png`) has these coordinates.

    Args:
        folder: where the folders are.
        pixels: pictures are resized to so many pixels squared.
    """

    def __init__(self, folder: Path, pixels: int | None) -> None:
        self.place, self.folder, self.pixels = str(folder), existing_folder(folder), pixels
        self.names = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]

    def bags(self, names: Sequence[str]) -> list[Bag]:
        """Return one bag for each folder."""
        found = {name: [_pictures(self.folder / name / low) for low in ("", LOW)] for name in names}
        empty = [name for name, (high, _) in found.items() if not high]
        if empty:
            raise InputError(
                f"{self.place}: the bag {empty[0]!r} has no picture. Leave it out of the labels."
            )
        height, width = read_picture(found[names[0]][0][0]).shape[:2]
        size = (self.pixels, self.pixels) if self.pixels else (height, width)
        return [
            Bag(
                name,
                tuple(partial(_read, paths, size, bool(self.pixels)) for paths in both if paths),
                tuple(len(paths) for paths in both if paths),
                coords=_coordinates(both[0]),
                patch=width,  # in pixels of the slide, as the coordinates are, resized or not
            )
            for name, both in found.items()
        ]


def _read(paths: Sequence[Path], size: tuple[int, int], resize: bool, rows: Tensor) -> Tensor:
    chosen = [paths[row] for row in rows.tolist()]
    return as_tensor([at_size(read_picture(path), size, str(path), resize) for path in chosen])


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    return sorted(path for path in found if not path.name.startswith("."))


def _coordinates(paths: Sequence[Path]) -> np.ndarray | None:
    """Return x and y from names that end in them."""
    parts = [path.stem.rsplit("_", 2) for path in paths]
    if not all(len(part) == 3 and part[1].isdecimal() and part[2].isdecimal() for part in parts):
        return None
    return np.array([[int(x), int(y)] for _, x, y in parts])
