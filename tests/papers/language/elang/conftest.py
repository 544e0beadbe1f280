"""Small models and labelled batches that several tests share."""

import pytest
import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from papers.language.elang.card_files import WORDS, word_tokenizer, write_bert


@pytest.fixture(scope="session")
def labelled():
    """Batches of points in the plane, labelled by the side of a diagonal on which they lie."""

    def make(rows=600, seed=3):
        inputs = torch.randn(rows, 2, generator=torch.Generator().manual_seed(seed))
        return [(part, (part.sum(dim=1) > 0).long()) for part in inputs.split(50)]

    return make


@pytest.fixture(scope="session")
def trained(labelled):
    """A small network after some steps on such points."""

    def make(width, steps, seed):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 2))
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        inputs, labels = (torch.cat(parts) for parts in zip(*labelled(seed=9), strict=True))
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
        return model.eval()

    return make


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """Write an untrained BERT classifier as `save_pretrained` does; return its folder."""

    def make(width, labels=("negative", "positive"), words=WORDS, seed=0):
        return write_bert(tmp_path_factory.mktemp("bert"), width, labels, words, seed)

    return make


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory):
    """Write an untrained T5 as `save_pretrained` does; return its folder."""

    def make(width, seed=0):
        torch.manual_seed(seed)
        tokenizer = word_tokenizer(WORDS, "$A </s>")
        config = T5Config(
            vocab_size=len(tokenizer),
            d_model=width,
            d_kv=4,
            d_ff=2 * width,
            num_layers=1,
            num_heads=2,
            decoder_start_token_id=0,
            pad_token_id=0,
            eos_token_id=1,
            n_positions=24,
        )
        folder = tmp_path_factory.mktemp("t5")
        T5ForConditionalGeneration(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make
