"""What a model still knows of both sets, and where it routes their tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assay.papers.privacy.uoe.inputs import Documents
from assay.papers.privacy.uoe.method import (
    Routes,
    Sequences,
    logits_of,
    moe_layout,
    recorded_routing,
    routing_overlap,
)
from assay.training.evaluation import mode


@dataclass(frozen=True)
class Measured:
    """Accuracies and routing overlaps, fractions."""

    forget: float
    validation: float
    retain: float
    forget_overlap: float
    retain_overlap: float


class Measurement:
    """Measures models against a base model, all documents in one pass.

    Args:
        forget: measure forgetting.
        validation: choose a learning rate.
        retain: measure what is kept.
        base: the model before unlearning.
        start: the lowest decoder layer that may differ from the base model's; what is below is not run again.
        batch_size: documents at once.
    """

    def __init__(
        self,
        forget: Documents,
        validation: Documents,
        retain: Documents,
        base: Any,
        start: int = 0,
        batch_size: int = 128,
    ) -> None:
        self.parts = (forget, validation, retain)
        self.base, self.batch_size = base, batch_size
        whole = Sequences.joined([part.sequences for part in self.parts]).to(base.device)
        sizes = [len(part) for part in self.parts]
        self._part_of_row = torch.arange(3).repeat_interleave(torch.tensor(sizes))
        self._part_of_token = self._part_of_row.repeat_interleave(whole.mask.sum(1).cpu())
        self._documents = whole.beginning_at(base, start)
        with mode(base, training=False), torch.no_grad():
            self._before = self._pass(base)

    def from_layer(self, start: int) -> Measurement:
        """Return the same for models that differ from decoder layer `start` on."""
        return Measurement(*self.parts, self.base, start, self.batch_size) if start else self

    @torch.no_grad()
    def of(self, model: Any) -> Measured:
        """Return what a model of the base model's shape knows, and how far its routing has moved."""
        with mode(model, training=False):
            scores, choices = self._pass(model)
        known = (float(scores[self._part_of_row == part].mean()) for part in range(3))
        return Measured(*known, *(self._overlap(choices, part) for part in (0, 2)))

    def _pass(self, model: Any) -> tuple[Tensor, Tensor]:
        """Return the score of each document, and the choices of each layer and token."""
        layers = [layer for layer in moe_layout(model) if layer.index >= self._documents.start]
        scores, choices = torch.zeros(len(self._part_of_row)), []
        first = 0
        with recorded_routing(layers) as routed:
            for batch in self._documents.split(self.batch_size):
                logits = logits_of(model, batch)
                part_of_row = self._part_of_row[first : first + len(batch)]
                for part, documents in enumerate(self.parts):
                    rows = (part_of_row == part).nonzero().squeeze(1)
                    if len(rows):
                        scores[first + rows] = documents.scores(logits[rows], batch.rows(rows)).cpu()
                choices.append(routed.choices_at(batch.mask))
                first += len(batch)
        return scores, torch.cat(choices, dim=1)

    def _overlap(self, choices: Tensor, part: int) -> float:
        """Return the routing overlap over all sparse layers; below the first that differs it is 1."""
        tokens = self._part_of_token == part
        before, after = (Routes(each[:, tokens]) for each in (self._before[1], choices))
        share = len(choices) / len(moe_layout(self.base))
        return 1 - share + share * routing_overlap(before, after)
