"""The options of T2UE's recipes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from assay import files
from assay.bounds import OpenShare, PositiveFloat, PositiveInt, Share
from assay.data import Table, existing_file, existing_folder, files_in, hash_file, hash_folder
from assay.models import ModelSource, OwnModel
from assay.papers.privacy.options import Victim, check_eps


@dataclass(frozen=True)
class Pairs:
    """Pictures in a folder with their captions in a file, in place of a table."""

    captions: str | None = None
    """COCO's annotations (captions_train2017.json), Flickr's captions.txt (a CSV with the columns image and
    caption), or JSON lines with the same two fields."""
    images: str | None = None
    """Folder with the pictures that the captions name."""
    image_size: PositiveInt = 224
    """Pixels of each side: pictures are cropped to a square and resized."""
    at_most: PositiveInt | None = None
    """Pictures that are used; all by default."""

    def fingerprint(self) -> str:
        """Identify the captions by their content, and the pictures by their names and sizes."""
        if self.captions is None:
            return "none"
        found = files_in(existing_folder(self.images or ""))
        listing = "".join(f"{path.name} {path.stat().st_size};" for path in found)
        captions = hash_file(existing_file(self.captions))
        return f"{captions} {hashlib.sha256(listing.encode()).hexdigest()}"


@dataclass(frozen=True)
class Provider:
    """A trained generator, or none."""

    source: str | None = None
    """Folder that `assay run t2ue train` wrote."""

    def fingerprint(self) -> str:
        """Identify the generator by its content."""
        return "made here" if self.source is None else hash_folder(files.user_path(self.source))


@dataclass(frozen=True)
class Generator:
    """The noise generator and its training (`--preset clip` has the paper's settings)."""

    base_channels: PositiveInt = 64
    """Channels of the first block; they halve with each block, down to a sixteenth."""
    blocks: PositiveInt = 4
    """Blocks; as many as are needed double the size from 4 pixels, the last ones."""
    epochs: PositiveInt = 20
    """Passes over the provider's pairs."""
    batch_size: PositiveInt = 128
    """Pairs a gradient step."""
    learning_rate: PositiveFloat = 1e-3
    """Of AdamW, falling to 0 along a cosine."""


@dataclass(frozen=True)
class Train:
    """Train the surrogate and the generator on pairs of pictures and captions: the provider's work."""

    data: Table = Table("bundled:patches")
    """Pictures with captions (a column text) or, without them, with labels."""
    pairs: Pairs = Pairs()
    """Pictures in a folder with captions in a file, in place of `data`."""
    image_size: PositiveInt = 16
    """Pixels of each side to which pictures of `data` are brought, and of the noise."""
    eps: float = 8 / 255
    """Largest size of the noise, in pixel values from 0 to 1."""
    encoder: ModelSource = ModelSource("bundled:minilm")
    """Sentence encoder of captions, unless a surrogate is given."""
    surrogate: OwnModel = OwnModel()
    """A CLIP or SigLIP model: folder:DIR or hub:NAME. By default a small one is trained on the pairs."""
    surrogate_epochs: PositiveInt = 5
    """Passes of the small surrogate over the pairs: few, so that a loss is left for the generator to
    minimise."""
    network: Generator = Generator()
    """The generator."""

    def __post_init__(self) -> None:
        check_eps(self.eps, allow_zero=True)


@dataclass(frozen=True)
class Learn:
    """Protect published pictures, train a victim on them, and test it on clean ones."""

    data: Table = Table("bundled:patches")
    """Pictures with labels and, where there are some, captions (a column text)."""
    pairs: Pairs = Pairs()
    """The provider's pairs; by default a share of `data`."""
    provider: Provider = Provider()
    """Folder that `assay run t2ue train` wrote, in place of training a generator for each seed."""
    max_pictures: PositiveInt | None = None
    """Pictures of `data` for each seed, none used twice before all are used. All by default."""
    public: OpenShare = 0.5
    """Share of the rows that are the provider's, where it has no pairs of its own; the rest is published."""
    test: OpenShare = 0.25
    """Share of rows that test the victim, unless the table has test rows of its own."""
    image_size: PositiveInt = 16
    """Pixels of each side to which pictures are brought."""
    eps: float = 8 / 255
    """Largest size of any noise, in pixel values from 0 to 1."""
    encoder: ModelSource = ModelSource("bundled:minilm")
    """Sentence encoder of captions, unless a surrogate is given."""
    surrogate: OwnModel = OwnModel()
    """A CLIP or SigLIP model: folder:DIR or hub:NAME. By default a small one is trained on the pairs."""
    surrogate_epochs: PositiveInt = 5
    """Passes of the small surrogate over the pairs."""
    network: Generator = Generator()
    """The generator."""
    protection: Literal[
        "none", "sample-wise", "class-wise", "shuffled", "random-class", "random-sample", "em"
    ] = "sample-wise"
    """Noise from each picture's caption, from its class's prompt, from another picture's caption; random
    signs for each class or picture; or class-wise error-minimising noise, which needs the pictures."""
    em_rounds: PositiveInt = 60
    """At most so many rounds of error-minimising noise."""
    protected: Share = 1.0
    """Share of the published pictures that are protected."""
    drop_others: bool = False
    """Leave the protected share out, and train on the other pictures alone."""
    on_other: bool = False
    """Whether the other victim learns."""
    victim: Victim = field(default_factory=Victim)
    """The victim."""
    other: Victim = field(default_factory=lambda: Victim(network="resnet18", width=8))
    """A victim of another architecture."""

    def __post_init__(self) -> None:
        check_eps(self.eps, allow_zero=True)


@dataclass(frozen=True)
class Noise:
    """Make noise from captions or class names. No picture is opened."""

    generator: Path = Path("generator")
    """Folder that `assay run t2ue train` wrote."""
    captions: Path = Path("captions.csv")
    """One caption a picture: a text file with one a line, a CSV with the columns image and caption, COCO's
    JSON, or JSON lines. Of several captions of a picture the first is used."""
    classes: tuple[str, ...] = ()
    """Names of classes for class-wise noise, in place of captions."""
    template: str = "a photo of a {}"
    """Prompt of a class."""


@dataclass(frozen=True)
class Protect:
    """Add noise to pictures on this machine and write PNG files."""

    images: Path = Path("images")
    """Folder with the pictures, in subfolders or not; for class-wise noise one subfolder a class."""
    noise: Path = Path("noise")
    """Folder that `assay run t2ue noise` wrote."""
    resize: Literal["no", "noise", "picture"] = "no"
    """What to do where a picture is not as large as the noise: refuse, resize the noise, or the picture."""


@dataclass(frozen=True)
class Retrieve:
    """Train a CLIP from scratch on pictures and captions, and let texts and pictures find each other."""

    pairs: Pairs = Pairs(captions="captions.txt", images="Images")
    """Pictures and captions to learn from, protected or not, and to test on."""
    protection: str | None = None
    """Folder with noise for the pictures, as `assay run t2ue noise` writes it. By default they stay clean."""
    test: OpenShare = 0.2
    """Share of the pictures that test; they stay clean."""
    surrogate: OwnModel = OwnModel("hub:openai/clip-vit-base-patch32")
    """Whose sizes and tokenizer to use: folder:DIR or hub:NAME. The weights are new."""
    epochs: PositiveInt = 32
    """Passes over the training pairs."""
    batch_size: PositiveInt = 128
    """Pairs a gradient step."""
    learning_rate: PositiveFloat = 5e-4
    """Of AdamW, falling to 0 along a cosine."""
