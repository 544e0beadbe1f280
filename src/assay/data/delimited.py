"""Delimited text, read strictly: what does not fit is an error that says where, never a guess.

The csv module parses rather than pandas, because pandas fills short rows up without a word and takes text
such as "NA" for an empty cell. Nothing heavy is imported.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from assay.data.paths import suffix_of
from assay.data.text import open_text
from assay.errors import InputError, nearest

PANDAS_INDEX = re.compile(r"__index_level_\d+__|Unnamed: 0(\.\d+)?")
"""What pandas calls the numbers of its rows in the files that it writes."""


@dataclass(frozen=True)
class TextRows:
    """The rows of a delimited text file: iterating gives each line's number and its cells by column."""

    columns: tuple[str, ...]
    """The names in the header."""
    name: str
    """How errors call the file."""
    lines: list[int]
    """The line on which each row begins, from 1."""
    records: list[list[str]]
    """The cells of each row, exactly as they stand."""

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        for line, record in zip(self.lines, self.records, strict=True):
            yield line, dict(zip(self.columns, record, strict=True))

    def __len__(self) -> int:
        return len(self.records)

    def require(self, *columns: str) -> None:
        """Refuse a file that lacks one of these columns.

        Raises:
            InputError: names the missing column, the nearest one and all columns.
        """
        for column in columns:
            if column not in self.columns:
                raise missing_column(self.name, column, self.columns)


def read_rows(path: str | Path, encoding: str = "utf-8", name: str | None = None) -> TextRows:
    """Read delimited text with a header: commas, or else tabs or semicolons (tabs first in a .tsv).

    Cells come out exactly as they stand. The numbers of rows that pandas writes, a first column without a
    name, are called `id`, or left out where another column has that name.

    Args:
        path: the file, also a .gz or .bz2.
        encoding: of the text; UTF-8 may begin with a byte order mark.
        name: how errors call the file; by default its path.

    Raises:
        InputError: the file is missing, empty or not in this encoding, has no rows, two columns of one name,
            or a malformed line; names the line.
    """
    shown = str(path) if name is None else name
    with open_text(path, encoding) as file:
        header, lines, records = _records(file, shown, tabs=suffix_of(Path(path)) == ".tsv")
    if header[0] in ("", "Unnamed: 0") and "id" not in header:
        header[0] = "id"
    numbers = [place for place, column in enumerate(header) if PANDAS_INDEX.fullmatch(column)]
    for place in reversed(numbers if header[0] else [0, *numbers]):
        for row in (header, *records):
            del row[place]
    check_columns(header, shown)
    return TextRows(tuple(header), shown, lines, records)


def check_columns(columns: Sequence[str], name: str) -> None:
    """Refuse columns without a name and columns that share one."""
    for position, column in enumerate(columns, start=1):
        if not column.strip():
            raise InputError(f"{name}: column {position} has no name.")
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise InputError(f"{name} has more than one column called {twice[0]!r}. Rename all but one.")


def missing_column(name: str, column: str, columns: Sequence[str], remark: str = "") -> InputError:
    """Return the error for a column that is not there, with the nearest one and all there are."""
    listing = ", ".join(columns[:30]) + (" ..." if len(columns) > 30 else "")
    return InputError(
        f"{name} has no column {column!r}{remark}.{nearest(column, columns)} Its columns: {listing}."
    )


def _records(file: IO[str], name: str, tabs: bool) -> tuple[list[str], list[int], list[list[str]]]:
    """Return the header, the line of each record, and the records, each as long as the header."""
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a cell may hold a whole document
    reader = csv.reader(file, delimiter=_delimiter(file, tabs), strict=True)
    lines: list[int] = []
    records: list[list[str]] = []
    line = 1
    try:
        header = [column.strip() for column in next(filter(None, reader), [])]
        if not any(header):
            raise InputError(f"{name} has no header and no rows.")
        line = reader.line_num + 1
        for record in reader:
            if record and len(record) != len(header):
                raise InputError(
                    f"{name}, line {line}: {len(record)} fields where the header has {len(header)}."
                    " Put text that has commas, quotes or line ends between double quotes."
                )
            if record:
                lines.append(line)
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
    return header, lines, records


def _delimiter(file: IO[str], tabs: bool) -> str:
    first = next((line for line in file if line.strip()), "")
    file.seek(0)
    return next((mark for mark in ("\t,;" if tabs else ",\t;") if mark in first), ",")
