"""The artefact of `protect`: PNG files and what was done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

DESCRIPTION = "protected.json"


@dataclass(frozen=True)
class ProtectedPictures:
    """Protected pictures in a folder."""

    folder: Path
    """Where they are."""
    files: tuple[str, ...]
    """PNG files, relative to the folder."""
    notes: tuple[str, ...] = ()
    """What their user should know."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(self.folder / name for name in self.files)

    def save(self, folder: str | Path) -> None:
        """Write the listing beside the files, which are there already."""
        plain = {"files": list(self.files), "notes": list(self.notes)}
        (Path(folder) / DESCRIPTION).write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> ProtectedPictures:
        """Read what `save` wrote."""
        plain = json.loads((Path(folder) / DESCRIPTION).read_text(encoding="utf-8"))
        return cls(Path(folder), tuple(plain["files"]), tuple(plain["notes"]))
