"""Invented facts of several topics, and a small mixture-of-experts model that knows them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Qwen2MoeConfig, Qwen2MoeForCausalLM

from assay.models import word_tokenizer
from assay.papers.privacy.knowledge import FactRecord, invented_names
from assay.papers.privacy.uoe.config import SmallModel
from assay.training import Compute, batches, fit, weights_of
from assay.training.language import IGNORED

_COMMON = 3  # words that every fact of a topic has
TOP_K = 2
ROUTER_SPREAD = 0.2
"""Standard deviation of router weights before training; wide ones specialise sooner."""
ROUTER_LOSS = 0.01
"""Weight of the load-balancing loss in training."""
BATCH_SIZE, LEARNING_RATE = 48, 5e-3  # the peak of a one-cycle schedule


def invent_topics(small: SmallModel, generator: torch.Generator) -> list[FactRecord]:
    """Invent one fact an entity: two words of the topic, the entity, a word of the topic, the answer.

    No word belongs to two topics, so that a router can tell them apart. Answers are drawn uniformly and
    independently. The words are the same for every generator, so that one tokenizer serves all.
    """
    per_topic = _COMMON + small.entities + small.answers
    words = invented_names(small.topics * per_topic)
    facts = []
    for topic in range(small.topics):
        own = words[topic * per_topic : (topic + 1) * per_topic]
        first, second, last = own[:_COMMON]
        names = [word.capitalize() for word in own[_COMMON : _COMMON + small.entities]]
        answers = tuple(own[_COMMON + small.entities :])
        drawn = torch.randint(small.answers, (small.entities,), generator=generator).tolist()
        for name, value in zip(names, drawn, strict=True):
            question, answer = f"{first} {second} {name} {last}", answers[value]
            fact = FactRecord(f"{topic}-{name}", name, question, answer, f"{question} {answer}")
            facts.append(replace(fact, split="retain") if topic else fact)
    return facts


def build_tokenizer(small: SmallModel) -> PreTrainedTokenizerBase:
    """Return the tokenizer of all that can be invented: a token a word, and no start token.

    A start token would be routed alike in all topics.
    """
    words = invented_names(small.topics * (_COMMON + small.entities + small.answers))
    texts = [f"{word} {word} {word.capitalize()} {word.capitalize()}" for word in words]
    tokenizer = word_tokenizer(texts, vocab_size=8 + 4 * len(words))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A", pair="$A $B", special_tokens=[]
    )
    return tokenizer


def untrained(small: SmallModel, vocabulary: int) -> Qwen2MoeForCausalLM:
    """Build the model with random weights, and with routers that already tell tokens apart."""
    config = Qwen2MoeConfig(
        vocab_size=vocabulary,
        hidden_size=small.width,
        intermediate_size=small.expert_width,
        num_hidden_layers=small.layers,
        num_attention_heads=small.heads,
        num_key_value_heads=small.heads,
        num_experts=small.experts,
        num_experts_per_tok=TOP_K,
        moe_intermediate_size=small.expert_width,
        shared_expert_intermediate_size=small.shared_width,
        decoder_sparse_step=1,
        norm_topk_prob=True,
        router_aux_loss_coef=ROUTER_LOSS,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = Qwen2MoeForCausalLM(config)
    for layer in model.model.layers:
        torch.nn.init.normal_(layer.mlp.gate.weight, std=ROUTER_SPREAD)
    return model


def train_model(
    small: SmallModel, vocabulary: int, documents: Int[Tensor, "n t"], compute: Compute
) -> dict[str, Tensor]:
    """Train a model until it knows the last token of each document; return its weights."""
    model = untrained(small, vocabulary)
    labels = documents.clone()
    labels[:, :-1] = IGNORED
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=small.steps)
    generator = torch.Generator().manual_seed(int(torch.randint(2**40, ()).item()))
    size = min(BATCH_SIZE, len(documents))
    fit(
        model,
        batches(documents, labels, batch_size=size, generator=generator, drop_last=True),
        _loss_with_balance,
        optimizer=optimizer,
        scheduler=schedule,
        steps=small.steps,
        clip=1.0,
        compute=compute,
    )
    return weights_of(model)


def _loss_with_balance(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    input_ids, labels = batch
    loss: Tensor = model(input_ids=input_ids, labels=labels, output_router_logits=True).loss
    return loss
