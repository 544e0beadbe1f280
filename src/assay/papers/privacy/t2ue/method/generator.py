"""The generator: a caption's embedding and a random vector become noise of bounded size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from assay.artefact import Artefact
from assay.papers.privacy.options import check_eps

START = 4
"""Side of the feature map that the random vector becomes."""


class SemanticBatchNorm(nn.Module):
    """SSCBN: batch normalisation whose scale and shift are linear in the caption's embedding e.

        gamma(e) (h - mean(h)) / sqrt(var(h) + 1e-5) + beta(e)

    mean and variance are over batch and space while training, and running ones otherwise. At first gamma is 1
    and beta 0 for every caption. With `spatial_mask` both terms are multiplied by a mask in (0, 1) that a
    convolution predicts from h, as in SSA-GAN, from which the paper takes the block.
    """

    def __init__(self, channels: int, text_dim: int, spatial_mask: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gamma, self.beta = nn.Linear(text_dim, channels), nn.Linear(text_dim, channels)
        for layer, bias in ((self.gamma, 1.0), (self.beta, 0.0)):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, bias)
        self.mask = nn.Conv2d(channels, 1, 3, padding=1) if spatial_mask else None

    def forward(
        self, maps: Float[Tensor, "n c h w"], text: Float[Tensor, "n text_dim"]
    ) -> Float[Tensor, "n c h w"]:
        """Normalise feature maps, then scale and shift them by the caption."""
        gamma, beta = (layer(text)[:, :, None, None] for layer in (self.gamma, self.beta))
        out: Tensor = gamma * self.norm(maps) + beta
        return out if self.mask is None else torch.sigmoid(self.mask(maps)) * out


class Block(nn.Module):
    """SSACN: twice (3x3 convolution, SSCBN) with a skip connection, after doubling the size if asked."""

    def __init__(
        self, size_in: int, size_out: int, text_dim: int, upsample: bool, spatial_mask: bool
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.first = nn.Conv2d(size_in, size_out, 3, padding=1)
        self.first_norm = SemanticBatchNorm(size_out, text_dim, spatial_mask)
        self.second = nn.Conv2d(size_out, size_out, 3, padding=1)
        self.second_norm = SemanticBatchNorm(size_out, text_dim, spatial_mask)
        self.skip = nn.Identity() if size_in == size_out else nn.Conv2d(size_in, size_out, 1)

    def forward(
        self, maps: Float[Tensor, "n c h w"], text: Float[Tensor, "n text_dim"]
    ) -> Float[Tensor, "n c2 h2 w2"]:
        """Refine feature maps by the caption."""
        if self.upsample:
            maps = interpolate(maps, scale_factor=2.0, mode="nearest")
        inner = torch.relu(self.first_norm(self.first(maps), text))
        out: Tensor = torch.relu(self.skip(maps) + self.second_norm(self.second(inner), text))
        return out


@dataclass(frozen=True)
class SavedGenerator:
    """A generator as plain values and tensors."""

    settings: dict[str, Any]
    """The arguments of its constructor."""
    weights: dict[str, Tensor]
    """Its state dict."""


class TextConditionedNoiseGenerator(nn.Module, Artefact):
    """Noise from a caption: delta = eps tanh(G(e, z)), with |delta| <= eps in pixel values from 0 to 1.

    z becomes 4x4 maps; `blocks` blocks follow, the last of which double the size until `out_size` is reached
    (or passed: the result is then resized); a 3x3 convolution gives the channels. For 224 pixels the seven
    blocks and their channels 512, 256, 128, 64, 32, 32, 32 are the paper's. Embeddings are brought to one
    length inside, so that it does not matter whether they come normalised.

    Args:
        text_dim: numbers in a caption's embedding.
        z_dim: numbers in a random vector.
        base_channels: channels of the first block; they halve with each block, down to a sixteenth.
        out_size: pixels on a side.
        eps: the largest size of the noise, in pixel values from 0 to 1.
        blocks: number of blocks; by default one more than doublings are needed.
        spatial_mask: SSA-GAN's mask in every normalisation.
        channels: of the pictures.

    Raises:
        ValueError: eps is not within [0, 0.25], or there are too few blocks for the size.
    """

    def __init__(
        self,
        text_dim: int,
        z_dim: int = 100,
        base_channels: int = 512,
        out_size: int = 224,
        eps: float = 8 / 255,
        *,
        blocks: int | None = None,
        spatial_mask: bool = False,
        channels: int = 3,
    ) -> None:
        super().__init__()
        check_eps(eps, allow_zero=True)
        doublings = max(0, math.ceil(math.log2(out_size / START)))
        blocks = doublings + 1 if blocks is None else blocks
        if blocks < max(doublings, 1):
            raise ValueError(f"{out_size} pixels need at least {max(doublings, 1)} blocks, got {blocks}.")
        self.settings: dict[str, Any] = {
            "text_dim": text_dim,
            "z_dim": z_dim,
            "base_channels": base_channels,
            "out_size": out_size,
            "eps": eps,
            "blocks": blocks,
            "spatial_mask": spatial_mask,
            "channels": channels,
        }
        self.text_dim, self.z_dim, self.out_size, self.eps = text_dim, z_dim, out_size, eps
        widths = [max(base_channels >> number, base_channels >> 4, 1) for number in range(blocks)]
        self.project = nn.Linear(z_dim, base_channels * START * START)
        self.blocks = nn.ModuleList(
            Block(size_in, size_out, text_dim, blocks - number <= doublings, spatial_mask)
            for number, (size_in, size_out) in enumerate(zip([base_channels, *widths], widths, strict=False))
        )
        self.to_pixels = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(
        self, text_emb: Float[Tensor, "n text_dim"], z: Float[Tensor, "n z_dim"]
    ) -> Float[Tensor, "n c h w"]:
        """Return one noise for each caption and random vector, in float32 or better."""
        text = normalize(text_emb, dim=-1) * math.sqrt(self.text_dim)
        maps = self.project(z).unflatten(1, (-1, START, START))
        for block in self.blocks:
            maps = block(maps, text)
        shape: Tensor = torch.tanh(self.to_pixels(maps))
        shape = shape if shape.dtype == torch.float64 else shape.float()
        if shape.shape[-1] != self.out_size:
            shape = interpolate(shape, size=(self.out_size, self.out_size), mode="bilinear")
        return clamp_noise(self.eps * shape, self.eps)

    def record(self) -> SavedGenerator:
        """Return what it takes to build the generator again."""
        weights = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        return SavedGenerator(self.settings, weights)

    @classmethod
    def from_record(cls, record: SavedGenerator) -> TextConditionedNoiseGenerator:
        """Build the generator that `record` describes, in evaluation mode."""
        generator = cls(**record.settings)
        generator.load_state_dict(record.weights)
        return generator.eval()


def clamp_noise(noise: Float[Tensor, "*any"], eps: float) -> Float[Tensor, "*any"]:
    """Clamp noise to [-eps, eps]; the bound is rounded down to a number that the noise's type has."""
    bound = torch.tensor(eps, dtype=noise.dtype, device="cpu")
    if bound.item() > eps:
        bound = bound * (1 - torch.finfo(noise.dtype).eps)
    return noise.clamp(-bound.item(), bound.item())


def resize_noise(
    noise: Float[Tensor, "n c h w"], size: tuple[int, int], eps: float
) -> Float[Tensor, "n c h2 w2"]:
    """Bring noise to another height and width: areas are averaged to shrink it, and points interpolated."""
    if noise.shape[-2:] == size:
        return clamp_noise(noise, eps)
    smaller = size[0] <= noise.shape[-2] and size[1] <= noise.shape[-1]
    options: dict[str, Any] = {"mode": "area"} if smaller else {"mode": "bilinear"}
    return clamp_noise(interpolate(noise, size=size, **options), eps)
