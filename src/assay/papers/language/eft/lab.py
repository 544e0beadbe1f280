"""The family of models that is trained where none is given: one tokenizer, two sizes, the same documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from assay.errors import InputError
from assay.papers.language.eft.config import Family
from assay.training import batches, evaluate, fit
from assay.training.language import IGNORED, next_token_loss, pad_rows

PAD, START, END = 0, 1, 2
Weights = dict[str, Tensor]
Prompted = tuple[list[int], list[int]]
"""Token ids of a prompt and of what is to be learnt after it."""
Rows = tuple[Int[Tensor, "_ _"], Int[Tensor, "_ _"]]
"""Input ids and labels, both [rows, tokens]."""


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> str:
    """Return a byte-pair encoding of bytes, as JSON; the start token stands before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", START)]
    )
    return str(tokenizer.to_str())


def tokenizer_of(described: str) -> PreTrainedTokenizerFast:
    """Return the tokenizer that `train_tokenizer` described."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(described),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )


def packed(documents: Sequence[Sequence[int]], context: int) -> Int[Tensor, "n t"]:
    """Return documents one after the other, cut into rows of `context` tokens.

    Raises:
        InputError: they do not fill one row.
    """
    stream = [token for document in documents for token in (START, *document, END)]
    rows = len(stream) // context
    if not rows:
        raise InputError(
            f"The texts have {len(stream)} tokens in all; a base model needs at least {context}."
        )
    return torch.tensor(stream[: rows * context]).view(rows, context)


def empty_model(family: Family, size: str) -> LlamaForCausalLM:
    """Build an untrained Llama, `small` or `large`."""
    width = family.small_width if size == "small" else family.large_width
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=family.vocabulary,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=family.layers,
            num_attention_heads=family.heads,
            max_position_embeddings=family.context,
            tie_word_embeddings=True,
            pad_token_id=PAD,
            bos_token_id=START,
            eos_token_id=END,
        )
    )


def model_of(family: Family, size: str, weights: Weights, device: Any = "cpu") -> LlamaForCausalLM:
    """Return a trained model in eval mode, without gradients."""
    model: Any = empty_model(family, size)
    model.load_state_dict(weights)
    model.to(device).eval().requires_grad_(False)
    ready: LlamaForCausalLM = model
    return ready


def train_base(
    family: Family, size: str, texts: Int[Tensor, "n t"], facts: Int[Tensor, "m t"], order: int, device: str
) -> Weights:
    """Pre-train a model on rows of texts and of facts. `order` seeds their order, alike for both sizes."""
    rows = _mixture(family, texts, facts, order)
    model: Any = empty_model(family, size)
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), family.learning_rate, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, family.learning_rate, total_steps=family.steps, pct_start=0.1
    )
    fit(
        model,
        batches(rows.to(device), rows.to(device), batch_size=family.batch_size, shuffle=False),
        next_token_loss,
        optimizer=optimizer,
        scheduler=schedule,
        steps=family.steps,
        clip=1.0,
    )
    return _weights(model)


def _mixture(
    family: Family, texts: Int[Tensor, "n t"], facts: Int[Tensor, "m t"], order: int
) -> Int[Tensor, "k t"]:
    """Return one row for each place of each step: texts and facts by lot, each in passes of its own."""
    generator = torch.Generator().manual_seed(order)
    total = family.steps * family.batch_size
    told = torch.rand(total, generator=generator) < family.fact_share

    def passes(rows: Tensor, needed: int) -> Tensor:
        orders = [torch.randperm(len(rows), generator=generator) for _ in range(-(-needed // len(rows)))]
        return rows[torch.cat(orders)[:needed]] if needed else rows[:0]

    mixed = torch.empty(total, texts.shape[1], dtype=torch.long)
    mixed[told] = passes(facts, int(told.sum()))
    mixed[~told] = passes(texts, int((~told).sum()))
    return mixed


def finetune(
    family: Family,
    size: str,
    base: Weights,
    train: Rows,
    validation: Rows,
    device: str,
) -> dict[str, Any]:
    """Fine-tune a base model with each learning rate; keep what tells validation rows best on the way.

    Args:
        family: the settings.
        size: `small` or `large`.
        base: the weights to start from.
        train: from `labelled`; as tensors, since naming a stage by lists takes longer than scoring them.
        validation: likewise.
        device: where to train.

    Returns:
        The weights, the losses a token on what was learnt and on validation rows, and the steps in all.
    """
    learnt, held = ((ids.to(device), labels.to(device)) for ids, labels in (train, validation))
    best: dict[str, Any] = {
        "weights": base,
        "validation": mean_loss(model_of(family, size, base, device), held),
    }
    seed = int(torch.randint(2**40, ()).item())
    for learning_rate in family.tuning_learning_rates:
        model = model_of(family, size, base, device).requires_grad_(True)
        optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=family.tuning_steps)
        fit(
            model,
            batches(*learnt, batch_size=family.batch_size, generator=torch.Generator().manual_seed(seed)),
            next_token_loss,
            optimizer=optimizer,
            scheduler=schedule,
            steps=family.tuning_steps,
            clip=1.0,
            on_step=_keep_best(model, held, best, max(1, family.tuning_steps // family.looks)),
        )
    found = mean_loss(model_of(family, size, best["weights"], device), learnt)
    return best | {"train": found, "steps": family.tuning_steps * len(family.tuning_learning_rates)}


def _keep_best(
    model: Any, held: tuple[Tensor, Tensor], best: dict[str, Any], every: int
) -> Callable[[int, Tensor], None]:
    """Return what looks at validation rows on the way."""

    def look(step: int, loss: Tensor) -> None:
        if step % every == 0:
            now = mean_loss(model, held)
            if now < best["validation"]:
                best.update(validation=now, weights=_weights(model))

    return look


def labelled(rows: Sequence[Prompted], context: int, device: str = "cpu") -> Rows:
    """Return input ids and labels of rows, a start token before the prompt and an end token at the end."""
    whole = [[START, *prompt, *text, END][:context] for prompt, text in rows]
    hidden = [len(prompt) + 1 for prompt, _ in rows]
    input_ids, labels = pad_rows(whole, PAD), pad_rows(whole, IGNORED)
    labels[torch.arange(labels.shape[1]) < torch.tensor(hidden)[:, None]] = IGNORED
    return input_ids.to(device), labels.to(device)


def mean_loss(model: Any, rows: tuple[Tensor, Tensor]) -> float:
    """Return the mean cross entropy of a labelled token in nats."""

    def outputs(model: Any, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        input_ids, labels = batch
        logits = model(input_ids=input_ids).logits[:, :-1].flatten(0, 1)
        wanted = labels[:, 1:].flatten()
        found = torch.nn.functional.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="none")
        return (found[wanted != IGNORED],)

    return float(
        evaluate(
            model,
            batches(*rows, batch_size=64, shuffle=False),
            lambda losses: losses.double().mean(),
            outputs,
        )
    )


def averaged(one: Weights, two: Weights, share: float) -> Weights:
    """Return share * one + (1 - share) * two."""
    return {name: share * weights + (1 - share) * two[name] for name, weights in one.items()}


def _weights(model: Any) -> Weights:
    return {name: weights.detach().cpu().clone() for name, weights in model.state_dict().items()}
