"""What users name as MODULE:ATTRIBUTE: their own functions and objects."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from assay.data import hash_file
from assay.errors import InputError, nearest


def import_own(written: str, option: str) -> Any:
    """Return what MODULE:ATTRIBUTE names; the module may be in the working folder.

    Args:
        written: what the user wrote.
        option: the option for which it stands, such as `--system`.

    Raises:
        InputError: there is no such module, it fails, or it has no such attribute.
    """
    found, attribute = import_module(written, option), written.partition(":")[2]
    if not hasattr(found, attribute):
        near = nearest(attribute, dir(found))
        raise InputError(
            f"{option} {written} cannot be imported: {found.__name__!r} has no {attribute!r}.{near}"
        )
    return getattr(found, attribute)


def import_module(written: str, option: str) -> ModuleType:
    """Return the module of MODULE:ATTRIBUTE.

    Raises:
        InputError: there is no such module, or it fails.
    """
    module = written.partition(":")[0]
    try:
        with _working_folder() as here:
            return importlib.import_module(module)
    except Exception as error:  # a module of users fails as it likes
        missing = isinstance(error, ModuleNotFoundError) and error.name and module.startswith(error.name)
        reason = f"there is no module {module!r}, neither installed nor in {here}"
        raise InputError(
            f"{option} {written} cannot be imported: {reason if missing or not module else error}."
        ) from error


def code_of(written: str) -> str:
    """Return the SHA-256 of the file of the module in MODULE:ATTRIBUTE, for fingerprints of options."""
    try:
        with _working_folder():
            spec = importlib.util.find_spec(written.partition(":")[0])
    except Exception:  # a package around the module fails as it likes
        spec = None
    file = Path(spec.origin) if spec and spec.origin else None
    return hash_file(file) if file and file.is_file() else "unknown"


@contextmanager
def _working_folder() -> Iterator[str]:
    """Let modules be found in the working folder."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield here
    finally:
        sys.path.remove(here)
