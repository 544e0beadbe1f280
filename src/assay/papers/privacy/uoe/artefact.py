"""What a run keeps: the unlearned model as transformers writes it, and a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from assay.artefact import Artefact
from assay.models import ModelSource, load_model, load_tokenizer
from assay.paper import Value
from assay.papers.privacy.uoe.method import Target


@dataclass
class UnlearnedModel:
    """A model and its tokenizer."""

    model: Any
    tokenizer: PreTrainedTokenizerBase

    def save(self, folder: Path) -> None:
        """Write a folder that `from_pretrained` loads."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path) -> UnlearnedModel:
        """Read what `save` wrote, in float32 on the CPU."""
        source = ModelSource(f"folder:{folder}")
        return cls(load_model(source, AutoModelForCausalLM), load_tokenizer(source))


@dataclass(frozen=True)
class UnlearningReport(Artefact):
    """How unlearning went."""

    targets: tuple[Target, ...]
    """The experts that were changed; none where a part of the whole model was trained."""
    trained_part: str
    objective: str
    learning_rate: float
    """The candidate that was chosen."""
    forget_level: float
    """Accuracy on the forget set at which unlearning stopped, and whether it was reached."""
    reached: bool
    curve: list[dict[str, float]]
    """What was measured on the way."""
    metrics: dict[str, Value]
