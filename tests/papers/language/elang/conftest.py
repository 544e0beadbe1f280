"""Small models and labelled batches that several tests share."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)


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


LABELS = ["negative", "positive"]
WORDS = ["good", "great", "nice", "bad", "poor", "awful", "dull", "film", "plot", "cast", "score", *LABELS]


def word_tokenizer(words, template):
    """A tokenizer with one token a word, in the format that transformers saves."""
    tokens = ["<pad>", "</s>", "<unk>", "[CLS]", *words]
    tokenizer = Tokenizer(models.WordLevel({token: number for number, token in enumerate(tokens)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ids = {token: tokens.index(token) for token in ("[CLS]", "</s>")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=list(ids.items())
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        cls_token="[CLS]",
        model_max_length=24,
    )


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """Write an untrained BERT classifier as `save_pretrained` does; return its folder."""

    def make(width, labels=("negative", "positive"), words=WORDS, seed=0):
        torch.manual_seed(seed)
        tokenizer = word_tokenizer(words, "[CLS] $A")
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=2 * width,
            max_position_embeddings=24,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
            pad_token_id=0,
        )
        folder = tmp_path_factory.mktemp("bert")
        BertForSequenceClassification(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

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
