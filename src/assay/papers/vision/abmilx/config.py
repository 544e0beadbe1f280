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
from assay.data import Table, hash_file, hash_folder
from assay.errors import InputError
from assay.files import user_path
from assay.models import OwnModel

FILES_OF_BAGS = ("folder", "slides", "features", "lmdb")
"""Kinds of sources that are no table."""


@dataclass(frozen=True)
class Bags:
    """Bags of instances. `--data SOURCE` is short for `--data.source SOURCE`."""

    source: str
    """folder:DIR (a folder of pictures for each bag), slides:DIR (whole-slide pictures), features:DIR (a .pt
    or .safetensors file for each slide), lmdb:DIR (the authors' tiles; lmdb:HIGH,LOW for two magnifications;
    each may be hub:OWNER/NAME/FOLDER, which is downloaded), or a table with a row for each instance:
    csv:FILE, parquet:FILE and the like."""
    labels: str | None = None
    """CSV with a row for each bag: bag and label, or bag, time and died; optional patient and split. Needed
    with sources that are no table."""
    bag: str | None = None
    """Column of a table that names a row's bag; bag_id by default. Where there is none, bags are drawn from
    the rows."""
    label: str | None = None
    """Column of a table with the bag's label; bag_label by default. Where bags are drawn, that of the row."""
    group: str | None = None
    """Column of a table that names the patient; a split keeps the bags of a patient together."""
    image: str | None = None
    """Column of a table with the pictures. Unless given, one called image or img."""
    features: tuple[str, ...] | None = None
    """Columns of a table with features. Unless given, one called features, or every other numeric column."""
    test: str | None = None
    """Source of a table's test rows. Unless given, the published test split, if any."""

    def __post_init__(self) -> None:
        if self.kind is None:
            self.table()
        elif not all(self.source.partition(":")[2].split(",")):
            raise InputError(f"{self.source!r} names no place. Write {self.kind}:DIR.")

    @property
    def kind(self) -> str | None:
        """Which kind of files holds the bags; None for a table."""
        kind = self.source.partition(":")[0]
        return kind if kind in FILES_OF_BAGS else None

    def table(self) -> Table:
        """Return the table with the instances."""
        shared = ("source", "image", "label", "features", "group", "test")
        return Table(**{name: getattr(self, name) for name in shared})

    def places(self) -> tuple[Path, ...]:
        """Return the folders and files of the bags: one, or one for each magnification."""
        return tuple(user_path(part) for part in self.source.partition(":")[2].split(","))

    def fingerprint(self) -> str:
        """Identify the bags by their content."""
        if self.kind is None:
            return f"{self.table().fingerprint()} {self.bag}"
        paths = [*self.places(), *([user_path(self.labels)] if self.labels else [])]
        return " ".join(map(_content, paths))


def _content(path: Path) -> str:
    if str(path).startswith("hub:"):
        return str(path)
    return hash_folder(path) if path.is_dir() else hash_file(path)


@dataclass(frozen=True)
class Slides:
    """How patches are cut from whole slides."""

    patch: PositiveInt = 256
    """Side of a patch in pixels, at each magnification."""
    downsamples: PositiveFloats = (1.0, 2.0)
    """How many times smaller than the slide's finest level the patches are read; the first is also used for
    evaluation, the second for multi-scale sampling."""
    microns: PositiveFloats | None = None
    """Microns per pixel of the patches, instead of downsamples: slides that were scanned at different
    magnifications are then read alike."""
    least_tissue: Share = 0.25
    """Least share of a patch that is tissue."""
    most_patches: PositiveInt | None = None
    """Patches of a slide that are kept, spread evenly over the tissue; all by default."""


@dataclass(frozen=True)
class DrawnBags:
    """How bags are drawn from labelled instances, where rows have no bag."""

    key: str = "8"
    """The class of instances that decides a bag's label, by its name."""
    train_bags: PositiveInt = 320
    """Training bags."""
    test_bags: PositiveInt = 400
    """Test bags."""


@dataclass(frozen=True)
class Patches:
    """How the instances of a bag are read."""

    pixels: PositiveInt | None = None
    """Pictures are resized to this many pixels squared; by default they keep the size of the first."""
    instances: PositiveInt | None = None
    """Instances drawn from a bag at each training step; all by default."""
    low_share: ShareBelowOne = 0.0
    """Share of them that is drawn from the second magnification."""
    chunk: PositiveInt | None = None
    """Instances that go through the encoder at once; their activations are computed again for the gradient,
    which saves memory. All at once by default."""

    def __post_init__(self) -> None:
        if self.low_share and self.instances is None:
            raise InputError("--patches.low-share is a share of --patches.instances: give both.")


