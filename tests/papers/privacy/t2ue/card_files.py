"""What the code on the card reads: photos with captions, and a generator, made by the card's own command."""

from pathlib import Path

import numpy as np
import PIL.Image

from card_commands import run_commands

CAPTIONS = {"cat": "a photo of a cat", "dog": "a dog on the road", "car": "a red car"}


def prepare(folder: Path) -> None:
    """Write photos with captions and other people's pictures, and train a generator on those."""
    photos(folder / "photos", rows=3)
    photos(folder / "other-pictures")
    write_captions(folder / "photos.csv")
    run_commands("t2ue", "run t2ue train --data", "--preset", "tiny", "--image-size", "8")


def photos(folder, rows=12, size=8, classes=tuple(CAPTIONS)):
    """Write pictures, a folder a class, that differ in colour."""
    random = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for row in range(rows):
            array = random.integers(0, 120, (size, size, 3), dtype=np.uint8)
            array[..., number % 3] += 120
            PIL.Image.fromarray(array).save(folder / name / f"{row:02d}.png")
    return folder


def write_captions(path):
    """Write one caption for each of three photos a class."""
    lines = [f"{name}/{row:02d}.png,{text}" for name, text in CAPTIONS.items() for row in range(3)]
    path.write_text("\n".join(["image,caption", *lines]))
    return path
