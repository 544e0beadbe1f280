"""Pictures of users: upright, 8 bits a channel, within limits."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from assay.data.paths import existing_file
from assay.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

PICTURES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
MOST_PIXELS = 150_000_000

_DEEP = re.compile(r";(1[0246]|32)[BLNS]|^[IF](;|$)")  # how decoders call channels of more than 8 bits


def read_picture(
    content: str | Path | bytes | PIL.Image.Image, mode: Literal["RGB", "L"] = "RGB", name: str | None = None
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a picture, turned as its EXIF data says: uint8 [h, w, 3], or [h, w] in the mode "L".

    Args:
        content: a file, its bytes, or an opened picture.
        mode: colours or grey.
        name: how errors call it; by default its path.

    Raises:
        InputError: it is missing, no picture or damaged, has more than 8 bits a channel, or more than 150
            million pixels.
    """
    import numpy as np
    import PIL.Image
    import PIL.ImageOps

    if isinstance(content, str | Path):
        name, content = str(content) if name is None else name, existing_file(content)
    shown = "the picture" if name is None else name
    try:
        with warnings.catch_warnings(), contextlib.ExitStack() as opened:
            warnings.simplefilter("ignore")  # of sizes and of palettes
            if not isinstance(content, PIL.Image.Image):
                content = opened.enter_context(PIL.Image.open(_file(content)))
            check_depth(content)
            upright = PIL.ImageOps.exif_transpose(content).convert(mode)
            pixels: np.ndarray[Any, np.dtype[np.uint8]] = np.array(upright)
    except MemoryError:
        raise InputError(f"{shown} cannot be read: it does not fit into memory.") from None
    except Exception as error:  # decoders raise what they like on damaged bytes
        raise InputError(f"{shown} cannot be read as a picture: {_reason(error)}.") from None
    return pixels


def check_picture(content: Path | bytes, whole: bool = True) -> str | None:
    """Say what is wrong with a picture, or `None`.

    Of the whole picture, a JPEG is decoded small and other formats are verified; else the head is read.
    """
    import PIL.Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PIL.Image.open(_file(content)) as picture:
                check_depth(picture)
                if whole and picture.format == "JPEG":
                    # its checksums say nothing; an eighth of the size is quick
                    picture.draft("RGB", (1, 1))
                    picture.load()
                elif whole:
                    picture.verify()
    except Exception as error:  # decoders raise what they like on damaged bytes
        return _reason(error)
    return None


def check_depth(picture: PIL.Image.Image) -> None:
    """Refuse a picture that would lose bits or memory, by its head.

    Raises:
        InputError: it has more than 8 bits a channel, or more than 150 million pixels.
    """
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise InputError(f"it has {width} x {height} pixels; at most {MOST_PIXELS:,} are read")
    words = [picture.mode]
    for tile in getattr(picture, "tile", None) or ():
        details = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        words += [part for part in details if isinstance(part, str)]
        if tile[0].startswith("ppm") and any(isinstance(part, int) and part > 255 for part in details):
            words.append("I")
    if any(_DEEP.search(word) for word in words):
        raise InputError(f"it has more than 8 bits a channel (mode {words[-1]}). Convert it to 8 bits")


def _file(content: Any) -> Any:
    return io.BytesIO(content) if isinstance(content, bytes | bytearray | memoryview) else content


def _reason(error: Exception) -> str:
    words = str(error).split(" <")[0].split(" '")[0].splitlines()
    return words[0].rstrip(".") if words and words[0].strip() else type(error).__name__
