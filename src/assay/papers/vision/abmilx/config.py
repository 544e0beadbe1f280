"""The options of ABMILX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from assay.bounds import (
    NonNegativeFloat,
    NonNegativeInt,
    OpenShare,
    PositiveFloats,
    PositiveInt,
    PositiveShare,
    Share,
    ShareBelowOne,
)
from assay.data import Table
from assay.errors import InputError, unknown
from assay.models import OwnModel
from assay.training import Compute

BAG_KINDS = ("folder", "slides", "lmdb")
RATES = (3e-4, 1e-3, 3e-3, 1e-2)


@dataclass(frozen=True)
class BagFiles:
    """Bags in files of their own."""

    source: str | None = None
    """folder:DIR (a folder of pictures for each bag), slides:DIR (whole-slide pictures), or lmdb:DIR (the
    authors' layout; lmdb:HIGH,LOW for two magnifications; each may be hub:OWNER/NAME/FOLDER, which is
    downloaded). None: the rows of --data."""
    labels: str | None = None
    """CSV with a row a bag: bag and label, or bag, time and died; optional patient and split. Needed with a
    source."""

    def __post_init__(self) -> None:
        if self.source is None:
            return
        kind, colon, place = self.source.partition(":")
        if not colon or not place:
            raise InputError(f"{self.source!r} must be written folder:DIR, slides:DIR or lmdb:DIR.")
        if kind not in BAG_KINDS:
            raise unknown("kind of bags", kind, BAG_KINDS)

    def places(self) -> tuple[Path, ...]:
        """Return the folders and files of the bags: one, or one a magnification."""
        from assay.files import user_path

        place = (self.source or "").partition(":")[2]
        return tuple(user_path(part) for part in place.split(","))

    def fingerprint(self) -> str:
        """Identify the bags by their content."""
        if self.source is None:
            return "no files"
        from assay.data.paths import existing_file, hash_file, hash_folder
        from assay.files import user_path

        paths = [*self.places(), *([user_path(self.labels)] if self.labels else [])]
        return " ".join(
            str(path)
            if str(path).startswith("hub:")
            else hash_folder(path)
            if path.is_dir()
            else hash_file(existing_file(path))
            for path in paths
        )


@dataclass(frozen=True)
class Slides:
    """How patches are cut from whole slides."""

    patch: PositiveInt = 256
    """Side of a patch in pixels, at each magnification."""
    downsamples: PositiveFloats = (1.0, 2.0)
    """How many times smaller than the slide's finest level the patches are read; the first is also used for
    evaluation, the second for multi-scale sampling."""
    least_tissue: Share = 0.25
    """Least share of a patch that is tissue."""
    most_patches: PositiveInt | None = None
    """Patches of a slide that are kept, spread evenly over the tissue; all by default."""


@dataclass(frozen=True)
class Drawn:
    """How bags are drawn from labelled instances, where rows have no bag."""

    key: str = "8"
    """The class of instances that decides a bag's label, by its name."""
    size: PositiveInt = 32
    """Instances a bag."""
    train_bags: PositiveInt = 320
    """Bags to learn from."""
    test_bags: PositiveInt = 400
    """Bags that measure."""
    search_share: OpenShare = 0.3
    """Share of instances kept apart, in all seeds, to search learning rates and to pre-train encoders."""
    repeats: PositiveInt = 2
    """Trainings of each learning rate in the search, each with its own bags."""


@dataclass(frozen=True)
class Layers:
    """The layers of encoder and aggregator."""

    network: Literal["auto", "none", "perceptron", "convolutional"] = "auto"
    """Encoder that is made here: auto is a perceptron on pictures of at most 16 pixels, convolutional on
    larger ones, and none on features."""
    embed_dim: PositiveInt = 64
    """Width of the aggregator's embeddings."""
    num_heads: PositiveInt = 4
    """Heads of ABMILX; divides embed_dim."""
    norm: Literal["none", "layer", "batch"] = "layer"
    """Norm before and after the aggregator; joint training needs one."""
    ffn: bool = False
    """ABMILX: a feed-forward block behind the pooling."""
    attn_bias: bool = False
    """ABMILX: biases in the score perceptron."""
    bias: bool = False
    """Biases in the aggregator's other layers."""
    dropout: ShareBelowOne = 0.25
    """On the embeddings, while training."""
    alpha_init: float | None = None
    """ABMILX: where the weight of the global refinement starts; by default it is drawn from N(0, 1), as the
    authors do."""


@dataclass(frozen=True)
class Learning:
    """How encoder and aggregator learn."""

    epochs: PositiveInt = 30
    """Passes over the bags."""
    batch_size: PositiveInt = 16
    """Bags a gradient step."""
    weight_decay: NonNegativeFloat = 1e-2
    """Of AdamW."""
    warmup: NonNegativeInt = 0
    """Passes in which the learning rate rises from 0; then it falls as a cosine."""
    smallest_crop: PositiveShare = 1.0
    """Least share of a picture that a random crop keeps; 1 crops nothing."""
    flips: bool = False
    """Flip pictures at random, left-right and up-down."""
    ema: ShareBelowOne | None = None
    """Decay of a moving average of the weights, which is then what is evaluated; none by default."""


Aggregator = Literal["abmilx", "mhla", "abmil", "gated", "mean", "max"]


def check_magnifications(config: Train | Survival) -> None:
    """Refuse a share of no number of instances."""
    if config.low_share and config.instances is None:
        raise InputError("--low-share is a share of --instances, which are all by default: give both.")


