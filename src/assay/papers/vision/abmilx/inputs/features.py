"""Bags of features in a file for each slide: .pt as the authors write them, or .safetensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from assay.data import existing_folder, read_tensors
from assay.data.torch_files import StoredTensor, open_torch_file
from assay.errors import InputError, refusals
from assay.papers.vision.abmilx.inputs.bags import Bag

SUFFIXES = (".pt", ".pth", ".safetensors")


class FeatureFolder:
    """A folder with a file of features [n, d] for each slide, or one that has them in `pt_files`.

    A file holds one tensor, or several of which one is called features, feats or embeddings and another may
    be called coords. They are read when they are needed.
    """

    def __init__(self, folder: Path) -> None:
        inner = folder / "pt_files"
        self.place, folder = str(folder), inner if inner.is_dir() else existing_folder(folder)
        files = sorted(path for path in folder.iterdir() if path.name[0] != ".")
        self.paths = {path.stem: path for path in files if path.suffix in SUFFIXES}
        self.names = list(self.paths)

    def bags(self, names: Sequence[str]) -> list[Bag]:
        """Return one bag for each file."""
        bags: list[Bag] = []
        widths: list[int] = []
        for name in names:
            features, places = _open(self.paths[name])
            size, width = features.shape
            widths.append(width)
            if width != widths[0]:
                raise InputError(
                    f"{self.paths[name]} has features of width {width}, those of {self.paths[names[0]]} have"
                    f" {widths[0]}."
                )
            known = places is not None and tuple(places.shape) == (size, 2)
            coords = _tensor(places).long().numpy() if known else None
            bags.append(Bag(name, (partial(_read, self.paths[name]),), (size,), coords=coords))
        return bags


def _read(path: Path, rows: Tensor) -> Tensor:
    with refusals():
        return _tensor(_open(path)[0])[rows].float()


def _tensor(stored: Any) -> Tensor:
    loaded: Tensor = stored.load() if isinstance(stored, StoredTensor) else stored
    return loaded


def _open(path: Path) -> tuple[Tensor | StoredTensor, Tensor | StoredTensor | None]:
    """Return the features of a file, and the places of its patches where it has them."""
    with refusals():
        values: Any = read_tensors(path) if path.suffix == ".safetensors" else open_torch_file(path)
    tensors = values if isinstance(values, dict) else {"features": values}
    named = [tensors[name] for name in ("features", "feats", "embeddings") if name in tensors]
    features = next(iter(named or tensors.values()), None)
    alone = len(tensors) == 1 or bool(named)
    if not alone or not isinstance(features, Tensor | StoredTensor) or len(features.shape) != 2:
        raise InputError(f"{path} holds no tensor of features [n, d], and none that is called features.")
    places = tensors.get("coords")
    return features, places if isinstance(places, Tensor | StoredTensor) else None
