"""What the attention says: how sparse it is, and pictures of where it lies."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor


def attention_sparsity(
    attention: Float[Tensor, "bags heads instances"], sizes: Int[Tensor, " bags"] | None = None
) -> Float[Tensor, " bags"]:
    """Return 1 - H(a) / log n, the mean over heads: 1 is all on one instance, 0 is uniform.

    The paper prints a sparsity without its definition; this is ours. A bag of one instance has 0.

    Args:
        attention: sums to 1 over the instances.
        sizes: instances of each bag; all places by default.
    """
    n = attention.new_full((len(attention),), attention.shape[-1]) if sizes is None else sizes.to(attention)
    entropy = -(attention * attention.clamp(min=1e-30).log()).sum(dim=-1).mean(dim=-1)
    most = n.log()
    return (1 - entropy / most.clamp(min=1e-9)).where(most > 0, 0.0).clamp(0, 1)


def heat_map(
    attention: Float[np.ndarray, " instances"],
    coords: Int[np.ndarray, "instances 2"],
    patch: int,
    thumbnail: Image.Image | None = None,
    extent: tuple[int, int] | None = None,
    longest: int = 512,
) -> Image.Image:
    """Return a map of the attention over a slide by ranks, from blue (least) over yellow to red (most).

    Args:
        attention: of each patch.
        coords: x and y of each patch's upper left corner, in pixels of the slide.
        patch: side of a patch in pixels of the slide.
        thumbnail: a small picture of the slide to draw on.
        extent: width and height of the slide; by default as far as the patches reach.
        longest: pixels of the map's longer side.
    """
    width, height = extent or tuple(int(most) + patch for most in coords.max(axis=0))
    scale = min(1.0, longest / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    base = Image.new("RGB", size, "white") if thumbnail is None else thumbnail.convert("RGB").resize(size)
    pixels = np.asarray(base).astype(np.float32)
    colours = rank_colours(attention)
    opacity = 1.0 if thumbnail is None else 0.5
    for (x, y), colour in zip(coords, colours, strict=True):
        left, top = round(int(x) * scale), round(int(y) * scale)
        right, bottom = (
            max(left + 1, round((int(x) + patch) * scale)),
            max(top + 1, round((int(y) + patch) * scale)),
        )
        tile = pixels[top:bottom, left:right]
        tile[:] = (1 - opacity) * tile + opacity * colour
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def contact_sheet(
    instances: UInt8[np.ndarray, "instances height width channels"],
    attention: Float[np.ndarray, " instances"],
    most: int = 64,
    tile: int = 32,
) -> Image.Image:
    """Return the patches of a bag, those with the most attention first, each framed in its colour.

    Args:
        instances: pixels with one or three channels.
        attention: of each patch.
        most: patches that are shown.
        tile: pixels of a patch's side.
    """
    order = np.argsort(-attention, kind="stable")[:most]
    colours = rank_colours(attention)[order]
    columns = math.ceil(math.sqrt(len(order)))
    cell = tile + 6
    sheet = Image.new("RGB", (columns * cell, math.ceil(len(order) / columns) * cell), "white")
    for place, (number, colour) in enumerate(zip(order, colours, strict=True)):
        x, y = place % columns * cell, place // columns * cell
        sheet.paste(tuple(int(value) for value in colour), (x, y, x + cell - 1, y + cell - 1))
        pixels = instances[number]
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3])
        sheet.paste(picture.convert("RGB").resize((tile, tile), Image.Resampling.NEAREST), (x + 2, y + 2))
    return sheet


def rank_colours(values: Float[np.ndarray, " instances"]) -> Float[np.ndarray, "instances 3"]:
    """Return a colour from blue over yellow to red by each value's rank; equal values have equal colours."""
    distinct, where = np.unique(values, return_inverse=True)
    rank = where / max(1, len(distinct) - 1)
    up, down = np.clip(2 * rank, 0, 1), np.clip(2 - 2 * rank, 0, 1)
    return 255 * np.stack([up, np.minimum(up, down), np.clip(1 - 2 * rank, 0, 1)], axis=-1)
