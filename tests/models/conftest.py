"""A small language model in the real format, and a server for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from assay.models.local import LocalTextModel
from assay.models.tiny import tiny_causal_lm, word_tokenizer

from .server import OpenAIServer

TEXTS = [
    "the quick brown fox jumps over the lazy dog.",
    "a slow green turtle walks under the busy bridge, and the fox sleeps!",
    "who saw the dog? nobody saw the quick dog or the brown bridge.",
    "he hello the them then there ox oxen",
    "hello there",
]
TEMPLATE = (
    "{% for message in messages %}<s> {{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<s> the{% endif %}"
)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer(TEXTS, 100)


@pytest.fixture(scope="session")
def network(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A random model with weights so large that its predictions are far from uniform."""
    model = tiny_causal_lm(tokenizer, hidden=32, layers=2, heads=4, seed=3, context=96).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    return model


@pytest.fixture(scope="session")
def folder(
    network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    network.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def local(network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> LocalTextModel:
    return LocalTextModel(network, tokenizer)


@pytest.fixture
def chatty(
    network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> Iterator[PreTrainedTokenizerFast]:
    """The tokenizer with a chat template, for as long as the test lasts."""
    tokenizer.chat_template = TEMPLATE
    yield tokenizer
    tokenizer.chat_template = None


@pytest.fixture
def server(network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Iterator[OpenAIServer]:
    with OpenAIServer(network, tokenizer) as running:
        yield running
