"""Bags of features in a file for each slide: .pt as the authors write them, or .safetensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
        """Return one bag for each file.

        Raises:
            InputError: a file cannot be read, or its features have another width than those of the first.
        """
        found = [_open(self.paths[name]) for name in names]
        width = found[0].features.shape[1]
        for name, opened in zip(names, found, strict=True):
            if opened.features.shape[1] != width:
                raise InputError(
                    f"{self.paths[name]} has features of width {opened.features.shape[1]}, those of"
                    f" {self.paths[names[0]]} have {width}."
                )
        return [
            Bag(name, (_Reader(self.paths[name]),), (opened.features.shape[0],), coords=opened.coords())
            for name, opened in zip(names, found, strict=True)
        ]


@dataclass(frozen=True)
class _Opened:
    features: Tensor | StoredTensor
    places: Tensor | StoredTensor | None

    def coords(self) -> Any:
        if self.places is None or tuple(self.places.shape) != (self.features.shape[0], 2):
            return None
        return _tensor(self.places).long().numpy()


@dataclass(frozen=True)
class _Reader:
    """Reads some of the features of a file."""

    path: Path

    def __call__(self, rows: Tensor) -> Tensor:
        with refusals():
            return _tensor(_open(self.path).features)[rows].float()


def _tensor(stored: Tensor | StoredTensor) -> Tensor:
    return stored.load() if isinstance(stored, StoredTensor) else stored


def _open(path: Path) -> _Opened:
    with refusals():
        values: Any = read_tensors(path) if path.suffix == ".safetensors" else open_torch_file(path)
    tensors = values if isinstance(values, dict) else {"features": values}
    named = [tensors[name] for name in ("features", "feats", "embeddings") if name in tensors]
    features = next(iter(named or tensors.values()), None)
    alone = len(tensors) == 1 or bool(named)
    if not alone or not isinstance(features, Tensor | StoredTensor) or len(features.shape) != 2:
        raise InputError(f"{path} holds no tensor of features [n, d], and none that is called features.")
    places = tensors.get("coords")
    return _Opened(features, places if isinstance(places, Tensor | StoredTensor) else None)
