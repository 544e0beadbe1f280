"""Emulated fine-tuning on models: laws, caches, speculation, and what is refused."""

import copy
import itertools
import warnings

import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy.stats import chisquare
from transformers import (
    DynamicCache,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    RwkvConfig,
    RwkvForCausalLM,
)

from assay.errors import InputError
from assay.papers.language.eft.method import (
    Delta,
    EmulatedFineTuning,
    check_ancestor,
    combine_logits,
    crop_cache,
    draw,
    speculative_accept,
    weight_similarity,
)
from assay.papers.language.eft.method.decoding import ends_of
from assay.papers.language.eft.method.streams import Member
from papers.language.eft.small_models import VOCABULARY, llama, nudged


def logits_of(model, tokens):
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens])).logits[0, -1]


def without_cache(trio, prompt, length, weight=1.0, greedy_on=None):
    """Greedy tokens of l_base + w (l_tuned - l_ref), every text read anew."""
    tokens = list(prompt)
    for _ in range(length):
        base, tuned, reference = (logits_of(model, tokens) for model in trio)
        tokens.append(int((base + weight * (tuned - reference)).argmax()))
    return tokens[len(prompt) :]


@pytest.fixture(scope="module")
def emulated(trio):
    base, tuned, reference = trio
    return EmulatedFineTuning(base, Delta(tuned, reference))


# --- the law ------------------------------------------------------------------------------------


def test_limits_are_the_models_themselves(trio):
    base, tuned, reference = trio
    ids = torch.tensor([[1, 5, 7, 3]])
    cases = [
        (EmulatedFineTuning(reference, Delta(tuned, reference)), tuned),
        (EmulatedFineTuning(base, Delta(tuned, reference, weight=0.0)), base),
        (EmulatedFineTuning(base, Delta(reference, reference, weight=3.0)), base),
        (EmulatedFineTuning(base, Delta(tuned, reference), amplify=0.0), tuned),
    ]
    for model, same in cases:
        found = model.next_logits(ids).softmax(-1)[0]
        assert torch.allclose(found, logits_of(same, [1, 5, 7, 3]).softmax(-1), atol=1e-6)


def test_scores_are_the_chain_of_next_logits(emulated):
    tokens = [1, 5, 7, 3, 11, 4]
    ids = torch.tensor([tokens, [1, 9, 2, 0, 0, 0]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [0, 1, 1, 0, 0, 0]]).bool()
    found = emulated.logprobs(ids, mask, batch_size=1)
    assert torch.equal(found != 0, mask)
    for place in range(2, 6):
        chain = emulated.next_logits(torch.tensor([tokens[:place]])).log_softmax(-1)
        assert float(found[0, place]) == pytest.approx(float(chain[0, tokens[place]]), abs=1e-5)
    together = emulated.score([tokens[:2], [1]], [tokens[2:], [9, 2]])
    assert torch.allclose(together[0], found[0, 2:], atol=1e-5)
    assert torch.allclose(together[1], found[1, 1:3], atol=1e-5)


def test_law_of_tokens_and_law_of_texts_agree_only_where_both_sizes_are_one():
    """On all 27 texts of 3 tokens out of 3."""
    small, big = llama(3, vocabulary=3), llama(4, hidden=32, vocabulary=3)
    tuned = nudged(small, 5, 0.4)
    texts = list(itertools.product(range(3), repeat=3))
    ids = torch.tensor([[0, *text] for text in texts])
    mask = torch.tensor([[False, True, True, True]]).expand(27, -1)

    def text_log_probs(model, weight=0.0):
        return EmulatedFineTuning(model, Delta(tuned, small, weight)).logprobs(ids, mask).sum(-1).double()

    def gap(base):
        by_token = text_log_probs(base, 1.0).exp()
        assert float(by_token.sum()) == pytest.approx(1.0, abs=1e-5)
        product = text_log_probs(base) + text_log_probs(tuned) - text_log_probs(small)
        return float((by_token - product.softmax(-1)).abs().max())

    assert gap(small) < 1e-6
    assert gap(big) > 1e-3


