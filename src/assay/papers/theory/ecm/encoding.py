"""Questions to embeddings, with a model that is loaded when it is first used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.errors import InputError
from assay.models import ModelSource


class QuestionEncoder:
    """Embeds questions, each once.

    Args:
        source: the encoder.
        pooling: `mean` is the mean of token states at length one; `pooler` the encoder's own pooler, as the
            authors have it for roberta-base, with underscores as spaces and 512 tokens.
        device: where it runs.
    """

    def __init__(self, source: ModelSource, pooling: str = "mean", device: str = "cpu") -> None:
        self.source, self.pooling, self.device = source, pooling, device
        self._loaded: Any = None
        self._known: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Return embeddings [n, d]."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known |= dict(zip(new, self._embed(new), strict=True))
        return torch.stack([self._known[text] for text in texts])

    def _embed(self, texts: list[str]) -> Tensor:
        from assay.models import SentenceEncoder

        if self._loaded is None:
            self._loaded = SentenceEncoder(self.source, self.device)
        if self.pooling == "mean":
            found: Tensor = self._loaded.encode(texts).cpu()
            return found
        return self._pool([text.replace("_", " ") for text in texts])

    @torch.no_grad()
    def _pool(self, texts: list[str], at_once: int = 32) -> Tensor:
        found = []
        for start in range(0, len(texts), at_once):
            encoded = self._loaded.tokenizer(
                texts[start : start + at_once],
                truncation=True,
                max_length=512,
                padding=True,
                return_tensors="pt",
            )
            pooled = getattr(self._loaded.transformer(**encoded.to(self.device)), "pooler_output", None)
            if pooled is None:
                raise InputError(f"{self.source} has no pooler; use --pooling mean.")
            found.append(pooled.float().cpu())
        return torch.cat(found)
