"""Speech made of texts: the same on every run, and four renderings of phrases."""

from itertools import pairwise

import numpy as np
import pytest

from assay.papers.speech.esb import synthetic
from assay.papers.speech.esb.synthetic import (
    FILLERS,
    VOICES,
    as_sentence,
    hesitant,
    over_babble,
    phrases,
    render,
    speak,
    unformatted,
)
from assay.papers.speech.synthesis import synthesise


@pytest.fixture(scope="module")
def earlier():
    """What each set's voice said at the start of these tests, seconds before."""
    return {name: synthesise(["the value of a list"], voice)[0] for name, voice in VOICES.items()}


def test_phrases_are_stretches_of_frequent_words_inside_of_sentences():
    texts = ["The cat is on the mat. The cat is in, the rare house.", "the cat is on the mat", "mat"]
    found = phrases(texts, vocabulary=5, least=3, most=4)  # the, cat, is, mat, on
    assert found == ["The cat is", "The cat is on", "the cat is on"]
    assert phrases(texts, vocabulary=6, least=6, most=6) == [
        "The cat is on the mat.",
        "the cat is on the mat",
    ]


def test_renderings_differ_in_case_marks_and_fillers():
    random = np.random.default_rng(0)
    phrase = "the value, of a list"
    assert render("clean", phrase, random) == "THE VALUE OF A LIST"
    assert render("noisy", phrase, random) == "the value of a list"
    assert render("punctuated", phrase, random) == "The value, of a list."
    said = render("spontaneous", phrase, random)
    words = unformatted(said).split()
    assert len(words) == 7
    assert sum(word in FILLERS for word in words) == 1
    assert said[0].isupper()
    assert said.endswith(".")


def test_sentences_keep_the_mark_that_they_have():
    assert as_sentence("is it so?") == "Is it so?"
    assert as_sentence("of a list,") == "Of a list."


def test_hesitation_says_one_word_twice():
    said = unformatted(hesitant("one two three four", np.random.default_rng(3))).split()
    rest = [word for word in said if word not in FILLERS]
    assert any(first == second for first, second in pairwise(rest))
    assert list(dict.fromkeys(rest)) == ["one", "two", "three", "four"]


def test_babble_is_5_to_10_decibels_below_the_speech():
    random = np.random.default_rng(0)
    speech = random.normal(0, 0.01, 16_000).astype(np.float32)
    others = [random.normal(0, 0.2, 9_000).astype(np.float32) for _ in range(5)]
    noise = over_babble(speech, others, random) - speech
    ratio = 10 * np.log10(np.mean(speech**2) / np.mean(noise**2))
    assert 5 <= ratio <= 10


def test_no_utterance_is_babble_over_itself(monkeypatch):
    said = [np.full(100, level, np.float32) for level in (0.1, 0.2, 0.3)]
    monkeypatch.setattr(synthetic, "synthesise", lambda texts, voice: said)
    monkeypatch.setattr(synthetic, "recorded", lambda sound, random: sound)
    company = []
    monkeypatch.setattr(synthetic, "over_babble", lambda sound, others, _: company.append(others) or sound)
    speak("noisy", ["a", "b", "c"], np.random.default_rng(0))
    assert [[float(sound[0]) for sound in others] for others in company] == [
        pytest.approx(levels) for levels in ([0.2, 0.3], [0.1, 0.3], [0.1, 0.2])
    ]


@pytest.mark.parametrize("name", VOICES)
def test_no_voice_minds_the_time_of_day(earlier, name):
    assert np.array_equal(synthesise(["the value of a list"], VOICES[name])[0], earlier[name])


def test_sets_do_not_depend_on_one_another():
    chosen = ["the value of a list", "a list of the values"]
    first, second = (speak("spontaneous", chosen, np.random.default_rng(1)) for _ in range(2))
    assert first.texts == second.texts
    assert all(np.array_equal(one, two) for one, two in zip(first.audio, second.audio, strict=True))
