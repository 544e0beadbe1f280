"""Starts a new entry that already passes the contract test: `assay new`."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from assay import catalogue, files
from assay.errors import InputError, unknown
from assay.paper import FAMILIES

TEMPLATES = Path(__file__).parent / "templates" / "entry"


def new_entry(slug: str, family: str, out: Path | None = None) -> Path:
    """Write a new entry and return its folder.

    It is one of assay's own, `papers/<family>/<slug>/`, or with `out` the package `<slug>` in that folder.
    The entry compares a shrunken mean with the plain mean on generated data, so that there is a method, a
    baseline and a control to replace, and a check that runs.

    Raises:
        InputError: the slug is not a Python name or is taken, or the family is unknown.
        StorageError: the folder cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug) or keyword.iskeyword(slug):
        raise InputError(
            f"{slug!r} cannot name a paper: use lower-case letters, digits and underscores, and no word of"
            " Python's own."
        )
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    if slug in catalogue.slugs():
        raise InputError(f"There is a paper {slug!r} already; see `assay show {slug}`.")
    home = Path(__file__).parents[1] / "papers" / family if out is None else out
    target = home / slug
    if target.exists():
        raise InputError(f"{target} exists; choose another name.")
    package = f"{catalogue.PAPERS}.{family}.{slug}" if out is None else slug
    with files.atomic_folder(target) as written:
        for template in sorted(TEMPLATES.glob("*.txt")):
            text = template.read_text(encoding="utf-8")
            for name, value in (("slug", slug), ("family", family), ("package", package)):
                text = text.replace(f"{{{name}}}", value)
            (written / template.stem).write_text(text, encoding="utf-8")
    if out is None and not (home / "__init__.py").exists():
        (home / "__init__.py").write_text(f'"""Papers on {family}, and what several of them need."""\n')
    return target
