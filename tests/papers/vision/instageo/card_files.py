"""What the code on the card reads: scenes as a STAC tree, and labelled points."""

from pathlib import Path

import numpy as np

from assay.papers.vision.instageo.synthetic.region import make_region, write_region


def prepare(folder: Path) -> None:
    """Write a region's scenes and its points."""
    write_region(small_region(), folder / "scenes")
    (folder / "scenes" / "points.csv").rename(folder / "points.csv")


def small_region():
    """Two tiles in two zones on three dates."""
    return make_region(96, 160, np.random.default_rng(1001), "train", parcel=20.0)
