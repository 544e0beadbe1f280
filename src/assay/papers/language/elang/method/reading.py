"""A model that comes with a routing score: it runs, its confidence is read, and it answers what it keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.models import live
from assay.models.live import Answers, Inputs, Model
from assay.models.sequence import Encoded, Replies

from .head import EncoderEnergyHead
from .scores import score_logits

CustomScore = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Reading:
    """What is known of a batch before it is routed."""

    output: Any
    """What the score is read from: the model's output, or the logits of the head on its encoder."""
    keep: Callable[[Int[Tensor, " kept"]], Answers]
    """Returns the model's own answers to some rows; with a head, only now its decoder runs."""

    @property
    def num_classes(self) -> int | None:
        """Return the number of logits a row; None for sequences, texts and class numbers."""
        logits = live.logits_of(self.output)
        return logits.shape[-1] if logits is not None and logits.ndim == 2 else None

    def score(self, score: str | CustomScore, temperature: float = 1.0) -> Float[Tensor, " batch"]:
        """Return a routing score of each row.

        Raises:
            ValueError: The output carries no energy.
        """
        if callable(score):
            return score(self.output)
        if isinstance(self.output, Replies) and self.output.step_logits:
            return score_logits(self.output.step_logits, score, temperature, self.output.mask)
        logits = live.logits_of(self.output)
        if logits is None:
            raise ValueError(
                "Swift answers without logits, so there is no energy. Let it return them (TextGenerator:"
                " keep_logits=True), or give the router a score of your own: score=function(output)."
            )
        return score_logits(logits, score, temperature)


@dataclass
class ScoredModel:
    """A cheap model and how its score is read. See `EnergyRouter` for the arguments."""

    model: Model
    score: str | CustomScore = "negative_free_energy"
    temperature: float = 1.0
    head: EncoderEnergyHead | None = None

    def __post_init__(self) -> None:
        if self.head is not None and not (hasattr(self.model, "encode") and isinstance(self.score, str)):
            raise ValueError(
                "A head needs a model with encode and decode, such as TextGenerator, and a named score."
            )

    @property
    def score_name(self) -> str:
        """Return the name that a policy holds."""
        return score_name(self.score)

    @property
    def fingerprint(self) -> str | None:
        """Identify the model, and the head if there is one."""
        own = live.fingerprint(self.model)
        return own if self.head is None else f"{own} {live.fingerprint(self.head)}"

    def check_ready(self, name: str) -> None:
        """Refuse training mode."""
        live.check_ready(self.model, name)
        if self.head is not None:
            live.check_ready(self.head, f"The head of {name}")

    def read(self, inputs: Inputs) -> Reading:
        """Run the model, or with a head only its encoder."""
        if self.head is not None:
            return self._read_encoder(inputs, self.head)
        output = live.run(self.model, inputs)
        return Reading(output, live.answers(output, getattr(self.model, "classes_", None)).take)

    def scores(self, reading: Reading) -> Float[Tensor, " batch"]:
        """Return the routing score of each row."""
        return reading.score(self.score, self.temperature)

    def _read_encoder(self, inputs: Inputs, head: EncoderEnergyHead) -> Reading:
        with torch.no_grad():
            encoded: Encoded = self.model.encode(inputs)
            logits = head(encoded.hidden, encoded.mask)

        def decode(rows: Int[Tensor, " kept"]) -> Answers:
            with torch.no_grad():
                return live.answers(self.model.decode(encoded.take(rows)))

        return Reading(logits, decode)


def score_name(score: str | CustomScore) -> str:
    """Return the name of a score."""
    return score if isinstance(score, str) else f"custom:{getattr(score, '__qualname__', 'score')}"
