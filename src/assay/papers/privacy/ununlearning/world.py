"""A small world: a language model that reads, made-up facts, and models that know or have unlearned them.

A document states some facts and then asks for all of them in another order: "<s> Bavo kelu Mido tasu ?
Mido tasu Bavo kelu". In reading documents values are drawn at random, so they teach reading and no fact.
Closed-book documents ask without stating: "<s> ? Bavo kelu".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from assay.models import word_tokenizer
from assay.papers.privacy.knowledge import FactRecord, invent_facts, start_tokens
from assay.papers.privacy.ununlearning.config import World
from assay.papers.privacy.ununlearning.method import PromptForm, unlearn
from assay.training import fit
from assay.training.language import IGNORED, next_token_loss

FORM = PromptForm(fact=" {fact}", question=" ? {question}", answer=" {answer}")
"""How a document of the small world is written: every word is one token."""
BETAS = (0.9, 0.95)
CLIP = 1.0

Weights = dict[str, Tensor]
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Words:
    """The tokens of the small world."""

    tokenizer: PreTrainedTokenizerFast
    entities: Tensor
    """Token of each entity."""
    values: Tensor
    """Token of each value."""
    start: int
    ask: int

    @classmethod
    def of(cls, facts: Sequence[FactRecord]) -> Words:
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

    def reading(self, rows: int, facts: int, generator: torch.Generator) -> Batch:
        """Return documents that state random values and ask for them; only the answers have labels."""
        chosen = torch.rand(rows, len(self.entities), generator=generator).argsort(1)[:, :facts]
        drawn = torch.randint(len(self.values), (rows, facts), generator=generator)
        order = torch.rand(rows, facts, generator=generator).argsort(1)
        entities, values = self.entities[chosen], self.values[drawn]
        stated = torch.stack([entities, values], 2).flatten(1)
        asked = torch.stack([entities.gather(1, order), values.gather(1, order)], 2).flatten(1)
        return self._documents(stated, asked)

    def closed_book(self, known: Tensor, rows: int, facts: int, generator: torch.Generator) -> Batch:
        """Return documents that ask for known facts [n, 2] (entity, value) without stating them."""
        chosen = torch.rand(rows, len(known), generator=generator).argsort(1)[:, :facts]
        tokens = torch.stack([self.entities[known[chosen, 0]], self.values[known[chosen, 1]]], 2)
        return self._documents(torch.empty(rows, 0, dtype=torch.long), tokens.flatten(1))

    def single(self, known: Tensor) -> Batch:
        """Return one document a fact that asks for it alone."""
        tokens = torch.stack([self.entities[known[:, 0]], self.values[known[:, 1]]], 1)
        return self._documents(torch.empty(len(known), 0, dtype=torch.long), tokens)

    def _documents(self, stated: Tensor, asked: Tensor) -> Batch:
        rows = len(asked)
        ids = torch.cat(
            [torch.full((rows, 1), self.start), stated, torch.full((rows, 1), self.ask), asked], 1
        )
        labels = torch.full_like(ids, IGNORED)
        labels[:, 3 + stated.shape[1] :: 2] = asked[:, 1::2]
        return ids, labels


def invented(world: World, generator: torch.Generator) -> list[FactRecord]:
    """Return the facts of a world."""
    return invent_facts(world.entities, world.forgotten, world.values, generator)


def untrained(world: World, words: Words, seed: int) -> LlamaForCausalLM:
    """Return the small Llama. A short RoPE period and wide initial weights help it to find reading."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(words.tokenizer),
                hidden_size=world.width,
                intermediate_size=2 * world.width,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=64,
                rope_parameters={"rope_type": "default", "rope_theta": 30.0},
                initializer_range=0.06,
                tie_word_embeddings=True,
                bos_token_id=words.start,
                eos_token_id=words.tokenizer.eos_token_id,
                pad_token_id=words.tokenizer.pad_token_id,
            )
        )


def model_of(world: World, words: Words, weights: Weights) -> LlamaForCausalLM:
    """Return the small Llama with given weights, in eval mode."""
    model = untrained(world, words, 0)
    model.load_state_dict(weights)
    model.eval()
    return model


