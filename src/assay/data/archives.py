"""Archives of users, zip and tar: safe names, no links, sizes within limits. Nothing heavy is imported."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from assay import files
from assay.data.paths import existing_file
from assay.data.text import check_growth
from assay.errors import AssayError, InputError

ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz")
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    OSError,
    zlib.error,
    NotImplementedError,
    RuntimeError,
)


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    name: str
    """Its path inside, with slashes."""
    size: int
    """Bytes, unpacked."""
    open: Callable[[], IO[bytes]]
    """Opens it for reading, while the archive is open."""

    def read(self) -> bytes:
        """Return its content.

        Raises:
            InputError: it is damaged.
        """
        try:
            with self.open() as file:
                return file.read()
        except _BROKEN as error:
            raise InputError(f"{self.name} is damaged in its archive ({error}).") from None


@dataclass(frozen=True)
class Archive:
    """An open archive: its files in the order in which they lie there."""

    path: Path
    members: tuple[Member, ...]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def extract(self, folder: Path) -> None:
        """Write all files under a folder.

        Raises:
            InputError: a file is damaged.
        """
        for member in self.members:
            target = files.inside(folder, member.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with member.open() as packed, target.open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
            except _BROKEN as error:
                raise InputError(f"{self.path}: {member.name} cannot be unpacked ({error}).") from None


@contextmanager
def open_archive(path: str | Path) -> Iterator[Archive]:
    """Open a zip or tar archive, also a compressed tar. What macOS adds (`._NAME`, `__MACOSX`) is left out.

    Raises:
        InputError: it is missing, no archive or damaged, a name leads outside or stands twice, a member is a
            link, a device or encrypted, or it unpacks to far more than its size.
    """
    found = existing_file(path, ARCHIVES)
    try:
        if zipfile.is_zipfile(found):
            with zipfile.ZipFile(found) as packed:
                zipped = (_zipped(packed, info, found) for info in packed.infolist() if not info.is_dir())
                yield _checked(found, zipped)
        else:
            with tarfile.open(found) as tar:
                yield _checked(found, (_tarred(tar, info, found) for info in tar if not info.isdir()))
    except AssayError:
        raise
    except _BROKEN as error:
        reason = str(error).splitlines()[0].rstrip(":") if str(error) else "it ends too early"
        raise InputError(f"{found} is no whole archive, zip or tar ({reason}).") from None


def _zipped(packed: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Member:
    kind = info.external_attr >> 16 & 0o170000
    if kind not in (0, 0o100000):
        raise InputError(f"{path}: {info.filename!r} is a link or a device, which are not unpacked.")
    if info.flag_bits & 1:
        raise InputError(f"{path}: {info.filename!r} is encrypted. Unpack the archive yourself.")
    return Member(info.filename.replace("\\", "/"), info.file_size, lambda: packed.open(info))


def _tarred(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> Member:
    if not info.isfile():
        raise InputError(f"{path}: {info.name!r} is a link or a device, which are not unpacked.")

    def opened() -> IO[bytes]:
        file = tar.extractfile(info)
        assert file is not None
        return file

    return Member(info.name.removeprefix("./"), info.size, opened)


def _checked(path: Path, members: Iterator[Member]) -> Archive:
    kept: dict[str, Member] = {}
    packed, unpacked = path.stat().st_size, 0
    for member in members:
        unpacked += member.size
        check_growth(packed, unpacked, str(path))
        inner = PurePosixPath(member.name)
        if (
            not inner.parts
            or inner.is_absolute()
            or ".." in inner.parts
            or ":" in inner.parts[0]
            or "\0" in member.name
        ):
            raise InputError(f"{path}: the name {member.name!r} leads outside of the folder.")
        if member.name in kept:
            raise InputError(f"{path}: the name {member.name!r} stands twice.")
        if not any(part.startswith("._") or part == "__MACOSX" for part in inner.parts):
            kept[member.name] = member
    return Archive(path, tuple(kept.values()))