def test_several_experts_and_interpolation(trio):
    base, tuned, reference = trio
    other = nudged(reference, 8)
    both = EmulatedFineTuning(base, [Delta(tuned, reference, 0.3), Delta(other, reference, 0.7)])
    assert len(both.members) == 4  # the shared reference is read once
    ids = torch.tensor([[1, 5, 7]])
    expected = combine_logits(
        *(logits_of(base, [1, 5, 7]),),
        [logits_of(tuned, [1, 5, 7]), logits_of(other, [1, 5, 7])],
        logits_of(reference, [1, 5, 7]),
        [0.3, 0.7],
    )
    assert torch.allclose(both.next_logits(ids)[0], expected, atol=1e-5)
    assert both.interpolate(1.0).weights == [1.0, 0.0]
    one = EmulatedFineTuning(base, Delta(tuned, reference))
    assert torch.allclose(both.interpolate(1.0).next_logits(ids), one.next_logits(ids), atol=1e-5)
    assert both.weights == [0.3, 0.7]


# --- caches -------------------------------------------------------------------------------------


def test_the_cache_is_cropped_from_its_end():
    model = llama(1)
    cache = DynamicCache()
    member = Member("base", model)
    member.logits(input_ids=torch.tensor([[1, 2, 3, 4, 5]]), **{member.cache_argument: cache})
    before = cache.layers[0].keys.clone()
    crop_cache(cache, 0)
    assert cache.get_seq_length() == 5
    crop_cache(cache, 2)
    assert cache.get_seq_length() == 3
    assert torch.equal(cache.layers[0].keys, before[..., :3, :])
    for tokens in (4, -1):
        with pytest.raises(ValueError, match="cannot take"):
            crop_cache(cache, tokens)
    with pytest.raises(ValueError):  # what the helper is there for
        cache.crop(2)


def test_with_caches_and_padding_the_tokens_are_those_without(emulated, trio, prompts):
    together = emulated.generate(prompts, max_new_tokens=9, temperature=0.0, eos=[])
    for row, prompt in enumerate(prompts):
        wanted = without_cache(trio, prompt, 9)
        assert together.tokens[row] == wanted
        alone = emulated.generate([prompt], max_new_tokens=9, temperature=0.0, eos=[])
        assert alone.tokens[0] == wanted
        scored = emulated.score([prompt], [wanted])[0]
        assert torch.allclose(alone.logprobs[0], scored, atol=1e-4)
        assert torch.allclose(together.logprobs[row], scored, atol=1e-4)


def test_next_logits_continues_where_its_streams_stopped(emulated):
    streams = emulated.streams(1)
    emulated.next_logits(torch.tensor([[1, 5]]), streams=streams)
    found = emulated.next_logits(torch.tensor([[7]]), streams=streams)
    assert torch.allclose(found, emulated.next_logits(torch.tensor([[1, 5, 7]])), atol=1e-5)


def test_each_model_has_a_prompt_of_its_own(emulated, trio):
    own = {"base": [[1, 5]], "tuned": [[1, 9, 9, 4]], "reference": [[3]]}
    found = emulated.generate(own, max_new_tokens=4, temperature=0.0, eos=[])
    new = []
    for _ in range(4):
        logits = [logits_of(model, [*own[name][0], *new]) for name, model in zip(own, trio, strict=True)]
        new.append(int((logits[0] + logits[1] - logits[2]).argmax()))
    assert found.tokens[0] == new
    assert torch.allclose(emulated.score(own, [new])[0], found.logprobs[0], atol=1e-4)


def test_end_tokens_stop_a_row_and_are_scored(emulated, trio):
    plain = emulated.generate([[1, 5, 7]], max_new_tokens=12, temperature=0.0, eos=[])
    end = plain.tokens[0][3]
    first = plain.tokens[0].index(end)
    for generate in (emulated.generate, emulated.speculative_generate):
        stopped = generate([[1, 5, 7]], max_new_tokens=12, temperature=0.0, eos=end)
        assert stopped.tokens[0] == plain.tokens[0][:first]
        assert int(stopped.mask.sum()) == first + 1
    assert ends_of(emulated.drafter, None) == [2]


