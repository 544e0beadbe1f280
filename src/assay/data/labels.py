"""Labels of any type as class numbers with names."""

from __future__ import annotations

import math
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from assay.data.raw import Raw, blank_mask, floats, null_mask, row_numbers
from assay.data.roles import is_text
from assay.errors import InputError, nearest

Codes = np.ndarray[Any, np.dtype[np.int64]]


def is_real(raw: Raw, column: str) -> bool:
    """Return whether a label column holds real numbers: not all whole, and more than two of them."""
    kind = raw.table.schema.field(column).type
    if not (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return False
    values = raw.table[column].cast(pa.float64()).drop_null().to_numpy()
    values = values[~np.isnan(values)]
    return not np.array_equal(values, np.round(values)) and len(np.unique(values)) > 2


def real_values(raw: Raw, column: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a regression target.

    Raises:
        InputError: it is text, or some values are empty or infinite.
    """
    data = raw.table[column]
    if is_text(data.type):
        raise InputError(f"{raw.name}: column {column!r} is text; a target must be numbers.")
    _refuse_empty(null_mask(data), raw, column)
    values = floats(raw, column, data)
    if not np.isfinite(values).all():
        raise InputError(f"{raw.name}: column {column!r} is infinite in {row_numbers(~np.isfinite(values))}.")
    return values


def encode(raw: Raw, column: str) -> tuple[Codes, tuple[str, ...]]:
    """Return the class of each row and the names of the classes, sorted (as numbers where all are numbers).

    A column that comes with names keeps them.

    Raises:
        InputError: labels are empty, or all are the same.
    """
    values = label_texts(raw, column)
    feature = raw.features[column]
    found = sorted(set(values), key=_order(set(values)))
    if len(found) == 1:
        raise InputError(
            f"{raw.name}: column {column!r} has only one class, {found[0]!r}. At least two are needed."
        )
    names = tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else tuple(found)
    return _codes(values, names), names


def encode_like(raw: Raw, column: str, names: tuple[str, ...], train: str) -> Codes:
    """Return the class of each row by the names of the training table.

    Raises:
        InputError: labels are empty, or a class does not occur in the training table.
    """
    values = label_texts(raw, column)
    strange = sorted(set(values) - set(names))
    if strange:
        raise InputError(
            f"{raw.name}: column {column!r} has the class {strange[0]!r}, which {train} does not have."
            f"{nearest(strange[0], names)} Its classes: {', '.join(names[:20])}."
        )
    return _codes(values, names)


def all_hidden(raw: Raw, column: str) -> bool:
    """Return whether no row has a label, as in test splits whose labels are kept secret."""
    return column not in raw.columns or bool(empty_mask(raw, column).all())


def label_texts(raw: Raw, column: str) -> list[str]:
    """Return each label as text: 1.0 as "1", true as "True", the names of numbered classes.

    Raises:
        InputError: labels are empty.
    """
    _refuse_empty(empty_mask(raw, column), raw, column)
    values = raw.table[column].to_pylist()
    feature = raw.features[column]
    if isinstance(feature, datasets.ClassLabel):
        if max(values) >= len(feature.names):
            raise InputError(
                f"{raw.name}: column {column!r} has the class number {max(values)} but only"
                f" {len(feature.names)} names of classes."
            )
        return [str(feature.names[value]) for value in values]
    return [_text(value) for value in values]


def empty_mask(raw: Raw, column: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows have no label: hidden ones, and text of nothing but space."""
    data = raw.table[column]
    mask = null_mask(data)
    if is_text(data.type):
        mask |= blank_mask(data)
    if isinstance(raw.features[column], datasets.ClassLabel):  # -1 stands for a label that is kept secret
        mask |= np.array([code is None or code < 0 for code in data.to_pylist()])
    return mask


def _refuse_empty(mask: np.ndarray[Any, np.dtype[np.bool_]], raw: Raw, column: str) -> None:
    count = int(mask.sum())
    if count:
        raise InputError(
            f"{raw.name}: column {column!r} is empty in {count} of {len(mask)} rows ({row_numbers(mask)})."
            " Fill them in or remove these rows."
        )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    whole = not isinstance(value, bool) and math.isfinite(value) and value == int(value)
    return str(int(value)) if whole else str(value)


def _order(values: set[str]) -> Any:
    try:
        numbers = {value: float(value) for value in values}
    except ValueError:
        return str
    if any(
        math.isnan(number) for number in numbers.values()
    ):  # a class called nan has no place among numbers
        return str
    return lambda value: (numbers[value], value)


def _codes(values: list[str], names: tuple[str, ...]) -> Codes:
    number = {name: code for code, name in enumerate(names)}
    return np.array([number[value] for value in values], dtype=np.int64)
