"""Prithvi's encoder: a vision transformer over patches of several dates and bands."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from assay.data import read_tensors

PRITHVI: dict[str, dict[str, Any]] = {
    "tiny": {"dim": 256, "depth": 4, "heads": 4},
    "v1-100m": {"dim": 768, "depth": 12, "heads": 12},
    "v2-300m": {"dim": 1024, "depth": 24, "heads": 16},
    "v2-300m-tl": {"dim": 1024, "depth": 24, "heads": 16, "coordinates": True},
    "v2-600m": {"dim": 1280, "depth": 32, "heads": 16, "patch_size": 14},
    "v2-600m-tl": {"dim": 1280, "depth": 32, "heads": 16, "patch_size": 14, "coordinates": True},
}
"""The published sizes."""
HUB = {
    name: (
        f"ibm-nasa-geospatial/Prithvi-EO-{name[1]}.0-{name[3:].upper()}",
        f"Prithvi_EO_{name.upper().replace('-', '_')}.pt",
    )
    for name in PRITHVI
    if name != "tiny"
}
"""Name on the hub and file of the weights."""


@dataclass(frozen=True)
class EncoderShape:
    """The sizes of an encoder. `image_size` and `num_frames` are those of its position table."""

    dim: int = 64
    depth: int = 8
    heads: int = 4
    patch_size: int = 8
    in_channels: int = 6
    num_frames: int = 1
    image_size: int = 64
    mlp_ratio: float = 4.0
    coordinates: bool = False

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.dim % 16:
            raise ValueError(f"dim {self.dim} must be a multiple of heads ({self.heads}) and of 16.")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"chips of {self.image_size} pixels cannot be divided into patches of {self.patch_size}."
                " Choose a chip size that is a multiple of the patch size."
            )
        if self.patch_size == 14 and self.image_size != 224:
            raise ValueError(
                f"a head for patches of 14 pixels ends at 224 pixels, not at {self.image_size}. Use chips of"
                " 224 pixels, or cut larger ones to them with finetune.crop."
            )

    @classmethod
    def prithvi(cls, name: str, num_frames: int = 1, image_size: int = 224) -> EncoderShape:
        """Return a published size by its name in `PRITHVI`."""
        return cls(**{"patch_size": 16, **PRITHVI[name]}, num_frames=num_frames, image_size=image_size)


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Float[Tensor, "b n dim"]) -> Float[Tensor, "b n dim"]:
        batch, length, dim = tokens.shape
        q, k, v = self.qkv(tokens).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        mixed = functional.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, length, dim))
        return projected


class Block(nn.Module):
    """A residual block: attention and perceptron, each after its normalisation."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        hidden = int(dim * mlp_ratio)
        layers = {"fc1": nn.Linear(dim, hidden), "act": nn.GELU(), "fc2": nn.Linear(hidden, dim)}
        self.mlp = nn.Sequential(OrderedDict(layers))  # with the names of the published weights

    def forward(self, tokens: Float[Tensor, "b n dim"]) -> Float[Tensor, "b n dim"]:
        tokens = tokens + self.attn(self.norm1(tokens))
        changed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return changed


