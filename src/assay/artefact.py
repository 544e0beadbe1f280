"""Artefacts: what `assay run` writes, without pickle.

A folder has an `assay.json` that names every object, how it was saved and what it came from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay import files

MANIFEST = "assay.json"


class Artefacts:
    """The objects that one run keeps in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects: dict[str, dict[str, str]] = {}

    def save(self, name: str, value: Any) -> None:
        """Save an object under `name`: one with `save(folder)`, a table, a figure, or a tree of arrays."""
        target = files.inside(self.folder, name)
        target.mkdir(parents=True, exist_ok=True)
        try:
            self.objects[name] = {"path": name, **_write(target, value)}
        except OSError as error:
            raise files.cannot_write(target, error) from error

    def finish(self, description: dict[str, Any]) -> None:
        """Write the manifest; only then does the folder count as an artefact."""
        listing = sorted(
            str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()
        )
        manifest = description | {"objects": self.objects, "files": listing}
        files.write_json(self.folder / MANIFEST, manifest)


def _write(target: Path, value: Any) -> dict[str, str]:
    if hasattr(value, "save") and hasattr(type(value), "load"):
        value.save(target)
        return {"kind": "object", "class": f"{type(value).__module__}:{type(value).__qualname__}"}
    if hasattr(value, "savefig"):
        value.savefig(target / "figure.png", dpi=150)
        return {"kind": "figure"}
    files.save_tree(target, value)
    return {"kind": "tree"}
