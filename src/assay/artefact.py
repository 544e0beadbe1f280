"""Artefacts: what `assay run` writes and `assay.load` gives back, without pickle.

A folder has an `assay.json` that names every object, how it was saved and what it came from.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from assay import files
from assay.errors import InputError, unknown

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


def load(folder: str | Path, name: str | None = None) -> Any:
    """Load what `assay run` wrote to `folder`.

    Args:
        folder: the folder given as `--out`.
        name: which object, where there are several.

    Returns:
        The object; where there are several and none is named, a dict of all of them.

    Raises:
        InputError: the folder is not one that `assay run` finished, or there is no such object.
    """
    folder = Path(folder)
    manifest = folder / MANIFEST
    if not manifest.exists():
        raise InputError(f"{folder} has no {MANIFEST}: give a folder that `assay run --out` has written.")
    objects: dict[str, dict[str, str]] = files.read_json(manifest)["objects"]
    if name is not None:
        if name not in objects:
            raise unknown("object", name, objects)
        return _read(folder, objects[name])
    loaded = {key: _read(folder, entry) for key, entry in objects.items()}
    return next(iter(loaded.values())) if len(loaded) == 1 else loaded


def _write(target: Path, value: Any) -> dict[str, str]:
    if hasattr(value, "save") and hasattr(type(value), "load"):
        value.save(target)
        return {"kind": "object", "class": f"{type(value).__module__}:{type(value).__qualname__}"}
    if hasattr(value, "savefig"):
        value.savefig(target / "figure.png", dpi=150)
        return {"kind": "figure"}
    files.save_tree(target, value)
    return {"kind": "tree"}


def _read(folder: Path, entry: dict[str, str]) -> Any:
    path = files.inside(folder, entry["path"])
    if entry["kind"] == "object":
        return _class(entry["class"]).load(path)
    return path / "figure.png" if entry["kind"] == "figure" else files.load_tree(path)


def _class(name: str) -> Any:
    """Find a class by name, in assay itself alone: a manifest must not make us import anything else."""
    module, _, qualified = name.partition(":")
    if module.split(".")[0] != "assay":
        raise InputError(f"the manifest names the class {name!r}, which is not part of assay.")
    found: Any = importlib.import_module(module)
    for part in qualified.split("."):
        found = getattr(found, part)
    return found