def test_measures_of_each_token(emulated, trio):
    found = emulated.generate([[1, 5, 7]], max_new_tokens=1, temperature=0.0)
    combined = emulated.next_logits(torch.tensor([[1, 5, 7]]))[0].softmax(-1)
    tuned = logits_of(trio[1], [1, 5, 7]).softmax(-1)
    assert float(found.tv[0, 0]) == pytest.approx(float((combined - tuned).abs().sum() / 2), abs=1e-5)
    assert float(found.entropy[0, 0]) == pytest.approx(float(-(combined * combined.log()).sum()), abs=1e-5)
    assert float(found.logprobs[0, 0]) == pytest.approx(float(combined.max().log()), abs=1e-5)


def test_processors_act_on_the_combined_logits(emulated):
    seen = []

    def only_four(input_ids, scores):
        seen.append(input_ids.tolist())
        return torch.where(torch.arange(scores.shape[-1]) == 4, scores, -torch.inf)

    found = emulated.generate([[1, 5], [7]], max_new_tokens=2, eos=[], logits_processor=only_four)
    assert found.tokens == [[4, 4], [4, 4]]
    assert seen == [[[1, 5], [0, 7]], [[1, 5, 4], [0, 7, 4]]]


class Combined(torch.nn.Module):
    """The output layer of a model whose logits are those of three: what penalties are tested against."""

    def __init__(self, trio):
        super().__init__()
        self.trio = trio

    def forward(self, hidden):
        base, tuned, reference = self.trio
        ids = base.last_ids
        return (base.head(hidden) + tuned(ids).logits - reference(ids).logits)[:, -hidden.shape[1] :]


@pytest.fixture(scope="module")
def oracle(trio):
    """The base as if its own logits were the combined ones, for transformers' own `generate`."""
    model = copy.deepcopy(trio[0])
    model.head, model.lm_head = model.lm_head, Combined((model, *trio[1:]))
    forward = model.forward

    def remembered(input_ids=None, **inputs):
        model.last_ids = input_ids
        return forward(input_ids=input_ids, **inputs)

    model.forward = remembered
    model.generation_config.update(use_cache=False, eos_token_id=None, pad_token_id=0)
    return model


PENALISED = [
    {"repetition_penalty": 1.6},
    {"no_repeat_ngram_size": 2},
    {"suppress_tokens": [4, 7], "repetition_penalty": 0.8},
    {"bad_words_ids": [[3], [5, 9]]},
]


@pytest.mark.parametrize("settings", PENALISED)
def test_penalties_act_on_the_combined_logits(emulated, oracle, trio, settings):
    prompts = [[1, 5, 7, 3], [1, 4, 9, 11]]
    ids = torch.tensor(prompts)
    written = oracle.generate(ids, max_new_tokens=8, do_sample=False, **settings)[:, 4:].tolist()
    plain = emulated.generate(prompts, max_new_tokens=8, do_sample=False, eos=[], **settings)
    assert plain.tokens == written
    fast = emulated.speculative_generate(
        prompts, max_new_tokens=8, block_size=3, temperature=0.0, eos=[], **settings
    )
    assert fast.tokens == written
    padded = emulated.generate([prompts[0], [8]], max_new_tokens=8, do_sample=False, eos=[], **settings)
    alone = emulated.generate([[8]], max_new_tokens=8, do_sample=False, eos=[], **settings)
    assert padded.tokens == [written[0], alone.tokens[0]]


def test_generate_takes_what_transformers_generate_takes(emulated, prompts):
    wanted = emulated.generate(prompts, max_new_tokens=6, temperature=0.0, eos=2)
    width = max(map(len, prompts))
    inputs = {
        "input_ids": torch.tensor([[0] * (width - len(row)) + row for row in prompts]),
        "attention_mask": torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts]),
    }
    config = GenerationConfig(max_new_tokens=6, do_sample=False, eos_token_id=2)
    for generate in (emulated.generate, emulated.speculative_generate):
        assert generate(**inputs, generation_config=config).tokens == wanted.tokens
        assert generate(**inputs, max_new_tokens=6, do_sample=False, eos_token_id=[2]).tokens == wanted.tokens
    for settings, message in (
        ({"max_new_tokens": 3, "num_beams": 4}, "num_beams needs transformers' own generate"),
        ({"max_new_tokens": 3, "temprature": 0.0}, "no setting of generate 'temprature'. Did you mean"),
        ({}, "max_new_tokens is missing"),
    ):
        with pytest.raises(InputError, match=message):
            emulated.generate(prompts, **settings)


