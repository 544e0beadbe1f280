from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from assay.errors import InputError
from assay.models import LocalTextModel, ModelSource, Reply, Score, open_text_model
from assay.models.local import SampleNamed
from assay.models.text import GenerateRequest, cut_at_stop

PROMPTS = [
    "the quick brown fox",
    "who",
    "a slow green turtle walks under the busy bridge, and",
    "the lazy dog. nobody saw the",
    "he",
]


def chain(network: PreTrainedModel, ids: list[int], border: int) -> list[float]:
    """The log-probabilities of ids[border:], from one forward for each token."""
    logprobs = []
    for place in range(border, len(ids)):
        with torch.inference_mode():
            logits = network(input_ids=torch.tensor([ids[:place]])).logits[0, -1].double()
        logprobs.append(float(logits[ids[place]] - logits.logsumexp(0)))
    return logprobs


def greedy(network: PreTrainedModel, ids: list[int], steps: int, end: int | None = 2) -> list[int]:
    """The likeliest tokens, from one forward for each, without padding or cache."""
    new: list[int] = []
    for _ in range(steps):
        with torch.inference_mode():
            new.append(int(network(input_ids=torch.tensor([ids + new])).logits[0, -1].argmax()))
        if new[-1] == end:
            break
    return new


def test_score_equals_the_chain_rule_by_hand(
    local: LocalTextModel, network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    (score,) = local.score(["the quick"], [" brown fox jumps"])
    ids = tokenizer.convert_tokens_to_ids(["<s>", "the", " quick", " brown", " fox", " jumps"])
    expected = chain(network, ids, 3)
    assert score.tokens == 3
    assert score.token_logprobs == pytest.approx(expected, abs=1e-5)
    assert score.logprob == pytest.approx(sum(expected), abs=1e-5)


def test_the_first_token_is_scored_after_the_start_token(
    local: LocalTextModel, network: LlamaForCausalLM
) -> None:
    (score,) = local.score([""], ["the"])
    assert score.logprob == pytest.approx(
        chain(network, [1, local.tokenizer("the")["input_ids"][1]], 1)[0], abs=1e-5
    )


def test_probabilities_of_all_next_tokens_sum_to_one(local: LocalTextModel) -> None:
    words = [word for word in local.tokenizer.get_vocab() if word[0] in " .?!," and word.strip()]
    scores = local.score(["the dog"] * len(words), words)
    assert all(score.tokens == 1 for score in scores)
    others = set(range(len(local.tokenizer))) - set(local.tokenizer.convert_tokens_to_ids(words))
    with torch.inference_mode():
        ids = torch.tensor([local.tokenizer("the dog")["input_ids"]])
        rest = local.model(input_ids=ids).logits[0, -1].softmax(-1)[sorted(others)].sum()
    assert sum(math.exp(score.logprob) for score in scores) + rest == pytest.approx(1, abs=1e-5)


def test_a_token_that_spans_the_border_belongs_to_the_continuation(
    local: LocalTextModel, network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    (score,) = local.score(["the qui"], ["ck fox"])
    ids = tokenizer.convert_tokens_to_ids(["<s>", "the", " quick", " fox"])
    assert score.token_logprobs == pytest.approx(chain(network, ids, 2), abs=1e-5)
    (space_before,) = local.score(["the "], ["quick fox"])  # the space goes with the word
    assert space_before == score


@pytest.fixture(scope="module")
def byte_level() -> LocalTextModel:
    """A GPT-2 (learned positions, no start token) over pieces of UTF-8, trimmed offsets included."""
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.post_processor = processors.ByteLevel(trim_offsets=True)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    words.train_from_iterator(["the cat sat on the mat, the cat thatched"] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=2)
    config.bos_token_id = config.eos_token_id = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = GPT2LMHeadModel(config).eval()
    return LocalTextModel(network, tokenizer)


def test_every_split_of_a_text_scores_its_last_tokens(byte_level: LocalTextModel) -> None:
    text = "the cat — ☕☕ 你好,  sat\n on thé mat"
    ids = byte_level.tokenizer(text)["input_ids"]
    assert len(ids) < len(text.encode())
    whole = chain(byte_level.model, ids, 1)
    borders = range(4, len(text))
    scores = byte_level.score([text[:border] for border in borders], [text[border:] for border in borders])
    for border, score in zip(borders, scores, strict=True):
        expected = len(byte_level.tokenizer(text[:border])["input_ids"])
        if byte_level.tokenizer(text[:border])["input_ids"] == ids[:expected]:  # no token spans the border
            assert score.tokens == len(ids) - expected
        assert score.token_logprobs == pytest.approx(whole[len(whole) - score.tokens :], abs=1e-5)
    counts = [score.tokens for score in scores]
    assert counts == sorted(counts, reverse=True)


def test_replies_in_pieces_of_characters(byte_level: LocalTextModel) -> None:
    prompts = ["the cat ☕", "你", "the"]
    replies = byte_level.generate(prompts, max_new_tokens=9)
    for prompt, reply in zip(prompts, replies, strict=True):
        ids = byte_level.tokenizer(prompt)["input_ids"]
        new = greedy(byte_level.model, ids, 9, end=None)
        assert prompt + reply.text == byte_level.tokenizer.decode(ids + new)


def test_scores_do_not_depend_on_batch_and_padding(
    network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    continuations = [" jumps", " saw the dog?", " the fox sleeps!", " quick dog", " hello there"]
    alone = [
        LocalTextModel(network, tokenizer, batch_size=1).score([prompt], [continuation])[0].token_logprobs
        for prompt, continuation in zip(PROMPTS, continuations, strict=True)
    ]
    for size in (2, 3, 16):
        together = LocalTextModel(network, tokenizer, batch_size=size).score(PROMPTS, continuations)
        for one, other in zip(together, alone, strict=True):
            assert one.token_logprobs == pytest.approx(other, abs=1e-5)


def test_greedy_generation_equals_a_loop_and_does_not_depend_on_the_batch(
    network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    expected = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt)["input_ids"]
        new = greedy(network, ids, 12)
        text = tokenizer.decode(ids + new, skip_special_tokens=True)[len(prompt) :]
        expected.append(Reply(text, len(new), "stop" if new[-1] == 2 else "length"))
    assert len({reply.text for reply in expected}) > 3
    for size in (1, 2, 16):
        model = LocalTextModel(network, tokenizer, batch_size=size)
        assert model.generate(PROMPTS, max_new_tokens=12) == expected
        assert model.generate(PROMPTS[::-1], max_new_tokens=12) == expected[::-1]


def test_sampling_depends_on_prompt_seed_and_index_alone(
    network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    options = {"max_new_tokens": 10, "temperature": 1.0, "n": 3}
    together = LocalTextModel(network, tokenizer).generate(PROMPTS, seed=5, **options)
    single = LocalTextModel(network, tokenizer, batch_size=1)
    alone = [reply for prompt in PROMPTS for reply in single.generate([prompt], seed=5, **options)]
    assert together == alone
    assert len({reply.text for reply in together}) > 10
    assert together != LocalTextModel(network, tokenizer).generate(PROMPTS, seed=6, **options)
    fewer = LocalTextModel(network, tokenizer).generate(PROMPTS[:1], seed=5, **options | {"n": 2})
    assert fewer == together[:2]


def test_sampling_leaves_the_global_stream_alone(local: LocalTextModel) -> None:
    before = torch.get_rng_state()
    local.generate(["the"], temperature=1.0, max_new_tokens=4)
    assert torch.equal(before, torch.get_rng_state())


def test_samples_have_the_distribution_of_the_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -30.0])
    temperature = 1.7
    requests = [GenerateRequest("x", 1, temperature=temperature, seed=seed) for seed in range(5_000)]
    noisy = SampleNamed(requests)(torch.zeros(5_000, 1, dtype=torch.long), logits.expand(5_000, 5))
    counts = noisy.argmax(-1).bincount(minlength=5).double()
    expected = 5_000 * (logits / temperature).double().softmax(-1)
    chi_squared = ((counts - expected)[:4] ** 2 / expected[:4]).sum()
    assert chi_squared < 16.3  # the 0.1 % point with 3 degrees of freedom
    assert counts[4] == 0


def test_top_p_keeps_the_likeliest(local: LocalTextModel) -> None:
    best = local.generate(["the quick"], max_new_tokens=6)
    assert local.generate(["the quick"], max_new_tokens=6, temperature=1.0, top_p=1e-6) == best
    options = {"max_new_tokens": 1, "temperature": 1.0, "n": 64}
    few = {reply.text for reply in local.generate(["the"], top_p=0.3, **options)}
    many = {reply.text for reply in local.generate(["the"], **options)}
    assert len(few) < len(many)


def test_greedy_copies_are_equal_and_asked_once(
    local: LocalTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    inner = local.replies
    monkeypatch.setattr(local, "replies", lambda requests: asked.append(len(requests)) or inner(requests))
    replies = local.generate(["the", "who", "the"], n=2, max_new_tokens=3)
    assert replies[0] == replies[1] == replies[4] == replies[5]
    assert replies[2] == replies[3]
    assert asked == [2]


def test_stop_texts_end_a_reply_and_are_cut(local: LocalTextModel) -> None:
    (whole,) = local.generate(["the quick"], max_new_tokens=12)
    words = whole.text.split(" ")
    stop = f" {words[3]}"
    expected = whole.text[: whole.text.index(stop)]
    (cut,) = local.generate(["the quick"], max_new_tokens=12, stop=stop)
    assert cut.text == expected
    assert cut.finish_reason == "stop"
    assert cut.tokens is not None
    assert whole.tokens is not None
    assert cut.tokens < whole.tokens
    together = local.generate(["the quick", *PROMPTS], max_new_tokens=12, stop=[stop, "never there"])
    assert together[0] == cut
    assert all(stop not in reply.text for reply in together)


def test_cut_at_stop_takes_the_first() -> None:
    assert cut_at_stop("ab cd ef", ["ef", "cd"]) == ("ab ", True)
    assert cut_at_stop("ab", ["x"]) == ("ab", False)
    assert cut_at_stop("ab", []) == ("ab", False)


def test_an_end_token_ends_a_reply(network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer("the quick")["input_ids"]
    new = greedy(network, ids, 12)
    last = new[2]
    settings = network.generation_config
    network.generation_config = type(settings)(eos_token_id=[last])
    try:
        (reply,) = LocalTextModel(network, tokenizer).generate(["the quick"], max_new_tokens=12)
        assert network.generation_config.eos_token_id == [last]  # put back
    finally:
        network.generation_config = settings
    length = new.index(last) + 1
    assert (reply.tokens, reply.finish_reason) == (length, "stop")
    text = tokenizer.decode(ids + new[: length - 1], skip_special_tokens=True)
    assert "the quick" + reply.text == text  # without the end token


def test_the_chat_template_is_used_where_there_is_one(
    local: LocalTextModel, chatty: PreTrainedTokenizerFast
) -> None:
    rendered = "<s> system: hello\n<s> user: the dog\n<s> the"
    chat = local.generate(["the dog"], system="hello", max_new_tokens=6)
    assert chat == local.generate(["the dog"], system="hello", max_new_tokens=6, chat=True)
    ids = chatty(rendered, add_special_tokens=False)["input_ids"]
    new = greedy(local.model, ids, 6)
    assert (
        chat[0].text
        == chatty.decode(ids + new, skip_special_tokens=True)[
            len(chatty.decode(ids, skip_special_tokens=True)) :
        ]
    )
    plain = local.generate(["the dog"], system="hello", max_new_tokens=6, chat=False)
    assert plain == local.generate(["hello\n\nthe dog"], max_new_tokens=6, chat=False)


def test_chat_without_a_template_is_refused(local: LocalTextModel) -> None:
    with pytest.raises(InputError, match="no chat template"):
        local.generate(["the"], chat=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": -1.0}, "temperature must be"),
        ({"temperature": math.nan}, "temperature must be"),
        ({"top_p": 0.0}, "top_p in"),
        ({"max_new_tokens": 0}, "at least 1"),
        ({"n": 0}, "at least 1"),
        ({"stop": ["a", ""]}, "empty text"),
        ({"max_new_tokens": 96}, "do not fit into the model's 96"),
    ],
)
def test_arguments_out_of_range_are_refused(local: LocalTextModel, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        local.generate(["the"], **options)


def test_texts_that_cannot_be_scored_are_refused(local: LocalTextModel) -> None:
    with pytest.raises(InputError, match="2 prompts and 1 continuations"):
        local.score(["a", "b"], ["c"])
    with pytest.raises(InputError, match="Continuation 1 is empty"):
        local.score(["a", "b"], ["c", ""])
    with pytest.raises(InputError, match="does not fit into the model's 96"):
        local.score(["the " * 60], ["dog " * 60])
    assert local.generate([]) == []
    assert local.score([], []) == []


def test_one_text_instead_of_a_list_is_refused(local: LocalTextModel) -> None:
    with pytest.raises(InputError, match="prompts must be a list of texts"):
        local.generate("the dog")


def test_without_a_start_token_something_must_stand_before(
    network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tokenizer.save_pretrained(tmp_path)
    bare = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    bare.backend_tokenizer.post_processor = None
    model = LocalTextModel(network, bare)
    with pytest.raises(InputError, match="no start token"):
        model.generate([""])
    with pytest.raises(InputError, match="no start token"):
        model.score(["qu"], ["ick"])
    ids = bare("the quick")["input_ids"]
    assert model.score(["the"], [" quick"])[0].logprob == pytest.approx(chain(network, ids, 1)[0], abs=1e-5)


def test_generating_leaves_the_model_as_it_was(
    network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    network.train()
    network.model.norm.eval()
    LocalTextModel(network, tokenizer).generate(["the"], max_new_tokens=2)
    assert network.training
    assert network.lm_head.training
    assert not network.model.norm.training
    network.eval()


def test_a_folder_and_its_live_model_agree(folder: Path, local: LocalTextModel) -> None:
    loaded = open_text_model(ModelSource(f"folder:{folder}"))
    assert loaded.generate(PROMPTS, max_new_tokens=8) == local.generate(PROMPTS, max_new_tokens=8)
    assert loaded.score(["the"], [" dog"])[0].logprob == pytest.approx(
        local.score(["the"], [" dog"])[0].logprob
    )


def test_the_fingerprint_of_a_live_model_follows_its_weights(
    tokenizer: PreTrainedTokenizerFast, network: LlamaForCausalLM
) -> None:
    import copy

    model = LocalTextModel(copy.deepcopy(network), tokenizer)
    before = model.fingerprint()
    assert before == LocalTextModel(network, tokenizer).fingerprint()
    with torch.no_grad():
        next(model.model.parameters()).view(-1)[0] += 1
    assert model.fingerprint() != before


def test_a_score_adds_up() -> None:
    score = Score((-1.0, -0.5))
    assert (score.logprob, score.tokens) == (-1.5, 2)
