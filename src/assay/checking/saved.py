"""Results on disk, a file for each paper, preset and data source: those shipped with assay, and a store's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from assay import files
from assay.checking.results import Checked
from assay.errors import StorageError
from assay.paper import PRESETS, Paper

FOLDER = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Saved:
    """A saved result. It is stale when the claims have been edited since."""

    name: str
    result: Checked
    stale: bool

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict of each claim."""
        return {claim.name: claim.verdict for claim in self.result.claims}


def save(checked: Checked, folder: Path = FOLDER) -> Path:
    """Keep the verdicts of a check among those that ship with assay."""
    path = folder / f"{checked.name}.json"
    files.write_json(path, checked.to_json())
    return path


def results_of(paper: Paper, folder: Path = FOLDER) -> tuple[list[Saved], list[str]]:
    """Return the results of a paper in a folder, and of each that cannot be used, why.

    Those on a preset's own data come first, in the order of the presets.
    """
    found, refused = [], []
    for path in folder.glob(f"{paper.slug}--*.json"):
        try:
            result = Checked.from_json(files.read_json(path))
            _refuse_older(result, paper)
        except (StorageError, ValueError) as error:
            again = f"run `assay check {paper.slug}` to make it again"
            refused.append(f"{path} cannot be used ({error}); {again}.")
        else:
            stale = result.provenance.claims_fingerprint != paper.fingerprint(result.preset)
            found.append(Saved(path.stem, result, stale))
    return sorted(found, key=_rank), sorted(refused)


def verdicts(results: Iterable[Saved]) -> dict[str, str]:
    """Return the verdict of each claim that was checked; of several, the first."""
    merged: dict[str, str] = {}
    for item in results:
        merged = item.verdicts | merged
    return merged


def _refuse_older(result: Checked, paper: Paper) -> None:
    metrics = {metric.name for metric in paper.metrics}
    presets = {name for recipe in paper.recipes.values() for name in recipe.presets}
    tested = {test.metric for claim in result.claims for test in claim.tests}
    if result.paper != paper.slug or result.preset not in presets or not tested <= metrics:
        raise ValueError("it is of an older version of the paper's entry")


def _rank(saved: Saved) -> tuple[bool, int, str]:
    preset = saved.result.preset
    own_data = saved.name != f"{saved.result.paper}--{preset}"
    return own_data, PRESETS.index(preset) if preset in PRESETS else len(PRESETS), saved.name
