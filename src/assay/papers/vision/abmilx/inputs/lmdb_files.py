"""Bags from LMDB files in the layout of the authors' tiles.

Keys: `__pn__`, a pickled dict from slide to its number of tiles, and `SLIDE-NUMBER`, a pickled JPEG. No
unpickler sees them: see `assay.data.torch_files`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from assay.data import read_picture
from assay.data.torch_files import Call, bytes_of, read_pickle
from assay.errors import InputError, MissingExtraError
from assay.papers.vision.abmilx.inputs.bags import Bag
from assay.papers.vision.abmilx.inputs.tables import as_tensor, at_size

COUNTS = "__pn__"


class LmdbTiles:
    """The tiles of one LMDB, or of two: with high and with low magnification.

    Tiles are resized to `pixels` squared; a place `hub:OWNER/NAME/FOLDER` is downloaded.
    """

    def __init__(self, places: Sequence[Path], pixels: int | None) -> None:
        self.files, self.pixels = [Packed(place) for place in places], pixels
        self.place = ", ".join(str(packed.path) for packed in self.files)
        self.names = [name for name in self.files[0].counts if name in self.files[-1].counts]

    def bags(self, names: Sequence[str]) -> list[Bag]:
        """Return one bag for each slide."""
        height, width = self.files[0].tile(names[0], 0).shape[:2]
        size = (self.pixels, self.pixels) if self.pixels else (height, width)
        return [
            Bag(
                name,
                tuple(partial(_read, packed, name, size) for packed in self.files),
                tuple(packed.counts[name] for packed in self.files),
                patch=size[1],
            )
            for name in names
        ]


class Packed:
    """An LMDB file of tiles."""

    def __init__(self, place: Path) -> None:
        path = _downloaded(place)
        try:
            import lmdb
        except ImportError as error:
            raise MissingExtraError("lmdb", "vision") from error
        if not path.exists():
            raise InputError(f"There is no LMDB file or folder {path}.")
        self.path = path
        try:
            self.environment = lmdb.open(
                str(path), readonly=True, lock=False, readahead=False, subdir=path.is_dir(), create=False
            )
        except lmdb.Error as error:
            raise InputError(f"{path} is no LMDB that can be read ({error}).") from error
        counts = self._value(COUNTS, read_pickle)
        if not isinstance(counts, dict) or not all(isinstance(name, str) for name in counts):
            raise InputError(f"{path}: {COUNTS} is no dict from slides to their number of tiles.")
        self.counts = {name: self._count(name, count) for name, count in counts.items()}

    def tile(self, slide: str, number: int) -> np.ndarray:
        """Return one tile in RGB: uint8 [h, w, 3]."""
        key = f"{slide}-{number}"
        content = self._value(key, lambda stored: bytes_of(read_pickle(stored)))
        return read_picture(content, name=f"{self.path}, {key}")

    def _value(self, key: str, decode: Callable[[bytes], Any]) -> Any:
        with self.environment.begin() as transaction:
            found = transaction.get(key.encode())
        if found is None:
            raise InputError(f"{self.path} has nothing under {key!r}: it is not in the authors' layout.")
        try:
            return decode(bytes(found))
        except ValueError as error:
            raise InputError(f"{self.path}, {key}: {error}.") from None

    def _count(self, name: str, count: Any) -> int:
        if isinstance(count, Call) and count.name.endswith(".scalar"):  # one of NumPy's numbers
            count = int.from_bytes(bytes_of(count.arguments[1]), "little")
        if not isinstance(count, int) or count < 1:
            raise InputError(f"{self.path}: {COUNTS} gives no number of tiles for {name!r}.")
        return count


def _downloaded(place: Path) -> Path:
    """Return a file or folder on this machine; `hub:OWNER/NAME/FOLDER` is downloaded first."""
    if not str(place).startswith("hub:"):
        return place
    owner, name, *inner = str(place).removeprefix("hub:").split("/")
    from huggingface_hub import snapshot_download

    wanted = "/".join(inner)
    try:
        found = snapshot_download(f"{owner}/{name}", repo_type="dataset", allow_patterns=f"{wanted}/*")
    except (OSError, ValueError) as error:  # those of the hub and of the network among them
        raise InputError(f"{place} cannot be downloaded: {str(error).splitlines()[0]}") from error
    return Path(found) / wanted


def _read(packed: Packed, slide: str, size: tuple[int, int], rows: Tensor) -> Tensor:
    tiles = [packed.tile(slide, row) for row in rows.tolist()]
    return as_tensor([at_size(tile, size, slide, resize=True) for tile in tiles])
