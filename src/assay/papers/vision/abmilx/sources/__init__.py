"""Bags from tables, folders, slides and LMDB files, and bags that are drawn from labelled instances."""

from assay.papers.vision.abmilx.sources.bag import Bag, BagSet
from assay.papers.vision.abmilx.sources.drawing import (
    GRADE,
    NEEDLE,
    Instances,
    Task,
    draw_bags,
    read_instances,
)
from assay.papers.vision.abmilx.sources.reading import read_bags

__all__ = [
    "GRADE",
    "NEEDLE",
    "Bag",
    "BagSet",
    "Instances",
    "Task",
    "draw_bags",
    "read_bags",
    "read_instances",
]