@pytest.mark.parametrize("kind", ["rwkv", "mamba"])
def test_models_with_a_running_state_read_each_text_anew(kind, prompts):
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2}
    if kind == "rwkv":
        small = RwkvForCausalLM(RwkvConfig(**sizes, context_length=40)).eval()
    else:
        small = MambaForCausalLM(MambaConfig(**sizes, state_size=4)).eval()
    small = nudged(small, 3, 0.3)
    tuned = nudged(small, 1, 0.1)
    trio = (llama(0, hidden=32, layers=2), tuned, small)
    model = EmulatedFineTuning(trio[0], Delta(tuned, small))
    wanted = [without_cache(trio, prompt, 6) for prompt in prompts]
    for generate in (model.generate, model.speculative_generate):
        assert generate(prompts, max_new_tokens=6, temperature=0.0, eos=[]).tokens == wanted
    scored = model.score(prompts, wanted)
    chain = model.next_logits(torch.tensor([prompts[0]])).log_softmax(-1)[0, wanted[0][0]]
    assert float(scored[0][0]) == pytest.approx(float(chain), abs=1e-5)


# --- speculation --------------------------------------------------------------------------------


@pytest.mark.parametrize("block_size", [1, 2, 4, 7])
def test_greedy_speculation_writes_the_same_tokens(emulated, prompts, block_size):
    plain = emulated.generate(prompts, max_new_tokens=14, temperature=0.0, eos=[])
    for batch in (prompts, prompts[:1]):
        fast = emulated.speculative_generate(
            batch, max_new_tokens=14, block_size=block_size, temperature=0.0, eos=[]
        )
        assert fast.tokens == plain.tokens[: len(batch)]
        assert torch.allclose(fast.logprobs, plain.logprobs[: len(batch)], atol=1e-4)
        assert torch.allclose(fast.tv, plain.tv[: len(batch)], atol=1e-4)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.8)])
def test_speculation_draws_from_the_law_of_the_emulated_model(temperature, top_p):
    """The first two tokens of many rows, against the exact probability of each pair."""
    small = llama(3, vocabulary=5)
    model = EmulatedFineTuning(llama(4, hidden=32, vocabulary=5), Delta(nudged(small, 5, 0.3), small))
    rows = 6000
    found = model.speculative_generate(
        [[1, 4]] * rows,
        max_new_tokens=3,
        block_size=2,
        temperature=temperature,
        top_p=top_p,
        eos=[],
        generator=torch.Generator().manual_seed(7),
    )
    from assay.papers.language.eft.method import probabilities

    def law(tokens):
        return probabilities(model.next_logits(torch.tensor([tokens])), temperature, top_p=top_p)[0]

    first = law([1, 4])
    exact = torch.stack([first[v] * law([1, 4, v]) for v in range(5)]).flatten().double()
    pairs = torch.bincount(found.sequences[:, 0] * 5 + found.sequences[:, 1], minlength=25)
    assert pairs[exact == 0].sum() == 0
    common = exact * rows >= 5
    seen = [*pairs[common].tolist(), int(pairs[~common].sum())]
    wanted = [*(exact[common] * rows).tolist(), float(exact[~common].sum() * rows)]
    seen, wanted = zip(*[pair for pair in zip(seen, wanted, strict=True) if pair[1] > 0], strict=True)
    scale = sum(seen) / sum(wanted)
    assert chisquare(seen, [value * scale for value in wanted]).pvalue > 1e-3
    assert 0.2 < found.stats.acceptance < 0.99


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_drafts_are_drawn_from_the_law_that_they_are_tested_against(trio, monkeypatch, dtype):
    """Half precision would round the law of the drafts, and cut its nucleus elsewhere than the test does."""
    drawn, tested = [], []

    def watched_draw(p, generator=None):
        drawn.append(p)
        return draw(p, generator)

    def watched_accept(p, q, draft, generator=None):
        tested.append(q)
        return speculative_accept(p, q, draft, generator)

    monkeypatch.setattr("assay.papers.language.eft.method.decoding.draw", watched_draw)
    monkeypatch.setattr("assay.papers.language.eft.method.decoding.speculative_accept", watched_accept)
    base, tuned, reference = (copy.deepcopy(model).to(dtype) for model in trio)
    model = EmulatedFineTuning(base, Delta(tuned, reference))
    model.speculative_generate([[1, 5, 7]] * 9, max_new_tokens=4, block_size=3, top_p=0.8, eos=[])
    assert tested[0].dtype == torch.float32
    assert torch.equal(torch.stack(drawn[:3], dim=1), tested[0])


