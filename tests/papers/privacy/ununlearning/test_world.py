"""The small world: documents, what training sees, unlearning."""

import dataclasses

import pytest
import torch

from assay.errors import InputError
from assay.papers.privacy.unlearning import sequence_nll
from assay.papers.privacy.ununlearning.config import World
from assay.papers.privacy.ununlearning.method import METHODS, unlearn
from assay.papers.privacy.ununlearning.world import (
    Words,
    invented,
    model_of,
    train_all,
    train_reader,
    untrained,
)

SMALL = World(first_steps=5, reader_steps=5, learn_steps=8, unlearn_steps=5, batch_size=32, width=32)


def test_reading_documents_state_what_they_ask(words):
    ids, labels = words.reading(50, 3, torch.Generator().manual_seed(0))
    assert ids.shape == (50, 14)
    for row, label in zip(ids.tolist(), labels.tolist(), strict=True):
        assert row[0] == words.start
        assert row[7] == words.ask
        stated = {row[place]: row[place + 1] for place in (1, 3, 5)}
        asked = {row[place]: row[place + 1] for place in (8, 10, 12)}
        assert stated == asked
        assert [place for place, token in enumerate(label) if token != -100] == [9, 11, 13]
        assert [label[place] for place in (9, 11, 13)] == [row[place] for place in (9, 11, 13)]


def test_random_values_say_nothing_of_the_facts(facts, words):
    ids, _ = words.reading(4000, 3, torch.Generator().manual_seed(1))
    true = {
        int(words.entities[place]): int(words.values[fact.choices.index(fact.answer)])
        for place, fact in enumerate(facts)
    }
    stated = [
        (entity, value)
        for row in ids[:, 1:7].tolist()
        for entity, value in zip(row[::2], row[1::2], strict=True)
    ]
    right = sum(true[entity] == value for entity, value in stated) / len(stated)
    assert right == pytest.approx(1 / 32, abs=0.006)


def test_closed_book_documents_hold_known_facts_alone(facts, words):
    known = torch.tensor([[0, 5], [3, 7], [9, 1]])
    ids, labels = words.closed_book(known, 20, 2, torch.Generator().manual_seed(0))
    pairs = {(int(words.entities[entity]), int(words.values[value])) for entity, value in known.tolist()}
    for row in ids.tolist():
        assert row[:2] == [words.start, words.ask]
        assert {(row[2], row[3]), (row[4], row[5])} <= pairs
        assert row[2] != row[4]
    assert (labels != -100).sum(1).tolist() == [2] * 20
    single, label = words.single(known)
    assert single.shape == (3, 4)
    assert label[:, 3].tolist() == single[:, 3].tolist()


def test_tokenizer_and_documents_agree(facts, words):
    ids, _ = words.single(torch.tensor([[0, 4]]))
    text = f" ? {facts[0].entity} {facts[0].choices[4]}"
    assert words.tokenizer(text)["input_ids"] == ids[0].tolist()


def test_the_reader_is_the_same_for_all_facts():
    first, second = train_reader(SMALL), train_reader(SMALL)
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in first["weights"])
    assert 0 <= first["reading"] <= 1
    other = train_reader(dataclasses.replace(SMALL, reader_seed=2))
    assert any(not torch.equal(first["weights"][name], other["weights"][name]) for name in first["weights"])


def test_the_retrained_model_does_not_depend_on_what_is_forgotten():
    facts = invented(SMALL, torch.Generator().manual_seed(3))
    reader = train_reader(SMALL)["weights"]
    changed = [
        dataclasses.replace(fact, answer=fact.choices[0], fact="x") if fact.split == "forget" else fact
        for fact in facts
    ]
    first, second = (train_all(SMALL, records, reader, 0) for records in (facts, changed))
    assert all(torch.equal(first["retrained"][name], second["retrained"][name]) for name in reader)
    assert any(not torch.equal(first["original"][name], second["original"][name]) for name in reader)


@pytest.fixture(scope="module")
def trained():
    facts = invented(SMALL, torch.Generator().manual_seed(0))
    words = Words.of(facts)
    model = untrained(SMALL, words, 0)
    forget = words.single(torch.tensor([[0, 1], [1, 2]]))
    retain = words.single(torch.tensor([[2, 3], [3, 4]]))
    return model, forget, retain


@pytest.mark.parametrize("method", METHODS)
def test_unlearning_makes_the_facts_unlikely_and_leaves_the_model(trained, method):
    model, forget, retain = trained
    before = {name: value.clone() for name, value in model.state_dict().items()}
    after = unlearn(model, [forget], [retain], method, steps=20, learning_rate=3e-3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        assert (sequence_nll(after, forget) > sequence_nll(model, forget) + 1).all()
        if method != "gradient_ascent":
            assert (sequence_nll(after, retain) < sequence_nll(model, retain)).all()


def test_a_learning_rate_of_zero_changes_nothing(trained):
    model, forget, retain = trained
    after = unlearn(model, [forget], [retain], "npo", steps=3, learning_rate=0.0)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in after.state_dict().items())


def test_an_unknown_method_is_refused(trained):
    model, forget, retain = trained
    with pytest.raises(InputError, match=r"no unlearning method 'nop'. Did you mean 'npo'"):
        unlearn(model, [forget], [retain], "nop")


def test_weights_come_back(trained):
    model, forget, _ = trained
    facts = invented(SMALL, torch.Generator().manual_seed(0))
    again = model_of(SMALL, Words.of(facts), dict(model.state_dict()))
    with torch.no_grad():
        assert torch.equal(sequence_nll(again, forget), sequence_nll(model.eval(), forget))
