"""Contexts: what stands in them, what must not, and how long they are."""

from collections import Counter

import pytest
from scipy.stats import chisquare

from assay.errors import InputError
from assay.models import word_tokenizer
from assay.papers.privacy.ununlearning.method import (
    LEVELS,
    ContextBuilder,
    FactRecord,
    PromptForm,
    guess_rate,
)
from assay.papers.privacy.ununlearning.method.contexts import holds
from assay.papers.privacy.ununlearning.synthetic import FORM

PEOPLE = ("Ana", "Bela", "Carl", "Dora", "Egon", "Fritz", "Gina", "Hans")
TOWNS = ("Rome", "Oslo", "Bern", "Riga", "Kiel", "Bonn", "Lodz", "Nice")


@pytest.fixture(scope="module")
def records():
    return [
        FactRecord(
            id=person,
            entity=person,
            question=f"Where does {person} live?",
            answer=town,
            fact=f"{person} lives in the old town of {town}" + " indeed" * (place % 3),
            paraphrases=(f"The home of {person} is {town}", f"{town} is where {person} lives"),
            axioms=(f"{person} lives with X{place}", f"X{place} lives at the seat of Y{place}"),
            split="forget" if place < 3 else "retain",
        )
        for place, (person, town) in enumerate(zip(PEOPLE, TOWNS, strict=True))
    ]


@pytest.fixture(scope="module")
def tokenizer(records):
    return word_tokenizer(
        [text for fact in records for text in (fact.fact, fact.question, *fact.axioms)], 200
    )


def build(level, records, tokenizer, n=2, **options):
    builder = ContextBuilder(level, records, tokenizer, n, **options)
    return [builder.build(fact, place) for fact in records for place in range(5)]


def test_closed_book_is_the_question_alone(records, tokenizer):
    prompt = build("closed_book", records, tokenizer)[0]
    assert prompt.text == "Question: Where does Ana live?\nAnswer:"
    assert prompt.position is None


def test_the_fact_stands_at_its_place_among_distractors(records, tokenizer):
    for prompt in build("direct", records, tokenizer):
        lines = prompt.text.split("\n")[:3]
        assert lines[prompt.position] == prompt.fact.fact
        others = [line for place, line in enumerate(lines) if place != prompt.position]
        assert all(not holds(line, prompt.fact.answer) for line in others)
        kept = {fact.fact for fact in records if fact.split == "retain" and fact.id != prompt.fact.id}
        assert set(others) <= kept


def test_levels_differ_in_one_statement(records, tokenizer):
    texts = {
        level: build(level, records, tokenizer)
        for level in ("direct", "paraphrase", "irrelevant", "wrong_fact")
    }
    for prompts in zip(*texts.values(), strict=True):
        lines = [prompt.text.split("\n") for prompt in prompts]
        place = prompts[0].position
        assert len({tuple(line[:place] + line[place + 1 :]) for line in lines}) == 1
        assert len({line[place] for line in lines}) == 4


def test_an_irrelevant_context_never_tells_and_is_as_long(records, tokenizer):
    pairs = zip(build("irrelevant", records, tokenizer), build("direct", records, tokenizer), strict=True)
    for irrelevant, direct in pairs:
        context = irrelevant.text[: -len(direct.fact.question)].rpartition("Question")[0]
        assert not holds(context, direct.fact.answer)
        assert not holds(context, direct.fact.entity)
        lengths = [len(tokenizer(prompt.text)["input_ids"]) for prompt in (irrelevant, direct)]
        assert abs(lengths[0] / lengths[1] - 1) <= 0.1
        assert abs(irrelevant.length_ratio - 1) <= 0.15


def test_a_derivation_never_holds_the_answer(records, tokenizer):
    for prompt in build("derivation", records, tokenizer):
        assert not holds(prompt.text, prompt.fact.answer)
        assert all(axiom in prompt.text for axiom in prompt.fact.axioms)
    spoiled = [
        FactRecord("1", "Ana", "Where?", "Rome", "Ana is in Rome.", axioms=("She is in rome now.",)),
        *records[3:],
    ]
    with pytest.raises(InputError, match="An axiom of '1' holds its answer"):
        ContextBuilder("derivation", spoiled, tokenizer, 2).build(spoiled[0])


def test_demonstrations_leave_the_item_out(records, tokenizer):
    for prompt in build("demonstrations", records, tokenizer):
        shots = prompt.text.removesuffix(f"Question: {prompt.fact.question}\nAnswer:")
        assert prompt.fact.question not in shots
        assert not holds(shots, prompt.fact.answer)
        asked = [fact for fact in records if fact.question in shots]
        assert len(asked) == 2
        assert {fact.split for fact in asked} == {prompt.fact.split}


def test_a_false_answer_takes_the_place_of_the_right_one(records, tokenizer):
    for prompt in build("wrong_fact", records, tokenizer):
        assert prompt.false_answer in TOWNS
        assert prompt.false_answer != prompt.fact.answer
        assert prompt.fact.fact.replace(prompt.fact.answer, prompt.false_answer) in prompt.text
        assert not holds(prompt.text, prompt.fact.answer)


def test_places_are_uniform(facts, words):
    builder = ContextBuilder("direct", facts, words.tokenizer, 3, form=FORM)
    places = Counter(builder.build(fact, place).position for fact in facts for place in range(12))
    assert chisquare([places[place] for place in range(4)]).pvalue > 0.01


def test_contexts_are_the_same_for_a_seed(records, tokenizer):
    assert build("direct", records, tokenizer) == build("direct", records, tokenizer)
    assert build("direct", records, tokenizer) != build("direct", records, tokenizer, seed=1)


def test_distractors_that_do_not_fit_are_dropped_and_the_fact_is_not(records, tokenizer):
    for prompt in build("direct", records, tokenizer, n=4, max_tokens=40):
        assert prompt.dropped > 0
        assert prompt.fact.fact in prompt.text.split("\n")[prompt.position]
        assert len(tokenizer(f"{prompt.text} {prompt.fact.answer}")["input_ids"]) <= 40
    with pytest.raises(InputError, match="and the model takes 12"):
        build("direct", records, tokenizer, max_tokens=12)


def test_what_a_fact_lacks_gives_no_prompt(facts, words):
    for level in ("paraphrase", "derivation"):
        assert ContextBuilder(level, facts, words.tokenizer, 2, form=FORM).build(facts[0]) is None
    unsaid = [FactRecord("1", "Ana", "Where?", "Rome", "She lives there."), *facts]
    assert ContextBuilder("wrong_fact", unsaid, words.tokenizer, 2).build(unsaid[0]) is None


def test_bad_input_is_refused(records, tokenizer):
    with pytest.raises(InputError, match=r"no level 'dirct'. Did you mean 'direct'"):
        ContextBuilder("dirct", records, tokenizer)
    with pytest.raises(InputError, match="5 distractors for 'Dora' need"):
        ContextBuilder("direct", records, tokenizer, 5).build(records[3])
    with pytest.raises(InputError, match="form of a question needs"):
        PromptForm(question="Q:")


def test_what_guessing_gives():
    assert guess_rate("direct", 3, 32) == 0.25
    assert guess_rate("closed_book", 0, 32) == 1 / 32
    assert guess_rate("closed_book", 0, 0) is None
    assert len(LEVELS) == 7


def test_whole_words_are_held():
    assert holds("She lives in  ROME, now", "rome")
    assert not holds("Romeo", "rome")
