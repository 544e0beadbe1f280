"""Bags from whatever the user names, with their labels and the part that is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from assay.data import Table
from assay.errors import InputError
from assay.files import user_path
from assay.papers.vision.abmilx.config import BagFiles, Slides
from assay.papers.vision.abmilx.sources.bag import Bag, BagSet
from assay.papers.vision.abmilx.sources.folders import bags_of_folder
from assay.papers.vision.abmilx.sources.labels import BagLabel, read_labels
from assay.papers.vision.abmilx.sources.packed import bags_of_lmdb
from assay.papers.vision.abmilx.sources.slides import bags_of_slides
from assay.papers.vision.abmilx.sources.tables import bags_of_table


def read_bags(
    data: Table,
    bags: BagFiles,
    column: str,
    slides: Slides,
    pixels: int | None,
    survival: tuple[str, str] | None = None,
) -> BagSet:
    """Read bags from files or, where none are named, from a table.

    Raises:
        InputError: something is missing or damaged, a bag has no label, or a patient is in two parts.
    """
    if bags.source is None:
        found = bags_of_table(data, column, pixels, survival)
    else:
        found = _from_files(bags, slides, pixels, survival is not None)
    refuse_leaks(found)
    return found


def _from_files(bags: BagFiles, slides: Slides, pixels: int | None, survival: bool) -> BagSet:
    if bags.labels is None:
        raise InputError(
            f"{bags.source} has no labels: name a CSV with the columns bag and label (--bags.labels)."
        )
    labels = read_labels(user_path(bags.labels), survival)
    kind, places = (bags.source or "").partition(":")[0], bags.places()
    names = [label.bag_id for label in labels]
    if kind == "folder":
        found = bags_of_folder(places[0], names, pixels)
    elif kind == "slides":
        found = bags_of_slides(places[0], names, slides)
    else:
        found = bags_of_lmdb(places, names, pixels)
    classes = () if survival else tuple(sorted({label.label or "" for label in labels}, key=_natural))
    labelled = [_labelled(bag, label, classes) for bag, label in zip(found, labels, strict=True)]
    return BagSet(tuple(labelled), classes, bags.source or "")


def _labelled(bag: Bag, label: BagLabel, classes: Sequence[str]) -> Bag:
    number = classes.index(label.label) if label.label is not None else -1
    return replace(bag, label=number, time=label.time, died=label.died, group=label.group, part=label.part)


def _natural(text: str) -> tuple[int, float, str]:
    """Sort numbers as numbers, before words."""
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)


def refuse_leaks(bags: BagSet) -> None:
    """Refuse a published split with a patient on both sides.

    Raises:
        InputError: names the patient.
    """
    parts: dict[str, str | None] = {}
    for bag in bags:
        group = bag.group
        if group is not None and parts.setdefault(group, bag.part) != bag.part:
            raise InputError(
                f"{bags.source}: {group!r} has bags in {parts[group]} and in {bag.part}. All bags of a"
                " patient belong into one part."
            )
