"""The options of InstaGeo's recipes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from assay import files
from assay.bounds import (
    NonNegativeFloat,
    NonNegativeInt,
    OpenShare,
    PositiveFloat,
    PositiveInt,
    ShareBelowOne,
)
from assay.data import hash_file
from assay.errors import InputError
from assay.papers.vision.geo.options import Chips, Imagery, LabelRasters, PointTable

BACKBONES = ("v1-100m", "v2-300m", "v2-300m-tl", "v2-600m", "v2-600m-tl")


@dataclass(frozen=True)
class Backbone:
    """Weights that an encoder starts from, or none. `--backbone X` is short for `--backbone.source X`."""

    source: str | None = None
    """hub:v1-100m (or v2-300m, v2-300m-tl, v2-600m, v2-600m-tl), or NAME=FILE for such weights in a file that
    ends in .safetensors, .pt or .pth. By default a small encoder starts from random weights."""

    def __post_init__(self) -> None:
        if self.source is not None and self.name not in BACKBONES:
            raise InputError(
                f"{self.source!r} is no backbone: write hub:NAME, or NAME=FILE for a file of weights, with a"
                f" NAME of {', '.join(BACKBONES)}."
            )

    @property
    def name(self) -> str:
        """The published size."""
        source = self.source or ""
        return source.removeprefix("hub:") if source.startswith("hub:") else source.partition("=")[0]

    @property
    def path(self) -> Path | None:
        """The file, unless it is on the hub."""
        _, equals, place = (self.source or "").partition("=")
        return files.user_path(place) if equals else None

    def fingerprint(self) -> str:
        """Identify the weights by their content; on the hub by their name."""
        return "synthetic" if self.source is None else (hash_file(self.path) if self.path else self.source)


@dataclass(frozen=True)
class Landscapes:
    """The synthetic landscapes to train on where no chips are given."""

    scenes: Annotated[int, Ge(4)] = 6
    """Scenes: half of them train, a sixth validates, a third tests."""
    side: PositiveInt = 256
    """Pixels of a scene's side."""
    chip_size: PositiveInt = 64
    """Pixels of a chip's side."""
    dates: Literal[1, 2, 3] = 1
    """Dates of a chip: early summer alone, or up to three from late summer back to spring."""


@dataclass(frozen=True)
class SmallRegion:
    """The synthetic raw data on disk: two tiles in two zones, three dates, points."""

    side: PositiveInt = 384
    """Pixels of a tile's side."""
    points: PositiveInt = 2000
    """Labelled points, some of them beside the scenes."""


@dataclass(frozen=True)
class Vit:
    """The vision transformer that is trained where no backbone is given, and the head of any."""

    dim: PositiveInt = 64
    """Width."""
    depth: PositiveInt = 8
    """Blocks of the teacher."""
    heads: PositiveInt = 4
    """Attention heads."""
    patch_size: PositiveInt = 8
    """Pixels of a patch's side."""
    dropout: ShareBelowOne = 0.1
    """Of the head."""
    projection: bool = False
    """Bring several dates back to the width of one before the head. Not in the paper."""


@dataclass(frozen=True)
class Finetune:
    """Training of teachers and students alike (the paper's settings are those of the preset `paper`)."""

    gradient_steps: PositiveInt | None = 250
    """Gradient steps of a student; `epochs` instead where it is none."""
    teacher_steps: PositiveInt | None = 460
    """Gradient steps of a teacher; `epochs` instead where it is none."""
    epochs: PositiveInt = 100
    """Passes over the training chips, where no steps are given."""
    batch_size: PositiveInt = 4
    """Chips a gradient step."""
    learning_rate: PositiveFloat = 5e-3
    """Of AdamW, falling to 0 along a cosine."""
    warmup: ShareBelowOne = 0.15
    """Share of the steps in which the learning rate rises first."""
    weight_decay: NonNegativeFloat = 0.01
    """Of AdamW."""
    weigh_classes: bool = False
    """Weigh classes by N / (classes * their pixels)."""
    augment: Literal["none", "flips", "all"] = "none"
    """What happens to training chips at random: nothing, flips, or all of the paper's: flips, turns by up to
    10 degrees, brightness and contrast, blur and noise."""
    crop: PositiveInt | None = None
    """Pixels of the squares that are cut out of larger chips: side by side, or at random from training chips
    that are augmented."""
    select: Literal["last", "best"] = "last"
    """Keep the last weights, or those of the pass that did best on the validation chips."""


