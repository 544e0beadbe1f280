"""Bags from LMDB files in the layout of the authors' tiles, without running what a pickle may hold.

Keys: `__pn__`, a pickled dict from slide to its number of tiles, and `SLIDE-NUMBER`, a pickled JPEG. The
unpickler here knows bytes, text, numbers, containers and numpy arrays, and refuses all else.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from assay.errors import InputError, MissingExtraError, nearest
from assay.papers.vision.abmilx.sources.bag import Bag

COUNTS = b"__pn__"
ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}
"""What numpy's arrays are made of in a pickle; none of it runs code of the file."""


class PlainUnpickler(pickle.Unpickler):
    """Reads bytes, text, numbers, containers and numpy arrays of numbers from a pickle, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few functions that make numpy's arrays.

        Raises:
            InputError: the pickle names anything else.
        """
        module = module.replace("numpy.core", "numpy._core")  # its name before version 2
        if (module, name) not in ALLOWED:
            raise InputError(
                f"it holds {module}.{name}, which is not read: only bytes, text, numbers and arrays are."
            )
        return super().find_class(module, name)


def unpickle(content: bytes, where: str) -> Any:
    """Return the plain value that a pickle holds.

    Raises:
        InputError: it holds anything else, or is damaged.
    """
    try:
        return PlainUnpickler(io.BytesIO(content)).load()
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except Exception as error:  # what a damaged pickle raises is anything
        raise InputError(f"{where} is damaged ({type(error).__name__}: {error}).") from error


def bags_of_lmdb(places: Sequence[Path], names: Sequence[str], pixels: int | None) -> list[Bag]:
    """Return a bag for each slide of one LMDB, or of two: with high and with low magnification.

    Raises:
        InputError: a file cannot be read, or lacks a slide.
        MissingExtraError: lmdb is not installed.
    """
    files = [Packed(place) for place in places]
    for packed in files:
        missing = [name for name in names if name not in packed.counts]
        if missing:
            raise InputError(
                f"{packed.path} has no slide {missing[0]!r} ({len(missing)} missing)."
                f"{nearest(missing[0], packed.counts)}"
            )
    size = (pixels, pixels) if pixels else files[0].tile(names[0], 0).size
    return [
        Bag(
            name,
            tuple(_Reader(packed, name, size) for packed in files),
            tuple(packed.counts[name] for packed in files),
            patch=size[0],
        )
        for name in names
    ]


def fetched(place: Path) -> Path:
    """Return a file or folder on this machine; `hub:OWNER/NAME/FOLDER` is downloaded first.

    Raises:
        InputError: the hub has no such data set, or no such folder in it.
    """
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


class Packed:
    """An LMDB file of tiles."""

    def __init__(self, place: Path) -> None:
        path = fetched(place)
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
        counts = unpickle(self.get(COUNTS), f"{path}, {COUNTS.decode()}")
        if not isinstance(counts, dict):
            raise InputError(f"{path}: __pn__ is no dict from slides to their number of tiles.")
        self.counts: dict[str, int] = {str(name): int(count) for name, count in counts.items()}

    def get(self, key: bytes) -> bytes:
        """Return what stands under a key."""
        with self.environment.begin() as transaction:
            found = transaction.get(key)
        if found is None:
            raise InputError(
                f"{self.path} has nothing under {key.decode()!r}: it is not in the authors' layout."
            )
        return bytes(found)

    def tile(self, slide: str, number: int) -> PIL.Image.Image:
        """Return one tile in RGB."""
        key = f"{slide}-{number}"
        content = unpickle(self.get(key.encode()), f"{self.path}, {key}")
        if isinstance(content, np.ndarray):
            content = content.astype(np.uint8).tobytes()
        try:
            return PIL.Image.open(io.BytesIO(content)).convert("RGB")
        except Exception as error:  # decoders raise what they like on damaged bytes
            raise InputError(f"{self.path}: the tile {key!r} is no picture ({error}).") from error


class _Reader:
    """Reads tiles of one slide."""

    def __init__(self, packed: Packed, slide: str, size: tuple[int, int]) -> None:
        self.packed, self.slide, self.size = packed, slide, size

    def __call__(self, rows: Tensor) -> Tensor:
        tiles = [self.packed.tile(self.slide, row) for row in rows.tolist()]
        arrays = [np.asarray(tile if tile.size == self.size else tile.resize(self.size)) for tile in tiles]
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
