"""The options of UOE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveFloats, PositiveInt
from assay.data import Rows
from assay.models import OwnModel


@dataclass(frozen=True)
class SmallModel:
    """The Qwen2-MoE that is trained where no model is given, on invented facts of several topics."""

    topics: PositiveInt = 4
    """Topics, each with its own words; the first is to be forgotten."""
    entities: PositiveInt = 24
    """Facts a topic, one an entity."""
    answers: PositiveInt = 12
    """Different answers a topic; a guess is right once in so many."""
    width: PositiveInt = 64
    """Numbers in a hidden state."""
    layers: PositiveInt = 4
    """Decoder layers, all sparse."""
    heads: PositiveInt = 4
    """Attention heads."""
    experts: PositiveInt = 8
    """Routed experts a layer."""
    expert_width: PositiveInt = 64
    """Hidden units of a routed expert."""
    shared_width: NonNegativeInt = 16
    """Hidden units of the shared expert."""
    steps: PositiveInt = 200
    """Gradient steps of training."""


@dataclass(frozen=True)
class Unlearn:
    """Options of `unlearn`."""

    model: OwnModel = OwnModel()
    """A mixture-of-experts causal language model: folder:DIR or hub:NAME. By default one is trained."""
    forget: Rows = Rows()
    """What to forget: JSON lines with text, with question and answer, or with question, choices and the
    number of the right one; or a table with such columns."""
    retain: Rows = Rows()
    """What to keep, in the same form. A part of it is trained on, a part measures."""
    forget_test: Rows = Rows()
    """What measures forgetting. By default the forget set."""
    retain_test: Rows = Rows()
    """What measures retaining. By default the part of the retain set that is not trained on."""
    max_tokens: PositiveInt = 1024
    """Tokens of a document; longer texts are cut into several."""
    max_documents: PositiveInt | None = None
    """The most documents that are read of each set. All by default."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of a given model. Single experts are trained in float32 in any case."""
    objective: Literal["ga", "gdiff", "npo", "rmu"] = "gdiff"
    """The unlearning loss."""
    trained_part: str = "top1"
    """What is trained: topN (the N experts with the highest affinity), LAYER:EXPERT, LAYER:shared, random or
    lowest (one expert), shared (that of the best layer), model, no-routers, routers, experts, or re:PATTERN
    (the parameters in whose name the regular expression is found)."""
    train_router: bool = True
    """Whether the router of a trained expert's layer is trained too."""
    attribution: Literal["mean_prob", "topk_frequency"] = "mean_prob"
    """What ranks the experts: mean affinity, or how often they are chosen."""
    anchor_weight: NonNegativeFloat = 1.0
    """Weight of the loss that holds forget tokens at the trained expert."""
    anchor_reduction: Literal["mean", "sum"] = "mean"
    """Over experts: mean as in the released code, sum as in the paper."""
    retain_weight: NonNegativeFloat = 1.0
    """Weight of the retain term of gdiff, npo and rmu."""
    retain_loss: Literal["auto", "nll", "kl", "states"] = "auto"
    """What the retain term keeps: the likelihood of retain texts (nll), the predictions of the model before
    (kl), or its hidden states (states); auto: states for rmu, nll otherwise."""
    npo_beta: PositiveFloat = 0.1
    """Inverse temperature of npo."""
    steering: NonNegativeFloat = 20.0
    """Length of the direction that rmu steers to."""
    steered_layer: NonNegativeInt | None = None
    """Decoder layer whose output rmu steers, from 0. By default the highest that has a target, or the middle
    one."""
    learning_rates: PositiveFloats = (2e-4,)
    """Candidates; the one that keeps most of the validation part at the forget level is used."""
    unlearning_steps: PositiveInt = 60
    """The most gradient steps of a candidate."""
    forget_batch: PositiveInt = 32
    """Documents of each kind that go through the model at once."""
    accumulate: PositiveInt = 1
    """Such batches a gradient step."""
    measure_every: PositiveInt = 1
    """Steps between two measurements, and so the finest step at which unlearning can stop."""
    forget_level: float | None = None
    """Accuracy on the forget set (a fraction) at which unlearning stops and arms are compared. By default
    chance and 0.05 for invented facts, and half of what the model knew otherwise."""
    measured: Literal["unlearned", "base", "retrained"] = "unlearned"
    """Which model is measured: the unlearned one, or for reference the one before or one retrained without
    the forget set (invented facts only)."""
    scratch: SmallModel = SmallModel()
    """The model that is trained where none is given."""
