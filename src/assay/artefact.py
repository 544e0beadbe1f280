"""Artefacts: what `assay run` writes and `assay.load` gives back, without pickle.

A folder has an `assay.json` that names every object, how it was saved and what it came from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from assay import files, records
from assay.errors import AssayError, InputError, StorageError, unknown

MANIFEST = "assay.json"


class Artefact:
    """An object that is saved and loaded as its record: what it consists of, as plain values and tensors.

    A dataclass is its own record. Another class has a method `record`, which returns what it consists of,
    and a class method `from_record`, which makes an object of that.
    """

    def save(self, folder: str | Path) -> None:
        """Write this object to `folder`.

        Raises:
            StorageError: the folder cannot be written.
        """
        path = files.user_path(folder)
        try:
            path.mkdir(parents=True, exist_ok=True)
            records.save(path, self)
        except StorageError:
            raise
        except OSError as error:
            raise files.cannot_write(path, error) from error

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: the folder holds no object of this class.
            StorageError: a file is damaged.
        """
        loaded = _read_record(files.user_path(folder), (cls.__module__.split(".")[0],))
        if not isinstance(loaded, cls):
            found = type(loaded).__name__
            raise InputError(f"{folder} holds a {found}, where a {cls.__name__} was expected.")
        return loaded


class Artefacts:
    """The objects that one run keeps in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects: dict[str, dict[str, str]] = {}

    def save(self, name: str, value: Any) -> None:
        """Save an object under `name`: one with `save(folder)`, a figure, or a record."""
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
        StorageError: a file is damaged.
    """
    folder = files.user_path(folder)
    manifest = folder / MANIFEST
    if not manifest.exists():
        raise InputError(f"{folder} has no {MANIFEST}: give a folder that `assay run --out` has written.")
    objects = _objects(manifest)
    if name is not None:
        if name not in objects:
            raise unknown("object", name, objects)
        return _read(folder, objects[name])
    loaded = {key: _read(folder, entry) for key, entry in objects.items()}
    return next(iter(loaded.values())) if len(loaded) == 1 else loaded


def _write(target: Path, value: Any) -> dict[str, str]:
    if isinstance(value, Artefact):
        value.save(target)
        return {"kind": "record"}
    if hasattr(value, "save") and hasattr(type(value), "load"):
        value.save(target)  # in a format of others, such as a folder of transformers
        return {"kind": "object", "class": records.class_name(type(value))}
    if hasattr(value, "savefig"):
        value.savefig(target / "figure.png", dpi=150)
        return {"kind": "figure"}
    records.save(target, value)
    return {"kind": "record"}


def _objects(manifest: Path) -> dict[str, dict[str, str]]:
    """Return what a manifest says of each object: where it is, of which kind, and of which class."""
    described = files.read_json(manifest)
    objects = described.get("objects") if isinstance(described, dict) else None
    if not isinstance(objects, dict) or not all(
        isinstance(entry, dict) and {"path", "kind"} <= set(entry) for entry in objects.values()
    ):
        raise InputError(
            f"{manifest} was not written by `assay run`: it does not say what objects there are."
        )
    return objects


def _read(folder: Path, entry: dict[str, str]) -> Any:
    path = files.inside(folder, entry["path"])
    if entry["kind"] == "figure":
        return path / "figure.png"
    if entry["kind"] == "record":
        return _read_record(path)
    kind: Any = records.find_class(entry.get("class", ""))
    try:
        return kind.load(path)
    except (AssayError, FileNotFoundError):
        raise
    except Exception as error:  # the formats of others fail as they like on damaged bytes
        raise StorageError(f"{path} is damaged ({type(error).__name__}: {error}).") from error


def _read_record(folder: Path, packages: tuple[str, ...] = ()) -> Any:
    try:
        return records.load(folder, packages)
    except FileNotFoundError:
        raise InputError(
            f"{folder} has no {records.RECORD}: give a folder to which an object was saved."
        ) from None
