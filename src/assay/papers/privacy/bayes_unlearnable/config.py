"""The options of Bayes Error Optimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.bounds import NonNegativeInt, OpenShare, PositiveFloat, PositiveInt, Share
from assay.data import Table
from assay.papers.privacy.options import Victim

CLIMBED = Victim(epochs=8)
FIRST = Victim(epochs=30)
SECOND = Victim(network="resnet18", epochs=30)


@dataclass(frozen=True)
class Ascent:
    """How pictures climb the estimated Bayes error."""

    neighbours: Literal["network", "pixels"] = "network"
    """Where neighbours are sought: in the features of freshly trained networks, or among raw pixels."""
    steps: PositiveInt = 40
    """Ascent steps."""
    refresh_every: NonNegativeInt = 1
    """Ascent steps on one network before a fresh one is trained; 0 trains one network only."""
    learning_rate: PositiveFloat = 0.005
    """Step size of AdamW in pixel values from 0 to 1."""
    kernel: Literal["rbf", "logistic"] = "rbf"
    """How two pictures' features make them neighbours."""
    sigma: PositiveFloat = 0.3
    """Width of the RBF kernel on features divided by their largest absolute value."""
    network: Victim = CLIMBED
    """The networks whose features are climbed."""


@dataclass(frozen=True)
class Protect:
    """Options of `protect`."""

    data: Table = Table("bundled:patches")
    """Pictures with a label: images:FOLDER, parquet:FILE or FOLDER, hub:NAME, bundled:patches or :digits."""
    size: PositiveInt | None = None
    """Pixels of each side after scaling. By default pictures stay as they are and need one size."""
    max_pictures: PositiveInt | None = None
    """Pictures for each seed, none used twice before all are used. All by default."""
    test: OpenShare = 0.25
    """Share of pictures that measure, unless the table has a test split of its own."""
    protect_held_out: bool = True
    """Protect the held-out pictures too, for users who publish all; no victim learns from them either way."""
    protection: Literal["beo", "em", "random", "none"] = "beo"
    """What is done to the pictures: Bayes Error Optimisation, error-minimising noise, random signs."""
    training: Literal["all", "mix", "clean_part"] = "all"
    """What a victim learns from: all pictures protected, a mix, or the clean pictures of the mix alone."""
    ratio: Share = 0.5
    """Share of protected pictures in the mix."""
    mixing: Literal["per_index", "subset"] = "per_index"
    """The mix: each picture is protected with this probability, or exactly that share of them."""
    eps: float = 8 / 255
    """Largest change, in pixel values from 0 to 1: of each pixel, or of a whole picture in L2."""
    norm: Literal["linf", "l2"] = "linf"
    """What eps limits: each pixel's change, or the Euclidean length of a picture's change."""
    ascent: Ascent = Ascent()
    """How pictures climb the estimated Bayes error."""
    em_rounds: PositiveInt = 60
    """At most so many rounds of error-minimising noise, the comparator; its network is that of the ascent."""
    victim: Victim = FIRST
    """The classifier that learns from the published pictures; its features measure the Bayes error."""
    second_victim: Victim = SECOND
    """A classifier of another architecture."""
    transfer: bool = True
    """Whether the second victim learns too."""
    batch_size: PositiveInt = 128
    """Pictures a gradient step of any network."""
    second_learning_rate: PositiveFloat = 0.1
    """Of the second victim's SGD; all others have 0.1. It falls to 0 along a cosine."""
