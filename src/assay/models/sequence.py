"""Transformers models as functions of raw texts, so that two models may have different tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.models.bodies import load_config, longest_input
from assay.models.pretrained import load_model, load_tokenizer
from assay.models.source import ModelSource

Texts = Sequence[str] | Sequence[tuple[str, str]]
"""Texts, or pairs of texts such as a premise and a hypothesis."""


@dataclass(frozen=True)
class Replies:
    """What a generating model replied to a batch."""

    texts: list[str]
    """The reply to each row."""
    step_logits: tuple[Float[Tensor, "batch vocabulary"], ...] = ()
    """Raw logits of each generated step; empty if they were not kept."""
    mask: Bool[Tensor, "batch steps"] | None = None
    """True where a step belongs to the reply."""


@dataclass(frozen=True)
class Encoded:
    """What an encoder made of a batch of texts."""

    hidden: Float[Tensor, "batch tokens width"]
    mask: Bool[Tensor, "batch tokens"]

    def take(self, rows: Int[Tensor, " taken"]) -> Encoded:
        """Return some rows."""
        rows = rows.to(self.hidden.device)
        return Encoded(self.hidden[rows], self.mask[rows])


class TextClassifier(nn.Module):
    """A transformers sequence classifier and its tokenizer as one function from texts to logits.

    Args:
        model: Such as `AutoModelForSequenceClassification.from_pretrained(...)` returns.
        tokenizer: Its tokenizer.
        max_length: Tokens kept of a text; by default what the model can take.
    """

    model: nn.Module
    label_names: tuple[str, ...] | None
    """Class names in the order of the logits, where the model's config has them."""

    def __init__(self, model: nn.Module, tokenizer: Any, max_length: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length or longest_input(getattr(model, "config", None), tokenizer)
        self.label_names = config_labels(getattr(model, "config", None))

    @property
    def num_classes(self) -> int:
        """Return the number of logits a text."""
        return int(self.model.config.num_labels)  # type: ignore[arg-type, union-attr]

    def forward(self, texts: Texts) -> Float[Tensor, "batch classes"]:
        """Return the logits of each text."""
        logits: Tensor = self.model(**_tokenize(self, texts)).logits
        return logits


class TextGenerator(nn.Module):
    """A transformers encoder-decoder (T5 and its like) as a function from texts to replies, decoded greedily.

    Encoding and decoding are separate, so that a row can be judged by its encoder before the decoder runs.

    Args:
        model: Such as `AutoModelForSeq2SeqLM.from_pretrained(...)` returns.
        tokenizer: Its tokenizer.
        max_new_tokens: The longest reply.
        keep_logits: Keep each step's raw logits.
        max_length: Tokens kept of an input; by default what the model can take.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        max_new_tokens: int = 16,
        keep_logits: bool = True,
        max_length: int | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.max_new_tokens = max_new_tokens
        self.keep_logits = keep_logits
        self.max_length = max_length or longest_input(getattr(model, "config", None), tokenizer)

    def forward(self, texts: Texts) -> Replies:
        """Return the replies to the texts."""
        return self.decode(self.encode(texts))

    def encode(self, texts: Texts) -> Encoded:
        """Run the encoder alone."""
        tokens = _tokenize(self, texts)
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        encoder = self.model.get_encoder()  # type: ignore[operator]
        return Encoded(encoder(input_ids=ids, attention_mask=mask).last_hidden_state, mask.bool())

    def decode(self, encoded: Encoded) -> Replies:
        """Run the decoder on what `encode` returned."""
        from transformers.modeling_outputs import BaseModelOutput

        generated = self.model.generate(  # type: ignore[operator]
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded.hidden),
            attention_mask=encoded.mask.long(),
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            num_beams=1,
            return_dict_in_generate=True,
            output_logits=self.keep_logits,  # `scores` would be processed logits
        )
        tokens = generated.sequences[:, 1:]  # without the decoder's start token
        texts = [text.strip() for text in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)]
        return Replies(texts, tuple(generated.logits or ()), reply_mask(tokens, _end_tokens(self.model)))


def load_text_function(
    source: ModelSource,
    device: str = "cpu",
    dtype: str = "float32",
    max_new_tokens: int = 16,
    keep_logits: bool = True,
) -> TextClassifier | TextGenerator:
    """Load a sequence classifier or an encoder-decoder, whichever it is; errors as in `load_model`."""
    from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

    generates = load_config(source).is_encoder_decoder
    auto = AutoModelForSeq2SeqLM if generates else AutoModelForSequenceClassification
    model, tokenizer = load_model(source, auto, device=device, dtype=dtype), load_tokenizer(source)
    if generates:
        return TextGenerator(model, tokenizer, max_new_tokens, keep_logits).eval()
    return TextClassifier(model, tokenizer).eval()


def config_labels(config: Any) -> tuple[str, ...] | None:
    """Return the class names of a transformers config; LABEL_0, LABEL_1, ... count as none."""
    names = getattr(config, "id2label", None) or {}
    ordered = tuple(str(names[number]) for number in sorted(names))
    return None if all(name == f"LABEL_{number}" for number, name in enumerate(ordered)) else ordered


def reply_mask(tokens: Int[Tensor, "batch steps"], end_tokens: Sequence[int]) -> Bool[Tensor, "batch steps"]:
    """Return True for the steps before the first end token; an empty reply is judged by its end token."""
    ended = torch.isin(tokens, torch.tensor(list(end_tokens), device=tokens.device)).cumsum(dim=1) > 0
    mask = ~ended
    mask[:, 0] = True
    return mask


def _tokenize(model: TextClassifier | TextGenerator, texts: Texts) -> dict[str, Tensor]:
    """Turn texts into padded token ids on the model's device."""
    tokens = model.tokenizer(
        list(texts), padding=True, truncation=True, max_length=model.max_length, return_tensors="pt"
    )
    device = next(model.model.parameters()).device
    return {name: column.to(device) for name, column in tokens.items()}


def _end_tokens(model: nn.Module) -> list[int]:
    end: int | list[int] | None = model.generation_config.eos_token_id  # type: ignore[union-attr, assignment]
    if end is None:
        return []
    return end if isinstance(end, list) else [end]
