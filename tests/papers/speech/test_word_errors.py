"""Word error rates, alignments and what the errors are about."""

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from rapidfuzz.distance import Levenshtein

from assay.errors import InputError
from assay.papers.speech.esb.method import (
    align,
    break_down,
    count_errors,
    edit_counts,
    macro_average,
    mark_scores,
    plain_words,
    wer,
)

TEXTS = st.lists(st.sampled_from(["a", "A", "a.", "b", "B,", "c", "-"]), max_size=7).map(" ".join)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6)


def test_wer_of_hand_computed_examples():
    assert wer("a b c", "a x c") == pytest.approx(1 / 3)
    assert wer("a", "b c d") == 3
    assert wer("a b", "") == 1
    assert wer(["a", "a b c"], ["b", "a b c"]) == 1 / 4  # pooled, not the mean of rates


def test_macro_average_of_the_leaderboards_row():
    assert round(macro_average([8.13, 10.86, 9.34, 1.25, 2.37, 3.08, 2.49, 5.87]), 2) == 5.42


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_wer_is_that_of_jiwer(pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    edits, words = edit_counts(references, hypotheses)
    assert count_errors(references, hypotheses).edits == edits.sum()
    kept = [row for row in range(len(pairs)) if words[row]]
    if kept:
        ours = wer([references[row] for row in kept], [hypotheses[row] for row in kept])
        assert ours == jiwer.wer([references[row] for row in kept], [hypotheses[row] for row in kept])


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS)
def test_an_alignment_has_the_least_edits_and_loses_no_word(reference, hypothesis):
    pairs = list(align(reference.split(), hypothesis.split()))
    assert [left for left, _ in pairs if left is not None] == reference.split()
    assert [right for _, right in pairs if right is not None] == hypothesis.split()
    edits = sum(left != right for left, right in pairs)
    assert edits == Levenshtein.distance(reference.split(), hypothesis.split())


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_the_kinds_sum_to_all_edits(pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    assert break_down(references, hypotheses).edits == count_errors(references, hypotheses).edits


def test_ties_go_to_substitution_before_deletion_before_insertion():
    found = count_errors(["a b"], ["b c"])
    assert (found.substitutions, found.deletions, found.insertions) == (2, 0, 0)
    assert found.rate == 1


def test_each_edit_counts_in_its_kind():
    reference = ["The cat, sat - on It's. mat here"]
    hypothesis = ["the cat sat on its dog here too"]
    found = break_down(reference, hypothesis)
    assert vars(found) == {
        "words": 8,
        "case": 1,  # The / the
        "punctuation": 2,  # cat, / cat and the lone dash
        "case_and_punctuation": 1,  # It's. / its
        "lexical": 1,  # mat / dog
        "deletions": 0,
        "insertions": 1,  # too
    }
    assert found.shares()["punctuation"] == 2 / 8


def test_marks_are_scored_on_aligned_words():
    scores = mark_scores(["Yes, it is. Really?"], ["Yes it is. really!"])
    assert scores["."] == 1.0
    assert scores[","] == scores["?"] == scores["!"] == 0.0
    assert scores["capital"] == pytest.approx(2 / 3)  # Yes found, Really missed
    assert scores["'"] is None


def test_plain_words_have_no_case_and_no_punctuation():
    assert plain_words("He said: - “Don't!”") == "he said dont"


def test_many_different_words_are_told_apart():
    words = [f"w{number}" for number in range(60_000)]  # beyond the surrogates
    edits, counts = edit_counts([" ".join(words)], [" ".join(["x", *words[1:]])])
    assert (edits[0], counts[0]) == (1, 60_000)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match=r"1 hypotheses for 2 references\. Give one for each"):
        wer(["a", "b"], ["a"])
    with pytest.raises(InputError, match=r"no words, so there is no word error rate"):
        wer(["", " "], ["a", ""])
    edits, words = edit_counts([], [])
    assert len(edits) == len(words) == 0
    assert edit_counts(["a"], [""])[0].tolist() == [1]
    assert np.asarray(edits).dtype == np.int64
