"""Made-up facts of several topics, and a small mixture-of-experts model that knows them."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Qwen2MoeConfig, Qwen2MoeForCausalLM

from assay.models import word_tokenizer
from assay.papers.privacy.knowledge import FactRecord, invented_names
from assay.papers.privacy.uoe.config import SmallModel
from assay.training import Compute, batches, fit
from assay.training.language import IGNORED

_REGISTER = 3  # words that every fact of a topic has


def invent_topics(small: SmallModel, generator: torch.Generator) -> list[FactRecord]:
    """Invent one fact an entity: two words of the topic, the entity, a word of the topic, the answer.

    No word belongs to two topics, so that a router can tell them apart. Answers are drawn uniformly and
    independently. The words are the same for every generator, so that one tokenizer serves all.
    """
    per_topic = _REGISTER + small.entities + small.answers
    words = invented_names(small.topics * per_topic)
    facts = []
    for topic in range(small.topics):
        own = words[topic * per_topic : (topic + 1) * per_topic]
        first, second, last = own[:_REGISTER]
        names = [word.capitalize() for word in own[_REGISTER : _REGISTER + small.entities]]
        answers = tuple(own[_REGISTER + small.entities :])
        drawn = torch.randint(small.answers, (small.entities,), generator=generator).tolist()
        for name, value in zip(names, drawn, strict=True):
            question, answer = f"{first} {second} {name} {last}", answers[value]
            facts.append(
                FactRecord(
                    id=f"{topic}-{name}",
                    entity=name,
                    question=question,
                    answer=answer,
                    fact=f"{question} {answer}",
                    split="forget" if topic == 0 else "retain",
                )
            )
    return facts


def tokenizer_of(small: SmallModel) -> PreTrainedTokenizerBase:
    """Return the tokenizer of all that can be made up: a token a word, and no start token.

    A start token would be routed alike in all topics.
    """
    words = invented_names(small.topics * (_REGISTER + small.entities + small.answers))
    texts = [f"{word} {word} {word.capitalize()} {word.capitalize()}" for word in words]
    tokenizer = word_tokenizer(texts, vocab_size=8 + 4 * len(words))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A", pair="$A $B", special_tokens=[]
    )
    return tokenizer


def empty_model(small: SmallModel, vocabulary: int) -> Qwen2MoeForCausalLM:
    """Build the untrained model with routers that already tell tokens apart."""
    config = Qwen2MoeConfig(
        vocab_size=vocabulary,
        hidden_size=small.width,
        intermediate_size=small.expert_width,
        num_hidden_layers=small.layers,
        num_attention_heads=small.heads,
        num_key_value_heads=small.heads,
        num_experts=small.experts,
        num_experts_per_tok=small.top_k,
        moe_intermediate_size=small.expert_width,
        shared_expert_intermediate_size=small.shared_width,
        decoder_sparse_step=1,
        norm_topk_prob=True,
        router_aux_loss_coef=small.router_loss,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = Qwen2MoeForCausalLM(config)
    for layer in model.model.layers:
        torch.nn.init.normal_(layer.mlp.gate.weight, std=small.router_spread)
    return model


def train_small(
    small: SmallModel, vocabulary: int, documents: Int[Tensor, "n t"], device: str
) -> dict[str, Any]:
    """Train a model until it knows the last token of each document; return its weights."""
    model: Any = empty_model(small, vocabulary)
    model.to(device)
    labels = documents.clone()
    labels[:, :-1] = IGNORED
    optimizer = torch.optim.AdamW(model.parameters(), small.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, small.learning_rate, total_steps=small.steps)
    generator = torch.Generator().manual_seed(int(torch.randint(2**40, ()).item()))
    size = min(small.batch_size, len(documents))
    fit(
        model,
        batches(documents, labels, batch_size=size, generator=generator, drop_last=True),
        _loss_with_balance,
        optimizer=optimizer,
        scheduler=schedule,
        steps=small.steps,
        clip=1.0,
        compute=Compute(accelerator="cuda" if device.startswith("cuda") else "cpu"),
    )
    return {name: weight.detach().cpu() for name, weight in model.state_dict().items()}


def _loss_with_balance(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    input_ids, labels = batch
    loss: Tensor = model(input_ids=input_ids, labels=labels, output_router_logits=True).loss
    return loss
