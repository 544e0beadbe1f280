"""A language model that writes traces and answers: how it is trained, tested and kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from assay.errors import InputError
from assay.models import ModelSource, load_model, load_tokenizer, tiny_causal_lm, word_tokenizer
from assay.papers.theory.cot_information.config import Finetune
from assay.papers.theory.cot_information.method import Record, Traced, TraceFormat, exact_match, token_rows
from assay.training import batches, fit
from assay.training.language import IGNORED, greedy_decode, next_token_loss, pad_rows
from assay.trial import Trial

FILE = "format.json"


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

    def save(self, folder: str | Path) -> None:
        """Write the weights as safetensors, the tokenizer and the format."""
        path = Path(folder)
        self.model.save_pretrained(path, safe_serialization=True)
        self.tokenizer.save_pretrained(path)
        kept = {"style": asdict(self.style), "max_new_tokens": self.max_new_tokens}
        (path / FILE).write_text(json.dumps(kept) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Writer:
        """Read what `save` wrote."""
        from transformers import AutoModelForCausalLM

        kept = json.loads((Path(folder) / FILE).read_text(encoding="utf-8"))
        source = ModelSource(f"folder:{folder}")
        model, tokenizer = load_model(source, AutoModelForCausalLM), load_tokenizer(source)
        return cls(model, tokenizer, TraceFormat(**kept["style"]), kept["max_new_tokens"])


def train_writer(
    config: Finetune, examples: Sequence[Traced], texts: Sequence[str], learning_rate: float, trial: Trial
) -> Writer:
    """Train on the examples' completions alone, for as many steps with traces as without."""
    style = TraceFormat(before_answer=f" {config.traces.mark}")
    writer = _untrained(config, texts, style, trial)
    ids, labels = token_rows(writer.tokenizer, examples, config.supervision, style)
    tensors = (pad_rows(ids, writer.tokenizer.eos_token_id), pad_rows(labels, IGNORED))
    optimizer = torch.optim.AdamW(writer.model.parameters(), lr=learning_rate)
    warm_up = max(1, config.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, 1.0) * max(0.0, 1 - step / config.steps)
    )
    size = min(config.batch_size, len(examples))
    fit(
        writer.model,
        batches(*tensors, batch_size=size, generator=trial.generator("batches"), drop_last=True),
        next_token_loss,
        optimizer=optimizer,
        steps=config.steps,
        scheduler=schedule,
        compute=config.compute,
        clip=1.0,
    )
    return writer


def score_writer(writer: Writer, config: Finetune, examples: Sequence[Traced]) -> float:
    """Return the share of right answers under greedy decoding."""
    return exact_match(writer.answer([example.input for example in examples]), examples)


def _untrained(config: Finetune, texts: Sequence[str], style: TraceFormat, trial: Trial) -> Writer:
    """Return the given model, or a Llama from scratch with a word for each token."""
    source = config.base_model.source
    if source is not None:
        from transformers import AutoModelForCausalLM

        given = ModelSource(source)
        model = load_model(given, AutoModelForCausalLM, device=trial.device, dtype=config.dtype)
        tokenizer = load_tokenizer(given)
        if tokenizer.eos_token_id is None:
            raise InputError(f"{source} has no end token, so it could not learn where to stop.")
        return Writer(model.requires_grad_(True), tokenizer, style, config.max_new_tokens)
    written = [f"{text}{style.after_input}{style.before_answer}" for text in texts]
    tokenizer = word_tokenizer(written, vocab_size=32_000)
    seed = int(trial.numpy("weights").integers(2**31))
    llama = config.llama
    model = tiny_causal_lm(tokenizer, llama.hidden, llama.layers, llama.heads, seed, context=2048)
    placed: Any = model
    return Writer(placed.to(trial.device), tokenizer, style, config.max_new_tokens)