@dataclass(frozen=True)
class Train:
    """Options of `train`."""

    data: Table = Table("bundled:digits")
    """Rows with pictures or features: those of bags, or labelled instances to draw bags from."""
    bags: BagFiles = BagFiles()
    """Bags in files of their own, instead of --data."""
    bag: str = "bag_id"
    """Column of --data that names a row's bag; its label is in --data.label or bag_label, its patient in
    --data.group. Where there is no such column, bags are drawn."""
    slides: Slides = Slides()
    """How patches are cut from whole slides."""
    drawn: Drawn = Drawn()
    """How bags are drawn from labelled instances."""
    test: OpenShare = 0.25
    """Share of bags (of instances, where bags are drawn) that measures, unless there is a test split."""
    validation: ShareBelowOne = 0.2
    """Share of bags that chooses among learning rates."""
    aggregator: Aggregator = "abmilx"
    """What makes logits of a bag's instances."""
    encoder_training: Literal["joint", "frozen"] = "joint"
    """Whether the encoder learns with the aggregator, or stays as it is (two stages)."""
    start: Literal["random", "pretrained"] = "random"
    """Where an encoder made here starts: pretrained has learnt the classes of other instances (where bags are
    drawn), or to tell the bag's label from single instances."""
    patch_encoder: OwnModel = OwnModel()
    """A vision model of transformers to start from, folder:DIR or hub:NAME. By default one is made."""
    encoder_stages: PositiveInt = 3
    """Stages of such a model that are kept, where it has stages."""
    patch_pixels: PositiveInt | None = None
    """Pictures are resized to this many pixels squared; by default they keep the size of the first."""
    layers: Layers = Layers()
    """Encoder and aggregator."""
    training: Learning = Learning()
    """How they learn."""
    learning_rates: PositiveFloats = RATES
    """Learning rates to choose from, the same for all arms."""
    instances: PositiveInt | None = None
    """Instances drawn from a bag at each step; all by default."""
    low_share: ShareBelowOne = 0.0
    """Share of them that is drawn from the second magnification."""
    chunk: PositiveInt | None = None
    """Instances that go through the encoder at once; all by default."""
    checkpointing: bool = False
    """Compute the encoder's activations again for the gradient, to save memory."""
    readers: NonNegativeInt = 0
    """Threads that read the bags of the next steps from files; with 0 each step reads its own."""
    compute: Compute = Compute(accelerator="cpu")
    """Where to train."""
    heat_maps: NonNegativeInt = 100
    """Bags whose attention is kept as a picture by `run`."""

    def __post_init__(self) -> None:
        check_magnifications(self)


@dataclass(frozen=True)
class Needle:
    """Options of `needle`."""

    instances_of: Table = Table("bundled:digits")
    """Labelled instances to draw bags from."""
    drawn: Drawn = Drawn()
    """How bags are drawn."""
    test: OpenShare = 0.25
    """Share of instances that test bags are drawn from."""
    aggregator: Aggregator = "abmilx"
    """What makes logits of a bag's instances."""
    layers: Layers = Layers()
    """Encoder and aggregator."""
    training: Learning = Learning()
    """How they learn."""
    learning_rates: PositiveFloats = RATES
    """Learning rates to choose from, the same for all arms."""


@dataclass(frozen=True)
class Survival:
    """Options of `survival`."""

    bags: BagFiles = BagFiles()
    """Bags with a CSV of time and died; see `train`."""
    data: Table = Table("bundled:digits")
    """Rows of bags, with their time and whether the patient died."""
    bag: str = "bag_id"
    """Column of --data that names a row's bag."""
    time: str = "time"
    """Column of --data with the time to death or to the last visit, one value a bag."""
    died: str = "died"
    """Column of --data that is 1 where the patient died, 0 where the follow-up ended."""
    bins: PositiveInt = 4
    """Intervals of time, with about as many deaths each."""
    slides: Slides = Slides()
    """How patches are cut from whole slides."""
    test: OpenShare = 0.25
    """Share of bags that measures."""
    aggregator: Aggregator = "abmilx"
    """What makes logits of a bag's instances."""
    patch_encoder: OwnModel = OwnModel()
    """A vision model of transformers to start from, folder:DIR or hub:NAME. By default one is made."""
    encoder_stages: PositiveInt = 3
    """Stages of such a model that are kept, where it has stages."""
    patch_pixels: PositiveInt | None = None
    """Pictures are resized to this many pixels squared; by default they keep the size of the first."""
    layers: Layers = Layers(attn_bias=True)
    """Encoder and aggregator."""
    training: Learning = Learning()
    """How they learn."""
    learning_rates: PositiveFloats = (1e-3,)
    """Only the first is used: with few deaths there is nothing to search on."""
    instances: PositiveInt | None = None
    """Instances drawn from a bag at each step; all by default."""
    low_share: ShareBelowOne = 0.0
    """Share of them that is drawn from the second magnification."""
    chunk: PositiveInt | None = None
    """Instances that go through the encoder at once; all by default."""
    checkpointing: bool = False
    """Compute the encoder's activations again for the gradient, to save memory."""
    readers: NonNegativeInt = 0
    """Threads that read the bags of the next steps from files; with 0 each step reads its own."""
    compute: Compute = Compute(accelerator="cpu")
    """Where to train."""
    heat_maps: NonNegativeInt = 100
    """Bags whose attention is kept as a picture."""

    def __post_init__(self) -> None:
        check_magnifications(self)
