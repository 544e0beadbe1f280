"""What users name as MODULE:ATTRIBUTE: their own functions and objects."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from assay.errors import InputError, nearest


def import_own(written: str, option: str) -> Any:
    """Return what MODULE:ATTRIBUTE names; the module may be in the working folder.

    Args:
        written: what the user wrote.
        option: the option for which it stands, such as `--system`.

    Raises:
        InputError: there is no such module, it fails, or it has no such attribute.
    """
    module, _, attribute = written.partition(":")
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
    except Exception as error:  # a module of users fails as it likes
        missing = isinstance(error, ModuleNotFoundError) and error.name and module.startswith(error.name)
        reason = f"there is no module {module!r}, neither installed nor in {here}"
        raise InputError(
            f"{option} {written} cannot be imported: {reason if missing or not module else error}."
        ) from error
    finally:
        sys.path.remove(here)
    if not hasattr(found, attribute):
        near = nearest(attribute, dir(found))
        raise InputError(f"{option} {written} cannot be imported: {module!r} has no {attribute!r}.{near}")
    return getattr(found, attribute)