@pytest.mark.parametrize("block_size", [1, 3, 6])
def test_what_is_enough_is_the_beginning_of_what_would_have_come(emulated, prompts, block_size):
    def write(enough):
        return emulated.speculative_generate(
            prompts * 4,
            max_new_tokens=12,
            block_size=block_size,
            eos=[],
            generator=torch.Generator().manual_seed(2),
            enough=enough,
        )

    whole, some = write(None).tokens, write(3).tokens
    assert all(len(row) >= 3 for row in some)
    assert [row[: len(part)] for row, part in zip(whole, some, strict=True)] == some
    assert min(map(len, some)) < 12


def test_what_speculation_costs_is_counted(trio):
    _, tuned, reference = trio
    same = EmulatedFineTuning(reference, Delta(tuned, reference))
    found = same.speculative_generate([[1, 5, 7]], max_new_tokens=15, block_size=4, eos=[])
    stats = found.stats
    assert stats.acceptance == 1.0  # base and reference are one, so that the draft's law is the law
    assert (stats.tokens, stats.row_forwards, stats.proposed) == (15, 3, 12)
    assert stats.forwards_per_token == pytest.approx(3 / 15)
    assert stats.calls == {"base": 3, "tuned": 15}
    plain = same.generate([[1, 5, 7], [1]], max_new_tokens=5, eos=[]).stats
    assert plain.forwards_per_token == 1.0
    assert plain.acceptance is None


def test_a_generator_makes_draws_repeatable(emulated, prompts):
    def draw(generate):
        return generate(prompts, max_new_tokens=6, generator=torch.Generator().manual_seed(3)).sequences

    for generate in (emulated.generate, emulated.speculative_generate):
        assert torch.equal(draw(generate), draw(generate))


def test_prompts_may_fill_the_context_to_the_last_place(emulated):
    prompt = [[1] + [4] * 29, [1, 5] * 20]
    plain = emulated.generate(prompt, max_new_tokens=8, temperature=0.0, eos=[])
    fast = emulated.speculative_generate(prompt, max_new_tokens=8, block_size=6, temperature=0.0, eos=[])
    assert fast.tokens == plain.tokens


def test_learned_positions_and_sliding_windows(prompts):
    torch.manual_seed(0)
    gpt = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_positions=40, n_embd=16, n_layer=1, n_head=2, initializer_range=0.5
        )
    ).eval()
    windowed = MistralForCausalLM(
        MistralConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            sliding_window=4,
            max_position_embeddings=40,
            initializer_range=0.5,
        )
    ).eval()
    for small in (gpt, windowed):
        trio = (llama(0, hidden=32, layers=2), nudged(small, 1, 0.1), small)
        model = EmulatedFineTuning(trio[0], Delta(trio[1], trio[2]))
        fast = model.speculative_generate(prompts, max_new_tokens=9, temperature=0.0, eos=[])
        assert fast.tokens == [without_cache(trio, prompt, 9) for prompt in prompts]
        assert fast.tokens == model.generate(prompts, max_new_tokens=9, temperature=0.0, eos=[]).tokens


