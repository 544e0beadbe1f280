"""Quality bands: clouds, shadows and water, what they blank; and cleaning of chips and label maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from assay.papers.vision.geo.labels import NO_LABEL

Strategy = Literal["each", "any"]
MaskType = Literal["cloud", "near_cloud_or_shadow", "cloud_shadow", "water"]

FMASK_BITS = {"cloud": 1, "near_cloud_or_shadow": 2, "cloud_shadow": 3, "water": 5}
SCL_CLASSES = {"cloud": (8, 9), "water": (6,)}


def quality_mask(quality: np.ndarray, kind: str, types: Sequence[str]) -> np.ndarray:
    """Return where any of `types` is set: bool, of the shape of `quality`.

    Of HLS's Fmask the bit at a type's position counts, of Sentinel-2's SCL the class.

    Raises:
        ValueError: this kind of quality band does not know a type.
    """
    known = FMASK_BITS if kind == "Fmask" else SCL_CLASSES
    found = np.zeros(quality.shape, dtype=bool)
    for name in types:
        if name not in known:
            raise ValueError(f"{kind} has no {name!r}; it has {', '.join(known)}.")
        if kind == "Fmask":
            found |= (quality >> FMASK_BITS[name]) & 1 == 1
        else:
            found |= np.isin(quality, SCL_CLASSES[name])
    return found


def blank(chip: np.ndarray, masks: np.ndarray, strategy: Strategy, no_data: int) -> np.ndarray:
    """Return the chip [steps * bands, h, w] with masked pixels [steps, h, w] set to `no_data`.

    `each` blanks the bands of the step that is masked, `any` all bands where any step is.
    """
    if strategy == "any":
        masks = np.broadcast_to(masks.any(axis=0), masks.shape)
    repeated = np.repeat(masks, len(chip) // len(masks), axis=0)
    return np.where(repeated, np.asarray(no_data, chip.dtype), chip)


def observed(chip: np.ndarray, strategy: Strategy, no_data: int) -> np.ndarray:
    """Return where a label may stand, bool [h, w]: `each`: any band has data, `any`: all bands have."""
    there = chip != no_data
    found: np.ndarray = there.any(axis=0) if strategy == "each" else there.all(axis=0)
    return found


@dataclass(frozen=True)
class ChipCleaner:
    """Leaves out chips with little to see.

    Args:
        share: of a chip's pixels that may lack data.
        strategy: a pixel lacks data where `any` band, or where all bands (`each`), have none.
        no_data: what marks it.
    """

    share: float = 0.5
    strategy: Strategy = "any"
    no_data: int = 0

    def keeps(self, chip: np.ndarray) -> bool:
        """Return whether a chip [bands, h, w] has enough data."""
        return bool((~observed(chip, self.strategy, self.no_data)).mean() <= self.share)

    def clean(self, chips: Sequence[np.ndarray]) -> list[int]:
        """Return the numbers of the chips that are kept."""
        return [number for number, chip in enumerate(chips) if self.keeps(chip)]


def buffer_labels(labels: np.ndarray, window: int) -> np.ndarray:
    """Return a label map [h, w] in which each label also fills the empty pixels up to `window` around it.

    An empty pixel takes the nearest label, by steps that may be diagonal.
    """
    from scipy.ndimage import distance_transform_cdt

    turned = labels[::-1, ::-1]  # so that of two equally near labels the one further down and right wins
    if (turned == NO_LABEL).all():
        return labels.copy()
    distance, nearest = distance_transform_cdt(turned == NO_LABEL, "chessboard", return_indices=True)
    return np.where(distance <= window, turned[tuple(nearest)], turned)[::-1, ::-1]


def limit_labels(labels: np.ndarray, chip: np.ndarray, no_data: int = 0) -> np.ndarray:
    """Return a label map without labels where no band of the chip [bands, h, w] has data."""
    return np.where(observed(chip, "each", no_data), labels, NO_LABEL)