# --- training -----------------------------------------------------------------------------------


def train_reader(world: World) -> dict[str, Any]:
    """Train a model to read, on random values alone: it sees the names of entities and values, and no fact.

    It starts on documents of two facts, which form the circuit sooner, and goes on to longer ones.
    """
    generator = torch.Generator().manual_seed(world.reader_seed)
    words = Words.of(invented(world, generator))
    model = untrained(world, words, world.reader_seed)
    optimizer = torch.optim.AdamW(model.parameters(), world.learning_rate, betas=BETAS, weight_decay=0.01)
    for facts, steps in ((2, world.first_steps), (world.facts, world.reader_steps)):
        batches = _endless(partial(words.reading, world.batch_size, facts, generator))
        fit(model, batches, next_token_loss, optimizer=optimizer, steps=steps, clip=CLIP)
    return {"weights": dict(model.state_dict()), "reading": reading_accuracy(world, words, model.eval())}


def reading_accuracy(world: World, words: Words, model: nn.Module) -> float:
    """Return how often the first question of a new reading document is answered."""
    ids, labels = words.reading(1000, world.facts, torch.Generator().manual_seed(2**40))
    first = 3 + 2 * world.facts
    with torch.no_grad():
        said = model(input_ids=ids[:, :first]).logits[:, -1].argmax(-1)
    return float((said == labels[:, first]).float().mean())


def train_all(world: World, facts: list[FactRecord], reader: Weights, seed: int) -> dict[str, Weights]:
    """Train four models from one reader: one that knows all facts, one that never saw those to forget, and
    two that have unlearned them, by NPO and by gradient difference.
    """
    words = Words.of(facts)
    known = torch.tensor([[place, fact.choices.index(fact.answer)] for place, fact in enumerate(facts)])
    is_lost = torch.tensor([fact.split == "forget" for fact in facts])
    lost, kept = known[is_lost], known[~is_lost]
    assert not set(kept[:, 0].tolist()) & set(lost[:, 0].tolist()), "a retain row is about a forget entity"
    original = learn(world, words, reader, known, seed)
    models: dict[str, nn.Module] = {
        "original": original,
        "retrained": learn(world, words, reader, kept, seed),
        "unlearned": forget(world, words, original, lost, kept, "npo", seed),
        "second_unlearned": forget(world, words, original, lost, kept, "gradient_difference", seed),
    }
    return {name: dict(model.state_dict()) for name, model in models.items()}


def learn(world: World, words: Words, reader: Weights, known: Tensor, seed: int) -> LlamaForCausalLM:
    """Go on training a reader on closed-book documents of known facts, half of each batch, and on reading."""
    model, generator = model_of(world, words, reader), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), world.learning_rate, betas=BETAS, weight_decay=0.01)
    batches = _endless(partial(_mixed, world, words, known, generator))
    fit(model, batches, next_token_loss, optimizer=optimizer, steps=world.learn_steps, clip=CLIP)
    model.eval()
    return model


def forget(
    world: World, words: Words, original: nn.Module, lost: Tensor, kept: Tensor, method: str, seed: int
) -> nn.Module:
    """Unlearn the lost facts, one question a sequence, holding on to the kept ones and to reading."""
    generator = torch.Generator().manual_seed(seed)
    retain = _endless(partial(_mixed, world, words, kept, generator))
    return unlearn(
        original,
        [words.single(lost)],
        retain,
        method,
        steps=world.unlearn_steps,
        learning_rate=world.unlearn_rate,
    )


def _mixed(world: World, words: Words, known: Tensor, generator: torch.Generator) -> Batch:
    half = world.batch_size // 2
    asked = words.closed_book(known, half, world.facts, generator)
    read = words.reading(half, world.facts, generator)
    width = read[0].shape[1]
    filled = [
        nn.functional.pad(part, (0, width - part.shape[1]), value=value)
        for part, value in zip(asked, (words.start, IGNORED), strict=True)
    ]
    return torch.cat([filled[0], read[0]]), torch.cat([filled[1], read[1]])


def _endless(draw: Callable[[], Batch]) -> Iterator[Batch]:
    while True:
        yield draw()
