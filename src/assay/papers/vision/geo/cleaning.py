"""Cleaning chips and label maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assay.papers.vision.geo.masks import Strategy
from assay.papers.vision.geo.points import NO_LABEL


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
        empty = chip == self.no_data
        lacking = empty.any(axis=0) if self.strategy == "any" else empty.all(axis=0)
        return bool(lacking.mean() <= self.share)

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
    return np.where((chip == no_data).all(axis=0), NO_LABEL, labels)
