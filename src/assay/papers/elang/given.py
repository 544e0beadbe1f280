"""Models of the user's own: loaded, trained further where asked, and brought to the table's classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from assay.errors import InputError
from assay.models import ModelSource, load_model, load_tokenizer
from assay.papers.elang.config import Finetuning
from assay.papers.elang.method import TextClassifier, TextGenerator
from assay.papers.elang.pair import classification_loss, compute_on
from assay.training import fit


def load_text_model(
    source: ModelSource, device: str, dtype: str, max_new_tokens: int, keep_logits: bool
) -> TextClassifier | TextGenerator:
    """Load a sequence classifier or an encoder-decoder, whichever the source is, as a function of texts."""
    from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

    generates = AutoConfig.from_pretrained(source.weights(), trust_remote_code=False).is_encoder_decoder
    tokenizer = load_tokenizer(source)
    if generates:
        model = load_model(source, AutoModelForSeq2SeqLM, device=device, dtype=dtype)
        return TextGenerator(model, tokenizer, max_new_tokens, keep_logits).eval()
    model = load_model(source, AutoModelForSequenceClassification, device=device, dtype=dtype)
    return TextClassifier(model, tokenizer).eval()


def load_for_finetuning(source: ModelSource, label_names: Sequence[str]) -> TextClassifier:
    """Load a pretrained encoder with a new classification layer for these labels."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(
        source.weights(),
        revision=source.revision or "main",
        num_labels=len(label_names),
        id2label=dict(enumerate(label_names)),
        label2id={name: number for number, name in enumerate(label_names)},
        ignore_mismatched_sizes=True,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=source.kind != "hub",
    )
    return TextClassifier(model, load_tokenizer(source))


@dataclass(frozen=True)
class TextBatches:
    """Texts and labels in batches, in a new random order each pass."""

    texts: Sequence[str]
    labels: Int[Tensor, " rows"]
    batch_size: int
    generator: torch.Generator

    def __iter__(self) -> Iterator[tuple[list[str], Tensor]]:
        for rows in torch.randperm(len(self.labels), generator=self.generator).split(self.batch_size):
            yield [self.texts[row] for row in rows.tolist()], self.labels[rows]


def finetune(
    model: TextClassifier,
    texts: Sequence[str],
    labels: Int[Tensor, " rows"],
    options: Finetuning,
    device: str,
) -> int:
    """Train all weights of a classifier; return its gradient steps."""
    shuffled = TextBatches(
        texts, labels, options.batch_size, torch.Generator().manual_seed(torch.initial_seed())
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate)
    model.to(device)
    history = fit(
        model,
        shuffled,
        classification_loss,
        optimizer=optimizer,
        epochs=options.epochs,
        clip=1.0,
        compute=compute_on(device),
    )
    model.eval()
    return history.gradient_steps


def align_labels(
    labels: Int[Tensor, " rows"], table_names: Sequence[str], model_names: Sequence[str] | None
) -> Int[Tensor, " rows"]:
    """Return the labels in the numbering of a model; a model that names no classes numbers them as the table.

    Raises:
        InputError: The model knows other classes than the table has.
    """
    if model_names is None:
        return labels
    number = {name.casefold(): position for position, name in enumerate(model_names)}
    unknown = [name for name in table_names if name.casefold() not in number]
    if unknown:
        raise InputError(
            f"The models know the classes {', '.join(model_names)}, but the table has {', '.join(unknown)}."
            " Rename them in the table, or give models that were trained on it."
        )
    return torch.tensor([number[name.casefold()] for name in table_names])[labels]
