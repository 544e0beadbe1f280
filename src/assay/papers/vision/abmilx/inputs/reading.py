"""Bags from whatever the user names, with their labels and the part that is published."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Set
from dataclasses import replace

from assay.errors import InputError, nearest
from assay.files import user_path
from assay.papers.vision.abmilx.config import Bags, Slides
from assay.papers.vision.abmilx.inputs.bags import BagSet, join_slides
from assay.papers.vision.abmilx.inputs.features import FeatureFolder
from assay.papers.vision.abmilx.inputs.folders import PictureFolder
from assay.papers.vision.abmilx.inputs.labels import BagLabel, read_labels
from assay.papers.vision.abmilx.inputs.lmdb_files import LmdbTiles
from assay.papers.vision.abmilx.inputs.slides import SlideFolder
from assay.papers.vision.abmilx.inputs.tables import bags_of_table

SlideStore = PictureFolder | SlideFolder | FeatureFolder | LmdbTiles
"""Where slides are found by their names: `names` are those that are there, `bags(names)` one bag for each."""


def read_bags(
    data: Bags, slides: Slides, pixels: int | None, survival: tuple[str, str] | None = None
) -> BagSet:
    """Read bags from files or from a table.

    Args:
        data: where they are.
        slides: how patches are cut from whole slides.
        pixels: pictures are resized to so many pixels squared.
        survival: the columns of a table with time and death, instead of a label.

    Raises:
        InputError: something is missing or damaged, a bag has no label, or a patient is in two parts.
    """
    if data.kind is None:
        found = bags_of_table(data, pixels, survival)
    else:
        found = _from_files(data, slides, pixels, survival is not None)
    _refuse_leaks(found)
    return found


def _from_files(data: Bags, slides: Slides, pixels: int | None, survival: bool) -> BagSet:
    if data.labels is None:
        raise InputError(
            f"{data.source} has no labels: name a CSV with the columns bag and label (--data.labels)."
        )
    labels = read_labels(user_path(data.labels), survival)
    places = data.places()
    stores: dict[str, Callable[[], SlideStore]] = {
        "folder": lambda: PictureFolder(places[0], pixels),
        "slides": lambda: SlideFolder(places[0], slides),
        "features": lambda: FeatureFolder(places[0]),
        "lmdb": lambda: LmdbTiles(places, pixels),
    }
    store = stores[data.kind or ""]()
    known = set(store.names)
    found, missing = [], []
    for label in labels:
        names, lost = _slides_of(label, known)
        missing += lost
        found += [(label, names)] if names else []
    if missing:
        words = f"{len(missing)} slides that {data.labels} names, such as {missing[0]!r}."
        if not found:
            raise InputError(f"{store.place} has none of the {words}{nearest(missing[0], store.names)}")
        left_out = f" {len(labels) - len(found)} of {len(labels)} bags are left out."
        warnings.warn(f"{store.place} lacks {words}{left_out}", stacklevel=2)
    names = list(dict.fromkeys(name for _, of_bag in found for name in of_bag))
    opened = dict(zip(names, store.bags(names), strict=True))
    classes = () if survival else tuple(sorted({label.label or "" for label, _ in found}, key=_natural))
    bags = []
    for label, of_bag in found:
        known_of = {name: getattr(label, name) for name in ("time", "died", "group", "part", "copies")}
        known_of["label"] = -1 if label.label is None else classes.index(label.label)
        bags.append(replace(join_slides(label.bag_id, [opened[name] for name in of_bag]), **known_of))
    return BagSet(tuple(bags), classes, data.source)


def _slides_of(label: BagLabel, known: Set[str]) -> tuple[list[str], list[str]]:
    """Return the slides of a bag that are there, and those that are not; a name may have a file's ending."""
    if not label.slides:
        found = sorted(name for name in known if label.bag_id in name)
        return found, [] if found else [label.bag_id]
    stems = {name: name if name in known else name.rpartition(".")[0] for name in label.slides}
    there = [stem for stem in stems.values() if stem in known]
    return there, [name for name, stem in stems.items() if stem not in known]


def _natural(text: str) -> tuple[int, float, str]:
    """Sort numbers as numbers, before words."""
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)


def _refuse_leaks(bags: BagSet) -> None:
    """Refuse a bag that is there twice, and a published split with a patient on both sides."""
    names = [bag.bag_id for bag in bags]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{bags.source}: there are two bags {twice!r}, or one in both splits.")
    parts: dict[str, str | None] = {}
    for bag in bags:
        if bag.group is not None and parts.setdefault(bag.group, bag.part) != bag.part:
            raise InputError(
                f"{bags.source}: {bag.group!r} has bags in {parts[bag.group]} and in {bag.part}. All bags of"
                " a patient belong in one part."
            )
