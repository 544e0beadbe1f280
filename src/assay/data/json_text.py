"""JSON lines and JSON files, read strictly. Nothing heavy is imported."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from assay.data.delimited import check_columns, read_rows
from assay.data.paths import existing_file, suffix_of
from assay.data.text import open_text, read_text
from assay.errors import InputError

_SPACE = " \t\r\n"


def read_json_lines(
    path: str | Path, encoding: str = "utf-8", name: str | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read one JSON object a line, or one JSON array of objects, each with the number of its line.

    LF and CRLF alone end a line: U+2028 and the like may stand in texts. Blank lines are skipped.

    Args:
        path: the file, also a .gz or .bz2.
        encoding: of the text; UTF-8 may begin with a byte order mark.
        name: how errors call the file; by default its path.

    Raises:
        InputError: the file is missing, empty or not in this encoding, or a line is no JSON object, names a
            key twice, or holds NaN or an infinity; names the line.
    """
    found = existing_file(path)
    return _objects(found, encoding, str(path) if name is None else name)


def read_json_file(path: str | Path, encoding: str = "utf-8") -> Any:
    """Read a file that is one JSON document.

    Raises:
        InputError: the file is missing, empty or not in this encoding, no JSON, names a key twice, or holds
            NaN or an infinity; names the line.
    """
    text, name = read_text(path, encoding), str(path)
    value, end = _decode(text, len(text) - len(text.lstrip(_SPACE)), 1, name)
    if text[end:].strip(_SPACE):
        raise InputError(
            f"{name}, line {text.count(chr(10), 0, end) + 1}: more follows after the JSON value."
        )
    return value


def read_records(
    path: str | Path, encoding: str = "utf-8", name: str | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read rows with the numbers of their lines: JSON lines, or delimited text, by the file's ending.

    Raises:
        InputError: the file ends otherwise, or as `read_rows` and `read_json_lines` say.
    """
    found = existing_file(path, (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson"))
    if suffix_of(found) in (".json", ".jsonl", ".ndjson"):
        return read_json_lines(path, encoding, name)
    return iter(read_rows(path, encoding, name))


def _objects(path: Path, encoding: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    count = 0
    with open_text(path, encoding, newline="\n") as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
        file.seek(0)
        for line, value in _array(file.read(), name) if start == "[" else _lines(file, name):
            if not isinstance(value, dict):
                raise InputError(
                    f'{name}, line {line}: expected an object such as {{"text": ...}}, got'
                    f" {type(value).__name__}."
                )
            count += 1
            yield line, value
    if not count:
        raise InputError(f"{name} has no rows.")


def _lines(file: IO[str], name: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(file, start=1):
        text = line.strip(_SPACE)
        if text:
            value, end = _decode(text, 0, number, name)
            if end < len(text):
                raise InputError(
                    f"{name}, line {number}, column {end + 1}: more follows after the object. Write one JSON"
                    " object a line, or one array of objects."
                )
            yield number, value


def _array(text: str, name: str) -> Iterator[tuple[int, Any]]:
    """Yield the values of an array with their lines."""
    place, line, closed = text.index("[") + 1, 1 + text.count("\n", 0, text.index("[")), False
    first = True
    while not closed:
        start = _skip(text, place)
        line += text.count("\n", place, start)
        if first and text[start : start + 1] == "]":
            place = start + 1
            break
        value, place = _decode(text, start, 1, name)
        yield line, value
        line += text.count("\n", start, place)
        start, first = place, False
        place = _skip(text, start)
        line += text.count("\n", start, place)
        mark = text[place : place + 1]
        if mark not in (",", "]") or not mark:
            raise InputError(f"{name}, line {line}: expected ',' or ']' after an object.")
        closed, place = mark == "]", place + 1
    if text[place:].strip(_SPACE):
        raise InputError(f"{name}, line {line}: more follows after the array.")


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in _SPACE:
        place += 1
    return place


def _decode(text: str, start: int, line: int, name: str) -> tuple[Any, int]:
    """Decode the value that begins at a place; return it and where it ends."""

    def where() -> str:
        return f"{name}, line {line + text.count(chr(10), 0, start)}"

    decoder = json.JSONDecoder(
        object_pairs_hook=partial(_object, where=where),
        parse_constant=partial(_refuse_number, where=where),
        parse_float=partial(_number, where=where),
    )
    try:
        value, end = decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name}, line {line + error.lineno - 1}, column {error.colno}: {error.msg}. Expected one JSON"
            " object a line, or one JSON value in all."
        ) from None
    except RecursionError:
        raise InputError(f"{where()} is nested too deeply.") from None
    except InputError:
        raise
    except ValueError:  # a whole number of more digits than Python reads
        raise InputError(f"{where()}: a number has too many digits.") from None
    if "\\u" in text[start:end]:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InputError(
                f"{where()}: half of a surrogate pair (\\ud800 to \\udfff) is no text."
            ) from None
    return value, end


def _object(pairs: list[tuple[str, Any]], where: Any) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        check_columns([key for key, _ in pairs], where())
    return dict(pairs)


def _refuse_number(text: str, where: Any) -> Any:
    raise InputError(f"{where()}: {text} is no JSON number. Write null for what is missing.")


def _number(text: str, where: Any) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_number(text, where)
