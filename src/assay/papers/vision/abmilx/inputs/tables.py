"""Bags from the rows of a table: pictures or features, each with the name of its bag."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, cast

import datasets
import numpy as np
import PIL.Image
import torch
from torch import Tensor

from assay.data import LoadedTable, read_picture
from assay.errors import InputError
from assay.papers.vision.abmilx.config import Bags
from assay.papers.vision.abmilx.inputs.bags import Bag, BagSet, InMemory

BAG = "bag_id"
LABEL = "bag_label"


def has_bags(data: Bags) -> bool:
    """Return whether the rows of a table name their bags."""
    return (data.bag or BAG) in data.table().load(needs=()).rows.column_names


def bags_of_table(data: Bags, pixels: int | None = None, survival: tuple[str, str] | None = None) -> BagSet:
    """Read bags from a table; rows of its test split are bags of the part `test`. See `read_bags`."""
    column = data.bag or BAG
    columns = data.table().load(needs=()).rows.column_names
    if column not in columns:
        raise InputError(
            f"{data.source} has no column {column!r} that names bags (--data.bag). It has:"
            f" {', '.join(columns)}."
        )
    label = data.label or (LABEL if LABEL in columns and not survival else None)
    table = dataclasses.replace(data.table(), id=column, label=label).load()
    if survival is None and not table.label_names:
        raise InputError(f"{data.source} has no bag labels. Name their column with --data.label.")
    bags = _bags(table, table.rows, pixels, survival)
    if table.test is not None:
        parts = {"train": bags, "test": _bags(table, table.test, pixels, survival)}
        bags = [dataclasses.replace(bag, part=part) for part, some in parts.items() for bag in some]
    return BagSet(tuple(bags), table.label_names if survival is None else (), data.source)


def instance_tensor(table: LoadedTable, rows: datasets.Dataset, pixels: int | None) -> Tensor:
    """Return rows as uint8 pictures [n, c, h, w], or as features [n, d]."""
    if "image" not in rows.column_names:
        return torch.from_numpy(table.matrix(rows)).float()
    pictures = cast(list[PIL.Image.Image], list(rows["image"]))
    mode: Literal["L", "RGB"] = "L" if all(picture.mode in ("1", "L") for picture in pictures) else "RGB"
    named = [(picture, f"{table.source}: picture {row}") for row, picture in enumerate(pictures, start=1)]
    arrays = [(read_picture(picture, mode, name=name), name) for picture, name in named]
    height, width = arrays[0][0].shape[:2]
    size = (pixels, pixels) if pixels else (height, width)
    return as_tensor([at_size(array, size, name, bool(pixels)) for array, name in arrays])


def at_size(picture: np.ndarray, size: tuple[int, int], name: str, resize: bool) -> np.ndarray:
    """Return a picture uint8 [h, w] or [h, w, c] of a size; refuse others without `resize`."""
    if picture.shape[:2] == size:
        return picture
    if not resize:
        (height, width), (first_height, first_width) = picture.shape[:2], size
        raise InputError(
            f"{name} has {width}x{height} pixels, the first picture {first_width}x{first_height}. Give"
            " --patches.pixels to resize them all."
        )
    return np.asarray(PIL.Image.fromarray(picture).resize(size[::-1]))


def as_tensor(pictures: list[np.ndarray]) -> Tensor:
    """Return pictures uint8 [h, w] or [h, w, c] of one size as uint8 [n, c, h, w]."""
    stacked = np.stack([np.atleast_3d(picture) for picture in pictures])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()


def _bags(
    table: LoadedTable, rows: datasets.Dataset, pixels: int | None, survival: tuple[str, str] | None
) -> list[Bag]:
    values = instance_tensor(table, rows, pixels)
    names = np.array([str(name) for name in rows["id"][:]])
    about = _about(table, rows, survival)
    coords = _coordinates(rows)
    side = rows[0]["image"].size[0] if "image" in rows.column_names else 1  # before it is resized
    bags = []
    for name in dict.fromkeys(names.tolist()):
        where = np.flatnonzero(names == name)
        constant = {key: _one(column[where], key, name, table.source) for key, column in about.items()}
        constant |= {"patch": side, "coords": None if coords is None else coords[where]}
        bags.append(Bag(name, (InMemory(values[torch.from_numpy(where)]),), (len(where),), **constant))
    return bags


def _about(
    table: LoadedTable, rows: datasets.Dataset, survival: tuple[str, str] | None
) -> dict[str, np.ndarray]:
    """Return what is said of bags, row by row."""
    about: dict[str, np.ndarray] = {}
    if "group" in rows.column_names:
        about["group"] = np.array([str(value) for value in rows["group"][:]], dtype=object)
    if survival is None:
        return about | {"label": table.labels(rows)}
    for name, column in zip(("time", "died"), survival, strict=True):
        if column not in rows.column_names:
            raise InputError(f"{table.source} has no column {column!r} (--{name}).")
        about[name] = np.asarray(rows[column][:], dtype=float)
    time, died = about["time"], about["died"]
    wrong = np.flatnonzero(~(np.isfinite(time) & (time >= 0) & np.isin(died, (0, 1))))
    if len(wrong):
        raise InputError(
            f"{table.source}, row {wrong[0] + 1}: time {time[wrong[0]]:g} and death {died[wrong[0]]:g} must"
            " be a number from 0 up, and 0 or 1."
        )
    return about | {"died": died == 1}


def _one(values: np.ndarray, what: str, bag: str, source: str) -> Any:
    found = np.unique(values.astype(str)) if values.dtype == object else np.unique(values)
    if len(found) > 1:
        raise InputError(f"{source}: the rows of bag {bag!r} have several values of {what}; a bag has one.")
    return found[0].item()


def _coordinates(rows: datasets.Dataset) -> np.ndarray | None:
    """Return the columns x and y, where both are there and whole numbers."""
    if not {"x", "y"} <= set(rows.column_names):
        return None
    columns = [np.asarray(rows[name][:]) for name in ("x", "y")]
    return np.stack(columns, axis=1) if all(column.dtype.kind in "iu" for column in columns) else None
