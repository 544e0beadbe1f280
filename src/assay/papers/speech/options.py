"""Options that entries on speech share. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass

from assay.bounds import PositiveFloat, PositiveInt


@dataclass(frozen=True)
class Training:
    """How the small recogniser is trained."""

    steps: PositiveInt = 960
    """Gradient steps of the one system; those for one set each share as many."""
    batch_size: PositiveInt = 4
    """Utterances a gradient step."""
    learning_rate: PositiveFloat = 4e-3
    """Highest of AdamW's one-cycle schedule."""
    width: PositiveInt = 144
    """Channels of the convolutions, and units of the GRU in each direction."""
