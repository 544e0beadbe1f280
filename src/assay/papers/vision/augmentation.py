"""Random changes of training chips: what the paper's configurations do to chips, and to labels alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

from assay.papers.vision.geo.labels import NO_LABEL


@dataclass(frozen=True)
class Augmentation:
    """Changes each chip of a batch at random, and its label map in the same way.

    Flips happen with probability 1/2 each, and so do turns, which leave no data and no label behind.
    Brightness and contrast are scaled, the chip is blurred by a kernel of 3 x 3 and gets noise; pixels
    without data stay so. Everything but flips is off by default; `Augmentation.full()` is all of the
    paper's (its flood and locust configurations have flips alone).

    Args:
        crop: pixels of the square that is cut out of a larger chip at a random place.
        degrees: the most that a chip is turned.
        brightness: factors are drawn from 1 - b to 1 + b.
        contrast: the same, of the distance from the mean of the chip's band.
        blur: deviations in pixels to draw from; none by default.
        noise: deviation, in the units of the chips.
        no_data: what chips hold where there is nothing.
    """

    crop: int | None = None
    flips: bool = True
    degrees: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    blur: tuple[float, float] | None = None
    noise: float = 0.0
    no_data: float = 0.0

    @classmethod
    def full(cls, crop: int | None = None, no_data: float = 0.0) -> Augmentation:
        """Return the paper's: noise of 0.05 of 10,000, so chips are reflectance times 10,000."""
        return cls(crop, True, 10.0, 0.2, 0.2, (0.1, 2.0), 500.0, no_data)

    def __call__(
        self, chips: Float[Tensor, "b c t h w"], labels: Shaped[Tensor, "b h w"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "b c t h2 w2"], Shaped[Tensor, "b h2 w2"]]:
        """Return changed chips and labels; all is drawn from the generator."""
        changed = [self._one(chip, label, generator) for chip, label in zip(chips, labels, strict=True)]
        return torch.stack([chip for chip, _ in changed]), torch.stack([label for _, label in changed])

    def _one(self, chip: Tensor, label: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        def draw(low: float, high: float) -> float:
            return low + (high - low) * torch.rand((), generator=generator).item()

        if self.crop is not None:
            top, left = (int(draw(0.0, side - self.crop + 1.0)) for side in chip.shape[-2:])
            within = (..., slice(top, top + self.crop), slice(left, left + self.crop))
            chip, label = chip[within], label[within]
        if self.flips:
            axes = [axis for axis in (-1, -2) if draw(0.0, 1.0) < 0.5]
            chip, label = (chip.flip(axes), label.flip(axes)) if axes else (chip, label)
        if self.degrees and draw(0.0, 1.0) < 0.5:
            angle = draw(-self.degrees, self.degrees)
            chip = turned(chip.flatten(0, 1), angle, self.no_data).view_as(chip)
            label = turned(label[None].float(), angle, float(NO_LABEL))[0].to(label.dtype)
        return self._recoloured(chip, draw, generator), label

    def _recoloured(
        self, chip: Tensor, draw: Callable[[float, float], float], generator: torch.Generator
    ) -> Tensor:
        """Return a chip with other brightness and contrast, blurred and noisy, where it has data."""
        there = chip != self.no_data
        values = chip
        if self.brightness:
            values = values * draw(1 - self.brightness, 1 + self.brightness)
        if self.contrast:
            count = there.sum(dim=(-2, -1), keepdim=True).clamp(min=1)
            mean = torch.where(there, values, 0).sum(dim=(-2, -1), keepdim=True) / count
            values = mean + (values - mean) * draw(1 - self.contrast, 1 + self.contrast)
        if self.blur is not None:
            values = blurred(values, draw(*self.blur))
        if self.noise:
            drawn = torch.randn(values.shape, generator=generator).to(values)
            values = values + self.noise * drawn
        return torch.where(there, values, chip)


def turned(layers: Float[Tensor, "n h w"], degrees: float, fill: float) -> Float[Tensor, "n h w"]:
    """Turn layers around their middle, counter-clockwise, each pixel taking the nearest one's value."""
    height, width = layers.shape[-2:]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows = [[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]]
    theta = torch.tensor([rows], dtype=layers.dtype, device=layers.device)
    grid = functional.affine_grid(theta, [1, 1, height, width], align_corners=False)
    moved = functional.grid_sample(
        (layers - fill)[None], grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return moved[0] + fill


def blurred(layers: Float[Tensor, "... h w"], deviation: float) -> Float[Tensor, "... h w"]:
    """Blur layers with a Gaussian kernel of 3 x 3, mirrored at the rim."""
    height, width = layers.shape[-2:]
    side = math.exp(-0.5 / deviation**2)
    line = torch.tensor([side, 1.0, side], dtype=layers.dtype, device=layers.device)
    kernel = torch.outer(line, line) / line.sum() ** 2
    padded = functional.pad(layers.reshape(-1, 1, height, width), (1, 1, 1, 1), mode="reflect")
    return functional.conv2d(padded, kernel[None, None]).view_as(layers)
