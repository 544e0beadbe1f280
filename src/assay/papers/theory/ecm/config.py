"""The options of ECM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.bounds import NonNegativeFloat, OpenShare, PositiveFloat, PositiveInt, Share
from assay.data import Rows
from assay.models import ModelSource, OwnModel

Task = Literal["math", "multihop", "medical", "plan"]


@dataclass(frozen=True)
class Small:
    """The small language model that is trained where no results and no model are given.

    It learns to solve journeys in made-up units, whose value only the demonstrations in its prompt reveal.
    """

    queries: PositiveInt = 800
    """Prompts that it answers for each seed."""
    demos: PositiveInt = 120
    """Solved examples in the pool."""
    largest: PositiveInt = 9
    """Largest factor and value of a unit; below 9 every number in a question is that small too."""
    width: PositiveInt = 96
    """Numbers of a hidden state."""
    layers: PositiveInt = 3
    """Transformer blocks."""
    steps: PositiveInt = 1000
    """Gradient steps."""
    learning_rate: PositiveFloat = 3e-3
    """Of AdamW, falling to a twentieth."""
    rows: PositiveInt = 10
    """Prompts in a batch, and a third as many rows of bare equations."""


@dataclass(frozen=True)
class Calibrate:
    """Options of `calibrate`."""

    records: Rows = Rows()
    """Your own results: JSON lines with question, solution or difficulty, demos and correct."""
    replies: Rows = Rows()
    """Published replies, with a chain of thought: JSON lines with index, pred and origin."""
    direct_replies: Rows = Rows()
    """Published replies without a chain of thought."""
    problems: Rows = Rows()
    """A benchmark that the solver answers: rows with question and answer."""
    demo_pool: Rows = Rows()
    """Solved examples to take demonstrations from; by default the training rows of the problems."""
    solver: OwnModel = OwnModel()
    """The language model that answers the problems: folder:DIR, hub:NAME or http://HOST/v1#MODEL."""
    small: Small = Small()
    """The model that is trained where no results and no model are given."""
    task: Task = "math"
    """What replies and problems are: how difficulty is read, and answers are compared."""
    entities: OwnModel = OwnModel()
    """Token classifier that counts named entities, for the tasks multihop and medical."""
    encoder: ModelSource = ModelSource("bundled:minilm")
    """Encoder of questions, for the flux and for estimated difficulty."""
    pooling: Literal["mean", "pooler"] = "mean"
    """How token states become an embedding: their mean at length one, or the encoder's own pooler."""
    shots: tuple[int, ...] = (0, 1, 2, 3)
    """Numbers of demonstrations, one of which each prompt gets at random."""
    choices: tuple[Literal["flux", "reverse", "random", "diverse"], ...] = ("flux", "random", "reverse")
    """Ways to choose demonstrations, one of which each prompt gets at random."""
    direct: Share = 0.3
    """Share of prompts without a chain of thought."""
    max_queries: PositiveInt | None = None
    """Problems that each seed gets of a larger table. All by default."""
    max_new_tokens: PositiveInt = 1200
    """Tokens of a reply of the solver."""
    temperature: NonNegativeFloat = 0.1
    """Of the solver's sampling."""
    signed: bool = True
    """Count -5 as another answer than 5; the authors compare absolute values."""
    test: OpenShare = 0.5
    """Share of the items, or of their groups, that measure."""
    measured: Literal["held-out", "all"] = "held-out"
    """Measure items that did not calibrate, or all items, which calibrate as well: as the authors do with
    constants that were set by hand."""
    predictor: Literal["circuit", "logistic", "scaling"] = "circuit"
    """What predicts correctness: the circuit, a logistic regression, or the scaling law."""
    constants: Literal["fitted", "published"] = "fitted"
    """Fit the circuit's constants, or take those of the authors' code."""
    flux: Literal["measured", "none", "permuted"] = "measured"
    """The flux that the circuit is given."""
    difficulty: Literal["gold", "none", "estimated"] = "gold"
    """Steps and load: of the gold solution, none, or estimated from the question's text."""
    outcomes: Literal["measured", "permuted"] = "measured"
    """Whether items keep their own outcomes."""
    candidates: PositiveInt = 10
    """Random starts of the circuit's fit, and settings of a regression that cross-validation chooses from."""
    bin_width: PositiveFloat = 30.0
    """Watts of a bin of power."""
    power_limit: PositiveFloat = 2000.0
    """Watts above which an item is in no bin."""
    bin_items: PositiveInt = 10
    """Items that a bin must have."""
