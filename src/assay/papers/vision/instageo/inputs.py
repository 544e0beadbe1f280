"""From what a user brings to what the method takes: scenes and points, chips in a folder or on the hub."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay import files
from assay.data import open_archive
from assay.errors import InputError, refusals
from assay.papers.vision.geo.options import Chips, Imagery, PointTable
from assay.papers.vision.instageo.config import Compress, Cut, Distil
from assay.papers.vision.instageo.method import (
    RADAR,
    ChipCreator,
    ChipDataset,
    Columns,
    LocalScenes,
    Points,
    SceneCatalog,
    StacApi,
    StacTree,
    connected_groups,
    kmeans_groups,
    read_points,
)
from assay.papers.vision.instageo.stages import draw_scenes
from assay.papers.vision.instageo.synthetic.landscapes import CLASSES, cut_tiles
from assay.trial import Trial

# --- scenes and points --------------------------------------------------------------------------


def check_sources(config: Cut) -> None:
    """Refuse sources that do not belong together.

    Raises:
        InputError: says which are missing, or too many.
    """
    points, rasters = config.points.source is not None, config.label_rasters.source is not None
    if config.chip_size % config.patch_size:
        raise InputError(
            f"--chip-size {config.chip_size} cannot be divided into patches of {config.patch_size} pixels."
            " Choose a multiple, or give the model's --patch-size."
        )
    if rasters and points:
        raise InputError("Give either --points or --label-rasters, not both.")
    if (rasters or points) != (config.imagery.source is not None):
        raise InputError(
            "Give --imagery and either --points or --label-rasters, or none of them for a synthetic region."
        )


def open_points(table: PointTable, config: Cut) -> Points:
    """Read the points of a table."""
    given = {field.name: getattr(table, field.name) for field in fields(Columns)}
    columns = Columns(**{name: value for name, value in given.items() if value})
    return read_points(files.user_path(table.source or ""), columns, config.task)


def open_imagery(imagery: Imagery, radar: bool = False) -> SceneCatalog:
    """Return the catalogue that a source names."""
    bands, place = imagery.bands or (RADAR if radar else ()), imagery.path
    if imagery.kind in ("http", "https"):
        return StacApi(imagery.source or "", imagery.collections or (), bands)
    if not place.exists():
        raise InputError(f"There is no {place}, which --imagery {imagery.source} names.")
    return StacTree(place, bands) if imagery.kind == "stac" else LocalScenes(place, bands)


def make_creator(config: Cut, catalog: SceneCatalog) -> ChipCreator:
    """Return a chip creator with a user's settings."""
    shared = {field.name for field in fields(ChipCreator)} & {field.name for field in fields(Cut)}
    radar: dict[str, Any] = {"dtype": "float32", "no_data": -1} if config.radar else {}
    return ChipCreator(catalog, **{name: getattr(config, name) for name in shared}, **radar)


# --- chips to learn from ------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelledChips:
    """Chips float [n, bands, dates, h, w] and label maps [n, h, w], -1 without a label: int64, or values."""

    chips: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.chips)


@dataclass(frozen=True)
class ChipSplit:
    """Chips that train, that choose and that test; `class_names` is empty where labels are values.

    `validation` is `train` where no chips are held back.
    """

    train: LabelledChips
    validation: LabelledChips
    test: LabelledChips
    class_names: tuple[str, ...]
    no_data: float = 0.0
    side: int | None = None
    """Pixels of what the model sees; by default those of the chips."""

    @property
    def regression(self) -> bool:
        """Whether labels are values."""
        return not self.class_names

    @property
    def outputs(self) -> int:
        """Channels of a model's map: one a class, or one value."""
        return max(1, len(self.class_names))

    @property
    def quality(self) -> str:
        """The metric that chooses."""
        return "r2" if self.regression else "miou"


def open_chips(chips: Chips) -> ChipDataset:
    """Open a folder of chips, or a data set of the hub.

    Raises:
        InputError: there are none.
    """
    source = chips.source or ""
    folder = download(source.removeprefix("hub:")) if source.startswith("hub:") else files.user_path(source)
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}, which --chips names.")
    inner = folder / "chips"
    found = ChipDataset.load(inner if (inner / "chips.csv").exists() else folder)
    return replace(
        found,
        num_steps=chips.num_steps or found.num_steps,
        label_shift=chips.label_shift or found.label_shift,
    )


def download(name: str) -> Path:
    """Download a data set of the hub, and unpack its archives beside them."""
    from huggingface_hub import snapshot_download

    return unpack(Path(snapshot_download(name, repo_type="dataset", ignore_patterns=["*.py"])))


def unpack(folder: Path) -> Path:
    """Unpack the archives of a folder once, and return it; nothing in them may lead outside."""
    for archive in sorted([*folder.glob("*.tgz"), *folder.glob("*.tar.gz")]):
        target = folder / archive.name.split(".")[0]
        if not target.exists():
            with files.atomic_folder(target) as temporary, open_archive(archive) as packed:
                packed.extract(temporary)
    return folder


