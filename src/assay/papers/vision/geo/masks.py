"""Clouds, shadows and water from quality bands, and how they blank a chip and its labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

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
    unknown = [name for name in types if name not in known]
    if unknown:
        raise ValueError(f"{kind} has no {unknown[0]!r}; it has {', '.join(known)}.")
    found = np.zeros(quality.shape, dtype=bool)
    for name in types:
        if kind == "Fmask":
            found |= (quality >> FMASK_BITS[name]) & 1 == 1
        else:
            found |= np.isin(quality, SCL_CLASSES[name])
    return found


def blank(chip: np.ndarray, masks: np.ndarray, strategy: Strategy, no_data: int) -> np.ndarray:
    """Return the chip [steps * bands, h, w] with masked pixels [steps, h, w] set to `no_data`.

    `each` blanks the bands of the step that is masked, `any` all bands where any step is.
    """
    steps = len(masks)
    if strategy == "any":
        masks = np.broadcast_to(masks.any(axis=0), masks.shape)
    repeated = np.repeat(masks, len(chip) // steps, axis=0)
    return np.where(repeated, np.asarray(no_data, chip.dtype), chip)


def observed(chip: np.ndarray, strategy: Strategy, no_data: int) -> np.ndarray:
    """Return where a label may stand, bool [h, w]: `each`: any band has data, `any`: all bands have."""
    there = chip != no_data
    found: np.ndarray = there.any(axis=0) if strategy == "each" else there.all(axis=0)
    return found