@dataclass(frozen=True)
class Cut:
    """Cut chips out of scenes where and when there are labelled points."""

    points: PointTable = PointTable()
    """Labelled points."""
    label_rasters: LabelRasters = LabelRasters()
    """Label rasters instead of points; chips lie on their grids."""
    imagery: Imagery = Imagery()
    """Scenes."""
    region: SmallRegion = SmallRegion()
    """The synthetic region, where no points are given."""
    chip_size: PositiveInt = 256
    """Pixels of a chip's side."""
    patch_size: PositiveInt = 16
    """Pixels of the patches of the model that will read the chips; must divide `chip_size`."""
    num_steps: PositiveInt = 3
    """Dates of an observation, the newest first."""
    temporal_step: NonNegativeInt = 30
    """Days between two dates."""
    temporal_tolerance: NonNegativeFloat = 5.0
    """Days that a scene may be off."""
    shift_to_month_start: bool = True
    """With several dates, count from the first of the observation's month."""
    mask_types: tuple[Literal["cloud", "near_cloud_or_shadow", "cloud_shadow", "water"], ...] = ()
    """What is blanked, by the scenes' Fmask or SCL: cloud, near_cloud_or_shadow, cloud_shadow, water."""
    masking_strategy: Literal["each", "any"] = "each"
    """Blank the date that is masked, or all dates where any is."""
    window_size: NonNegativeInt = 0
    """Each point's label also fills so many pixels around its own."""
    min_count: PositiveInt = 100
    """Tiles of 100 km with fewer points (or labelled pixels of rasters) are left out."""
    cloud_coverage: float = 10.0
    """Scenes with more, in percent, are left out."""
    task: Literal["segmentation", "regression"] = "segmentation"
    """Whether labels are classes or values."""
    scale: PositiveFloat | None = None
    """Multiplied with what was measured: what the files hold, times their own scale, plus their own offset;
    10000 for reflectance in [0, 1]. By default 10000 where files have a scale or an offset, else 1."""
    radar: bool = False
    """Scenes are Sentinel-1's: chips hold the bands VV and VH as measured, and -1 where there is nothing."""
    resampling: Literal["nearest", "bilinear", "cubic"] = "nearest"
    """Of scenes on another grid than the newest one of their set."""
    workers: PositiveInt = 4
    """Threads that read and write."""
    keep: Path | None = None
    """Folder in which chips are made, so that a stopped run resumes there; they are copied to --out."""


@dataclass(frozen=True)
class Distil:
    """Fine-tune a teacher, train students of several depths, and keep the smallest good enough."""

    chips: Chips = Chips()
    """Chips to learn from."""
    landscapes: Landscapes = Landscapes()
    """What is trained on where no chips are given."""
    labelled: float = 0.05
    """Share of the training pixels that keep their label, where landscapes are synthetic."""
    test: OpenShare = 0.3
    """Share of the chips that test, by groups of places; a published test part stays."""
    validation: ShareBelowOne = 0.2
    """Share of the chips that choose the depth."""
    backbone: Backbone = Backbone()
    """Weights that the teacher starts from."""
    vit: Vit = Vit()
    """The teacher's sizes."""
    depths: tuple[int, ...] = (1, 2, 4)
    """Blocks of the students to train."""
    keep_blocks: Literal["first", "uniform", "last"] = "first"
    """Which of the teacher's blocks a student starts from."""
    tolerance: float = 0.015
    """What a student may lose against the teacher, a fraction: of mIoU, or of R^2 where labels are values."""
    kd_weight: NonNegativeFloat = 1.0
    """Weight of the divergence from the teacher; 0 is fine-tuning."""
    ce_weight: NonNegativeFloat = 1.0
    """Weight of the cross-entropy on labels."""
    everywhere: bool = False
    """Learn from the teacher on all pixels, not on labelled ones alone. Not in the paper."""
    finetune: Finetune = Finetune()
    """Training of teacher and students."""
    grams_per_kwh: NonNegativeFloat | None = None
    """Grams of CO2 of a kilowatt-hour where this runs; by default none are reported."""


@dataclass(frozen=True)
class Compress:
    """Train one student, or the teacher, on some scenes and test it on others."""

    chips: Chips = Chips()
    """Chips to learn from."""
    landscapes: Landscapes = Landscapes()
    """What is trained on where no chips are given."""
    labelled: float = 0.05
    """Share of the labelled training pixels that keep their label in the arms that are not called full."""
    all_labels: bool = False
    """Keep all labels."""
    test: OpenShare = 0.3
    """Share of the chips that test, by groups of places; a published test part stays."""
    validation: ShareBelowOne = 0.0
    """Share of the chips that choose the best weights, for `finetune.select best`."""
    backbone: Backbone = Backbone()
    """Weights that the teacher starts from."""
    vit: Vit = Vit()
    """The teacher's sizes."""
    trained: Literal["student", "teacher"] = "student"
    """What is measured."""
    depth: PositiveInt = 1
    """Blocks of the student."""
    start: Literal["teacher", "random"] = "teacher"
    """Whether the student starts from the teacher's first blocks."""
    kd_weight: NonNegativeFloat = 1.0
    """Weight of the divergence from the teacher."""
    ce_weight: NonNegativeFloat = 1.0
    """Weight of the cross-entropy on labels."""
    everywhere: bool = False
    """Learn from the teacher on all pixels, not on labelled ones alone. Not in the paper."""
    finetune: Finetune = Finetune()
    """Training of teacher and student."""


@dataclass(frozen=True)
class Fidelity:
    """Cut chips out of files, train on them, and compare with chips cut out of the arrays in memory."""

    region: SmallRegion = SmallRegion()
    """The raw data."""
    chip_size: PositiveInt = 64
    """Pixels of a chip's side."""
    dates: int = 3
    """Dates of a chip."""
    cut: Literal["creator", "oracle", "misplaced"] = "creator"
    """Who cuts the training chips: ChipCreator from files, numpy from the arrays, or numpy with the
    labels one patch off."""
    vit: Vit = Vit(depth=2)
    """The model."""
    finetune: Finetune = Finetune()
    """Its training."""

    def __post_init__(self) -> None:
        if self.finetune.select == "best" or self.finetune.crop is not None:
            raise InputError("this check has no validation chips and fixed chips: leave select and crop out.")


@dataclass(frozen=True)
class Map:
    """Predict for chips, write rasters with their place on the globe, and a map as one HTML file."""

    segmenter: Path = Path("student")
    """Folder that `assay run instageo distil` wrote."""
    chips: Chips = Chips()
    """Chips to predict for."""
    title: str = "Predictions"
    """Heads the map."""
    batch_size: PositiveInt = 16
    """Chips at a time."""
