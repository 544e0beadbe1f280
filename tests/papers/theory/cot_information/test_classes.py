"""Hypothesis classes and how they are compared with a reference."""

import itertools

import numpy as np
import pytest
from scipy import stats

from assay.papers.theory.cot_information.method import (
    Agreements,
    Automata,
    ConstantTraces,
    Labels,
    LinearAutoregressive,
    ProductClass,
    RevealingTraces,
    ShuffleIdeals,
    Tabulated,
    acceptance,
    balanced_words,
    compare,
    cot_information,
    enumerate_words,
    enumerated_agreement,
    exact_agreement,
    information_of,
    random_automata,
    uniform_words,
)


def generator(seed=0):
    return np.random.default_rng(seed)


def naive_ideal(pattern, word):
    """Answer and trace of one shuffle ideal on one word, written as in the definition."""
    state, trace = 0, []
    for symbol in word:
        if state < len(pattern) and symbol == pattern[state]:
            state += 1
        trace.append(state)
    return int(state == len(pattern)), trace


def slow(hypotheses, reference, inputs):
    """Agreements from all traces at once."""
    answers, traces = hypotheses.evaluate(np.arange(len(hypotheses)), inputs)
    same = answers == answers[reference]
    return same & (traces == traces[reference]).all(2), same


def test_shuffle_ideals_follow_their_definition():
    ideals, words = ShuffleIdeals(3, 2), uniform_words(20, 7, 3, generator())
    answers, traces = ideals.evaluate(np.arange(9), words)
    for row, pattern in enumerate(itertools.product(range(3), repeat=2)):
        assert ideals.patterns[row].tolist() == list(pattern)
        for column, word in enumerate(words):
            assert (answers[row, column], traces[row, column].tolist()) == naive_ideal(pattern, word)


