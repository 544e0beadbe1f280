"""Pictures as they are published: 8 bits a channel, still inside the ball, with a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from assay.errors import InputError
from assay.papers.privacy.mixing import Mode, mix_rows
from assay.papers.privacy.pictures import load_written, png_paths, to_uint8_within, write_pictures


@dataclass(frozen=True)
class PublishedPictures:
    """Pictures of one size with their classes, as `assay run bayes_unlearnable` writes them."""

    pixels: UInt8[Tensor, "n c h w"]
    """From 0 to 255."""
    labels: Int[Tensor, " n"]
    """Classes from 0."""
    names: tuple[str, ...]
    """A relative path for each picture."""
    label_names: tuple[str, ...]
    """The classes in the order of their numbers."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What was done to the pictures and what was measured; plain values."""

    @classmethod
    def of(
        cls,
        images: Float[Tensor, "n c h w"],
        original: UInt8[Tensor, "n c h w"],
        labels: Int[Tensor, " n"],
        eps: float,
        norm: Literal["linf", "l2"] = "linf",
    ) -> PublishedPictures:
        """Round protected images to 8 bits toward their originals; names and classes are numbers."""
        pixels = to_uint8_within(images, original, eps, norm)
        label_names = tuple(str(label) for label in range(int(labels.max()) + 1))
        digits = len(str(len(labels)))
        names = tuple(f"{label}/{row:0{digits}d}" for row, label in enumerate(labels.tolist()))
        return cls(pixels, labels, names, label_names, {"eps": eps, "norm": norm})

    def mix(
        self,
        clean: UInt8[Tensor, "n c h w"],
        ratio: float,
        mode: Mode = "per_index",
        generator: torch.Generator | None = None,
    ) -> tuple[UInt8[Tensor, "n c h w"], Bool[Tensor, " n"]]:
        """Return the pictures with a share `ratio` of them protected and the others clean, and which are.

        Raises:
            InputError: the clean pictures are not of the same number and size, or the ratio is no share.
        """
        if clean.shape != self.pixels.shape:
            raise InputError(
                f"The clean pictures are {tuple(clean.shape)}, the protected ones {tuple(self.pixels.shape)};"
                " give the originals in the same order."
            )
        protected = mix_rows(len(clean), ratio, mode, generator or torch.Generator().manual_seed(0))
        return torch.where(protected.view(-1, 1, 1, 1), self.pixels, clean), protected

    def save(self, folder: str | Path) -> None:
        """Write PNG files in the tree of the names and `manifest.json`.

        Where the names do not start with the class, a `metadata.csv` names it, so that `images:FOLDER` reads
        the pictures again either way.
        """
        classes = [self.label_names[label] for label in self.labels.tolist()]
        manifest = {**self.about, "label_names": list(self.label_names), "labels": self.labels.tolist()}
        write_pictures(folder, self.pixels, self.names, manifest)
        paths = png_paths(self.names)
        if any(PurePosixPath(path).parts[0] != name for path, name in zip(paths, classes, strict=True)):
            table = pd.DataFrame({"file_name": paths, "label": classes})
            table.to_csv(Path(folder) / "metadata.csv", index=False)

    @classmethod
    def load(cls, folder: str | Path) -> PublishedPictures:
        """Read what `save` wrote.

        Raises:
            InputError: a picture or a part of the manifest is missing.
        """
        pixels, manifest = load_written(folder)
        names: Sequence[str] = manifest.pop("files")
        try:
            labels, label_names = manifest.pop("labels"), manifest.pop("label_names")
        except KeyError as error:
            raise InputError(f"{folder}/manifest.json has no {error}.") from None
        return cls(pixels, torch.tensor(labels), tuple(names), tuple(label_names), manifest)
