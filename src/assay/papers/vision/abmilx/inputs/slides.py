"""Bags from whole-slide pictures: tissue is found on a thumbnail, patches are read when needed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image
from torch import Tensor

from assay.data import existing_folder
from assay.errors import InputError, MissingExtraError
from assay.papers.vision.abmilx.config import Slides
from assay.papers.vision.abmilx.inputs.bags import Bag
from assay.papers.vision.abmilx.inputs.tables import as_tensor

SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".svslide")
THUMBNAIL = 1024
"""Pixels of the longer side of the picture on which tissue is looked for."""
ALIKE = 1.1
"""Slides whose microns per pixel differ by a larger factor are not read alike by downsampling."""


class SlideFolder:
    """A folder of whole-slide pictures."""

    def __init__(self, folder: Path, options: Slides) -> None:
        self.place, self.options = str(folder), options
        files = sorted(path for path in existing_folder(folder).iterdir() if path.name[0] != ".")
        self.paths = {path.stem: path for path in files if path.suffix.lower() in SUFFIXES}
        self.names = list(self.paths)

    def bags(self, names: Sequence[str]) -> list[Bag]:
        """Return one bag for each slide."""
        slides = [Slide(self.paths[name]) for name in names]
        self._warn_of_scales(slides)
        return [_bag(name, slide, self.options) for name, slide in zip(names, slides, strict=True)]

    def _warn_of_scales(self, slides: Sequence[Slide]) -> None:
        silent = [slide.path.name for slide in slides if slide.microns is None]
        known = [slide.microns for slide in slides if slide.microns is not None]
        if silent and (self.options.microns or known):
            warnings.warn(
                f"{len(silent)} of {len(slides)} slides in {self.place}, such as {silent[0]}, do not say how"
                " many microns a pixel has: they are read by --slides.downsamples.",
                stacklevel=2,
            )
        if known and not self.options.microns and max(known) > ALIKE * min(known):
            warnings.warn(
                f"The slides in {self.place} have {min(known):.3g} to {max(known):.3g} microns per pixel."
                " Give --slides.microns to read all at the same magnification.",
                stacklevel=2,
            )


def _bag(name: str, slide: Slide, options: Slides) -> Bag:
    factors = options.downsamples
    if options.microns is not None and slide.microns is not None:
        factors = tuple(wanted / slide.microns for wanted in options.microns)
    grids = [slide.patches(options.patch, factor, options.least_tissue) for factor in factors]
    if (most := options.most_patches) is not None:  # spread evenly
        spread = [np.linspace(0, len(grid) - 1, min(most, len(grid))).round() for grid in grids]
        grids = [grid[np.unique(rows).astype(int)] for grid, rows in zip(grids, spread, strict=True)]
    if not len(grids[0]):
        raise InputError(
            f"{slide.path} has no patch with {options.least_tissue:.0%} tissue. Lower --slides.least-tissue"
            " or leave the slide out of the labels."
        )
    there = [(grid, factor) for grid, factor in zip(grids, factors, strict=True) if len(grid)]
    return Bag(
        name,
        tuple(partial(_read, slide, grid, options.patch, factor) for grid, factor in there),
        tuple(len(grid) for grid, _ in there),
        coords=grids[0],
        patch=round(options.patch * factors[0]),
        thumbnail=slide.thumbnail,
        extent=slide.size,
    )


def _read(slide: Slide, grid: Int[np.ndarray, "n 2"], patch: int, factor: float, rows: Tensor) -> Tensor:
    return as_tensor([slide.read(grid[row], patch, factor) for row in rows.tolist()])


class Slide:
    """A whole-slide picture that openslide reads."""

    def __init__(self, path: Path) -> None:
        try:
            import openslide
        except (ImportError, OSError) as error:
            raise MissingExtraError("openslide-python", "vision") from error
        try:
            self.handle: Any = openslide.OpenSlide(str(path))
        except openslide.OpenSlideError as error:
            raise InputError(
                f"{path} is no slide that openslide reads ({error}). Give pyramidal TIFF, SVS, NDPI, MRXS or"
                " the like."
            ) from error
        self.path = path
        self.size: tuple[int, int] = self.handle.dimensions
        written = self.handle.properties.get("openslide.mpp-x")
        self.microns: float | None = float(written) if written else None

    def thumbnail(self) -> Image.Image:
        """Return a small picture of the slide."""
        picture: Image.Image = self._checked(lambda: self.handle.get_thumbnail((THUMBNAIL, THUMBNAIL)))
        return picture.convert("RGB")

    def patches(self, patch: int, factor: float, least_tissue: float) -> Int[np.ndarray, "n 2"]:
        """Return the corners of all patches with enough tissue, in pixels of the finest level, row by row."""
        mask = tissue(np.asarray(self.thumbnail()))
        step = patch * factor
        columns, rows = (max(1, int(side // step)) for side in self.size)
        width, height = mask.shape[1] / self.size[0] * step, mask.shape[0] / self.size[1] * step
        covered = (0, 0, min(columns * width, mask.shape[1]), min(rows * height, mask.shape[0]))
        picture = Image.fromarray(mask.astype(np.float32))
        shares = np.asarray(picture.resize((columns, rows), Image.Resampling.BOX, covered))
        places = np.argwhere(shares >= least_tissue - 1e-6)[:, ::-1] * step
        return np.asarray(places.round(), dtype=np.int64)

    def read(self, corner: Int[np.ndarray, " 2"], patch: int, factor: float) -> UInt8[np.ndarray, "p p 3"]:
        """Return a patch, from the level nearest to its magnification, resized where it lies between."""
        level = self.handle.get_best_level_for_downsample(factor * 1.01)
        side = max(1, round(patch * factor / self.handle.level_downsamples[level]))
        place = (int(corner[0]), int(corner[1]))
        region = self._checked(lambda: self.handle.read_region(place, level, (side, side)))
        white = Image.new("RGB", region.size, "white")  # outside of what was scanned
        white.paste(region, mask=region.getchannel("A"))
        return np.asarray(white if side == patch else white.resize((patch, patch), Image.Resampling.BOX))

    def _checked(self, read: Any) -> Any:
        import openslide

        try:
            return read()
        except openslide.OpenSlideError as error:
            raise InputError(f"{self.path} cannot be read: {error}. It is damaged.") from error


def tissue(thumbnail: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """Return where there is tissue: where the saturation of the colour is above Otsu's threshold.

    Glass is white or grey. A slide without any contrast has no tissue.
    """
    from skimage.filters import threshold_otsu

    channels = thumbnail.astype(np.int16)
    saturation = channels.max(axis=2) - channels.min(axis=2)
    if saturation.max() - saturation.min() < 8:
        return np.full(saturation.shape, bool(saturation.min() >= 8))
    found: Bool[np.ndarray, "h w"] = saturation > threshold_otsu(saturation)
    return found
