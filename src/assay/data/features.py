"""Columns of numbers, or one column of lists, as a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from assay.data.raw import Raw, floats, null_mask, row_numbers
from assay.data.roles import is_list
from assay.errors import InputError

Matrix = np.ndarray[Any, np.dtype[np.float64]]


def stack(raw: Raw, columns: tuple[str, ...]) -> tuple[Matrix, tuple[str, ...]]:
    """Return the features as a matrix [n, d] and their names.

    Raises:
        InputError: a value is empty, NaN or infinite, or lists differ in length.
    """
    parts, names = [], []
    for column in columns:
        data = raw.table[column]
        part = _lists(raw, column, data) if is_list(data.type) else _numbers(raw, column, data)
        parts.append(part)
        names += _names(raw, column, part.shape[1], is_list(data.type))
    return np.hstack(parts), tuple(names)


def empty_mask(data: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows have no number, or a list in which one is missing."""
    if not is_list(data.type):
        return null_mask(data)
    return np.array([row is None or any(n is None or n != n for n in row) for row in data.to_pylist()], bool)


def _names(raw: Raw, column: str, width: int, lists: bool) -> list[str]:
    if not lists:
        return [column]
    if len(raw.feature_names) == width:
        return list(raw.feature_names)
    return [f"{column}_{position}" for position in range(width)]


def _numbers(raw: Raw, column: str, data: pa.ChunkedArray) -> Matrix:
    empty = null_mask(data)
    if empty.any():
        raise InputError(
            f"{raw.name}: column {column!r} is empty or NaN in {int(empty.sum())} of {len(empty)} rows"
            f" ({row_numbers(empty)}). Fill them in, or choose other columns with --data.features."
        )
    values = floats(raw, column, data)
    _refuse_infinite(~np.isfinite(values), raw, column)
    return values[:, None]


def _lists(raw: Raw, column: str, data: pa.ChunkedArray) -> Matrix:
    lengths = pyarrow.compute.fill_null(pyarrow.compute.list_value_length(data), -1).to_numpy()
    width = int(lengths[0])
    if width <= 0:
        raise InputError(f"{raw.name}: column {column!r} has no numbers in row 1.")
    ragged = lengths != width
    if ragged.any():
        row = int(np.flatnonzero(ragged)[0])
        raise InputError(
            f"{raw.name}: column {column!r} is ragged: row {row + 1} has {max(0, int(lengths[row]))} numbers"
            f" where row 1 has {width}."
        )
    flat = pyarrow.compute.list_flatten(data)
    empty = np.any(null_mask(flat).reshape(-1, width), axis=1)
    if empty.any():
        raise InputError(f"{raw.name}: column {column!r} has empty or NaN numbers in {row_numbers(empty)}.")
    values = floats(raw, column, flat).reshape(-1, width)
    _refuse_infinite(np.any(~np.isfinite(values), axis=1), raw, column)
    return values


def _refuse_infinite(mask: np.ndarray[Any, np.dtype[np.bool_]], raw: Raw, column: str) -> None:
    if mask.any():
        raise InputError(f"{raw.name}: column {column!r} is infinite in {row_numbers(mask)}.")