# --- adapters -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapted():
    """A small model with two adapters."""
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(5)
    small = llama(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers in an old way
        model = get_peft_model(small, config, adapter_name="kind")
        model.add_adapter("curt", config)
    return model.eval()


def test_one_model_with_its_adapter_on_and_off_is_a_pair(trio, adapted, prompts):
    base = trio[0]
    model = EmulatedFineTuning(base, Delta(adapted))
    ids = [1, 5, 7]
    with adapted.disable_adapter():
        reference = logits_of(adapted, ids)
    expected = logits_of(base, ids) + logits_of(adapted, ids) - reference
    assert torch.allclose(model.next_logits(torch.tensor([ids]))[0], expected, atol=1e-5)
    assert torch.allclose(reference, logits_of(llama(1), ids), atol=1e-6)
    greedy = model.generate(prompts, max_new_tokens=6, temperature=0.0, eos=[])
    fast = model.speculative_generate(prompts, max_new_tokens=6, temperature=0.0, eos=[])
    assert fast.tokens == greedy.tokens


def test_adapters_by_name_share_one_model_and_leave_it_as_it_was(trio, adapted):
    model = EmulatedFineTuning(
        trio[0], [Delta(adapted, adapter="kind", weight=0.5), Delta(adapted, adapter="curt", weight=0.5)]
    )
    assert len(model.members) == 4
    trainable = [p.requires_grad for p in adapted.parameters()]
    ids = [1, 5, 7]
    found = model.next_logits(torch.tensor([ids]))[0]
    assert adapted.active_adapter == "kind"
    assert [p.requires_grad for p in adapted.parameters()] == trainable
    kind = logits_of(adapted, ids)
    adapted.set_adapter("curt")
    curt = logits_of(adapted, ids)
    adapted.set_adapter("kind")
    with adapted.disable_adapter():
        off = logits_of(adapted, ids)
    expected = logits_of(trio[0], ids) + 0.5 * (kind - off) + 0.5 * (curt - off)
    assert torch.allclose(found, expected, atol=1e-5)
    with pytest.raises(InputError, match="no adapter 'rude'"):
        EmulatedFineTuning(trio[0], Delta(adapted, adapter="rude"))


def test_an_adapter_that_names_another_base_is_warned_about(trio, adapted):
    adapted.peft_config["kind"].base_model_name_or_path = "family/small-v2"
    reference = llama(1)
    reference.name_or_path = "family/small-v1"
    with pytest.warns(UserWarning, match="trained on 'family/small-v2'; the reference given is"):
        EmulatedFineTuning(trio[0], Delta(adapted, reference))


# --- what is refused ----------------------------------------------------------------------------


def test_a_reference_of_other_weights_or_shape_is_refused(trio):
    base, tuned, reference = trio
    assert weight_similarity(tuned, reference) > 0.9
    assert abs(weight_similarity(llama(6), reference)) < 0.1
    with pytest.raises(InputError, match="weights are unrelated"):
        EmulatedFineTuning(base, Delta(tuned, llama(6)))
    with pytest.raises(InputError, match="hidden_size is 32 in the reference and 16"):
        EmulatedFineTuning(base, Delta(tuned, llama(6, hidden=32)))
    with pytest.raises(InputError, match="num_hidden_layers"):
        EmulatedFineTuning(base, Delta(tuned, llama(6, layers=2)))
    with pytest.warns(UserWarning, match="far from reference"):
        check_ancestor(Member("tuned", nudged(reference, 3, 0.9)), Member("reference", reference))
    EmulatedFineTuning(base, Delta(tuned, llama(6)), check_ancestors=False)


def test_experts_given_wrongly_are_refused(trio):
    base, tuned, reference = trio
    for experts, message in [
        ([tuned], "got list of LlamaForCausalLM"),
        (tuned, "got LlamaForCausalLM"),
        ([[Delta(tuned, reference)]], "got list of list"),
        ([], "list of nothing"),
        (Delta([tuned, tuned], reference), "tuned is a list of models"),
        (Delta(tuned), "reference is missing"),
        (Delta("gpt2", reference), "tuned is str"),
    ]:
        with pytest.raises(InputError, match=message):
            EmulatedFineTuning(base, experts)


def test_negative_weights_need_their_flag(trio):
    base, tuned, reference = trio
    with pytest.raises(InputError, match="undoes safety training"):
        EmulatedFineTuning(base, Delta(tuned, reference, -1.0))
    reverse = EmulatedFineTuning(base, Delta(tuned, reference, -1.0), allow_negative=True)
    ids = [1, 5, 7]
    expected = logits_of(base, ids) - logits_of(tuned, ids) + logits_of(reference, ids)
    assert torch.allclose(reverse.next_logits(torch.tensor([ids]))[0], expected, atol=1e-5)
    plain = EmulatedFineTuning(base, Delta(tuned, reference))
    for change in (lambda: plain.reweighted([-0.5]), lambda: plain.reweighted([1.0, 1.0])):
        with pytest.raises(InputError):
            change()


def test_interpolation_needs_two_experts_and_a_share(trio):
    base, tuned, reference = trio
    with pytest.raises(InputError, match="between two experts; there are 1"):
        EmulatedFineTuning(base, Delta(tuned, reference)).interpolate(0.5)
    two = EmulatedFineTuning(base, [Delta(tuned, reference), Delta(nudged(reference, 4), reference)])
    with pytest.raises(InputError, match=r"in \[0, 1\], got 1.2"):
        two.interpolate(1.2)


def test_amplification_needs_one_reference(trio):
    base, tuned, reference = trio
    other = llama(9)
    experts = [Delta(tuned, reference), Delta(nudged(other, 1), other)]
    plain = EmulatedFineTuning(base, experts)
    first = plain.reweighted([1.0, 0.0], amplify=0.0)  # of an expert without weight nothing is measured
    ids = torch.tensor([[1, 5, 7]])
    assert torch.allclose(first.next_logits(ids)[0], logits_of(tuned, [1, 5, 7]), atol=1e-6)
    for settings in ({"amplify": 1.5}, {"delta_top_p": 0.95}):
        with pytest.raises(InputError, match="the same reference"):
            EmulatedFineTuning(base, experts, **settings)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([[1, 2], []], "Prompt 1 of base is empty"),
        ([], "list of lists"),
        ("a text", "list of lists"),
        (["a text"], "no list of token ids"),
        ([[1.5]], "no list of token ids"),
        ({"tuned": [[1]]}, "prompts of the base are missing"),
        ({"base": [[1]], "tunde": [[1]]}, "Did you mean 'tuned'"),
        ({"base": [[1]], "tuned": [[1], [2]]}, "different numbers of prompts"),
        ([[1] * 45], "Prompt 0 has 45 tokens for base; with 8 more"),
        ([[1, 2], [3, 13]], "Prompt 1 has the token 13, and base knows only 13 tokens"),
        ({"base": [[1]], "tuned": [[99]]}, "Prompt 0 has the token 99, and tuned knows only 13"),
    ],
)
def test_prompts_that_cannot_be_continued_are_refused(emulated, prompts, message):
    with pytest.raises(InputError, match=message):
        emulated.generate(prompts, max_new_tokens=8)


