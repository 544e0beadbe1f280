"""CSV and JSON, read strictly: what does not fit is an error that says where, never a guess.

The csv module parses rather than pandas, because pandas fills short rows up without a word and takes text
such as "NA" for an empty cell.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from assay.data.paths import existing_file
from assay.data.raw import Raw, check_columns, make_raw
from assay.errors import InputError

_EMPTY = frozenset({"", "na", "n/a", "nan", "none", "null"})  # in a column of numbers
_NUMBER = re.compile(
    r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(inf|infinity)", re.IGNORECASE | re.ASCII
)
_WHOLE = re.compile(r"[+-]?[0-9]+")
_PICKLE = re.compile(rb"\x80[\x02-\x05]")


def read_csv(path: Path, name: str) -> Raw:
    """Read a table of comma-separated values in UTF-8; a header without commas may use tabs or semicolons.

    Text comes out exactly as it stands. A column becomes numbers where every cell that is not empty is one
    and none starts with a needless 0, so that postcodes stay text. A first column without a name, as pandas
    writes it, is called `id`.

    Raises:
        InputError: the file is empty, not UTF-8, has no rows, two columns of one name, or a malformed line.
    """
    with open_text(path) as file:
        header, records = _records(file, name)
    table = {}
    for position, column in enumerate(header):
        table[column] = _typed([record[position] for record in records])
    return make_raw(pa.table(table), name)


def read_json(path: Path, name: str) -> Raw:
    """Read JSON lines, or one JSON array of objects, in UTF-8. A key that an object lacks is an empty cell.

    Raises:
        InputError: the file is empty, not UTF-8, not JSON, not made of objects, or mixes types in a column.
    """
    with open_text(path) as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
        file.seek(0)
        records = list(_array(file, name) if start == "[" else _lines(file, name))
    if not records:
        raise InputError(f"{name} has no rows.")
    columns: dict[str, None] = {}
    for record in records:
        columns.update(dict.fromkeys(record))
    table = {
        column: _array_of([record.get(column) for record in records], column, name) for column in columns
    }
    return make_raw(pa.table(table), name)


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Open a file, also a .gz or .bz2, as UTF-8 text with its line ends as they are.

    Raises:
        InputError: it is missing, empty, a pickle, or not UTF-8; the message says at which byte.
    """
    existing_file(path)
    try:
        with _open_bytes(path) as file:
            _check_utf8(file, path)
        with _open_bytes(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
            yield text
    except (EOFError, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is damaged: {error}.") from None


def _open_bytes(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return bz2.open(path, "rb") if path.suffix.lower() == ".bz2" else path.open("rb")


def _check_utf8(file: IO[bytes], path: Path) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, blank = 0, True
    while True:
        piece = file.read(1 << 20)
        if offset == 0 and _PICKLE.match(piece):
            raise InputError(
                f"{path} is a pickle, which is never read. Save the data as Parquet, CSV or JSON."
            )
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            place = offset - pending + error.start
            raise InputError(
                f"{path} is not UTF-8: byte {place} (0x{error.object[error.start]:02x}) does not fit."
                " Save the file as UTF-8."
            ) from None
        blank = blank and not text.strip("\ufeff \t\r\n")
        offset += len(piece)
        if not piece:
            break
    if blank:
        raise InputError(f"{path} is empty.")


# --- CSV ----------------------------------------------------------------------------------------


def _records(file: IO[str], name: str) -> tuple[list[str], list[list[str]]]:
    """Return the header and the records, each as long as the header."""
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a cell may hold a whole document
    reader = csv.reader(file, delimiter=_delimiter(file), strict=True)
    line = 1
    try:
        header = _header(next(filter(None, reader)), name)
        records = []
        line = reader.line_num + 1
        for record in reader:
            if record and len(record) != len(header):
                raise InputError(
                    f"{name}, line {line}: {len(record)} fields where the header has {len(header)}."
                    " Put text that has commas, quotes or line ends between double quotes."
                )
            if record:
                records.append(record)
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{name}, line {line}: {error}. Each double quote inside a quoted field is written twice."
        ) from None
    finally:
        csv.field_size_limit(limit)
    if not records:
        raise InputError(f"{name} has a header but no rows.")
    return header, records


def _delimiter(file: IO[str]) -> str:
    first = ""
    while not first.strip():
        first = file.readline()
    file.seek(0)
    return next((mark for mark in (",", "\t", ";") if mark in first), ",")


def _header(names: list[str], name: str) -> list[str]:
    header = [column.strip() for column in names]
    if header and header[0] in ("", "Unnamed: 0") and "id" not in header:
        header[0] = "id"
    check_columns(header, name)
    return header


def _typed(cells: list[str]) -> pa.Array:
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
    if all(_WHOLE.fullmatch(cell) and len(cell) < 19 for cell in filled):  # surely fits into 64 bits
        return pa.array([None if cell is None else int(cell) for cell in numbers], pa.int64())
    return pa.array([None if cell is None else float(cell) for cell in numbers], pa.float64())


def _number_or_empty(cell: str) -> bool:
    return cell.lower() in _EMPTY or _NUMBER.fullmatch(cell) is not None


# --- JSON ---------------------------------------------------------------------------------------


def _array(file: IO[str], name: str) -> Iterator[dict[str, Any]]:
    try:
        records = json.load(file, object_pairs_hook=partial(_object, where=name))
    except json.JSONDecodeError as error:
        raise InputError(f"{name}, line {error.lineno}, column {error.colno}: {error.msg}.") from None
    except RecursionError:
        raise InputError(f"{name} is nested too deeply.") from None
    for position, record in enumerate(records, start=1):
        yield _checked(record, f"{name}, row {position}")


def _lines(file: IO[str], name: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            record = json.loads(line.rstrip(), object_pairs_hook=partial(_object, where=where))
        except json.JSONDecodeError as error:
            raise InputError(
                f"{where}, column {error.colno}: {error.msg}. Expected one JSON object a line, or one array"
                " of objects."
            ) from None
        except RecursionError:
            raise InputError(f"{where} is nested too deeply.") from None
        yield _checked(record, where)


def _object(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        check_columns([key for key, _ in pairs], where)
    return dict(pairs)


def _checked(record: Any, where: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise InputError(f'{where}: expected an object such as {{"text": ...}}, got {type(record).__name__}.')
    return record


def _array_of(values: list[Any], column: str, name: str) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        pass
    kind = _kind(next(value for value in values if value is not None))
    for row, value in enumerate(values, start=1):
        if value is not None and _kind(value) != kind:
            raise InputError(
                f"{name}: column {column!r} mixes types: row {row} has {value!r}, which is {_kind(value)},"
                f" where the rows before have {kind}."
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
