from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay.data import Table, pictures, read_picture
from assay.errors import InputError

HALVES = np.zeros((8, 16, 3), np.uint8)
HALVES[:, 8:] = 255


def encoded(picture: PIL.Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def turned() -> bytes:
    """Return a picture whose EXIF data say that it must be turned by 90 degrees, clockwise."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return encoded(PIL.Image.fromarray(HALVES), exif=exif)


def deep_png(colours: int) -> bytes:
    """Return a PNG of 16 bits a channel: Pillow cannot write one in colour."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", 2, 2, 16, 2 if colours == 3 else 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x12\x34" * 2 * colours) * 2)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def deep_tiff() -> bytes:
    return encoded(PIL.Image.fromarray(np.full((4, 4), 40_000, np.uint16)), "TIFF")


DEEP = {
    "grey.png": deep_png(1),
    "colours.png": deep_png(3),
    "grey.tif": deep_tiff(),
    "float.tif": encoded(PIL.Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"),
    "grey.pgm": b"P5 2 2 65535\n" + b"\x12\x34" * 4,
    "colours.ppm": b"P6 2 2 1023\n" + b"\x01\x34" * 12,
}


def test_pictures_come_as_colours_or_grey(write) -> None:
    path = write("a.png", encoded(PIL.Image.fromarray(HALVES)))
    np.testing.assert_array_equal(read_picture(path), HALVES)
    np.testing.assert_array_equal(read_picture(path.read_bytes(), "L"), HALVES[..., 0])
    for mode in ("1", "P", "RGBA", "CMYK", "LA", "YCbCr"):
        kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
        content = encoded(PIL.Image.fromarray(HALVES).convert(mode), kind)
        np.testing.assert_allclose(read_picture(content), HALVES, atol=1)
    np.testing.assert_array_equal(read_picture(encoded(PIL.Image.fromarray(HALVES), "BMP")), HALVES)


def test_a_picture_is_turned_as_its_camera_says_in_every_reader(tmp_path: Path, write) -> None:
    upright = np.rot90(HALVES, k=-1)
    path = write("images/one/a.png", turned())
    write("images/two/b.png", turned())
    np.testing.assert_array_equal(read_picture(path), upright)
    np.testing.assert_array_equal(read_picture(PIL.Image.open(path)), upright)
    rows = pa.table({"image": [{"bytes": turned(), "path": None}] * 2, "label": ["x", "y"]})
    pq.write_table(rows, tmp_path / "rows.parquet")
    for source in (f"images:{tmp_path}/images", f"parquet:{tmp_path}/rows.parquet"):
        table = Table(source).load(("image", "label"))
        for image in table.rows["image"]:
            np.testing.assert_array_equal(np.asarray(image), upright)
        for pixels in table.pictures():
            np.testing.assert_array_equal(pixels, upright)


@pytest.mark.parametrize("name", DEEP)
def test_more_than_8_bits_a_channel_are_refused_in_every_reader(tmp_path: Path, write, name: str) -> None:
    words = "more than 8 bits a channel"
    path = write(f"images/one/{name}", DEEP[name])
    for content in (path, DEEP[name]):
        with pytest.raises(InputError, match=words):
            read_picture(content)
    write("images/two/b.png", turned())
    rows = pa.table({"image": [{"bytes": DEEP[name], "path": None}] * 2, "label": ["x", "y"]})
    pq.write_table(rows, tmp_path / "rows.parquet")
    for source in (f"images:{tmp_path}/images", f"parquet:{tmp_path}/rows.parquet"):
        with pytest.raises(InputError, match=words):
            Table(source).load(("image", "label"))


def test_huge_and_damaged_pictures_are_refused(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_PIXELS", 100)
    with pytest.raises(InputError, match="it has 16 x 8 pixels; at most 100 are read"):
        read_picture(write("a.png", turned()))
    for kind in ("GIF", "WEBP", "PNG", "JPEG", "TIFF"):
        noise = np.random.default_rng(0).integers(0, 256, (10, 10, 3), np.uint8)
        half = encoded(PIL.Image.fromarray(noise), kind)[:60]
        with pytest.raises(InputError, match="the picture cannot be read as a picture: "):
            read_picture(half)


def test_what_macos_adds_is_skipped(tmp_path: Path, write) -> None:
    for name in ("one/a.png", "two/b.png"):
        write(name, encoded(PIL.Image.fromarray(HALVES)))
    write("one/._a.png", b"no picture")
    write("__MACOSX/one/._a.png", b"no picture")
    assert Table(f"images:{tmp_path}").load().label_names == ("one", "two")
