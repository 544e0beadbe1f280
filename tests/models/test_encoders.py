from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from assay.errors import InputError
from assay.models import ModelSource, SentenceEncoder

TEXTS = [
    "A man is eating food.",
    "Someone has a meal",
    "The stock market fell by three percent on Monday, the largest loss since the spring of last year.",
    "",
    "Le chat dort.",
]


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder(ModelSource("bundled:minilm"))


def test_the_steps_are_those_that_the_model_names() -> None:
    folder = Path(ModelSource("bundled:minilm").weights())
    steps = [
        module["type"].rsplit(".", 1)[-1] for module in json.loads((folder / "modules.json").read_text())
    ]
    assert steps == ["Transformer", "Pooling", "Normalize"]
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    assert [name for name, used in pooling.items() if used is True] == ["pooling_mode_mean_tokens"]


def test_an_embedding_is_the_normalised_mean_over_the_tokens(encoder: SentenceEncoder) -> None:
    embeddings = encoder.encode(TEXTS)
    assert embeddings.shape == (5, 384)
    for text, embedding in zip(TEXTS, embeddings, strict=True):
        ids = torch.tensor([encoder.tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            hidden = encoder.transformer(input_ids=ids).last_hidden_state[0]
        mean = hidden.mean(0)
        torch.testing.assert_close(embedding, mean / mean.norm(), atol=1e-5, rtol=0)


def test_known_cosines(encoder: SentenceEncoder) -> None:
    """Texts that mean the same are near each other, others are not."""
    embeddings = encoder.encode(TEXTS)
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(5))
    cosines = embeddings @ embeddings.T
    assert cosines[0, 1] > 0.6
    assert cosines[0, 2] < 0.2


def test_order_and_batch_do_not_matter(encoder: SentenceEncoder) -> None:
    texts = [" ".join(["word"] * (place * 7 % 11 + 1)) + str(place) for place in range(9)]
    whole = encoder.encode(texts)
    torch.testing.assert_close(encoder.encode(texts, batch_size=2), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode(texts[::-1]).flip(0), whole, atol=1e-5, rtol=0)
    assert encoder.encode([]).shape == (0, 384)


def test_a_layer_can_be_trained_on_embeddings(encoder: SentenceEncoder) -> None:
    head = torch.nn.Linear(384, 1)
    embeddings = encoder.encode(TEXTS[:2])
    head(embeddings).sum().backward()
    torch.testing.assert_close(head.weight.grad, embeddings.sum(0, keepdim=True))


def test_long_texts_are_cut(encoder: SentenceEncoder) -> None:
    long = "word " * 40
    torch.testing.assert_close(encoder.encode([long], max_length=12), encoder.encode(["word " * 10]))


def test_padding_does_not_count(encoder: SentenceEncoder) -> None:
    ids = torch.tensor([[101, 2158, 102]])
    padded = torch.tensor([[101, 2158, 102, 0, 0]])
    with torch.inference_mode():
        short = encoder(ids, torch.ones_like(ids))
        long = encoder(padded, torch.tensor([[1, 1, 1, 0, 0]]))
    torch.testing.assert_close(short, long, atol=1e-5, rtol=0)


def test_it_is_a_module_with_frozen_parameters_that_can_be_freed(encoder: SentenceEncoder) -> None:
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    encoder.requires_grad_(True)
    ids = torch.tensor([[101, 2158, 102]])
    encoder(ids, torch.ones_like(ids))[0, 0].backward()
    assert encoder.transformer.embeddings.word_embeddings.weight.grad.abs().sum() > 0
    encoder.requires_grad_(False)
    encoder.zero_grad()


def test_a_server_is_no_encoder() -> None:
    with pytest.raises(InputError, match="needs the model's weights"):
        SentenceEncoder(ModelSource("http://host/v1#m"))
