"""Facts from files and from nowhere, and whether a model knows them."""

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from assay.errors import InputError
from assay.models import tiny_causal_lm, word_tokenizer
from assay.papers.privacy.knowledge import (
    FactRecord,
    closed_book_accuracy,
    encode_pair,
    facts_from_rwku,
    facts_from_tofu,
    invent_facts,
    invented_names,
    read_facts,
    refuse_overlap,
    score_answers,
    write_facts,
)

LINE = {"question": "Where does Ana live?", "answer": "in Rome", "entity": "Ana"}


def written(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_facts_are_written_and_read_again(tmp_path: Path) -> None:
    facts = [
        FactRecord(
            "1", "Ana", "Where?", "Rome", "Ana lives in Rome.", ("Rome is Ana's home.",), (), ("Rome", "Oslo")
        ),
        FactRecord("2", "Béla", "Where?", "Oslo", "Béla lives in Oslo.", axioms=("a", "b"), split="retain"),
    ]
    write_facts(tmp_path / "facts.jsonl", facts)
    assert read_facts(tmp_path / "facts.jsonl") == facts


def test_line_separators_inside_a_text_end_no_line(tmp_path: Path) -> None:
    fact = FactRecord("1", "E", "Q\x85?", "a\u2028b", "Q? a\u2028b\u2029")
    write_facts(tmp_path / "facts.jsonl", [fact])
    assert read_facts(tmp_path / "facts.jsonl") == [fact]


def test_what_a_line_leaves_out_has_defaults(tmp_path: Path) -> None:
    (fact,) = read_facts(written(tmp_path / "facts.jsonl", "", LINE))
    assert (fact.id, fact.split, fact.fact) == ("2", "forget", "Where does Ana live? in Rome")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "line 1, column 2: Expecting property name"),
        (["[1]"], "line 1: expected an object"),
        ([LINE, {"question": "q", "entity": "e"}], "line 2: 'answer' is missing"),
        ([LINE | {"anser": "x"}], r"no field 'anser'. Did you mean 'answer'"),
        ([LINE | {"answer": "  "}], "'answer' must be a text that is not empty"),
        ([LINE | {"question": 3}], "'question' must be a text"),
        ([LINE | {"choices": "Rome"}], "'choices' must be a list of texts"),
        ([LINE | {"choices": ["Rome", "Oslo"]}], "is not among the choices"),
        ([LINE | {"choices": ["in Rome", "in Rome"]}], "a choice is repeated in"),
        ([LINE | {"split": "keep"}], "no split 'keep'"),
        ([LINE | {"id": "a"}, LINE | {"id": "a"}], "line 2: the id 'a' is that of an earlier fact"),
        (["", ""], "is empty"),
    ],
)
def test_bad_files_are_refused_with_the_line(tmp_path: Path, lines: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_facts(written(tmp_path / "facts.jsonl", *lines))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        read_facts(tmp_path / "nothing.jsonl")


def test_rows_of_tofu_become_facts() -> None:
    rows = [
        {
            "question": f"Question {n}?",
            "answer": f"Answer {n}.",
            "paraphrased_answer": f"It is answer {n}.",
            "perturbed_answer": ["Wrong.", "Wrong too."],
            "paraphrased_question": f"What of {n}?",
        }
        for n in range(21)
    ]
    facts = facts_from_tofu(rows, "forget")
    assert facts[0].fact == "Question 0? Answer 0."
    assert facts[0].paraphrases == ("What of 0? It is answer 0.",)
    assert facts[0].choices == ("Answer 0.", "Wrong.", "Wrong too.")
    assert facts[19].entity == facts[0].entity != facts[20].entity
    plain = facts_from_tofu([{"question": "q", "answer": "a"}], "retain")[0]
    assert (plain.choices, plain.paraphrases, plain.split) == ((), (), "retain")
    with pytest.raises(InputError, match="no column 'answer'"):
        facts_from_tofu([{"question": "q", "text": "a"}], "retain")


def test_probes_of_rwku_become_facts() -> None:
    rows = [
        {"subject": "Ana", "query": "Ana lives in ___.", "answer": "Rome", "level": "1"},
        {"subject": "Ana", "query": "Where does Ana live?", "answer": "Rome", "level": "2"},
    ]
    assert [fact.fact for fact in facts_from_rwku(rows, "forget")] == [
        "Ana lives in Rome.",
        "Where does Ana live? Rome",
    ]
    with pytest.raises(InputError, match="no rows"):
        facts_from_rwku([], "forget")


def test_what_is_forgotten_cannot_be_kept() -> None:
    forget = [FactRecord("1", "Ana", "Where does she live?", "Rome", "Ana lives in Rome.")]
    other = FactRecord("2", "Béla", "Where does he live?", "Rome", "Béla lives in Rome.", split="retain")
    refuse_overlap(forget, [other])
    for same in (
        FactRecord("3", "ana", "Where does she  live?", "Oslo", "Ana is from Oslo."),
        FactRecord("4", "A.", "Home?", "Rome", "ana lives in rome."),
    ):
        with pytest.raises(InputError, match="to be forgotten, and the same fact"):
            refuse_overlap(forget, [other, same])


def test_invented_facts_follow_the_generator_and_their_names_do_not() -> None:
    first, second = (invent_facts(32, 8, 32, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert [fact.entity for fact in first] == [fact.entity for fact in second]
    assert [fact.answer for fact in first] != [fact.answer for fact in second]
    assert sum(fact.split == "forget" for fact in first) == 8
    names = {fact.entity for fact in first} | set(first[0].choices)
    assert len({name.casefold() for name in names}) == 64
    assert first == invent_facts(32, 8, 32, torch.Generator().manual_seed(1))
    with pytest.raises(ValueError, match="cannot forget"):
        invent_facts(4, 4, 4, torch.Generator())


def test_invented_values_are_uniform() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [fact.answer for _ in range(200) for fact in invent_facts(32, 1, 4, generator)]
    assert all(abs(drawn.count(value) / len(drawn) - 0.25) < 0.03 for value in set(drawn))


def test_invented_names_are_different() -> None:
    assert len(set(invented_names(3600))) == 3600
    with pytest.raises(ValueError, match="invented words"):
        invented_names(3601)


# --- a model that knows by construction -----------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer([" Ana lives in Rome and Béla in Oslo ? a b c d e f"], 40)


def test_scores_are_sums_of_log_softmax_whatever_the_batch(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_causal_lm(tokenizer, hidden=16, layers=1, heads=2)
    prompts = [" Ana", " Ana lives", " Béla lives in", " a b c d"] * 2
    answers = [" lives in Rome", " in Rome", " Oslo", " e", " Rome", " in Oslo", " Rome", " f"]
    scores = score_answers(model, tokenizer, prompts, answers, batch_size=8)
    alone = score_answers(model, tokenizer, prompts, answers, batch_size=1)
    for prompt, answer, score, single in zip(prompts, answers, scores, alone, strict=True):
        ids = tokenizer(prompt + answer, return_tensors="pt")["input_ids"]
        border = tokenizer(prompt, return_tensors="pt")["input_ids"].shape[1]
        steps = model(input_ids=ids).logits[0, border - 1 : -1].log_softmax(-1)
        by_hand = steps.gather(1, ids[0, border:, None]).sum().item()
        assert score.logprob == pytest.approx(by_hand, abs=1e-4)
        assert single.logprob == pytest.approx(by_hand, abs=1e-4)
        assert score.tokens == ids.shape[1] - border
        assert score.greedy == bool((steps.argmax(-1) == ids[0, border:]).all())


def test_greedy_is_what_generation_begins_with(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_causal_lm(tokenizer, hidden=16, layers=1, heads=2, seed=3)
    prompt = " Ana lives"
    ids = tokenizer(prompt, return_tensors="pt")
    generated = model.generate(**ids, max_new_tokens=2, do_sample=False)[0, ids["input_ids"].shape[1] :]
    answer = tokenizer.decode(generated)
    wrong = " Oslo Oslo" if answer != " Oslo Oslo" else " Rome Rome"
    first, second = score_answers(model, tokenizer, [prompt] * 2, [answer, wrong])
    assert first.greedy
    assert not second.greedy


def test_the_start_token_stands_once(tokenizer: PreTrainedTokenizerFast) -> None:
    ids, border = encode_pair(tokenizer, " Ana lives", " in Rome")
    assert ids == tokenizer(" Ana lives in Rome")["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(ids[border:]) == " in Rome"
    chatting = word_tokenizer([" Ana lives in Rome"], 40)
    chatting.chat_template = "<s>{{ messages[0]['content'] }}<unk>"
    ids, border = encode_pair(chatting, " Ana", "lives", chat=True)
    assert ids.count(chatting.bos_token_id) == 1
    assert len(ids) - border == 1


def test_what_cannot_be_scored_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_causal_lm(tokenizer, hidden=16, layers=1, heads=2, context=8)
    with pytest.raises(InputError, match="has no token"):
        score_answers(model, tokenizer, [" Ana"], [""])
    with pytest.raises(InputError, match="no chat template"):
        score_answers(model, tokenizer, [" Ana"], [" Rome"], chat=True)
    with pytest.raises(InputError, match="have 11 tokens; the model takes 8"):
        score_answers(model, tokenizer, [" Ana" * 9], [" Rome"])


def test_a_model_that_learnt_some_facts_knows_just_those() -> None:
    facts = invent_facts(12, 4, 8, torch.Generator().manual_seed(0))
    tokenizer = word_tokenizer([f" {fact.entity} {value}" for fact in facts for value in fact.choices], 100)
    model = tiny_causal_lm(tokenizer, hidden=32, layers=1, heads=2)
    kept = [fact for fact in facts if fact.split == "retain"]
    ids = tokenizer([f" {fact.fact}" for fact in kept], return_tensors="pt")["input_ids"]
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    known = closed_book_accuracy(model, tokenizer, facts, question=" {question}")
    right = dict(zip(known.ids, known.values, strict=True))
    assert all(right[fact.id] == 1 for fact in kept)
    assert sum(right[fact.id] for fact in facts if fact.split == "forget") <= 2
    assert known.clusters == tuple(fact.entity for fact in facts)