def test_other_bad_input(emulated, trio):
    _, tuned, reference = trio
    with pytest.raises(InputError, match="reference_floor is a log-probability"):
        EmulatedFineTuning(trio[0], Delta(tuned, reference), reference_floor=3.0)
    for settings in ({"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_k": -1}):
        with pytest.raises(InputError):
            emulated.generate([[1]], **{"max_new_tokens": 3, **settings})
    with pytest.raises(InputError, match="block_size"):
        emulated.speculative_generate([[1]], max_new_tokens=3, block_size=0)
    with pytest.raises(InputError, match="first token"):
        emulated.logprobs(torch.tensor([[1, 2]]), torch.tensor([[True, True]]))
    with pytest.raises(InputError, match="A text of 50 tokens does not fit into the 48 of base"):
        emulated.logprobs(torch.ones(1, 50).long(), torch.arange(50)[None] > 0)
    with pytest.raises(InputError, match="1 prompts and 2 continuations"):
        emulated.score([[1]], [[2], [3]])
    with pytest.raises(InputError, match="continuation is empty"):
        emulated.score([[1]], [[]])
    with pytest.raises(InputError, match="Token 99 is not among the 13"):
        emulated.score([[1]], [[99]])
    with pytest.raises(InputError, match="training mode"):
        EmulatedFineTuning(llama(0).train(), Delta(tuned, reference))


def test_end_tokens_that_cannot_be_drawn_are_warned_of(emulated):
    with pytest.warns(UserWarning, match=r"No end token \[40\] is among the 13 tokens"):
        emulated.generate([[1, 5]], max_new_tokens=2, eos=40)


def test_masked_tokens_of_one_model_are_never_drawn(trio):
    base, tuned, _ = trio
    reference = llama(1)
    head = reference.lm_head.forward
    reference.lm_head.forward = lambda hidden: head(hidden).index_fill(-1, torch.tensor([3, 4]), -torch.inf)
    model = EmulatedFineTuning(base, Delta(tuned, reference))
    for generate in (model.generate, model.speculative_generate):
        found = generate([[1, 5]] * 40, max_new_tokens=5, eos=[])
        assert not torch.isin(found.sequences, torch.tensor([3, 4])).any()
        assert torch.isfinite(found.logprobs).all()
