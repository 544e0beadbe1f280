"""The files of a folder or a zip archive, one after the other, in bounded memory and in storage order.

A zip is read from its central directory entry by entry: the standard library keeps some 600 bytes for each
of EdNet's 800,000 members, which alone is more than this reader takes. Nothing is ever unpacked to disk. A
member whose path is absolute, leads outside with `..`, or is a link, is skipped and counted; so is one that
is encrypted or of unknown compression. One of more than `largest` bytes is refused before it is unpacked.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from assay.errors import InputError

LARGEST_MEMBER = 24 << 20
"""Bytes that one student's file may hold, unpacked, so that reading stays under 300 MB. EdNet's largest holds
some 15 MB."""
EXAMPLES = 10
NO_STUDENT = "not a student's file"
HIGHEST_RATIO = 1032
"""Bytes that one byte of a deflated member unpacks to, at most."""
SMALL = 4 << 20
"""Bytes that may be unpacked before they are compared with what was declared."""
_USER = re.compile(r"u(\d{1,10})\.csv", re.ASCII)
_HEAD = struct.Struct("<4s4xHH4xIIIHHH4xII")
_LENGTHS = struct.Struct("<HH")


@dataclass
class Skipped:
    """What was not read: how many files for each reason, and the first names."""

    counts: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """Count one file."""
        self.counts[reason] += 1
        examples = self.names.setdefault(reason, [])
        if len(examples) < EXAMPLES and name not in examples:
            examples.append(name)


def user_of(name: str) -> int | None:
    """Return the student of a file by its name, `u` and a number, or `None`."""
    match = _USER.fullmatch(name.rpartition("/")[2])
    return int(match[1]) if match else None


class FolderMembers:
    """The students' files of a folder and its subfolders, in the order in which the system lists them."""

    def __init__(self, root: Path, largest: int = LARGEST_MEMBER) -> None:
        self.root, self.largest = root, largest

    def walk(self, skipped: Skipped | None = None) -> Iterator[tuple[int, str, os.DirEntry[str]]]:
        """Yield the student, the name and what `read` takes of each student's file; count what is skipped."""
        skipped, waiting = skipped or Skipped(), [str(self.root)]
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif (user := user_of(entry.name)) is None:
                        skipped.add(NO_STUDENT, entry.name)
                    elif entry.is_file(follow_symlinks=False):
                        yield user, entry.name, entry
                    else:
                        skipped.add("link" if entry.is_symlink() else "no plain file", entry.name)

    def read(self, name: str, entry: os.DirEntry[str]) -> bytes:
        """Return the content of a file.

        Raises:
            InputError: it is larger than allowed, or cannot be read.
        """
        try:
            if entry.stat().st_size > self.largest:
                raise _too_large(name, self.largest)
            with open(entry.path, "rb", buffering=0) as file:  # a buffer would cost more than the reading
                return file.readall()
        except OSError as error:
            raise InputError(f"{entry.path} cannot be read: {error.strerror or error}.") from error


@dataclass(frozen=True)
class Entry:
    """Where a member of a zip is: `method` 0 stored, 8 deflated."""

    offset: int
    packed: int
    size: int
    method: int
    checksum: int


