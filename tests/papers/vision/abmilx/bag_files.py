"""Makes bags in all the forms in which users have them, small and with a real signal."""

import csv
import io
import pickle

import lmdb
import numpy as np
import tifffile
from PIL import Image

TISSUE = (180, 90, 160)
DARK = (70, 20, 90)


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def patch(seed, positive, side=12):
    """A noisy patch of tissue, dark where it is positive."""
    noise = np.random.default_rng(seed).integers(-20, 20, (side, side, 3))
    return (np.array(DARK if positive else TISSUE) + noise).clip(0, 255).astype(np.uint8)


def write_slide(path, pixels, resolution=20000):
    """Write a pyramid of two levels as scanners do; the resolution is in pixels of a centimetre."""
    with tifffile.TiffWriter(path) as file:
        for level in range(2):
            step = 2**level
            file.write(
                pixels[::step, ::step],
                tile=(64, 64),
                photometric="rgb",
                subfiletype=level,
                metadata=None,
                resolution=resolution and (resolution / step, resolution / step),
                resolutionunit=resolution and "CENTIMETER",
            )


def jpeg(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def write_lmdb(path, tiles, counts):
    environment = lmdb.open(str(path), map_size=1 << 22)
    with environment.begin(write=True) as transaction:
        for number, ((slide, place), content) in enumerate(tiles.items()):
            stored = np.frombuffer(content, dtype=np.uint8) if number % 2 else content
            transaction.put(f"{slide}-{place}".encode(), pickle.dumps(stored))
        keys = [f"{slide}-{place}".encode() for slide, place in tiles]
        transaction.put(b"__keys__", pickle.dumps(keys))
        transaction.put(b"__len__", pickle.dumps(len(keys)))
        transaction.put(b"__slide__", pickle.dumps(list(counts)))
        transaction.put(b"__pn__", pickle.dumps(counts))
    environment.close()