@dataclass(frozen=True)
class Layers:
    """The layers of the aggregator."""

    embed_dim: PositiveInt = 64
    """Width of the embeddings."""
    num_heads: PositiveInt = 4
    """Heads of ABMILX and TransMIL; divides embed_dim."""
    norm: Literal["none", "layer", "batch"] = "layer"
    """Norm before and after the aggregator; joint training needs one."""
    activation: Literal["gelu", "relu"] = "gelu"
    """Of the embeddings; the authors take ReLU on features of frozen encoders."""
    ffn: bool = False
    """ABMILX: a feed-forward block behind the pooling."""
    attn_bias: bool = False
    """ABMILX: biases in the score perceptron."""
    bias: bool = False
    """Biases in the other layers."""
    dropout: ShareBelowOne = 0.25
    """On the embeddings, while training."""
    alpha_init: float | None = None
    """ABMILX: where the weight of the global refinement starts; by default it is drawn from N(0, 1), as the
    authors do."""


@dataclass(frozen=True)
class Learning:
    """How encoder and aggregator are trained."""

    epochs: PositiveInt = 30
    """Passes over the bags."""
    batch_size: PositiveInt = 16
    """Bags of a gradient step."""
    learning_rates: PositiveFloats = (3e-4, 1e-3, 3e-3, 1e-2)
    """Learning rates to choose from on validation bags, the same for all arms."""
    weight_decay: NonNegativeFloat = 1e-2
    """Of AdamW."""
    warmup: NonNegativeInt = 0
    """Passes in which the learning rate rises from 0; then it falls as a cosine."""
    augment: PositiveShare | None = None
    """Flip training pictures at random and crop them to at least this share of their area; 1 flips only. By
    default they stay as they are."""
    ema: ShareBelowOne | None = None
    """Decay of a moving average of the weights, which is then evaluated; none by default."""


Aggregator = Literal[
    "abmilx", "mhla", "abmil", "gated", "mean", "max", "transmil", "clam-sb", "clam-mb", "dsmil"
]


EncoderTraining = Literal["joint", "pretrained", "frozen"]


@dataclass(frozen=True)
class Train:
    """Options of `train`."""

    data: Bags = Bags("bundled:digits")
    """The bags, or labelled instances to draw bags from."""
    slides: Slides = Slides()
    """How patches are cut from whole slides."""
    drawn: DrawnBags = DrawnBags()
    """How bags are drawn from labelled instances."""
    test: OpenShare = 0.25
    """Share of bags (of instances, where bags are drawn) for testing, unless there is a test split."""
    aggregator: Aggregator = "abmilx"
    """From the instances of a bag to logits."""
    encoder_training: EncoderTraining = "joint"
    """joint: the encoder is trained with the aggregator alone. pretrained: before that, an encoder made here
    learns the classes of other instances (where bags are drawn), or the bag's label from single instances.
    frozen: after that it stays as it is (two stages)."""
    patch_encoder: OwnModel = OwnModel()
    """A vision model of transformers to start from, folder:DIR or hub:NAME. By default one is made."""
    patches: Patches = Patches()
    """How the instances of a bag are read."""
    layers: Layers = Layers()
    """The layers of the aggregator."""
    training: Learning = Learning()
    """How they are trained."""


@dataclass(frozen=True)
class Needle:
    """Options of `needle`."""

    instances_of: Table = Table("bundled:digits")
    """Labelled instances to draw bags from."""
    drawn: DrawnBags = DrawnBags()
    """How bags are drawn."""
    test: OpenShare = 0.25
    """Share of instances that test bags are drawn from."""
    aggregator: Aggregator = "abmilx"
    """From the instances of a bag to logits."""
    layers: Layers = Layers()
    """The layers of the aggregator."""
    training: Learning = Learning()
    """How encoder and aggregator are trained."""


@dataclass(frozen=True)
class Survival:
    """Options of `survival`."""

    data: Bags = Bags("bundled:digits")
    """The bags, with the time and whether the patient died."""
    time: str = "time"
    """Column of a table with the time to death or to the last visit, one value for each bag."""
    died: str = "died"
    """Column of a table that is 1 where the patient died, 0 where the follow-up ended."""
    bins: PositiveInt = 4
    """Intervals of time, with about as many deaths each."""
    slides: Slides = Slides()
    """How patches are cut from whole slides."""
    test: OpenShare = 0.25
    """Share of bags for testing, unless there is a test split."""
    aggregator: Aggregator = "abmilx"
    """From the instances of a bag to logits."""
    patch_encoder: OwnModel = OwnModel()
    """A vision model of transformers to start from, folder:DIR or hub:NAME. By default one is made."""
    patches: Patches = Patches()
    """How the instances of a bag are read."""
    layers: Layers = Layers(attn_bias=True)
    """The layers of the aggregator."""
    training: Learning = Learning(learning_rates=(1e-3,))
    """How they are trained; with a single learning rate, as there are too few deaths to choose by."""

    def __post_init__(self) -> None:
        if len(self.training.learning_rates) > 1:
            raise InputError("survival takes one of --training.learning-rates.")
