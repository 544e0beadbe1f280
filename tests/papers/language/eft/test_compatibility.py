"""Whether models fit together: padding of their vocabularies may differ, tokens may not."""

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from assay.errors import InputError
from assay.papers.language.eft.method import (
    Delta,
    EFTLogitsProcessor,
    EmulatedFineTuning,
    common_vocabulary,
)
from papers.language.eft.small_models import llama, nudged

WORDS = ["<pad>", "<s>", "</s>", *"abcdefghij"]


def tokenizer(words):
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, "<pad>"))
    )


def test_rows_beyond_the_tokens_are_padding():
    words = {name: tokenizer(WORDS) for name in ("base", "tuned", "reference")}
    rows = {"base": 16, "tuned": 13, "reference": 14}
    assert common_vocabulary(rows, words) == 13
    assert common_vocabulary({"base": 16, "tuned": 12, "reference": 14}, words) == 12
    assert common_vocabulary({"base": 13, "tuned": 13, "tuned.1": 13}) == 13


def test_models_with_different_padding_are_cut_to_the_shared_tokens():
    reference = llama(1)
    base = llama(0, hidden=32, vocabulary=16)
    words = dict.fromkeys(("base", "tuned", "reference"), tokenizer(WORDS))
    model = EmulatedFineTuning(base, Delta(nudged(reference, 2), reference), tokenizers=words)
    assert model.vocabulary == 13
    found = model.generate([[1, 5]], max_new_tokens=5, eos=[])
    assert int(found.sequences.max()) < 13
    processor = EFTLogitsProcessor(nudged(reference, 2), reference, tokenizers=words)
    import torch

    scores = processor(torch.tensor([[1, 5]]), torch.zeros(1, 16))
    assert torch.isneginf(scores[0, 13:]).all()
    assert torch.isfinite(scores[0, :13]).all()
    with pytest.raises(InputError, match="different numbers of logits"):
        EmulatedFineTuning(base, Delta(nudged(reference, 2), reference))


def test_other_tokens_are_refused_with_the_first_one():
    other = WORDS.copy()
    other[5], other[7] = "x", "y"
    words = {"base": tokenizer(WORDS), "tuned": tokenizer(other), "reference": tokenizer(WORDS)}
    rows = dict.fromkeys(words, 13)
    with pytest.raises(InputError, match="base and tuned differ, first at token 5: 'c' and 'x'"):
        common_vocabulary(rows, words)
    with pytest.raises(InputError, match="first at token 5"):
        common_vocabulary(rows, words, "mask")


def test_tokens_that_only_some_have_are_refused_or_masked():
    words = {
        "base": tokenizer(WORDS),
        "tuned": tokenizer([*WORDS, "<|im_start|>", "<|im_end|>"]),
        "reference": tokenizer(WORDS),
    }
    rows = {"base": 16, "tuned": 16, "reference": 16}
    with pytest.raises(
        InputError, match=r"first at token 13: no token and '<\|im_start\|>'.*--extra-tokens mask"
    ):
        common_vocabulary(rows, words)
    assert common_vocabulary(rows, words, "mask") == 13
    with pytest.raises(InputError, match="'refuse' or 'mask'"):
        common_vocabulary(rows, words, "drop")


def test_each_expert_is_compared():
    words = dict.fromkeys(("base", "tuned", "reference"), tokenizer(WORDS))
    words["tuned.1"] = tokenizer(["q", *WORDS[1:]])
    rows = dict.fromkeys(("base", "tuned", "tuned.1", "reference"), 13)
    with pytest.raises(InputError, match=r"base and tuned.1 differ, first at token 0"):
        common_vocabulary(rows, words)
