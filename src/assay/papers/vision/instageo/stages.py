"""What the arms of one seed share: drawn scenes, and the chips that are compared with those of the files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assay.papers.vision.instageo.config import Landscapes, SmallRegion
from assay.papers.vision.instageo.synthetic.landscapes import Part, Terrain, make_landscape
from assay.papers.vision.instageo.synthetic.region import Region, cut_oracle, fully_labelled, make_region

CLOUD_COVERAGE = 60.0
"""Of the scenes of the region, in percent at most."""


@dataclass(frozen=True)
class DrawnScene:
    """A synthetic scene: uint16 [dates, bands, h, w], the newest date first, and classes [h, w]."""

    part: str
    reflectance: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class CutChips:
    """Chips [n, steps * bands, h, w] and their label maps [n, h, w], in the order of their content."""

    chips: np.ndarray
    labels: np.ndarray

    @classmethod
    def ordered(cls, chips: np.ndarray, labels: np.ndarray) -> CutChips:
        """Return chips in the order of their content, which does not depend on who cut them."""
        keys = [(c.tobytes(), m.astype(np.int64).tobytes()) for c, m in zip(chips, labels, strict=True)]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return cls(chips[order], labels[order])


def draw_scenes(landscapes: Landscapes, seed: int) -> list[DrawnScene]:
    """Draw each scene: half to learn from, a sixth to choose, a third to test, each with its own pixels."""
    random = np.random.default_rng([seed, 2025])
    found = []
    for part in scene_parts(landscapes.scenes):
        textures: Part = "test" if part == "test" else "train"
        drawn = make_landscape((landscapes.side, landscapes.side), textures, random, Terrain())
        dates = [1] if landscapes.dates == 1 else [2, 1, 0][: landscapes.dates]
        seen = np.where(drawn.clouds[dates][:, None], 0, drawn.reflectance[dates])
        labels = np.where(drawn.clouds[dates].all(axis=0), -1, drawn.classes)
        found.append(DrawnScene(part, seen.astype(np.uint16), labels))
    return found


def scene_parts(scenes: int) -> list[str]:
    """Return the part of each scene."""
    test, validation = max(1, scenes // 3), max(1, scenes // 6)
    return ["train"] * (scenes - test - validation) + ["validation"] * validation + ["test"] * test


def draw_region(region: SmallRegion, seed: int, part: Part) -> Region:
    """Draw a region with textures of one part of the photographs."""
    return make_region(region.side, region.points, np.random.default_rng(seed), part)


def cut_from_arrays(region: SmallRegion, chip_size: int, dates: int, seed: int) -> CutChips:
    """Cut the chips of the region to learn from with numpy, out of the arrays in memory."""
    drawn = draw_region(region, seed, "train")
    chips, labels = zip(*cut_oracle(drawn, chip_size, dates, CLOUD_COVERAGE)[0].values(), strict=True)
    return CutChips.ordered(np.stack(chips), np.stack(labels))


def cut_fully_labelled(region: SmallRegion, chip_size: int, dates: int, seed: int) -> CutChips:
    """Return the chips of the region to test on, with the label of each pixel."""
    return CutChips(*fully_labelled(draw_region(region, seed, "test"), chip_size, dates))
