"""The processor inside transformers' own `generate`: it writes what the object writes."""

import copy

import pytest
import torch
from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor

from assay.errors import InputError
from assay.papers.language.eft.method import Delta, EFTLogitsProcessor, EmulatedFineTuning
from papers.language.eft.small_models import llama, nudged


def padded(prompts):
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "pad_token_id": 0}


def new_tokens(base, processor, prompts, **settings):
    inputs = padded(prompts)
    written = base.generate(
        **inputs,
        logits_processor=LogitsProcessorList([processor]),
        eos_token_id=None,
        **{"do_sample": False, "max_new_tokens": 8, **settings},
    )
    return written[:, inputs["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("settings", [{}, {"amplify": 1.5}, {"delta_top_p": 0.8}, {"weight": 0.5}])
def test_generate_writes_what_the_emulated_model_writes(trio, prompts, settings):
    base, tuned, reference = trio
    weight = settings.get("weight", 1.0)
    rest = {name: value for name, value in settings.items() if name != "weight"}
    wanted = EmulatedFineTuning(base, Delta(tuned, reference, weight), **rest).generate(
        prompts, max_new_tokens=8, temperature=0.0, eos=[]
    )
    processor = EFTLogitsProcessor(tuned, reference, weight, pad_token_id=0, **rest)
    assert new_tokens(base, processor, prompts) == wanted.tokens
    assert new_tokens(base, processor, prompts) == wanted.tokens  # the caches start anew
    assert new_tokens(base, processor, prompts[:1]) == wanted.tokens[:1]


def test_the_caches_grow_by_one_token_a_step(trio):
    base, tuned, reference = trio
    processor = EFTLogitsProcessor(tuned, reference, pad_token_id=0)
    new_tokens(base, processor, [[1, 5, 7]], max_new_tokens=6)
    for stream in processor._streams.values():
        assert stream.calls == 6
        assert stream.cache.get_seq_length() == 3 + 5


def test_beams_may_change_places(trio):
    base, tuned, reference = trio
    prompts = [[1, 5, 7]]
    processor = EFTLogitsProcessor(tuned, reference, pad_token_id=0)
    found = new_tokens(base, processor, prompts, num_beams=3, max_new_tokens=5)[0]
    emulated = EmulatedFineTuning(base, Delta(tuned, reference))
    beams = [([], 0.0)]
    for _ in range(5):
        longer = []
        for tokens, score in beams:
            told = emulated.next_logits(torch.tensor([[1, 5, 7, *tokens]])).log_softmax(-1)[0]
            longer += [([*tokens, v], score + float(told[v])) for v in range(len(told))]
        beams = sorted(longer, key=lambda pair: -pair[1])[:3]
    assert found == beams[0][0]


def test_small_models_may_have_prompts_of_their_own(trio):
    base, tuned, reference = trio
    own = {"base": [[1, 5]], "tuned": [[1, 9, 9, 4]], "reference": [[3]]}
    wanted = EmulatedFineTuning(base, Delta(tuned, reference)).generate(
        own, max_new_tokens=6, temperature=0.0, eos=[]
    )
    small = {name: own[name] for name in ("tuned", "reference")}
    processor = EFTLogitsProcessor(tuned, reference, prompts=small)
    assert new_tokens(base, processor, own["base"], max_new_tokens=6) == wanted.tokens
    with pytest.raises(InputError, match="give one a row"):
        new_tokens(base, EFTLogitsProcessor(tuned, reference, prompts={"tuned": [[1], [2]]}), [[1], [2], [3]])


def test_sampling_draws_what_the_combination_allows(trio):
    base, tuned, reference = trio
    processor = EFTLogitsProcessor(tuned, reference, pad_token_id=0)
    torch.manual_seed(0)
    found = new_tokens(base, processor, [[1, 5, 7]] * 64, do_sample=True, top_k=1, max_new_tokens=3)
    greedy = new_tokens(base, processor, [[1, 5, 7]], max_new_tokens=3)
    assert found == greedy * 64


def test_penalties_given_to_the_processor_act_on_the_combination(trio, prompts):
    base, tuned, reference = trio
    wanted = EmulatedFineTuning(base, Delta(tuned, reference)).generate(
        prompts[:1], max_new_tokens=8, temperature=0.0, eos=[], repetition_penalty=1.6
    )
    penalties = [RepetitionPenaltyLogitsProcessor(1.6)]
    processor = EFTLogitsProcessor(tuned, reference, penalties=penalties)
    assert new_tokens(base, processor, prompts[:1]) == wanted.tokens


def test_padding_is_known_from_the_config_or_the_tokenizer(trio, prompts):
    base, tuned, reference = trio
    wanted = EmulatedFineTuning(base, Delta(tuned, reference)).generate(
        prompts, max_new_tokens=8, temperature=0.0, eos=[]
    )
    assert new_tokens(base, EFTLogitsProcessor(tuned, reference), prompts) == wanted.tokens
    unknown = [copy.deepcopy(model) for model in (tuned, reference)]
    for model in unknown:
        model.config.pad_token_id = None
    with pytest.raises(InputError, match="pass pad_token_id="):
        new_tokens(base, EFTLogitsProcessor(*unknown), prompts)
    assert new_tokens(base, EFTLogitsProcessor(*unknown), prompts[:1] * 2) == wanted.tokens[:1] * 2
    for model in unknown:  # texts start with what fills them up
        model.config.pad_token_id = model.config.bos_token_id = 0
    started = [[0, *prompt[1:]] for prompt in prompts if len(prompt) > 1]
    wanted = EmulatedFineTuning(base, Delta(tuned, reference)).generate(
        started, max_new_tokens=8, temperature=0.0, eos=[]
    )
    inputs = {**padded(started)}
    inputs["attention_mask"] = (inputs["input_ids"].cumsum(-1) > 0).long()
    inputs["attention_mask"][:, :-1] |= inputs["attention_mask"][:, 1:]
    found = base.generate(
        **inputs,
        logits_processor=LogitsProcessorList([EFTLogitsProcessor(*unknown)]),
        eos_token_id=None,
        do_sample=False,
        max_new_tokens=8,
    )
    assert found[:, inputs["input_ids"].shape[1] :].tolist() == wanted.tokens


def test_what_is_refused(trio):
    base, tuned, reference = trio
    with pytest.raises(InputError, match="weights are unrelated"):
        EFTLogitsProcessor(tuned, llama(7))
    with pytest.raises(InputError, match="below 0"):
        EFTLogitsProcessor(tuned, reference, -0.5)
    with pytest.raises(InputError, match="tuned is a list of models"):
        EFTLogitsProcessor([tuned], reference)
    with pytest.raises(InputError, match="gives 15 logits and the small ones 13"):
        new_tokens(llama(0, vocabulary=15), EFTLogitsProcessor(tuned, reference), [[1]])
    short = llama(1, context=6)
    processor = EFTLogitsProcessor(nudged(short, 2), short)
    with pytest.raises(InputError, match="does not fit into the 6 of tuned"):
        new_tokens(base, processor, [[1, 2, 3, 4, 5, 6, 7]])
