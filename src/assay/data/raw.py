"""Rows as they were read, before columns have roles; and the words of errors about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from assay.data.delimited import check_columns
from assay.errors import InputError


@dataclass(frozen=True)
class Raw:
    """Rows as read from one file, folder or split.

    `name` is how errors call it. `feature_names` names the entries of a ready-made column of lists;
    `num_features` is the width of a sparse table. `media_checked` says that paths to
    pictures and sound may be followed: they were listed by us or by the hub. `regression` says that the
    label is a number to predict, even where all are whole.
    """

    table: pa.Table
    features: datasets.Features
    name: str
    feature_names: tuple[str, ...] = ()
    num_features: int = 0
    media_checked: bool = False
    regression: bool = False

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.table.column_names)


@dataclass(frozen=True)
class Splits:
    """The rows to learn from, and the published test splits by name, best first."""

    main: Raw
    tests: dict[str, Raw]


def make_raw(table: pa.Table, name: str) -> Raw:
    """Check a table as it was read and find the types of its columns.

    Raises:
        InputError: it has no rows, two columns of one name, or a column of an unknown type.
    """
    check_columns(table.column_names, name)
    if table.num_rows == 0:
        raise InputError(f"{name} has no rows.")
    try:
        features = datasets.Features.from_arrow_schema(table.schema)
    except (AttributeError, KeyError, TypeError, ValueError, NotImplementedError):
        # metadata of another version: the types alone say enough
        table = table.replace_schema_metadata(None)
        features = datasets.Features({field.name: _type(field, name) for field in table.schema})
    return Raw(table, features, name)


def row_numbers(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    """Say where a mask is true: ``row 3`` or ``rows 3, 8, 9, 12, 15 and 40 more``, counted from 1."""
    found = [int(index) + 1 for index in np.flatnonzero(mask)]
    listing = ", ".join(map(str, found[:5]))
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return f"row{'s' if len(found) > 1 else ''} {listing}{more}"


def null_mask(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows of a column are empty; NaN counts as empty."""
    mask: np.ndarray[Any, np.dtype[np.bool_]] = column.is_null(nan_is_null=True).to_numpy()
    return mask.astype(bool)


def blank_mask(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows of a column of text hold nothing but space, or not even that."""
    return np.array([value is None or not value.strip() for value in column.to_pylist()], dtype=bool)


def floats(raw: Raw, column: str, data: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return numbers as float64.

    Raises:
        InputError: a whole number is too long to stay what it is.
    """
    try:
        values: np.ndarray[Any, np.dtype[np.float64]] = data.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        raise InputError(
            f"{raw.name}: column {column!r} has whole numbers beyond 2^53, as ids are, which real numbers do"
            " not hold. Name the columns that measure something with --data.features."
        ) from None
    return values


def _type(field: pa.Field, name: str) -> Any:
    try:
        return datasets.Features.from_arrow_schema(pa.schema([field.remove_metadata()]))[field.name]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{name}: column {field.name!r} has the type {field.type}, which cannot be used. Remove it."
        ) from None
