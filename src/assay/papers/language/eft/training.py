"""How the small and the large model are trained where none are given: pre-training, then fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from assay.errors import InputError
from assay.models import SmallLlama, byte_pair_tokenizer, tokenizer_to_json
from assay.models.tiny import END, PAD, START
from assay.papers.language.eft.config import Family
from assay.training import Compute, batches, fit
from assay.training.language import (
    completion_rows,
    mean_token_loss,
    next_token_loss,
    pack_documents,
    weights_of,
)

CONTEXT = 64
"""Tokens of a text."""
BATCH_SIZE = 16
LEARNING_RATE = 4e-3
"""Of AdamW in pre-training, at the peak of a one-cycle schedule."""
FACT_SHARE = 0.5
"""Share of the pre-training rows that tell facts; the others are texts."""

Size = Literal["small", "large"]
Weights = dict[str, Tensor]
Prompted = tuple[list[int], list[int]]
"""Token ids of a prompt and of what is learned after it."""
Labelled = tuple[Int[Tensor, "_ _"], Int[Tensor, "_ _"]]
"""Input ids and labels, both [rows, tokens]."""


@dataclass(frozen=True)
class Tokenised:
    """What base models read."""

    tokenizer: str
    """As JSON."""
    texts: Int[Tensor, "n t"]
    facts: Int[Tensor, "m t"]
    """The documents that tell facts."""


@dataclass(frozen=True)
class Corpus:
    """Rows of texts and of facts, and the seed of their order, which is alike for both sizes."""

    texts: Int[Tensor, "n t"]
    facts: Int[Tensor, "m t"]
    order: int

    def mixed(self, steps: int) -> Int[Tensor, "k t"]:
        """Return rows for all steps: texts and facts at random, each in separate passes."""
        generator = torch.Generator().manual_seed(self.order)
        total = steps * BATCH_SIZE
        is_fact = torch.rand(total, generator=generator) < FACT_SHARE

        def passes(rows: Tensor, needed: int) -> Tensor:
            orders = [torch.randperm(len(rows), generator=generator) for _ in range(-(-needed // len(rows)))]
            return rows[torch.cat(orders)[:needed]] if needed else rows[:0]

        mixed = torch.empty(total, self.texts.shape[1], dtype=torch.long)
        mixed[is_fact] = passes(self.facts, int(is_fact.sum()))
        mixed[~is_fact] = passes(self.texts, int((~is_fact).sum()))
        return mixed


@dataclass
class FineTuned:
    """The weights with the lowest validation loss, and the losses per token in validation and training."""

    weights: Weights = field(repr=False)
    validation: float
    train: float = 0.0
    steps: int = 0
    """Gradient steps with all learning rates."""


def shape(family: Family, size: str) -> SmallLlama:
    """Return the shape of the small or the large model."""
    width = family.small_width if size == "small" else family.large_width
    return SmallLlama(family.vocabulary, width, family.layers, family.heads, CONTEXT)


def tokenise(texts: list[str], facts: list[str], family: Family) -> Tokenised:
    """Return a tokenizer of texts and facts, and both as rows of tokens."""
    tokenizer = byte_pair_tokenizer([*texts, *facts], family.vocabulary)

    def rows(documents: list[str]) -> Tensor:
        ids = tokenizer(documents, add_special_tokens=False)["input_ids"]
        try:
            return pack_documents([[START, *each, END] for each in ids], CONTEXT)
        except ValueError as error:
            raise InputError(f"{error} Give more texts to train a base model on.") from None

    return Tokenised(tokenizer_to_json(tokenizer), rows(texts), rows(facts))


def pretrain(family: Family, size: Size, corpus: Corpus, compute: Compute) -> Weights:
    """Train a model from scratch on rows of texts and of facts."""
    rows = corpus.mixed(family.steps)
    model = shape(family, size).untrained()
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=family.steps, pct_start=0.1
    )
    fit(
        model,
        batches(rows, rows, batch_size=BATCH_SIZE, shuffle=False),
        next_token_loss,
        optimizer=optimizer,
        scheduler=schedule,
        steps=family.steps,
        clip=1.0,
        compute=compute,
    )
    return weights_of(model)


def finetune(
    family: Family, size: Size, base: Weights, train: Labelled, validation: Labelled, compute: Compute
) -> FineTuned:
    """Fine-tune a base model with each learning rate; keep what predicts validation rows best on the way."""
    device, llama = torch.device(compute.accelerator), shape(family, size)
    learned, held = ((ids.to(device), labels.to(device)) for ids, labels in (train, validation))
    untuned: Any = llama.untrained()
    untuned.load_state_dict(base)
    best = FineTuned(base, mean_token_loss(untuned.to(device), held))
    seed = int(torch.randint(2**40, ()).item())
    for learning_rate in family.tuning_learning_rates:
        model = llama.trained(base, device).requires_grad_(True)
        optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=family.tuning_steps)
        fit(
            model,
            batches(*learned, batch_size=BATCH_SIZE, generator=torch.Generator().manual_seed(seed)),
            next_token_loss,
            optimizer=optimizer,
            scheduler=schedule,
            steps=family.tuning_steps,
            clip=1.0,
            compute=compute,
            on_step=_keep_best(model, held, best, max(1, family.tuning_steps // family.looks)),
        )
    best.train = mean_token_loss(llama.trained(best.weights, device), learned)
    best.steps = family.tuning_steps * len(family.tuning_learning_rates)
    return best


def _keep_best(model: Any, held: Any, best: FineTuned, every: int) -> Callable[[int, Tensor], None]:
    """Return what looks at validation rows on the way."""

    def look(step: int, loss: Tensor) -> None:
        if step % every == 0:
            now = mean_token_loss(model, held)
            if now < best.validation:
                best.validation, best.weights = now, weights_of(model)

    return look


def labelled(rows: Sequence[Prompted]) -> Labelled:
    """Return input ids and labels of rows, a start token before the prompt and an end token at the end."""
    prompts = [[START, *prompt] for prompt, _ in rows]
    return completion_rows(prompts, [[*text, END] for _, text in rows], PAD, CONTEXT)


def averaged(one: Weights, two: Weights, share: float) -> Weights:
    """Return share * one + (1 - share) * two."""
    return {name: share * weights + (1 - share) * two[name] for name, weights in one.items()}
