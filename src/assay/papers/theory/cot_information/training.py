"""How a language model learns to write traces and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from assay.errors import InputError
from assay.models import ModelSource, load_model, load_tokenizer, tiny_causal_lm, word_tokenizer
from assay.papers.theory.cot_information.artefact import Writer
from assay.papers.theory.cot_information.config import Finetune
from assay.papers.theory.cot_information.inputs import Examples
from assay.papers.theory.cot_information.method import TraceFormat, token_rows
from assay.training import batches, fit
from assay.training.language import IGNORED, next_token_loss, pad_rows
from assay.trial import Trial


def train_writer(config: Finetune, examples: Examples, learning_rate: float, trial: Trial) -> Writer:
    """Train on the examples' completions alone, for as many steps with traces as without."""
    style = TraceFormat(before_answer=f" {config.traces.mark}")
    writer = _untrained(config, examples.texts, style, trial)
    ids, labels = token_rows(writer.tokenizer, examples.train, config.supervision, style)
    tensors = (pad_rows(ids, writer.tokenizer.eos_token_id), pad_rows(labels, IGNORED))
    optimizer = torch.optim.AdamW(writer.model.parameters(), lr=learning_rate)
    warm_up = max(1, config.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, 1.0) * max(0.0, 1 - step / config.steps)
    )
    size = min(config.batch_size, len(examples.train))
    fit(
        writer.model,
        batches(*tensors, batch_size=size, generator=trial.generator("batches"), drop_last=True),
        next_token_loss,
        optimizer=optimizer,
        steps=config.steps,
        scheduler=schedule,
        compute=trial.compute,
        clip=1.0,
    )
    return writer


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
