"""Sentence encoders: a transformer, the mean over its tokens, length one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoModel

from assay.models.pretrained import load_model, load_tokenizer
from assay.models.source import ModelSource


class SentenceEncoder(nn.Module):
    """Texts to unit vectors, as all-MiniLM-L6-v2 is meant to be used.

    With hidden states h_t and mask m_t of the last layer, s = (sum_t m_t h_t) / (sum_t m_t) and the embedding
    is s / |s|, so that the product of two embeddings is their cosine. The parameters are frozen by default;
    `requires_grad_(True)` makes them trainable.

    Args:
        source: an encoder, such as `ModelSource("bundled:minilm")`.
        device: where it runs.
    """

    def __init__(self, source: ModelSource, device: str | torch.device = "cpu") -> None:
        super().__init__()
        self.tokenizer = load_tokenizer(source)
        self.transformer = load_model(source, AutoModel, device=device, dtype="float32")
        self.dimension: int = self.transformer.config.hidden_size
        self.eval()

    def forward(
        self, input_ids: Int[Tensor, "n t"], attention_mask: Int[Tensor, "n t"]
    ) -> Float[Tensor, "n d"]:
        """Embed token ids; positions whose mask is 0 do not count."""
        hidden = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
        return nn.functional.normalize(mean, dim=-1)

    def encode(
        self, texts: Sequence[str], batch_size: int = 64, max_length: int = 128
    ) -> Float[Tensor, "n d"]:
        """Embed texts, in their order, on the encoder's device.

        Args:
            texts: any number of texts.
            batch_size: how many go through the transformer at once; texts of like length go together.
            max_length: tokens of a text that are read, the start and end tokens included.
        """
        device = next(self.transformer.parameters()).device
        embeddings = torch.empty(len(texts), self.dimension, device=device)
        if not texts:
            return embeddings
        was_training = self.training
        self.eval()
        ids = self.tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
        order = sorted(range(len(texts)), key=lambda row: len(ids[row]), reverse=True)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = self.tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt").to(
                device
            )
            with torch.inference_mode():
                embedded = self(batch["input_ids"], batch["attention_mask"])
            embeddings[rows] = embedded  # an ordinary tensor, which what is trained on top may keep
        self.train(was_training)
        return embeddings
