"""Text files of users: opened strictly, decoded in whole, within limits. Nothing heavy is imported."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from assay.data.paths import existing_file
from assay.errors import AssayError, InputError, unknown

MOST_GROWTH = 200
"""How many times larger than its file unpacked content may be, beyond the first gigabyte."""
FREE_GROWTH = 1 << 30

_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_PIECE = 1 << 20
_OTHER_ENCODING = "Save the file as UTF-8, or name its encoding (--data.encoding, for a table)."


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """Return a whole text file, also a .gz or .bz2, without its byte order mark and with its line ends.

    Raises:
        InputError: it is missing, empty, a pickle, or not in this encoding; names the byte.
    """
    with open_text(path, encoding) as file:
        return file.read()


@contextmanager
def open_text(path: str | Path, encoding: str = "utf-8", newline: str = "") -> Iterator[IO[str]]:
    """Open a text file, also a .gz or .bz2; with `newline=""` all line ends stay as they are.

    Raises:
        InputError: it is missing, empty, a pickle, or not in this encoding; names the byte.
    """
    path, codec = existing_file(path), check_encoding(encoding)
    try:
        with _open_bytes(path) as file:
            _check(file, path, codec)
        with _open_bytes(path) as file, io.TextIOWrapper(file, codec, newline=newline) as text:
            yield text
    except AssayError:
        raise
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path} is damaged or cannot be read ({error}).") from None


def check_growth(packed: int, unpacked: int, name: str) -> None:
    """Refuse content that unpacks to far more than any real data does.

    Raises:
        InputError: it is larger than a gigabyte and than 200 times its file.
    """
    if unpacked > max(FREE_GROWTH, MOST_GROWTH * packed):
        raise InputError(
            f"{name} unpacks to more than {MOST_GROWTH} times its size, as no real data does. Unpack it"
            " yourself if you trust it."
        )


def check_encoding(encoding: str) -> str:
    """Return Python's name of a text encoding; UTF-8 may begin with a byte order mark.

    Raises:
        InputError: there is no such encoding.
    """
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)
    except (LookupError, ValueError):
        common = ("utf-8", "utf-16", "latin-1", "cp1252", "cp1251", "shift_jis", "gb18030", "euc_kr", "big5")
        raise unknown("encoding", encoding, common) from None
    return "utf-8-sig" if name == "utf-8" else name


def _open_bytes(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return bz2.open(path, "rb") if path.suffix.lower() == ".bz2" else path.open("rb")


def _check(file: IO[bytes], path: Path, codec: str) -> None:
    """Decode a file in pieces to see that it can be, and that it holds something."""
    plain = "utf-8" if codec == "utf-8-sig" else codec
    decoder = codecs.getincrementaldecoder(plain)()
    packed, offset, blank = path.stat().st_size, 0, True
    while True:
        piece = file.read(_PIECE)
        if offset == 0 and _PICKLE.match(piece):
            raise InputError(
                f"{path} is a pickle, which is never read. Save the data as Parquet, CSV or JSON."
            )
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            place, byte = offset - pending + error.start, error.object[error.start]
            if place == 0 and error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise InputError(f"{path} is UTF-16. {_OTHER_ENCODING}") from None
            raise InputError(
                f"{path} is not {plain.upper()}: byte {place} (0x{byte:02x}) does not fit. {_OTHER_ENCODING}"
            ) from None
        blank = blank and not text.strip("\ufeff \t\r\n")
        offset += len(piece)
        check_growth(packed, offset, str(path))
        if not piece:
            break
    if blank:
        raise InputError(f"{path} is empty.")
