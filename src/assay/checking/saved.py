"""The verdicts that ship with assay: one JSON file a paper, preset and data source, in `results/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay import files
from assay.errors import StorageError
from assay.paper import Paper

FOLDER = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Saved:
    """A saved result, with the verdict of each claim. It is stale when the claims have been edited since."""

    name: str
    result: dict[str, Any]
    verdicts: dict[str, str]
    stale: bool


def save(name: str, result: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Keep the verdicts of a check among those that ship with assay."""
    path = folder / f"{name}.json"
    files.write_json(path, result)
    return path


def results_of(paper: Paper, folder: Path = FOLDER) -> tuple[list[Saved], list[str]]:
    """Return the saved results of a paper, its default laptop check first, and what could not be read."""
    found, damaged = [], []
    for path in sorted(folder.glob(f"{paper.slug}--*.json")):
        try:
            result = files.read_json(path)
            verdicts = {claim["name"]: claim["verdict"] for claim in result["claims"]}
            stale = result["provenance"]["claims_fingerprint"] != paper.fingerprint(result["preset"])
            found.append(Saved(path.stem, result, verdicts, stale))
        except (StorageError, KeyError, TypeError):
            damaged.append(f"{path} is damaged; run `assay check {paper.slug} --save` to make it again.")
    return sorted(found, key=lambda saved: (saved.name != f"{paper.slug}--laptop", saved.name)), damaged