class CoordinateEncoder(nn.Module):
    """Two numbers (year and day of year, latitude and longitude) as sines, half of the width each."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.scale = nn.Parameter(torch.full((1,), 0.1))

    def forward(self, coordinates: Float[Tensor, "... 2"]) -> Float[Tensor, "... dim"]:
        first, second = (sinusoid(coordinates[..., axis], self.dim // 2) for axis in (0, 1))
        return self.scale * torch.cat([first, second], dim=-1).to(self.scale)


class PrithviEncoder(nn.Module):
    """Prithvi's encoder without its decoder.

    Patches of [1, p, p] are projected, get fixed sines of their frame, row and column, a class token comes
    first, and `depth` residual blocks and a normalisation follow. Other sizes than those of the position
    table resize it (bicubic, corners aligned).
    """

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.shape = shape
        patch = (1, shape.patch_size, shape.patch_size)
        projection = nn.Conv3d(shape.in_channels, shape.dim, patch, stride=patch)
        self.patch_embed = nn.Sequential(OrderedDict(proj=projection))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.dim))
        side = shape.image_size // shape.patch_size
        self.register_buffer("pos_embed", position_table(shape.dim, shape.num_frames, side, side)[None])
        self.pos_embed: Tensor
        self.blocks = nn.ModuleList(
            Block(shape.dim, shape.heads, shape.mlp_ratio) for _ in range(shape.depth)
        )
        self.norm = nn.LayerNorm(shape.dim)
        if shape.coordinates:
            self.temporal_embed_enc = CoordinateEncoder(shape.dim)
            self.location_embed_enc = CoordinateEncoder(shape.dim)
        nn.init.normal_(self.cls_token, std=0.02)

    def forward(
        self,
        pixels: Float[Tensor, "b c t h w"],
        dates: Float[Tensor, "b t 2"] | None = None,
        places: Float[Tensor, "b 2"] | None = None,
    ) -> Float[Tensor, "b tokens dim"]:
        """Return the tokens, the class token first.

        Args:
            pixels: normalised; height and width are multiples of the patch size.
            dates: year and day of the year of each frame, for a model with coordinates.
            places: latitude and longitude, for a model with coordinates.
        """
        frames, height, width = pixels.shape[2:]
        patch = self.shape.patch_size
        if height % patch or width % patch:
            raise ValueError(f"chips of {height} x {width} pixels cannot be divided into patches of {patch}.")
        tokens = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        positions = self._positions(frames, height // patch, width // patch)
        tokens = tokens + positions[:, 1:]
        if self.shape.coordinates and dates is not None:
            each = self.temporal_embed_enc(dates)
            tokens = tokens + each.repeat_interleave(tokens.shape[1] // frames, dim=1)
        if self.shape.coordinates and places is not None:
            tokens = tokens + self.location_embed_enc(places)[:, None]
        first = (self.cls_token + positions[:, :1]).expand(len(tokens), -1, -1)
        tokens = torch.cat([first, tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        normed: Tensor = self.norm(tokens)
        return normed

    def _positions(self, frames: int, rows: int, columns: int) -> Tensor:
        """Return the position table of a patch grid, resized or computed again for other grids."""
        side = self.shape.image_size // self.shape.patch_size
        if (frames, rows, columns) == (self.shape.num_frames, side, side):
            return self.pos_embed
        table = self.pos_embed
        if frames != self.shape.num_frames:
            table = position_table(self.shape.dim, frames, side, side)[None].to(self.pos_embed)
        if (rows, columns) != (side, side):
            grid = table[:, 1:].reshape(frames, side, side, -1).permute(0, 3, 1, 2)
            grid = functional.interpolate(grid, size=(rows, columns), mode="bicubic", align_corners=True)
            table = torch.cat([table[:, :1], grid.permute(0, 2, 3, 1).reshape(1, -1, self.shape.dim)], dim=1)
        return table


def sinusoid(positions: Tensor, dim: int) -> Tensor:
    """Return [..., dim]: sines, then cosines, of positions at dim / 2 frequencies from 1 to 1 / 10000."""
    rates = 10_000 ** -(torch.arange(dim // 2, dtype=torch.float64, device=positions.device) / (dim / 2))
    angles = positions[..., None].double() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


def position_table(dim: int, frames: int, rows: int, columns: int) -> Float[Tensor, "tokens dim"]:
    """Return fixed sines of column, row and frame, for the class token 0.

    Of 16 sixteenths of the width, columns and rows get 6 each, frames 4. Tokens go by frame, row, column.
    """
    across, down, when = dim // 16 * 6, dim // 16 * 6, dim // 16 * 4
    shape = (frames, rows, columns)
    parts = [
        sinusoid(torch.arange(columns), across)[None, None].expand(*shape, -1),
        sinusoid(torch.arange(rows), down)[None, :, None].expand(*shape, -1),
        sinusoid(torch.arange(frames), when)[:, None, None].expand(*shape, -1),
    ]
    table = torch.cat(parts, dim=-1).reshape(frames * rows * columns, dim)
    return torch.cat([torch.zeros(1, dim), table])


# --- published weights --------------------------------------------------------------------------

_ENCODER = re.compile(r"^(module\.)?(model\.)?(encoder\.|backbone\.)")


def load_prithvi(encoder: PrithviEncoder, weights: Mapping[str, Tensor]) -> list[str]:
    """Load published weights into an encoder and return the names that were left out.

    The prefix `encoder.` is taken off, decoder and mask token are left out, and so are blocks beyond the
    depth of a smaller encoder. The position table stays as computed: it is fixed, and its size is ours.

    Raises:
        ValueError: weights are missing or have another shape; names the first.
    """
    mine = encoder.state_dict()
    wanted = mine.keys() - {"pos_embed"}
    inner = {name: _ENCODER.sub("", name) for name in weights if not name.startswith("decoder")}
    found = {short: weights[name] for name, short in inner.items() if short in wanted}
    missing = [name for name in mine if name in wanted and name not in found]
    if missing:
        raise ValueError(f"the weights lack {missing[0]} and {len(missing) - 1} others: another model's?")
    for name, tensor in found.items():
        if tensor.shape != mine[name].shape:
            raise ValueError(
                f"the weights' {name} is {tuple(tensor.shape)}, the encoder's {tuple(mine[name].shape)}:"
                " their sizes differ."
            )
    on_meta = any(tensor.is_meta for tensor in mine.values())
    encoder.load_state_dict(found, strict=False, assign=on_meta)
    if on_meta:
        side = encoder.shape.image_size // encoder.shape.patch_size
        encoder.pos_embed = position_table(encoder.shape.dim, encoder.shape.num_frames, side, side)[None]
    return [name for name in weights if inner.get(name) not in wanted]


def fetch_prithvi(name: str) -> dict[str, Tensor]:
    """Download published weights from the hub, where they are `.pt` files; no code in them is run."""
    from huggingface_hub import hf_hub_download

    return read_tensors(hf_hub_download(*HUB[name]))


def count_encoder(shape: EncoderShape) -> int:
    """Return the parameters of an encoder in closed form."""
    hidden = int(shape.dim * shape.mlp_ratio)
    block = 4 * shape.dim**2 + 4 * shape.dim + 2 * shape.dim * hidden + hidden + shape.dim + 4 * shape.dim
    patch = shape.in_channels * shape.patch_size**2 * shape.dim + shape.dim
    return patch + shape.dim + shape.depth * block + 2 * shape.dim + 2 * shape.coordinates


def count_blocks(tokens: int, dim: int, depth: int) -> int:
    """Return the multiply-adds of `depth` blocks: depth (12 d^2 n + 2 n^2 d)."""
    return depth * (12 * dim**2 * tokens + 2 * tokens**2 * dim)


def up_blocks(patch_size: int) -> int:
    """Return how many doublings lead from patches to pixels; for 14 pixels four, with larger kernels."""
    return math.ceil(math.log2(patch_size))
