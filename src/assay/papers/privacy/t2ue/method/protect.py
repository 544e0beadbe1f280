"""Adding noise to pictures, where the pictures are: the only step that sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import PIL.Image
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from assay.data import PICTURES, files_in, read_picture
from assay.papers.privacy.pictures import png_paths, to_uint8_within

from .generator import TextConditionedNoiseGenerator, resize_noise
from .noise import Kind, NoiseFolder, make_noise
from .surrogate import Texts
from .trainer import check_captions

Resize = Literal["no", "noise", "picture"]


def add_noise(
    pixels: UInt8[Tensor, "n c h w"], noise: Float[Tensor, "n c h w"], eps: float
) -> UInt8[Tensor, "n c h w"]:
    """Return pictures plus noise in 8 bits; no level changes by more than 255 eps, also after rounding."""
    return to_uint8_within((pixels.float() / 255 + noise).clamp(0, 1), pixels, eps)


def protect(
    generator: TextConditionedNoiseGenerator,
    embed: Texts,
    pixels: UInt8[Tensor, "n c h w"],
    captions: Sequence[str],
    seed: int = 0,
    kind: Kind = "sample-wise",
) -> UInt8[Tensor, "n c h w"]:
    """Return pictures with the noise of their captions.

    Args:
        generator: a trained generator.
        embed: the text encoder that it was trained with.
        pixels: the pictures, of any one size.
        captions: one for each; for class-wise noise, the prompt of its class.
        seed: of the random vectors.
        kind: a random vector for each picture, or one for all.

    Raises:
        ValueError: there is not one caption for each picture, or one is empty.
    """
    if len(captions) != len(pixels):
        raise ValueError(
            f"{len(captions)} captions do not match {len(pixels)} pictures: give one for each, in order."
        )
    check_captions(captions)
    with torch.no_grad():
        embeddings = embed(captions)
    noise = make_noise(generator, embeddings, seed, one_vector=kind == "class-wise")
    return add_noise(
        pixels, resize_noise(noise, (pixels.shape[-2], pixels.shape[-1]), generator.eps), generator.eps
    )


# --- files --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Applied:
    """What `apply_noise` did."""

    files: tuple[str, ...]
    """The PNG files, relative to the folder."""
    largest_change: int
    """The largest change of any level of 0..255."""
    notes: tuple[str, ...]
    """What its user should know."""


def apply_noise(folder: str | Path, noise: NoiseFolder, out: str | Path, resize: Resize = "no") -> Applied:
    """Add noise to every picture of a folder and write PNG files of the same names into another.

    Noise for pictures is found by the picture's path in the folder, its name, or its name without ending;
    noise without names of its own goes to the pictures in the order of their paths. Noise for classes is
    found by the name of the picture's folder. Pictures are turned as their EXIF data says and become RGB;
    transparency is lost.

    Args:
        folder: the pictures, in subfolders or not.
        noise: what `export_noise` wrote.
        out: where the files go.
        resize: what to do with a picture of another size than the noise: refuse, resize the noise, or resize
            the picture.

    Raises:
        ValueError: there is no picture, a picture has no noise, or it is damaged or of the wrong size.
    """
    folder, out = Path(folder), Path(out)
    paths = [path for path in files_in(folder) if path.suffix.lower() in PICTURES]
    if not paths:
        raise ValueError(f"{folder} has no pictures ({', '.join(sorted(PICTURES))}).")
    names = [path.relative_to(folder).as_posix() for path in paths]
    rows = match_names(names, noise)
    targets = png_paths(names)
    eps, side = noise.manifest.eps, noise.manifest.size
    largest, grey = 0, 0
    for path, row, target in zip(paths, rows, targets, strict=True):
        array = read_picture(path)
        grey += int((array == array[..., :1]).all())
        if resize == "picture":
            array = np.array(PIL.Image.fromarray(array).resize((side, side)))
        height, width = array.shape[:2]
        if (height, width) != (side, side) and resize == "no":
            raise ValueError(
                f"{path} has {width}x{height} pixels, the noise {side}x{side}. Use --resize noise to bring"
                " the noise to the picture's size, or --resize picture to bring the picture to the noise's."
                " Protected pictures must not be resized afterwards."
            )
        pixels = torch.from_numpy(array).permute(2, 0, 1)[None].contiguous()
        changed = add_noise(pixels, resize_noise(noise[row][None], (height, width), eps), eps)
        largest = max(largest, int((changed.int() - pixels.int()).abs().max()))
        (out / target).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(changed[0].permute(1, 2, 0).numpy()).save(out / target, "PNG")
    unused = len(noise) - len(set(rows)) if noise.manifest.kind == "sample-wise" else 0
    jpegs = sum(path.suffix.lower() in (".jpeg", ".jpg") for path in paths)
    notes = (
        (jpegs, "JPEG pictures became PNG files; saving them as JPEG again would destroy much of the noise"),
        (grey, "grey pictures became RGB"),
        (unused, "captions had no picture"),
    )
    return Applied(targets, largest, tuple(f"{count} {text}" for count, text in notes if count))


def match_names(names: Sequence[str], noise: NoiseFolder) -> list[int]:
    """Return the row of noise for each picture.

    Raises:
        ValueError: a picture has none.
    """
    known = noise.manifest.names
    if noise.manifest.kind == "sample-wise" and known == tuple(map(str, range(len(known)))):
        if len(names) != len(known):
            raise ValueError(
                f"{len(known)} captions do not match {len(names)} pictures. Give one caption for each"
                " picture, in the order of the pictures' paths, or name the pictures beside the captions."
            )
        return list(range(len(names)))
    rows = {name: row for row, name in enumerate(known)}
    found = [_row_of(Path(name), rows, noise.manifest.kind) for name in names]
    without = [name for name, row in zip(names, found, strict=True) if row is None]
    if without:
        raise ValueError(
            f"{len(without)} of {len(names)} pictures have no noise, such as {without[0]!r}; the noise is for"
            f" {', '.join(map(repr, known[:3]))}{' ...' if len(known) > 3 else ''}. Add their captions, or"
            " take the pictures out of the folder: nothing was written."
        )
    return [row for row in found if row is not None]


def _row_of(path: Path, rows: dict[str, int], kind: Kind) -> int | None:
    keys = (path.parent.name,) if kind == "class-wise" else (path.as_posix(), path.name, path.stem)
    return next((rows[key] for key in keys if key in rows), None)
