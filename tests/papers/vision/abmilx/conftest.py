"""Bags in files that several tests share."""

import numpy as np
import pytest
from PIL import Image

from papers.vision.abmilx.bag_files import jpeg, patch, write_csv, write_lmdb, write_slide


@pytest.fixture(scope="session")
def folder_of_bags(tmp_path_factory):
    """Sixteen bags of 3 to 5 pictures in a folder each, with labels.csv; of two magnifications."""
    root = tmp_path_factory.mktemp("bags")
    rows = []
    for number in range(16):
        positive = number % 2 == 1
        folder = root / "images" / f"bag{number}"
        (folder / "low").mkdir(parents=True)
        for place in range(3 + number % 3):
            pixels = patch(10 * number + place, positive and place == 0)
            Image.fromarray(pixels).save(folder / f"p_{12 * place}_0.png")
            Image.fromarray(pixels[::2, ::2].repeat(2, 0).repeat(2, 1)).save(folder / "low" / f"p{place}.png")
        rows.append(
            {
                "bag": f"bag{number}",
                "label": "tumour" if positive else "normal",
                "patient": f"patient{number // 2 // 2}{number % 2}",
                "time": 10 - number / 2 if positive else 20 + number,
                "died": int(positive or number % 4 == 0),
            }
        )
    write_csv(root / "labels.csv", rows)
    return root


@pytest.fixture(scope="session")
def slides(tmp_path_factory):
    """Eight pyramidal, tiled TIFF files: glass with a square of tissue, dark inside where positive."""
    root = tmp_path_factory.mktemp("slides")
    (root / "slides").mkdir()
    rows = []
    for number in range(8):
        pixels = np.full((256, 384, 3), 245, dtype=np.uint8)
        pixels[64:192, 128:256] = patch(number, False, 128)
        if number % 2:
            pixels[64:128, 128:192] = patch(number, True, 64)
        write_slide(root / "slides" / f"slide{number}.tiff", pixels)
        rows.append({"slide": f"slide{number}", "label": number % 2})
    write_csv(root / "labels.csv", rows)
    return root


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """Two LMDB folders in the authors' layout, of two magnifications, and a label CSV with their columns."""
    root = tmp_path_factory.mktemp("packed")
    counts = {f"case{number}": 3 + number % 2 for number in range(8)}
    for name in ("high", "low"):
        write_lmdb(
            root / name,
            {
                (slide, place): jpeg(patch(place, number % 2 == 1 and place == 0, 16))
                for number, (slide, count) in enumerate(counts.items())
                for place in range(count)
            },
            counts,
        )
    rows = [
        {
            "case": f"p{n}",
            "slide": f"case{n}",
            "label": n % 2,
            "fold": ("train", "train", "val", "test")[n // 2],
        }
        for n in range(8)
    ]
    write_csv(root / "labels.csv", rows)
    return root
