"""The options of E-LANG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.bounds import NonNegativeInt, OpenShare, PositiveFloat, PositiveFloats, PositiveInt
from assay.data import Table
from assay.models import ModelSource, OwnModel

Score = Literal[
    "negative_free_energy",
    "max_log_softmax",
    "negative_entropy",
    "top2_margin",
    "random",
    "length",
    "oracle",
]


@dataclass(frozen=True)
class Pair:
    """The pair that is trained where no models are given. Both models see the same rows."""

    swift_hidden: tuple[int, ...] = (10,)
    """Hidden units of each layer of Swift on features: a perceptron. On text it is a bag of hashed words."""
    super_hidden: tuple[int, ...] = (256, 256)
    """Hidden units of each layer of Super on features: a perceptron. On text it is a linear classifier of
    sentence embeddings."""
    image_size: PositiveInt = 28
    """Pictures are read as this many grey pixels squared."""
    encoder: ModelSource = ModelSource("bundled:minilm")
    """Frozen sentence encoder of Super on text."""
    epochs: PositiveInt = 30
    """Passes over the training rows, for Swift and for Super."""
    batch_size: PositiveInt = 32
    """Rows a gradient step."""
    learning_rate: PositiveFloat = 3e-3
    """Of AdamW, for Swift and for Super."""


@dataclass(frozen=True)
class Finetuning:
    """Fine-tuning of given encoders on the training rows."""

    epochs: NonNegativeInt = 0
    """Passes over the training rows, each model with a new head; 0 uses the models as they are."""
    learning_rate: PositiveFloat = 3e-5
    """Of AdamW."""
    batch_size: PositiveInt = 32
    """Texts a gradient step."""
    keep: bool = True
    """Keep the fine-tuned models with the policy."""


@dataclass(frozen=True)
class Route:
    """Options of `route`."""

    data: Table = Table("bundled:digits")
    """Rows with a label and a text, a picture or features."""
    swift: OwnModel = OwnModel()
    """The cheap model: folder:DIR or hub:NAME. By default one is trained."""
    super: OwnModel = OwnModel()
    """The accurate model: folder:DIR or hub:NAME. By default one is trained."""
    prompt: str = "{text}"
    """What a text model is given; any column of the table in braces."""
    max_new_tokens: PositiveInt = 8
    """Tokens of an encoder-decoder's reply, which should be the name of the class."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of given models."""
    max_texts: PositiveInt | None = None
    """Texts that each seed draws from a larger table, none twice before all were drawn. All by default."""
    test: OpenShare = 0.3
    """Share of rows for testing, unless the table has a test split of its own."""
    calibration: OpenShare = 0.2
    """Share of rows that choose the threshold; all but the test rows where nothing is trained."""
    pair: Pair = Pair()
    """The pair that is trained where no models are given."""
    finetuning: Finetuning = Finetuning()
    """Fine-tuning of given encoders on the training rows."""
    read_from: Literal["swift", "encoder"] = "swift"
    """Where the energy is read: Swift's logits, or a head trained on an encoder-decoder's encoder."""
    score: Score = "negative_free_energy"
    """What decides which rows go to Super; higher stays in Swift."""
    temperatures: PositiveFloats = (1.0,)
    """Candidates for T; the one with the largest area under the calibration curve is used."""
    target: Literal["match_super", "budget", "share"] = "match_super"
    """What the threshold is chosen for."""
    tolerance: float = 0.005
    """Accuracy that may be lost against Super (a fraction), for match_super."""
    budget: float = 0.5
    """Mean cost of a row over Super's, for budget."""
    share: float = 0.25
    """Share of rows that go to Super, for share."""
    answers: Literal["pair", "swift", "super"] = "pair"
    """Who answers: the routed pair, or one model alone for reference."""
