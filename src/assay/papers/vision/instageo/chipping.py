"""Where chips come from: scenes and points of the user, a folder, the hub, or made-up landscapes."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay import files
from assay.errors import InputError, refusals
from assay.papers.vision.instageo.config import Chips, Compress, Cut, Distil, Imagery, Landscapes
from assay.papers.vision.instageo.landcover import CLASSES, cut_tiles, make_landscape
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
from assay.papers.vision.instageo.region import make_region, write_region
from assay.trial import Trial

# --- cutting ------------------------------------------------------------------------------------


def cut_chips(config: Cut, trial: Trial, out: Path) -> ChipDataset:
    """Cut the chips that a user asks for into a folder."""
    if config.chip_size % config.patch_size:
        raise InputError(
            f"--chip-size {config.chip_size} cannot be divided into patches of {config.patch_size} pixels."
            " Choose a multiple, or give the model's --patch-size."
        )
    rasters = config.label_rasters.source is not None
    if rasters and config.points.source is not None:
        raise InputError("Give either --points or --label-rasters, not both.")
    if (rasters or config.points.source is not None) != (config.imagery.source is not None):
        raise InputError(
            "Give --imagery and either --points or --label-rasters, or none to have a small region made up."
        )
    catalog: SceneCatalog
    made = config.keep and files.user_path(config.keep)
    folder = Path(made) if made else out
    points: Points | None = None
    if rasters:
        catalog = open_imagery(config.imagery, config.radar)
    elif config.points.source is None:
        region = make_region(
            config.region.side, config.region.parcel, config.region.points, trial.numpy("region"), "train"
        )
        raw = out.parent / "raw"
        catalog = StacTree(write_region(region, raw))
        points = read_points(raw / "points.csv")
        config = replace(config, cloud_coverage=100.0)
    else:
        columns = Columns(
            **{
                name: given
                for name in ("x", "y", "date", "label", "crs")
                if (given := getattr(config.points, name))
            }
        )
        points = read_points(files.user_path(config.points.source), columns, config.task)
        catalog = open_imagery(config.imagery, config.radar)
    names = (
        "chip_size num_steps temporal_step temporal_tolerance shift_to_month_start mask_types"
        " masking_strategy window_size min_count cloud_coverage task scale resampling workers"
    )
    settings = {name: getattr(config, name) for name in names.split()}
    if config.radar:
        settings |= {"dtype": "float32", "no_data": -1}
    creator = ChipCreator(catalog, **settings)
    if points is None:
        chips = creator.create_from_rasters(config.label_rasters.path, folder)
    else:
        chips = creator.create(points, folder)
    if made:
        shutil.copytree(folder, out, dirs_exist_ok=True)
        chips = ChipDataset.load(out)
    return chips


def open_imagery(imagery: Imagery, radar: bool = False) -> SceneCatalog:
    """Return the catalogue that a source names."""
    bands, place = imagery.bands or (RADAR if radar else ()), imagery.path
    if imagery.kind in ("http", "https"):
        return StacApi(imagery.source or "", imagery.collections or (), bands)
    if not place.exists():
        raise InputError(f"There is no {place}, which --imagery {imagery.source} names.")
    return StacTree(place, bands) if imagery.kind == "stac" else LocalScenes(place, bands)


# --- chips to learn from ------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """Chips float [n, bands, dates, h, w] and label maps [n, h, w], -1 without a label: int64, or values."""

    chips: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.chips)


@dataclass(frozen=True)
class Parts:
    """What is learnt, what chooses and what tests; `class_names` is empty where labels are values."""

    train: Rows
    validation: Rows
    test: Rows
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
    if chips.num_steps:
        found = replace(found, num_steps=chips.num_steps)
    return replace(found, label_shift=chips.label_shift) if chips.label_shift else found


def download(name: str) -> Path:
    """Fetch a data set of the hub, and unpack its archives beside them."""
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(name, repo_type="dataset", ignore_patterns=["*.py"]))
    unpack(folder)
    return folder


def unpack(folder: Path) -> None:
    """Unpack the archives of a folder once; nothing in them may lead outside."""
    for archive in sorted([*folder.glob("*.tgz"), *folder.glob("*.tar.gz")]):
        target = folder / archive.name.split(".")[0]
        if not target.exists():
            with files.atomic_folder(target) as temporary, tarfile.open(archive) as packed:
                packed.extractall(temporary, filter="data")


def parts_of(config: Distil | Compress, trial: Trial) -> Parts:
    """Return the chips of a config in parts that are apart on the globe, or made-up landscapes."""
    held = getattr(config, "validation", 0.0)
    with refusals():
        if config.chips.source is None:
            scenes = trial.once("scenes", make_scenes, config.landscapes, trial.seed)
            parts = scene_parts(scenes, config.landscapes)
        else:
            parts = user_parts(open_chips(config.chips), config, held, trial)
    if config.finetune.select == "best" and parts.validation is parts.train:
        raise InputError("finetune.select best needs validation chips: give --validation 0.1, say.")
    if config.chips.source is None or isinstance(config, Compress):
        share = 1.0 if getattr(config, "all_labels", False) else config.labelled
        few = sparse(parts.train.labels, share, trial.generator("labelled"))
        parts = replace(parts, train=replace(parts.train, labels=few))
    if config.finetune.crop is not None:
        parts = cropped(parts, config.finetune.crop, at_random=config.finetune.augment != "none")
    if not (parts.train.labels != -1).any() or not (parts.test.labels != -1).any():
        raise InputError("no pixel of the training or of the test chips has a label.")
    return parts


def cropped(parts: Parts, size: int, at_random: bool) -> Parts:
    """Return parts with chips cut into squares side by side; those to learn from are left if `at_random`."""
    height, width = parts.test.chips.shape[-2:]
    if size > min(height, width):
        raise InputError(f"finetune.crop {size} is larger than the chips of {height} x {width} pixels.")

    def cut(values: Tensor) -> Tensor:
        return torch.from_numpy(cut_tiles(values.numpy(), size)).flatten(0, 1)

    train, held, test = (
        rows if at_random and rows is parts.train else Rows(cut(rows.chips), cut(rows.labels))
        for rows in (parts.train, parts.validation, parts.test)
    )
    return replace(parts, train=train, validation=held, test=test, side=size)


def make_scenes(landscapes: Landscapes, seed: int) -> list[dict[str, Any]]:
    """Draw each scene: half to learn from, a sixth to choose, a third to test, each with its own pixels."""
    random = np.random.default_rng([seed, 2025])
    found = []
    for part in scene_roles(landscapes.scenes):
        textures = "test" if part == "test" else "train"
        drawn = make_landscape(
            landscapes.side,
            landscapes.side,
            landscapes.parcel,
            textures,  # type: ignore[arg-type]
            random,
            landscapes.cloud_share,
            landscapes.noise,
        )
        dates = [1] if landscapes.dates == 1 else [2, 1, 0][: landscapes.dates]
        seen = np.where(drawn.clouds[dates][:, None], 0, drawn.reflectance[dates])
        labels = np.where(drawn.clouds[dates].all(axis=0), -1, drawn.classes)
        found.append({"part": part, "seen": seen.astype(np.uint16), "labels": labels})
    return found


def scene_roles(scenes: int) -> list[str]:
    """Return the part of each scene."""
    test, validation = max(1, scenes // 3), max(1, scenes // 6)
    return ["train"] * (scenes - test - validation) + ["validation"] * validation + ["test"] * test


def scene_parts(scenes: Sequence[dict[str, Any]], landscapes: Landscapes) -> Parts:
    """Cut scenes into chips."""
    rows = {}
    for part in ("train", "validation", "test"):
        mine = [scene for scene in scenes if scene["part"] == part]
        chips = np.concatenate([cut_tiles(scene["seen"], landscapes.chip_size) for scene in mine])
        labels = np.concatenate([cut_tiles(scene["labels"], landscapes.chip_size) for scene in mine])
        rows[part] = Rows(
            torch.from_numpy(chips.astype(np.float32)).transpose(1, 2).contiguous(),
            torch.from_numpy(labels.astype(np.int64)),
        )
    return Parts(rows["train"], rows["validation"], rows["test"], CLASSES)


def user_parts(chips: ChipDataset, config: Distil | Compress, share: float, trial: Trial) -> Parts:
    """Split chips by published lists where there are some, else by groups of places."""
    regression = chips.task == "regression"
    if regression and isinstance(config, Compress):
        raise InputError("these chips have values for regression: `assay run instageo distil` learns them.")
    if len(chips) < 4:
        raise InputError(f"there are {len(chips)} chips; at least 4 are needed to learn and to test.")
    if set(chips.parts) >= {"train"} and set(chips.parts) & {"test", "validation"}:
        named = {p: np.flatnonzero(np.array(chips.parts) == p) for p in ("train", "validation", "test")}
        test = named["test"] if len(named["test"]) else named["validation"]
        rest = trial.split(len(named["train"]), test=0.1, fresh=True)
        train = named["train"][rest.train] if share else named["train"]
        held = named["train"][rest.test]
    else:
        split = trial.split(
            len(chips), test=config.test, validation=share, group=place_groups(chips, trial.seed)
        )
        train, held, test = split.train, split.validation, split.test
    read = {name: Rows(*chips.tensors(rows.tolist())) for name, rows in (("train", train), ("test", test))}
    held_rows = Rows(*chips.tensors(held.tolist())) if len(held) else read["train"]
    if regression:
        if config.chips.classes:
            raise InputError("these chips have values for regression, no classes: leave --chips.classes out.")
        return Parts(read["train"], held_rows, read["test"], (), chips.no_data)
    count = 1 + max(int(part.labels.max()) for part in (*read.values(), held_rows))
    names = config.chips.classes or ()
    if 0 < len(names) < count:
        raise InputError(f"--chips.classes names {len(names)} classes, but labels go up to {count - 1}.")
    names = tuple(names) or tuple(str(number) for number in range(max(2, count)))
    return Parts(read["train"], held_rows, read["test"], names, chips.no_data)


def place_groups(chips: ChipDataset, seed: int) -> list[int] | None:
    """Return the group of each chip: places linked by 400 km, or clusters where those are too few."""
    if not chips.places:
        return None
    places = np.array(chips.places)
    groups = connected_groups(places)
    if len(np.unique(groups)) < 5:
        groups = kmeans_groups(places, 20, seed=seed % 2**31)
    return [int(group) for group in groups]


def sparse(labels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return label maps in which a share of the labelled pixels keep their label, at random."""
    if not 0 < share <= 1:
        raise InputError(f"--labelled must be above 0 and at most 1, not {share:g}.")
    kept = torch.rand(labels.shape, generator=generator) < share
    return torch.where(kept, labels, -1) if share < 1 else labels
