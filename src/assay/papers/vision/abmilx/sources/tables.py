"""Bags from the rows of a table: pictures or features, each with the name of its bag."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
import PIL.Image
import torch
from torch import Tensor

from assay.data import LoadedTable, Table
from assay.errors import InputError
from assay.papers.vision.abmilx.sources.bag import Bag, BagSet, InMemory

BAG_LABEL = "bag_label"


def has_bags(data: Table, column: str) -> bool:
    """Return whether the rows name their bags."""
    return column in data.load(needs=()).rows.column_names


def bags_of_table(
    data: Table, column: str, pixels: int | None = None, survival: tuple[str, str] | None = None
) -> BagSet:
    """Read bags from a table; rows of its test split are bags of the part `test`.

    Args:
        data: where the rows are.
        column: names a row's bag.
        pixels: pictures are resized to so many pixels squared.
        survival: the columns of time and death, instead of a label.

    Raises:
        InputError: a column is missing, a bag has two labels, or one bag or patient is in both splits.
    """
    columns = data.load(needs=()).rows.column_names
    if column not in columns:
        raise InputError(
            f"{data.source} has no column {column!r} that names bags (--bag). It has: {', '.join(columns)}."
        )
    label = data.label or (BAG_LABEL if BAG_LABEL in columns and not survival else None)
    table = dataclasses.replace(data, id=column, label=label).load()
    if survival is None and not table.label_names:
        raise InputError(f"{data.source} has no bag labels. Name their column with --data.label.")
    bags = [
        bag
        for part, rows in (("train", table.rows), ("test", table.test))
        if rows is not None
        for bag in _bags(table, rows, part if table.test is not None else None, pixels, survival)
    ]
    return BagSet(tuple(bags), table.label_names if survival is None else (), data.source)


def instance_tensor(table: LoadedTable, rows: datasets.Dataset, pixels: int | None) -> Tensor:
    """Return rows as uint8 pictures [n, c, h, w], or as features [n, d].

    Raises:
        InputError: there is neither, a feature is not finite, or pictures differ in size.
    """
    if "image" in rows.column_names:
        return pictures_to_tensor(list(rows["image"]), pixels, table.source)
    values = torch.from_numpy(table.matrix(rows)).float()
    broken = (~values.isfinite()).any(dim=1).nonzero().flatten().tolist()
    if broken:
        raise InputError(
            f"{table.source}: the features of row {broken[0] + 1} ({len(broken)} rows) are NaN or infinite."
            " Fill them in or remove these rows."
        )
    return values


def pictures_to_tensor(pictures: list[PIL.Image.Image], pixels: int | None, source: str) -> Tensor:
    """Return pictures as uint8 [n, c, h, w], grey with one channel where all are grey.

    Raises:
        InputError: they differ in size and are not to be resized.
    """
    mode = "L" if all(picture.mode in ("1", "L") for picture in pictures) else "RGB"
    size = (pixels, pixels) if pixels else pictures[0].size
    arrays = []
    for number, picture in enumerate(pictures):
        if not pixels and picture.size != size:
            raise InputError(
                f"{source}: picture {number + 1} has {picture.size[0]}x{picture.size[1]} pixels, the first"
                f" {size[0]}x{size[1]}. Give --patch-pixels to resize them all."
            )
        converted = picture.convert(mode)
        arrays.append(
            np.atleast_3d(np.asarray(converted.resize(size) if converted.size != size else converted))
        )
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def _bags(
    table: LoadedTable,
    rows: datasets.Dataset,
    part: str | None,
    pixels: int | None,
    survival: tuple[str, str] | None,
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
        chosen = values[torch.from_numpy(where)]
        bags.append(
            Bag(
                name,
                (InMemory(chosen),),
                (len(where),),
                part=part,
                coords=None if coords is None else coords[where],
                patch=side,
                **constant,
            )
        )
    return bags


def _about(
    table: LoadedTable, rows: datasets.Dataset, survival: tuple[str, str] | None
) -> dict[str, np.ndarray]:
    """Return what is said of bags, row by row."""
    about: dict[str, Any] = {}
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
    about["died"] = died == 1
    return about


def _one(values: np.ndarray, what: str, bag: str, source: str) -> Any:
    found = np.unique(values.astype(str)) if values.dtype == object else np.unique(values)
    if len(found) > 1:
        raise InputError(f"{source}: the rows of bag {bag!r} have several values of {what}; a bag has one.")
    return found[0].item()


def _coordinates(rows: datasets.Dataset) -> np.ndarray | None:
    """Return the columns x and y, where both are there."""
    if not {"x", "y"} <= set(rows.column_names):
        return None
    columns: Mapping[str, Any] = {name: np.asarray(rows[name][:]) for name in ("x", "y")}
    if not all(np.issubdtype(column.dtype, np.integer) for column in columns.values()):
        return None
    return np.stack([columns["x"], columns["y"]], axis=1)
