"""The unlearned model on disk, as transformers writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from assay.models import ModelSource, load_model, load_tokenizer


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
