"""Rows of text and of JSON as typed columns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from assay.data.delimited import read_rows
from assay.data.json_text import read_json_lines
from assay.errors import InputError

_EMPTY = frozenset({"", "na", "n/a", "nan", "none", "null"})  # in a column of numbers
_NUMBER = re.compile(
    r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(inf|infinity)", re.IGNORECASE | re.ASCII
)
_WHOLE = re.compile(r"[+-]?[0-9]+")
_MOST = 2**63 - 1


def delimited_table(path: Path, name: str, encoding: str = "utf-8", ids: str = "id") -> pa.Table:
    """Read delimited text as a table.

    Text comes out exactly as it stands. A column becomes numbers where every cell that is not empty is one
    and none starts with a needless 0, so that postcodes stay text; whole numbers that 64 bits do not hold,
    and those of the column `ids` unless all are whole, stay text.

    Raises:
        InputError: as `read_rows` says.
    """
    rows = read_rows(path, encoding, name)
    return pa.table(
        {
            column: _typed([record[position] for record in rows.records], column == ids)
            for position, column in enumerate(rows.columns)
        }
    )


def json_table(path: Path, name: str, encoding: str = "utf-8") -> pa.Table:
    """Read JSON lines, or one JSON array of objects, as a table. A key that an object lacks is an empty cell.

    Raises:
        InputError: as `read_json_lines` says, or a column mixes types.
    """
    records = list(read_json_lines(path, encoding, name))
    columns: dict[str, None] = {}
    for _, record in records:
        columns.update(dict.fromkeys(record))
    return pa.table(
        {
            column: _array_of([(line, record.get(column)) for line, record in records], column, name)
            for column in columns
        }
    )


def _typed(cells: list[str], exact: bool) -> pa.Array:
    """Return the cells as booleans or numbers where all are, else as the text that they were."""
    kinds = {cell.strip() for cell in cells[:1000]}  # a quick look spares most columns of text the rest
    if not all(_number_or_empty(cell) or cell in ("True", "False") for cell in kinds):
        return pa.array(cells, pa.string())
    stripped = [cell.strip() for cell in cells]
    filled = [cell for cell in stripped if cell.lower() not in _EMPTY]
    if filled and all(cell in ("True", "False") for cell in filled):
        return pa.array([None if cell.lower() in _EMPTY else cell == "True" for cell in stripped])
    if not filled or not all(map(_number_or_empty, filled)):
        return pa.array(cells, pa.string())
    numbers = [None if cell.lower() in _EMPTY else cell for cell in stripped]
    if all(map(_WHOLE.fullmatch, filled)):
        if all(len(cell) < 19 or (len(cell) < 30 and abs(int(cell)) <= _MOST) for cell in filled):
            return pa.array([None if cell is None else int(cell) for cell in numbers], pa.int64())
        return pa.array(cells, pa.string())
    if exact:
        return pa.array(cells, pa.string())
    return pa.array([None if cell is None else float(cell) for cell in numbers], pa.float64())


def _number_or_empty(cell: str) -> bool:
    return cell.lower() in _EMPTY or _NUMBER.fullmatch(cell) is not None


def _array_of(cells: list[tuple[int, Any]], column: str, name: str) -> pa.Array:
    values = [value for _, value in cells]
    whole = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
    if any(abs(value) > _MOST for value in whole) and len(whole) == sum(
        value is not None for value in values
    ):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        pass
    kind = _kind(next(value for value in values if value is not None))
    for line, value in cells:
        if value is not None and _kind(value) != kind:
            raise InputError(
                f"{name}: column {column!r} mixes types: line {line} has {value!r:.60}, which is"
                f" {_kind(value)}, where the rows before have {kind}."
            )
    raise InputError(f"{name}: the values of column {column!r} cannot be put into one table column.")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"
