"""Errors that a user can act on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from difflib import get_close_matches


class AssayError(Exception):
    """The root of what the command line prints as one line, without a traceback."""


class InputError(AssayError, ValueError):
    """What the user gave cannot be used: says what was given, what was expected and what to do."""


class DivergedError(AssayError, FloatingPointError):
    """A training diverged: says where, and what often helps. In a check only its arm and seed fail."""


class StorageError(AssayError, OSError):
    """A file cannot be written or read: the disk is full, the folder is read-only, the file is damaged."""


class MissingExtraError(AssayError, ImportError):
    """A package that only some entries need is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed. Install it with: pip install 'assay[{extra}]'")
        self.package, self.extra = package, extra

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.package, self.extra)  # so that it survives the way from a worker


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the known name closest to `name`, or an empty string."""
    found = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""


def unknown(kind: str, name: str, names: Iterable[str]) -> InputError:
    """Return the error for a name that is not among `names`, with the nearest right one."""
    known = sorted(names)
    listing = ", ".join(known) or "none"
    return InputError(f"There is no {kind} {name!r}.{nearest(name, known)} Known: {listing}.")


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn what a method refuses (a `ValueError`, a missing file) into what a user sees as one line."""
    try:
        yield
    except AssayError:
        raise
    except (ValueError, FileNotFoundError) as error:
        raise InputError(str(error)) from None
