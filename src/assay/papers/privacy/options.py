"""Options that several entries put into their configs, and their bounds. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.bounds import PositiveInt
from assay.errors import InputError

LARGEST_EPS = 0.25
"""The largest change of a pixel that is taken for a protection, of a range from 0 to 1."""


@dataclass(frozen=True)
class Victim:
    """A classifier of pictures, and how long it is trained."""

    network: Literal["convnet", "resnet18"] = "convnet"
    """A convolutional network of three blocks, or ResNet-18 with the stem for small pictures."""
    width: PositiveInt | None = None
    """Channels of the first block, doubled by later ones; by default 32, and 64 for ResNet-18."""
    epochs: PositiveInt = 12
    """Passes over the training pictures."""


def check_eps(eps: float, allow_zero: bool = False, largest: float = LARGEST_EPS) -> None:
    """Refuse a radius that is no small change of pixels from 0 to 1.

    Args:
        eps: the radius.
        allow_zero: whether 0, which changes nothing, is allowed.
        largest: the largest radius allowed; an L2 radius is larger than one of a single pixel.

    Raises:
        InputError: says what was expected and how to convert a radius in levels of 255.
    """
    if (eps > 0 or (allow_zero and eps == 0)) and eps <= largest:
        return
    least = "0 or more" if allow_zero else "above 0"
    hint = f" For {eps:g} of 255 levels write {eps / 255:.4g}." if 1 <= eps <= 255 * largest else ""
    raise InputError(
        f"eps must be {least} and at most {largest:g} in pixel values from 0 to 1, got {eps:g}.{hint}"
    )
