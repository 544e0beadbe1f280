"""What the code on the card reads: protected pictures, made by the card's own command."""

from pathlib import Path

import numpy as np
import PIL.Image

from card_commands import run_commands


def prepare(folder: Path) -> None:
    """Write a folder of photos, and protect them."""
    draw_photos(folder / "photos")
    run_commands("bayes_unlearnable", "run bayes_unlearnable --data images:photos", "--preset", "tiny")


def draw_photos(folder: Path) -> None:
    """Write 40 pictures of two classes that differ in brightness."""
    for label, brightness in (("day", 100), ("night", 20)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(20):
            pixels = np.random.default_rng(number).integers(0, 120, (8, 8, 3)) + brightness
            PIL.Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"photo{number}.png")
