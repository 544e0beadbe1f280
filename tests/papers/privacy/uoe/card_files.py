"""What the code on the card reads: a mixture of experts, and documents to forget and to retain."""

from pathlib import Path

import torch
from transformers import OlmoeConfig, OlmoeForCausalLM

from assay.models import word_tokenizer
from papers.privacy.uoe.moe_models import SIZES, WORDS, lines, texts


def prepare(folder: Path) -> None:
    """Write the model and the documents."""
    write_model(folder / "my-moe", make_tokenizer())
    lines(folder / "forget.jsonl", texts(0, 6))
    lines(folder / "retain.jsonl", texts(11, 6))


def make_tokenizer():
    letters = "Answer: A B C D E\nA.\nB.\nC.\nD.\nE. is"
    return word_tokenizer([*WORDS, " ".join(WORDS), letters, letters], vocab_size=90)


def write_model(folder, tokenizer):
    """Write a model of many experts, so that one of them is a small part of it."""
    torch.manual_seed(0)
    sizes = SIZES | {"vocab_size": len(tokenizer), "num_hidden_layers": 6}
    model = OlmoeForCausalLM(OlmoeConfig(**sizes, num_experts=32, intermediate_size=24))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