class ZipMembers:
    """The students' files of a zip archive, in the order of its central directory.

    Raises:
        InputError: the file is no zip, or its end is missing (it is truncated).
    """

    def __init__(self, path: Path, largest: int = LARGEST_MEMBER) -> None:
        self.path, self.largest = path, largest
        if path.stat().st_size < 22:
            raise _truncated(path)
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.size = len(self._map)
        self.members, self._start, self._end = self._directory()
        self._read_since_drop = 0

    def walk(self, skipped: Skipped | None = None) -> Iterator[tuple[int, str, Entry]]:
        """Yield the student, the name and what `read` takes of each student's file; count what is skipped."""
        skipped = skipped or Skipped()
        position = self._start
        for _ in range(self.members):
            if position + 46 > self._end:
                raise _truncated(self.path)
            head = _HEAD.unpack_from(self._map, position)
            mark, flags, method, checksum, packed, size, named, extra, comment, attributes, offset = head
            if mark != b"PK\x01\x02":
                raise _truncated(self.path)
            start = position + 46
            more = start + named
            name = self._map[start:more].decode("utf-8" if flags & 0x800 else "cp437", "replace")
            if 0xFFFFFFFF in (packed, size, offset):
                size, packed, offset = _zip64(
                    self._map[more : more + extra], (size, packed, offset), self.path
                )
            position = more + extra + comment
            if name.endswith(("/", "\\")):
                continue
            reason, user = _reason(name, flags, method, attributes), user_of(name)
            if reason is None and user is not None:
                yield user, name, Entry(offset, packed, size, method, checksum)
            else:
                skipped.add(reason or NO_STUDENT, name)

    def read(self, name: str, entry: Entry) -> bytes:
        """Return the content of a member, checked against its length and its CRC-32.

        Raises:
            InputError: it is larger than allowed, damaged, or the archive ends before it.
        """
        if entry.size > self.largest:
            raise _too_large(name, self.largest)
        head = entry.offset
        if head + 30 > self.size or self._map[head : head + 4] != b"PK\x03\x04":
            raise _damaged(self.path, name)
        name_length, extra = _LENGTHS.unpack_from(self._map, head + 26)
        start = head + 30 + name_length + extra
        packed = self._map[start : start + entry.packed]
        if len(packed) < entry.packed:
            raise _truncated(self.path)
        content = packed if entry.method == 0 else self._inflate(packed, name, entry)
        if len(content) != entry.size or zlib.crc32(content) != entry.checksum:
            raise _damaged(self.path, name)
        self._drop(len(packed))
        return content

    def _inflate(self, packed: bytes, name: str, entry: Entry) -> bytes:
        try:
            if len(packed) * HIGHEST_RATIO <= SMALL:
                content = zlib.decompress(packed, -15, entry.size + 1)
            else:
                content = zlib.decompressobj(-15).decompress(packed, entry.size + 1)  # and no more
        except zlib.error:
            raise _damaged(self.path, name) from None
        if len(content) > entry.size:
            raise InputError(
                f"{self.path}: {name} unpacks to more than the {entry.size} bytes that it declares (a zip"
                " bomb?). Nothing of it was kept."
            )
        return content

    def _drop(self, read: int) -> None:
        """Give back pages of the archive that were read: mapped pages count as resident memory."""
        self._read_since_drop += read
        if self._read_since_drop > 4 << 20 and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read_since_drop = 0

    def _directory(self) -> tuple[int, int, int]:
        """Return how many members there are, and where the central directory starts and ends."""
        end = self._map.rfind(b"PK\x05\x06", max(self.size - 65_557, 0))
        if end < 0 or end + 22 > self.size:
            raise _truncated(self.path)
        _, members, length, start = struct.unpack_from("<8xHHII", self._map, end)
        if members == 0xFFFF or length == 0xFFFFFFFF or start == 0xFFFFFFFF:
            if end < 20 or self._map[end - 20 : end - 16] != b"PK\x06\x07":
                raise _truncated(self.path)
            (wide,) = struct.unpack_from("<8xQ", self._map, end - 20)
            if wide + 56 > self.size or self._map[wide : wide + 4] != b"PK\x06\x06":
                raise _truncated(self.path)
            members, length, start = struct.unpack_from("<32xQQQ", self._map, wide)
        if start + length > end:
            raise _truncated(self.path)
        return members, start, start + length


def open_members(root: Path, largest: int = LARGEST_MEMBER) -> FolderMembers | ZipMembers:
    """Open a folder or a zip archive.

    Raises:
        InputError: there is no such path, or the file is no whole zip.
    """
    if root.is_dir():
        return FolderMembers(root, largest)
    if root.is_file():
        return ZipMembers(root, largest)
    raise InputError(f"There is no folder or zip {root}. Give the unpacked folder of KT1 to KT4, or its zip.")


def _reason(name: str, flags: int, method: int, attributes: int) -> str | None:
    """Say why a member is skipped, or return `None`."""
    if stat.S_ISLNK(attributes >> 16):
        return "link"
    slashed = name.replace("\\", "/") if "\\" in name else name
    if slashed[:1] == "/" or name[1:2] == ":" or (".." in name and ".." in slashed.split("/")):
        return "path leads outside the archive"
    if flags & 0x1:
        return "encrypted"
    return None if method in (0, 8) else "unknown compression"


def _zip64(extra: bytes, values: tuple[int, int, int], path: Path) -> list[int]:
    """Return the values, those that do not fit 32 bits from the extra field of kind 1."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = _LENGTHS.unpack_from(extra, position)
        if kind == 1 and position + 4 + length <= len(extra):
            wide = list(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            return [wide.pop(0) if one == 0xFFFFFFFF and wide else one for one in values]
        position += 4 + length
    raise _truncated(path)


def _too_large(name: str, largest: int) -> InputError:
    return InputError(
        f"{name} holds more than the {largest} bytes that one student's file may have (a zip bomb?). If it is"
        " sound, raise the limit with --largest-member."
    )


def _truncated(path: Path) -> InputError:
    return InputError(
        f"{path} is no whole zip archive: its directory is missing or cut off. Download it again."
    )


def _damaged(path: Path, name: str) -> InputError:
    return InputError(
        f"{path}: {name} is damaged (its length or checksum is wrong). Download the archive again."
    )
