"""Small generators, surrogates and CLIP folders that several tests share."""

import hashlib

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from assay.papers.privacy.t2ue.method import TextConditionedNoiseGenerator, TwoTowers

WORDS = ["a", "photo", "of", "the", "cat", "dog", "car", "house", "red", "small", "on", "with", "sky", "tree"]


def embed(texts):
    """Embed texts by their hash: equal texts alike, others in another direction."""
    seeds = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") for text in texts]
    rows = [torch.randn(8, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)


@pytest.fixture(scope="session")
def hash_embed():
    return embed


@pytest.fixture
def generator():
    torch.manual_seed(0)
    made = TextConditionedNoiseGenerator(8, z_dim=4, base_channels=16, out_size=16)
    with torch.no_grad():  # as if trained: captions matter
        for name, parameter in made.named_parameters():
            if "gamma.weight" in name or "beta.weight" in name:
                parameter.normal_(std=0.3)
    return made.eval()


@pytest.fixture
def surrogate():
    torch.manual_seed(1)
    image = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(6))
    image(torch.zeros(1, 3, 16, 16))
    return TwoTowers(image, nn.Linear(8, 6), embed).eval().requires_grad_(False)


def clip_tokenizer():
    tokens = ["<pad>", "<start>", "<end>", "<unk>", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({token: number for number, token in enumerate(tokens)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<start>",
        eos_token="<end>",
        unk_token="<unk>",
        model_max_length=12,
    )


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """The folder of an untrained CLIP with its tokenizer, as `save_pretrained` writes it."""
    torch.manual_seed(0)
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=tower
        | {
            "vocab_size": 4 + len(WORDS),
            "max_position_embeddings": 12,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        vision_config=tower | {"image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    folder = tmp_path_factory.mktemp("clip")
    CLIPModel(config).save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    return folder
