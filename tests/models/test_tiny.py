from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from assay.models import (
    SmallLlama,
    byte_pair_tokenizer,
    tiny_causal_lm,
    tokenizer_from_json,
    tokenizer_to_json,
    word_tokenizer,
)
from assay.training import weights_of

TEXTS = ["the cat, the dog and the bird.", "the cat sat;\nthe end"]


def test_decoding_gives_the_text_back() -> None:
    tokenizer = word_tokenizer(TEXTS, 100)
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_the_most_frequent_words_are_kept() -> None:
    tokenizer = word_tokenizer(TEXTS, 7)
    vocabulary = tokenizer.get_vocab()
    assert set(vocabulary) == {"<pad>", "<s>", "</s>", "<unk>", "the", " the", " cat"}
    assert [vocabulary[word] for word in ("<pad>", "<s>", "</s>", "<unk>")] == [0, 1, 2, 3]
    assert tokenizer("the bird")["input_ids"] == [1, vocabulary["the"], 3]


def test_folders_load_with_the_auto_classes(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(TEXTS, 100)
    model = tiny_causal_lm(tokenizer, hidden=16, layers=1, heads=2)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(loaded, PreTrainedTokenizerFast)
    assert loaded(TEXTS[0])["input_ids"] == tokenizer(TEXTS[0])["input_ids"]
    ids = torch.tensor([tokenizer(TEXTS[0])["input_ids"]])
    with torch.inference_mode():
        again = AutoModelForCausalLM.from_pretrained(tmp_path)(input_ids=ids).logits
        torch.testing.assert_close(again, model(input_ids=ids).logits)


def test_weights_follow_the_seed_and_leave_the_global_stream_alone() -> None:
    tokenizer = word_tokenizer(TEXTS, 100)
    before = torch.get_rng_state()
    one, same, other = (tiny_causal_lm(tokenizer, 16, 1, 2, seed=seed).lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_it_learns_a_text_by_heart() -> None:
    tokenizer = word_tokenizer(TEXTS, 100)
    model = tiny_causal_lm(tokenizer, hidden=32, layers=1, heads=2)
    ids = torch.tensor([tokenizer(TEXTS[0])["input_ids"]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    assert (model(input_ids=ids).logits[0, :-1].argmax(-1) == ids[0, 1:]).all()


def test_byte_pairs_have_a_token_for_every_text_and_travel_as_json() -> None:
    tokenizer = byte_pair_tokenizer(TEXTS, 270)
    again = tokenizer_from_json(tokenizer_to_json(tokenizer))
    assert len(tokenizer) == 270
    for text in (*TEXTS, "Größe \N{SNOWMAN}"):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id == 1
        assert again(text)["input_ids"] == ids
        assert again.decode(ids, skip_special_tokens=True) == text


def test_a_shape_with_weights_is_the_model_that_had_them() -> None:
    shape = SmallLlama(12, width=16, layers=1, heads=2, context=8, expansion=2, rope_theta=30.0)
    torch.manual_seed(7)
    drawn = shape.untrained()
    torch.manual_seed(7)
    assert torch.equal(shape.untrained().lm_head.weight, drawn.lm_head.weight)
    again = shape.trained(weights_of(drawn))
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    ids = torch.tensor([[1, 5, 7]])
    torch.testing.assert_close(again(input_ids=ids).logits, drawn.eval()(input_ids=ids).logits)
    assert again.config.rope_parameters["rope_theta"] == 30.0
