"""Checks and content hashes of the files and folders that a user names. Nothing heavy is imported."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from assay.errors import InputError, nearest
from assay.files import user_path

PICKLES = frozenset({".ckpt", ".dill", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"})
COMPRESSED = frozenset({".bz2", ".gz"})
TEST_SPLITS = ("test", "validation")  # a published test split, and what stands in where there is none
SPLITS = {"train": "train", "test": "test"} | dict.fromkeys(
    ("validation", "valid", "val", "dev"), "validation"
)

_SHARD = re.compile(r"(?P<split>.+?)(-\d+-of-\d+)?\.parquet")
_CHUNK = 1 << 20


def suffix_of(path: Path) -> str:
    """Return what a file is by its name, in small letters and without the ending of a compressor."""
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return inner.suffix.lower()


def existing_file(path: str | Path, suffixes: Iterable[str] = ()) -> Path:
    """Return `path`, with the user's home in place of `~`, where it is a file that may be read.

    Raises:
        InputError: it is missing, a folder, a device, empty, a pickle, or has none of the `suffixes`.
    """
    path, wanted = user_path(path), sorted(suffixes)
    if suffix_of(path) in PICKLES and suffix_of(path) not in wanted:
        raise InputError(
            f"{path} is refused: files like this can hold a pickle, and reading one runs the code inside."
            " Save the data as Parquet, CSV or JSON."
        )
    if not _exists(path):
        raise _missing("file", path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; a file was expected.")
    if not path.is_file():
        raise InputError(f"{path} is no ordinary file but a pipe, a socket or a device.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty.")
    if wanted and suffix_of(path) not in wanted and path.suffix.lower() not in wanted:
        raise InputError(f"{path} should be a file that ends in {' or '.join(wanted)}.")
    return path


def existing_folder(path: str | Path, suffixes: Iterable[str] = ()) -> Path:
    """Return `path`, with the user's home in place of `~`, where it is a folder.

    Raises:
        InputError: it is missing, a file, or holds no file that ends in one of the `suffixes`.
    """
    path, wanted = user_path(path), sorted(suffixes)
    if not _exists(path):
        raise _missing("folder", path)
    if not path.is_dir():
        raise InputError(f"{path} is a file; a folder was expected.")
    if wanted and not any(file.suffix.lower() in wanted for file in files_in(path)):
        raise InputError(f"{path} holds no file that ends in {' or '.join(wanted)}.")
    return path


def files_in(folder: Path) -> list[Path]:
    """Return the files under a folder in the order of their relative paths, without hidden ones.

    Hidden are also the `._NAME` that macOS writes beside each file.
    """
    found = (path for path in folder.rglob("*") if path.is_file())
    kept = ((path.relative_to(folder), path) for path in found)
    return [
        path
        for relative, path in sorted(kept, key=lambda pair: pair[0].as_posix())
        if not any(part.startswith(".") for part in relative.parts)
    ]


def parquet_splits(folder: Path) -> dict[str, list[Path]]:
    """Return the Parquet files of each split of a folder: `test.parquet` or `test-00000-of-00002.parquet`.

    They may lie in the folder itself or in its subfolder `data`, as hubs lay them out.

    Raises:
        InputError: the folder is missing or holds no Parquet file.
    """
    existing_folder(folder)
    files = sorted(folder.glob("*.parquet")) or sorted((folder / "data").glob("*.parquet"))
    splits: dict[str, list[Path]] = {}
    for file in files:
        match = _SHARD.fullmatch(file.name)
        if match and not file.name.startswith("."):
            splits.setdefault(SPLITS.get(match["split"], match["split"]), []).append(existing_file(file))
    if not splits:
        raise InputError(
            f"{folder} holds no Parquet file. Expected train.parquet and, where there is one, test.parquet."
        )
    return splits


def used_splits(splits: Sequence[str], place: str, single: str) -> tuple[str, tuple[str, ...]]:
    """Return the split to learn from and those that may serve as its test split, best first.

    `single` shows how one split is named.

    Raises:
        InputError: there are several splits and none is called train.
    """
    if len(splits) > 1 and "train" not in splits:
        raise InputError(
            f"{place} has no split 'train'. It has: {', '.join(sorted(splits))}. Name one: {single}."
        )
    main = "train" if "train" in splits else splits[0]
    return main, tuple(name for name in TEST_SPLITS if name in splits and name != main)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, read in pieces."""
    state = hashlib.sha256()
    with existing_file(path, {path.suffix.lower()}).open("rb") as file:
        while piece := file.read(_CHUNK):
            state.update(piece)
    return state.hexdigest()


def hash_folder(folder: Path) -> str:
    """Return the SHA-256 over the relative paths and contents of a folder's files, without hidden ones."""
    state = hashlib.sha256()
    for path in files_in(existing_folder(folder)):
        content = hash_file(path) if path.stat().st_size else ""
        state.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return state.hexdigest()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _missing(kind: str, path: Path) -> InputError:
    parent = path.parent
    if not _exists(parent) or not parent.is_dir():
        return InputError(f"There is no {kind} {path}: the folder {parent} does not exist.")
    return InputError(
        f"There is no {kind} {path}.{nearest(path.name, (each.name for each in parent.iterdir()))}"
    )
