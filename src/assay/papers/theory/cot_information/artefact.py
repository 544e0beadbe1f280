"""What `finetune` keeps: a language model that writes traces and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay import records
from assay.models import ModelSource, load_model, load_tokenizer
from assay.papers.theory.cot_information.method import Record, Traced, TraceFormat, exact_match
from assay.training.language import greedy_decode


@dataclass(frozen=True)
class Writer:
    """A causal language model with its tokenizer and the format of its examples."""

    model: Any
    tokenizer: Any
    style: TraceFormat
    max_new_tokens: int = 64

    def answer(self, inputs: Sequence[str]) -> list[Record]:
        """Decode greedily: the model writes its own trace, if it learnt to, and then its answer."""
        prompts = [self.tokenizer(self.style.prompt(each))["input_ids"] for each in inputs]
        pad = self.tokenizer.pad_token_id
        replies = greedy_decode(
            self.model,
            prompts,
            self.max_new_tokens,
            stop_token=self.tokenizer.eos_token_id,
            pad_token=self.tokenizer.eos_token_id if pad is None else pad,
        )
        return [self.style.parse(self.tokenizer.decode(reply)) for reply in replies]

    def score(self, examples: Sequence[Traced]) -> float:
        """Return the share of right answers under greedy decoding."""
        return exact_match(self.answer([example.input for example in examples]), examples)

    def save(self, folder: str | Path) -> None:
        """Write the weights as safetensors, the tokenizer and the format."""
        path = Path(folder)
        self.model.save_pretrained(path, safe_serialization=True)
        self.tokenizer.save_pretrained(path)
        records.save(path, (self.style, self.max_new_tokens))

    @classmethod
    def load(cls, folder: str | Path) -> Writer:
        """Read what `save` wrote."""
        from transformers import AutoModelForCausalLM

        source = ModelSource(f"folder:{folder}")
        model, tokenizer = load_model(source, AutoModelForCausalLM), load_tokenizer(source)
        return cls(model, tokenizer, *records.load(Path(folder)))
