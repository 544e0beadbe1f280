"""Folders of pictures and of sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from assay.data.columns import delimited_table
from assay.data.delimited import missing_column
from assay.data.paths import SPLITS, TEST_SPLITS, existing_file, existing_folder, files_in
from assay.data.pictures import PICTURES, check_picture
from assay.data.places import Place
from assay.data.raw import Raw, Splits, make_raw
from assay.data.sound import SOUNDS, check_sound
from assay.errors import InputError

METADATA = "metadata.csv"

_STORAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def read_folder(place: Place) -> Splits:
    """Read a folder of pictures or sound that has a subfolder for each class, or a `metadata.csv`.

    A `metadata.csv` names the files in its column `file_name`; its other columns go with them. A folder
    whose subfolders are called train and test (or validation) has one such folder in each. Rows are in
    the order of the relative paths, which become `id` unless the metadata has a column of that name.

    Raises:
        InputError: there are neither subfolders nor metadata, a class has no file, or a file is unreadable.
    """
    folder = existing_folder(place.path)
    parts = {SPLITS.get(sub.name.lower(), ""): sub for sub in _subfolders(folder)}
    if "train" not in parts or "" in parts:
        return Splits(_read(folder, place.kind, place.text), {})
    raws = {name: _read(sub, place.kind, f"{place.text}/{sub.name}") for name, sub in parts.items()}
    return Splits(raws["train"], {name: raws[name] for name in TEST_SPLITS if name in raws})


def _read(folder: Path, kind: str, name: str) -> Raw:
    suffixes, check, role = (
        (PICTURES, check_picture, "image") if kind == "images" else (SOUNDS, check_sound, "audio")
    )
    if (folder / METADATA).exists():
        files, columns = _listed(folder, name)
    else:
        files, columns = _classified(folder, suffixes, name, kind)
    _check(files, folder, check, name)
    if "id" not in columns:
        columns["id"] = pa.array([file.relative_to(folder).as_posix() for file in files])
    media = pa.array([{"bytes": None, "path": str(file.absolute())} for file in files], _STORAGE)
    raw = make_raw(pa.table({role: media} | columns), name)
    feature = datasets.Image() if role == "image" else datasets.Audio()
    return Raw(raw.table, datasets.Features(raw.features | {role: feature}), name, media_checked=True)


def _classified(
    folder: Path, suffixes: frozenset[str], name: str, kind: str
) -> tuple[list[Path], dict[str, Any]]:
    """Take the class of each file from the subfolder that it is in."""
    classes = _subfolders(folder)
    if not classes:
        raise InputError(
            f"{name} has no subfolders. Put the files of each class into a subfolder with the name of the"
            f" class, or add {METADATA} with the columns file_name and label."
        )
    files, labels = [], []
    for subfolder in classes:
        found = [file for file in files_in(subfolder) if file.suffix.lower() in suffixes]
        if not found:
            raise InputError(
                f"{name}: the class folder {subfolder.name!r} holds no {kind}"
                f" ({', '.join(sorted(suffixes))})."
            )
        files += found
        labels += [subfolder.name] * len(found)
    return files, {"label": pa.array(labels)}


def _listed(folder: Path, name: str) -> tuple[list[Path], dict[str, Any]]:
    """Take the files and their columns from the metadata."""
    table = delimited_table(folder / METADATA, f"{name}/{METADATA}")
    if "file_name" not in table.column_names:
        raise missing_column(f"{name}/{METADATA}", "file_name", table.column_names)
    files = []
    for row, relative in enumerate(table["file_name"].to_pylist(), start=1):
        file = folder / str(relative)
        if not file.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{name}/{METADATA}, row {row}: {relative!r} leads outside the folder.")
        files.append(existing_file(file))
    return files, {column: table[column] for column in table.column_names if column != "file_name"}


def _check(files: list[Path], folder: Path, check: Callable[[Path], str | None], name: str) -> None:
    faults = [(file, fault) for file, fault in ((file, check(file)) for file in files) if fault]
    if faults:
        file, fault = faults[0]
        others = f" So are {len(faults) - 1} others." if len(faults) > 1 else ""
        raise InputError(
            f"{name}: {file.relative_to(folder).as_posix()} is unreadable ({fault}).{others} Repair or remove"
            " what is damaged."
        )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name != "__MACOSX"
    )
