"""A model that comes with a routing score: it runs, its confidence is read, and it answers what it keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .batches import Answers, Inputs, Model, Replies, answers, run
from .head import EncoderEnergyHead
from .identity import check_ready, fingerprint
from .language import Encoded
from .scores import score_logits

CustomScore = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Reading:
    """What is known of a batch before it is routed."""

    scores: Float[Tensor, " batch"]
    """Routing score of each row."""
    keep: Callable[[Int[Tensor, " kept"]], Answers]
    """Returns the model's own answers to some rows; with a head, only now its decoder runs."""
    num_classes: int | None = None
    """Logits a row behind the score, where they are classes."""


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
        """Return the name that a policy file holds."""
        return (
            self.score
            if isinstance(self.score, str)
            else f"custom:{getattr(self.score, '__qualname__', 'score')}"
        )

    @property
    def fingerprint(self) -> str | None:
        """Identify the model, and the head if there is one."""
        own = fingerprint(self.model)
        return own if self.head is None else f"{own} {fingerprint(self.head)}"

    def check_ready(self, name: str) -> None:
        """Refuse training mode."""
        check_ready(self.model, name)
        if self.head is not None:
            check_ready(self.head, f"The head of {name}")

    def read(self, inputs: Inputs) -> Reading:
        """Run the model, or with a head only its encoder, and score each row.

        Raises:
            ValueError: The output carries no energy.
        """
        if self.head is not None:
            return self._read_encoder(inputs, self.head)
        output = run(self.model, inputs)
        own = answers(output)
        classes = own.logits.shape[-1] if own.logits is not None and own.logits.ndim == 2 else None
        return Reading(self._score(output, own), own.take, classes)

    def _read_encoder(self, inputs: Inputs, head: EncoderEnergyHead) -> Reading:
        with torch.no_grad():
            encoded: Encoded = self.model.encode(inputs)  # type: ignore[attr-defined]
            logits = head(encoded.hidden, encoded.mask)

        def decode(rows: Int[Tensor, " kept"]) -> Answers:
            with torch.no_grad():
                return answers(self.model.decode(encoded.take(rows)))  # type: ignore[attr-defined]

        assert isinstance(self.score, str)
        return Reading(score_logits(logits, self.score, self.temperature), decode, logits.shape[-1])

    def _score(self, output: Any, own: Answers) -> Float[Tensor, " batch"]:
        if callable(self.score):
            return self.score(output)
        if isinstance(output, Replies) and output.step_logits:
            return score_logits(output.step_logits, self.score, self.temperature, output.mask)
        if own.logits is None:
            raise ValueError(
                "Swift answers without logits, so there is no energy. Let it return them (TextGenerator:"
                " keep_logits=True), or give the router a score of your own: score=function(output)."
            )
        return score_logits(own.logits, self.score, self.temperature)