def split_chips(config: Distil | Compress, trial: Trial) -> ChipSplit:
    """Return the chips of a config in parts that are apart on the globe, or synthetic landscapes."""
    with refusals():
        if config.chips.source is None:
            split = synthetic_split(config, trial)
        else:
            split = user_split(open_chips(config.chips), config, trial)
    if config.finetune.select == "best" and split.validation is split.train:
        raise InputError("finetune.select best needs validation chips: give --validation 0.1, say.")
    if config.chips.source is None or isinstance(config, Compress):
        share = 1.0 if isinstance(config, Compress) and config.all_labels else config.labelled
        few = keep_labels(split.train.labels, share, trial.generator("labelled"))
        split = replace(split, train=replace(split.train, labels=few))
    if config.finetune.crop is not None:
        split = crop(split, config.finetune.crop, at_random=config.finetune.augment != "none")
    if not (split.train.labels != -1).any() or not (split.test.labels != -1).any():
        raise InputError("no pixel of the training or of the test chips has a label.")
    return split


def crop(split: ChipSplit, size: int, at_random: bool) -> ChipSplit:
    """Cut chips into squares side by side; those that train are left whole if they are cut `at_random`."""
    height, width = split.test.chips.shape[-2:]
    if size > min(height, width):
        raise InputError(f"finetune.crop {size} is larger than the chips of {height} x {width} pixels.")

    def cut(values: Tensor) -> Tensor:
        return torch.from_numpy(cut_tiles(values.numpy(), size)).flatten(0, 1)

    train, validation, test = (
        part if at_random and part is split.train else LabelledChips(cut(part.chips), cut(part.labels))
        for part in (split.train, split.validation, split.test)
    )
    return replace(split, train=train, validation=validation, test=test, side=size)


def synthetic_split(config: Distil | Compress, trial: Trial) -> ChipSplit:
    """Cut synthetic scenes into chips."""
    scenes = trial.once("scenes", draw_scenes, config.landscapes, trial.seed)
    size = config.landscapes.chip_size

    def chips_of(part: str) -> LabelledChips:
        mine = [scene for scene in scenes if scene.part == part]
        chips = np.concatenate([cut_tiles(scene.reflectance, size) for scene in mine])
        labels = np.concatenate([cut_tiles(scene.labels, size) for scene in mine])
        steps = torch.from_numpy(chips.astype(np.float32)).transpose(1, 2).contiguous()
        return LabelledChips(steps, torch.from_numpy(labels.astype(np.int64)))

    return ChipSplit(chips_of("train"), chips_of("validation"), chips_of("test"), CLASSES)


def user_split(chips: ChipDataset, config: Distil | Compress, trial: Trial) -> ChipSplit:
    """Split chips by published lists where there are some, else by groups of places."""
    regression = chips.task == "regression"
    if regression and isinstance(config, Compress):
        raise InputError("these chips have values for regression: `assay run instageo distil` learns them.")
    if regression and config.chips.classes:
        raise InputError("these chips have values for regression, no classes: leave --chips.classes out.")
    if len(chips) < 4:
        raise InputError(f"there are {len(chips)} chips; at least 4 are needed to learn and to test.")
    if "train" in chips.parts and {"test", "validation"} & set(chips.parts):
        listed = {part: np.flatnonzero(np.array(chips.parts) == part) for part in set(chips.parts)}
        train, validation = listed["train"], listed["train"][:0]
        test = listed["test"] if "test" in listed else listed["validation"]
        if config.validation:
            drawn = trial.split(len(train), test=config.validation, fresh=True)
            train, validation = train[drawn.train], train[drawn.test]
    else:
        groups = place_groups(chips, trial.seed)
        drawn = trial.split(len(chips), test=config.test, validation=config.validation, group=groups)
        train, validation, test = drawn.train, drawn.validation, drawn.test
    trained, tested = (LabelledChips(*chips.tensors(rows.tolist())) for rows in (train, test))
    held = LabelledChips(*chips.tensors(validation.tolist())) if len(validation) else trained
    if regression:
        return ChipSplit(trained, held, tested, (), chips.no_data)
    count = 1 + max(int(part.labels.max()) for part in (trained, held, tested))
    names = config.chips.classes or tuple(str(number) for number in range(max(2, count)))
    if len(names) < count:
        raise InputError(f"--chips.classes names {len(names)} classes, but labels go up to {count - 1}.")
    return ChipSplit(trained, held, tested, names, chips.no_data)


def place_groups(chips: ChipDataset, seed: int) -> list[int] | None:
    """Return the group of each chip: places linked by 400 km, or clusters where those are too few."""
    if not chips.places:
        return None
    places = np.array(chips.places)
    groups = connected_groups(places)
    if len(np.unique(groups)) < 5:
        groups = kmeans_groups(places, 20, seed=seed % 2**31)
    return list(groups.tolist())


def keep_labels(labels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return label maps in which a share of the labelled pixels keep their label, at random."""
    if not 0 < share <= 1:
        raise InputError(f"--labelled must be above 0 and at most 1, not {share:g}.")
    kept = torch.rand(labels.shape, generator=generator) < share
    return torch.where(kept, labels, -1) if share < 1 else labels