@pytest.mark.parametrize(
    ("hypotheses", "length"),
    [
        (ShuffleIdeals(4, 3), 12),
        (ShuffleIdeals(2, 5), 9),
        (ShuffleIdeals(2, 1), 3),
        (random_automata(4, 3, 40, generator(1)), 10),
        (LinearAutoregressive(4, 6), 5),
        (ProductClass(ShuffleIdeals(2, 2), ShuffleIdeals(2, 3)), 6),
        (ConstantTraces(ShuffleIdeals(2, 3)), 6),
    ],
    ids=["ideals", "binary", "one", "automata", "linear", "product", "constant"],
)
@pytest.mark.parametrize("chunk", [1, 2**26])
def test_comparing_without_traces_is_comparing_traces(hypotheses, length, chunk, monkeypatch):
    monkeypatch.setattr(
        "assay.papers.theory.cot_information.method.automata.CHUNK_BYTES", 20_000 if chunk == 1 else chunk
    )
    alphabet = 4 if length == 12 else 3 if length == 10 else 2
    words = uniform_words(203, length, alphabet, generator(2))
    for reference in (0, len(hypotheses) // 3, len(hypotheses) - 1):
        found = compare(hypotheses, reference, words, chunk_bytes=chunk)
        both, same = slow(hypotheses, reference, words)
        assert np.array_equal(found.unpack(found.both), both)
        assert np.array_equal(found.unpack(found.answers), same)


def test_linear_autoregression_by_hand():
    linear = LinearAutoregressive(2, 3, grid=(-1, 1))
    assert linear.weights.tolist() == [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    answers, traces = linear.evaluate(np.array([1]), np.array([[0, 1], [1, 0]]))
    # w = (-1, 1): 01 -> 1, then 11 -> 1, then 11 -> 1;  10 -> 0, then 00 -> 1, then 01 -> 1
    assert traces.tolist() == [[[1, 1, 1], [0, 1, 1]]]
    assert answers.tolist() == [[1, 1]]
    with pytest.raises(ValueError, match="words of 2 bits or more, got 1"):
        linear.evaluate(np.array([0]), np.array([[0]]))
    with pytest.raises(ValueError, match="window of 1 to 20"):
        LinearAutoregressive(0, 3)


def test_parts_of_a_sample_keep_their_bits():
    random = generator(3)
    both, same = random.random((5, 61)) < 0.5, random.random((5, 61)) < 0.5
    whole = Agreements.of(both, same, 0.5)
    for start, stop in ((0, 20), (16, 61), (8, 24), (3, 47)):
        part = whole.part(start, stop)
        assert np.array_equal(part.unpack(part.both), both[:, start:stop])
        assert np.array_equal(part.count(part.answers), same[:, start:stop].sum(1))
        assert part.agree() == pytest.approx(both[:, start:stop].mean(1))
    mixed = whole.shuffled(generator(4))
    assert np.array_equal(mixed.count(mixed.both), whole.count(whole.both))
    assert not np.array_equal(mixed.unpack(mixed.both), both)


# --- exact agreement ----------------------------------------------------------------------------


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("automata", [random_automata(4, 2, 12, generator(5)), ShuffleIdeals(2, 3).automata])
def test_the_chain_is_the_enumeration(automata, balanced):
    words = enumerate_words(10, 2)
    assert len(words) == 1024
    labels = automata.evaluate(np.array([3]), words)[0][0]
    weights = np.full(1024, 1 / 1024)
    if balanced:
        weights = np.where(labels == 1, 0.5 / (labels == 1).sum(), 0.5 / (labels == 0).sum())
    chain = exact_agreement(automata, 3, 10, balanced=balanced)
    listed = enumerated_agreement(automata, 3, words, weights)
    assert np.abs(chain.agree - listed.agree).max() < 1e-12
    assert np.abs(chain.errors - listed.errors).max() < 1e-12
    assert chain.base_rate == pytest.approx(listed.base_rate)


def test_the_chain_knows_unequal_symbols():
    automata, words = random_automata(3, 2, 6, generator(6)), enumerate_words(6, 2)
    chances = np.array([0.2, 0.8])
    chain = exact_agreement(automata, 0, 6, chances)
    listed = enumerated_agreement(automata, 0, words, chances[words].prod(1))
    assert np.abs(chain.agree - listed.agree).max() < 1e-12


@pytest.mark.parametrize(
    ("alphabet", "length", "expected"), [(4, 16, 0.5**16), (3, 5, (1 / 3) ** 5), (2, 8, 0.0)]
)
def test_ideals_with_another_first_symbol_agree_only_where_neither_symbol_comes(alphabet, length, expected):
    ideals = ShuffleIdeals(alphabet, 3)
    exact = exact_agreement(ideals.automata, 0, length)
    other = ideals.patterns[:, 0] != 0
    assert exact.agree[other] == pytest.approx(expected, abs=1e-15)
    assert exact.agree[0] == pytest.approx(1.0)


def test_balanced_words_are_balanced_and_uniform_within_an_answer():
    ideals = ShuffleIdeals(4, 4)
    words = balanced_words(ideals.automata, 77, 20_000, 16, generator(7))
    answers = ideals.automata.answers(np.array([77]), words)[0]
    assert answers.mean() == pytest.approx(0.5, abs=0.015)
    sampled = compare(ideals, 77, words)
    exact = exact_agreement(ideals.automata, 77, 16, balanced=True)
    assert np.abs(sampled.agree() - exact.agree).max() < 0.02
    assert np.abs(sampled.errors() - exact.errors).max() < 0.02


def test_words_contain_a_pattern_as_often_as_one_symbol_comes_that_often():
    ideals = ShuffleIdeals(4, 4).automata
    for reference in (0, 27, 255):  # the share does not depend on the pattern
        assert acceptance(ideals, reference, 16) == pytest.approx(stats.binom.sf(3, 16, 0.25))


def test_a_reference_with_one_answer_cannot_be_balanced():
    always = Automata(np.zeros((1, 2, 2), dtype=np.int8), np.array([[True, False]]))
    with pytest.raises(ValueError, match="one answer to all words"):
        balanced_words(always, 0, 5, 4, generator())
    with pytest.raises(ValueError, match="one answer to all words"):
        exact_agreement(always, 0, 4, balanced=True)


# --- variants -----------------------------------------------------------------------------------


def test_a_product_class_has_no_gain():
    product = ProductClass(ShuffleIdeals(2, 2), ShuffleIdeals(2, 3))
    curve = cot_information(product, 5, uniform_words(500, 8, 2, generator()), split=0.0)
    assert np.array_equal(curve.info, curve.e2e_info)
    assert np.all(curve.information_gain == 1)


def test_a_trace_that_reveals_the_hypothesis_leaves_nothing_open():
    revealing = RevealingTraces(ShuffleIdeals(2, 3))
    words = uniform_words(50, 8, 2, generator())
    found = compare(revealing, 2, words)
    assert found.agree().tolist() == [float(row == 2) for row in range(8)]
    curve = cot_information(revealing, 2, words, split=0.0)
    assert np.isinf(curve.info).all()


# --- refused ------------------------------------------------------------------------------------


def test_a_reference_outside_the_class_is_refused():
    ideals, words = ShuffleIdeals(2, 2), uniform_words(9, 5, 2, generator())
    with pytest.raises(ValueError, match="The reference 4 is not in the class, whose 4 hypotheses"):
        compare(ideals, 4, words)
    labels = Labels(np.ones(9, dtype=np.int8), np.full((9, 5), 7))
    with pytest.raises(ValueError, match="agnostic=True"):
        cot_information(ideals, labels, words)
    assert information_of(compare(ideals, labels, words, agnostic=True), agnostic=True).agnostic is not None


def test_labels_of_another_length_are_refused():
    ideals, words = ShuffleIdeals(2, 2), uniform_words(9, 5, 2, generator())
    with pytest.raises(ValueError, match="traces have 4 symbols, those of the class 5"):
        compare(ideals, Labels(np.ones(9, dtype=np.int8), np.zeros((9, 4), dtype=np.int8)), words)
    with pytest.raises(ValueError, match="9 inputs, but 8 answers"):
        compare(ideals, Labels(np.ones(8, dtype=np.int8), np.zeros((8, 5), dtype=np.int8)), words)
    with pytest.raises(ValueError, match="no inputs"):
        compare(ideals, 0, words[:0])


def test_words_and_classes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="symbols from 0 to 3; the alphabet of this class is 0 to 1"):
        compare(ShuffleIdeals(2, 2), 0, np.array([[0, 3]]))
    with pytest.raises(ValueError, match="2 symbols and a pattern"):
        ShuffleIdeals(1, 2)
    with pytest.raises(ValueError, match=r"lead to the states 0 to 1, not to 0\.\.2"):
        Automata(np.array([[[0, 2], [1, 1]]]), np.array([[True, False]]))
    with pytest.raises(ValueError, match="2 states"):
        random_automata(1, 2, 3, generator())
    with pytest.raises(ValueError, match="too many to enumerate"):
        enumerate_words(64, 4)


def test_a_table_of_values_is_a_class():
    table = Tabulated(np.array([[0, 1], [1, 1]]), np.array([[[0], [0]], [[0], [1]]]))
    found = compare(table, 0, np.array([[0], [1]]))
    assert found.errors().tolist() == [0.0, 0.5]
    assert found.agree().tolist() == [1.0, 0.0]
