"""Pictures as tensors: reading them, keeping changes inside a norm ball, writing them without loss."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import datasets
import numpy as np
import PIL.Image
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from assay import files
from assay.data import PICTURES, LoadedTable, Table, read_json_file, read_picture, require_classes
from assay.errors import InputError

Norm = Literal["linf", "l2"]

ROUNDING = 1e-4
"""What single precision may take from a whole number of the 255 levels of a pixel."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size with their classes."""

    pixels: UInt8[Tensor, "n c h w"]
    """RGB from 0 to 255."""
    labels: Int[Tensor, " n"]
    """The class of each picture; -1 where the table has no labels."""
    names: tuple[str, ...]
    """A relative path for each picture: the row's id, or its class and number."""
    texts: tuple[str, ...] | None = None
    """A text for each picture, where the table has some."""
    groups: tuple[str, ...] | None = None
    """What pictures have in common, where the table says so."""

    def __len__(self) -> int:
        return len(self.pixels)

    def float(self) -> Float[Tensor, "n c h w"]:
        """Return the pixels from 0 to 1."""
        return self.pixels.float() / 255

    def select(self, rows: Int[Tensor, " m"] | Bool[Tensor, " n"]) -> Pictures:
        """Return the pictures at these positions, or where the mask is True."""
        chosen = rows.nonzero().flatten() if rows.dtype == torch.bool else rows
        numbers = chosen.tolist()

        def pick(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if values is None else tuple(values[row] for row in numbers)

        names = pick(self.names) or ()
        return Pictures(self.pixels[chosen], self.labels[chosen], names, pick(self.texts), pick(self.groups))


# --- reading ------------------------------------------------------------------------------------


def read_pictures(
    table: LoadedTable, rows: datasets.Dataset | None = None, size: int | None = None
) -> Pictures:
    """Decode the pictures of a table: upright, RGB, all of one size.

    Args:
        table: a loaded table with pictures.
        rows: a selection from it (its test rows, say); by default its rows to learn from.
        size: pixels of each side after scaling; by default pictures are left as they are.

    Raises:
        InputError: there are no pictures, they have several sizes, or more than 8 bits a channel.
    """
    chosen = table.rows if rows is None else rows
    if size is not None and size < 1:
        raise InputError(f"The size of pictures must be at least 1 pixel, got {size}.")
    arrays = [_resized(picture, size) for picture in table.pictures(chosen)]
    if not arrays:
        raise InputError(f"{table.source} has no rows.")
    sizes = sorted({array.shape[:2] for array in arrays})
    if len(sizes) > 1:
        (h, w), (high, wide) = sizes[0], sizes[-1]
        raise InputError(
            f"{table.source} has pictures of {len(sizes)} sizes, from {w}x{h} to {wide}x{high} pixels."
            " They need one: set --size."
        )
    pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    labels = (
        torch.from_numpy(table.labels(chosen))
        if table.label_names
        else torch.full((len(chosen),), -1, dtype=torch.int64)
    )
    return Pictures(
        pixels, labels, _names(table, chosen, labels), _strings(chosen, "text"), _strings(chosen, "group")
    )


def _resized(picture: np.ndarray, size: int | None) -> np.ndarray:
    if size is None or picture.shape[:2] == (size, size):
        return picture
    return np.array(PIL.Image.fromarray(picture).resize((size, size)))


@dataclass(frozen=True)
class PictureTable:
    """The pictures of a table."""

    learn: Pictures
    """Those to learn from."""
    test: Pictures | None
    """The published test pictures, where there are some."""
    label_names: tuple[str, ...]
    """The classes in the order of their numbers; empty without labels."""


def read_picture_table(data: Table, size: int | None, least_rows: int = 0) -> PictureTable:
    """Read the pictures of a table, as a stage that arms and seeds share.

    Args:
        data: the table.
        size: pixels of each side after scaling; see `read_pictures`.
        least_rows: how many pictures each class needs, where labels are needed.

    Raises:
        InputError: there are too few classes or pictures, or they cannot be read.
    """
    table = data.load()
    if least_rows:
        require_classes(table, least_rows)
    learn = read_pictures(table, size=size)
    test = None if table.test is None else read_pictures(table, table.test, size)
    if test is not None and test.pixels.shape[1:] != learn.pixels.shape[1:]:
        raise InputError("Pictures to learn from and test pictures have different sizes: set --size.")
    return PictureTable(learn, test, table.label_names)


def _names(table: LoadedTable, rows: datasets.Dataset, labels: Int[Tensor, " n"]) -> tuple[str, ...]:
    """Return the rows' ids where each is one of its own, else a path of the class and the row's number."""
    given = _strings(rows, "id")
    if given is not None and len(set(given)) == len(given):
        return given
    digits = len(str(len(rows)))
    folders = [_folder_name(table.label_names[label]) if label >= 0 else "" for label in labels.tolist()]
    return tuple(str(PurePosixPath(folder, f"{row:0{digits}d}")) for row, folder in enumerate(folders))


def _folder_name(text: str) -> str:
    """Return a class's name as the name of one folder."""
    name = text.replace("/", "_").replace("\\", "_").strip(". ")
    return name or "_"


def _strings(rows: datasets.Dataset, column: str) -> tuple[str, ...] | None:
    return tuple(str(value) for value in rows[column]) if column in rows.column_names else None


# --- checks -------------------------------------------------------------------------------------


def check_unit_range(images: Tensor) -> None:
    """Refuse images that are not floats from 0 to 1.

    Raises:
        InputError: says what the values look like and how to bring them to the range.
    """
    if not images.is_floating_point():
        raise InputError(f"Images must be floats from 0 to 1, got {images.dtype}. Divide by 255 first.")
    if not images.numel():
        raise InputError("There are no images.")
    low, high = float(images.min()), float(images.max())
    if math.isnan(low) or math.isinf(low) or math.isinf(high):
        raise InputError("Images hold NaN or infinite values. Remove or repair those pictures.")
    if low >= 0 and high <= 1:
        return
    remedy = (
        "They look like 0 to 255: divide them by 255."
        if low >= 0 and high <= 255
        else "They look normalised: undo it (images * deviation + mean), and let the network normalise."
    )
    raise InputError(f"Images must lie between 0 and 1, got values from {low:.4g} to {high:.4g}. {remedy}")


# --- the ball -----------------------------------------------------------------------------------


def clip_to_ball(
    perturbed: Float[Tensor, "n c h w"],
    images: Float[Tensor, "n c h w"],
    eps: float,
    norm: Norm = "linf",
) -> Float[Tensor, "n c h w"]:
    """Bring perturbed images back to within `eps` of their originals and to the range from 0 to 1.

    For `linf` this is the projection on both sets. For `l2` each image's change is shortened to `eps`, then
    clipped to the range, which makes it no longer. Doing it twice changes nothing.

    Raises:
        ValueError: the norm is unknown.
    """
    if norm == "linf":
        return torch.clamp(perturbed, images - eps, images + eps).clamp_(0, 1)
    if norm == "l2":
        change = perturbed - images
        length = change.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        scale = torch.where(length > eps, eps * (1 - 1e-6) / length.clamp(min=1e-12), 1.0)
        return torch.where(length > eps, images + change * scale, perturbed).clamp_(0, 1)
    raise ValueError(f"norm must be linf or l2, got {norm!r}")


def to_uint8_within(
    perturbed: Float[Tensor, "n c h w"],
    pixels_uint8: UInt8[Tensor, "n c h w"],
    eps: float,
    norm: Norm = "linf",
) -> UInt8[Tensor, "n c h w"]:
    """Round perturbed images to 8 bits without leaving the ball around their originals.

    Changes are rounded toward the original, so that |difference| <= eps * 255 holds for the files too.
    """
    original = pixels_uint8.double()
    change = perturbed.double() * 255 - original
    if norm == "linf":
        whole = (change + change.sign() * ROUNDING).trunc_()
        most = math.floor(eps * 255 + ROUNDING)
        whole.clamp_(-most, most)
    else:
        whole = change.trunc_()
    return (original + whole).clamp_(0, 255).to(torch.uint8)


# --- writing ------------------------------------------------------------------------------------


def write_pictures(
    folder: str | Path,
    pixels_uint8: UInt8[Tensor, "n c h w"],
    names: Sequence[str],
    manifest: Mapping[str, Any],
) -> None:
    """Write pictures as PNG files, which lose nothing, and `manifest.json`, all or nothing.

    A name's ending is replaced by `.png`. The manifest gets `channels`, and `files`: the path of each picture
    in the order given.

    Raises:
        InputError: the folder has something in it, or a name leads outside it.
        StorageError: the folder cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty. Choose another folder.")
    paths = png_paths(names)
    with files.atomic_folder(folder) as temporary:
        for picture, path in zip(pixels_uint8.cpu().permute(0, 2, 3, 1).numpy(), paths, strict=True):
            target = files.inside(temporary, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            _as_picture(picture).save(target, "PNG")
        about = {**manifest, "channels": pixels_uint8.shape[1], "files": list(paths)}
        files.write_json(temporary / "manifest.json", about)


def load_written(folder: str | Path) -> tuple[UInt8[Tensor, "n c h w"], dict[str, Any]]:
    """Return the pixels and the manifest that `write_pictures` wrote.

    Raises:
        InputError: the folder has no manifest, or a file of it is missing.
    """
    folder = Path(folder)
    manifest: dict[str, Any] = read_json_file(folder / "manifest.json")
    try:
        mode: Literal["RGB", "L"] = "L" if manifest.get("channels") == 1 else "RGB"
        arrays = [read_picture(files.inside(folder, path), mode) for path in manifest["files"]]
        pixels = torch.from_numpy(np.stack(arrays))
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder} does not hold the pictures that its manifest names ({error}).") from None
    pixels = pixels[:, None] if mode == "L" else pixels.permute(0, 3, 1, 2)
    return pixels.contiguous(), manifest


def png_paths(names: Sequence[str]) -> tuple[str, ...]:
    """Return a path ending in `.png` for each name; names that differ in their ending alone keep it too."""
    changes: tuple[Callable[[str], str], ...] = (_with_png, "{}.png".format)
    for change in changes:
        paths = tuple(change(name) for name in names)
        if len({path.casefold() for path in paths}) == len(paths):
            return paths
    paths_seen = sorted(paths)
    twice = next(
        (a for a, b in itertools.pairwise(paths_seen) if a.casefold() == b.casefold()), paths_seen[0]
    )
    raise InputError(f"Two pictures are called {twice!r}. Give each a name of its own.")


def _with_png(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_suffix(".png")) if path.suffix.lower() in PICTURES else f"{name}.png"


def _as_picture(picture: np.ndarray) -> PIL.Image.Image:
    return PIL.Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
