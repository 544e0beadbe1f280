"""The documents of the default check: small models read in them what they state, or learn facts by heart.

A document states some facts and then asks for all of them in another order: "<s> Bavo kelu Mido tasu ?
Mido tasu Bavo kelu". In reading documents values are drawn at random, so they teach reading and no fact.
Closed-book documents ask without stating: "<s> ? Bavo kelu".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from assay.models import SmallLlama, word_tokenizer
from assay.papers.privacy.knowledge import FactRecord, start_tokens
from assay.papers.privacy.ununlearning.method import Batch, PromptForm
from assay.training.language import IGNORED

FORM = PromptForm(fact=" {fact}", question=" ? {question}", answer=" {answer}")
"""How a document is written: every word is one token."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of the documents: one an entity, one a value, and a question mark."""

    tokenizer: PreTrainedTokenizerFast
    entities: Tensor
    """Token of each entity."""
    values: Tensor
    """Token of each value."""
    start: int
    ask: int

    @classmethod
    def of(cls, facts: Sequence[FactRecord]) -> Vocabulary:
        """Build the tokenizer of the entities and values of some facts."""
        entities, values = [fact.entity for fact in facts], facts[0].choices
        tokenizer = word_tokenizer([f" {word}" for word in (*entities, *values, "?")], 10_000)

        def token(word: str) -> int:
            (found,) = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
            return int(found)

        return cls(
            tokenizer,
            torch.tensor([token(word) for word in entities]),
            torch.tensor([token(word) for word in values]),
            start_tokens(tokenizer)[0],
            token("?"),
        )

    def llama(self, width: int) -> SmallLlama:
        """Return the model's shape; a short RoPE period and wide initial weights help it to learn to read."""
        return SmallLlama(
            len(self.tokenizer), width, context=64, expansion=2, initial_spread=0.06, rope_theta=30.0
        )

    def reading(self, rows: int, facts: int, generator: torch.Generator) -> Batch:
        """Return documents that state random values and ask for them; only the answers have labels."""
        chosen = torch.rand(rows, len(self.entities), generator=generator).argsort(1)[:, :facts]
        values = self.values[torch.randint(len(self.values), (rows, facts), generator=generator)]
        order = torch.rand(rows, facts, generator=generator).argsort(1)
        entities = self.entities[chosen]
        stated = torch.stack([entities, values], 2).flatten(1)
        asked = torch.stack([entities.gather(1, order), values.gather(1, order)], 2).flatten(1)
        return self._documents(stated, asked)

    def closed_book(self, known: Tensor, rows: int, facts: int, generator: torch.Generator) -> Batch:
        """Return documents that ask for known facts [n, 2] (entity, value) without stating them."""
        chosen = torch.rand(rows, len(known), generator=generator).argsort(1)[:, :facts]
        return self.single(known[chosen])

    def single(self, known: Tensor) -> Batch:
        """Return documents that ask for given facts alone: [n, 2] for one a document, or [n, facts, 2]."""
        tokens = torch.stack([self.entities[known[..., 0]], self.values[known[..., 1]]], -1)
        return self._documents(torch.empty(len(known), 0, dtype=torch.long), tokens.flatten(1))

    def mixed(self, known: Tensor, rows: int, facts: int, generator: torch.Generator) -> Batch:
        """Return closed-book documents of known facts, and as many reading documents."""
        asked = self.closed_book(known, rows // 2, facts, generator)
        read = self.reading(rows // 2, facts, generator)
        missing = read[0].shape[1] - asked[0].shape[1]
        padded = (
            functional.pad(part, (0, missing), value=value)
            for part, value in zip(asked, (self.start, IGNORED), strict=True)
        )
        ids, labels = (torch.cat(parts) for parts in zip(padded, read, strict=True))
        return ids, labels

    def _documents(self, stated: Tensor, asked: Tensor) -> Batch:
        start, ask = (torch.full((len(asked), 1), token) for token in (self.start, self.ask))
        ids = torch.cat([start, stated, ask, asked], 1)
        labels = torch.full_like(ids, IGNORED)
        labels[:, 3 + stated.shape[1] :: 2] = asked[:, 1::2]
        return ids, labels
