"""The documents of the default check: what they state, ask and label."""

import pytest
import torch


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
