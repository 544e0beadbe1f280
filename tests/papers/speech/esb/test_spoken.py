"""Speech made of texts: the same on every run, and four renderings of phrases."""

from itertools import pairwise

import numpy as np
import pytest
from torch.nn.utils.rnn import pad_sequence

from assay.errors import InputError
from assay.papers.speech.esb import spoken
from assay.papers.speech.esb.config import Training
from assay.papers.speech.esb.recogniser import SmallRecogniser, characters, log_mel, train
from assay.papers.speech.esb.spoken import (
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
from assay.papers.speech.esb.synthesis import Voice, synthesise

SLOW = Voice("en-us", 120)


def test_espeak_says_the_same_whatever_it_said_before(earlier):
    first = synthesise(["hello world", "and again"], SLOW)
    synthesise(["something else"], Voice("en+f3", 220))
    second = synthesise(["hello world", "and again"], SLOW)
    assert all(np.array_equal(one, two) for one, two in zip(first, second, strict=True))
    assert first[0].dtype == np.float32
    assert 0.01 < np.abs(first[0]).max() <= 1
    assert len(synthesise(["hello world"], Voice("en-us", 240))[0]) < 0.75 * len(first[0])


@pytest.fixture(scope="module")
def earlier():
    """What each set's voice said at the start of these tests, seconds before."""
    return {name: synthesise(["the value of a list"], voice)[0] for name, voice in VOICES.items()}


def test_voices_and_texts_that_espeak_does_not_know_are_refused():
    with pytest.raises(InputError, match=r"no voice 'xx'. Give one such as en-us"):
        synthesise(["a"], Voice("xx"))
    with pytest.raises(InputError, match=r"says nothing for the text ''"):
        synthesise([""], SLOW)


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
    monkeypatch.setattr(spoken, "synthesise", lambda texts, voice: said)
    monkeypatch.setattr(spoken, "recorded", lambda sound, random: sound)
    company = []
    monkeypatch.setattr(spoken, "over_babble", lambda sound, others, _: company.append(others) or sound)
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


# --- the small recogniser -----------------------------------------------------------------------


def test_log_mel_frames_are_8_ms_apart_and_standardised():
    (frames,) = log_mel([np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)])
    assert frames.shape == (126, 40)
    assert frames.mean().item() == pytest.approx(0, abs=1e-4)
    assert frames.std().item() == pytest.approx(1, abs=1e-4)


def test_rare_characters_are_left_out_of_the_vocabulary():
    assert characters(["ab" * 10_000 + "c" * 2 + "ddddd"]) == "abd"


@pytest.fixture(scope="module")
def learnt():
    """A recogniser that has learnt two words by heart."""
    audio = synthesise(["yes", "no"], SLOW)
    found = train(audio, ["Yes.", "no"], Training(batch_size=2, width=32, learning_rate=1e-2), 120, "cpu")
    return audio, SmallRecogniser.build(found["weights"], found["characters"])


def test_training_teaches_case_and_marks(learnt):
    audio, recogniser = learnt
    assert recogniser(audio) == ["Yes.", "no"]


def test_the_company_of_a_sound_does_not_change_its_text(learnt):
    audio, recogniser = learnt
    longer = np.concatenate([audio[0], audio[1]])
    assert recogniser([audio[1], longer])[0] == recogniser([audio[1]])[0]
    scores = [
        recogniser.network(frames[None], frames.new_tensor([len(frames)]).long())[0]
        for frames in log_mel([audio[1]])
    ]
    padded = log_mel([audio[1], longer])
    both, steps = recogniser.network(
        pad_sequence(padded, batch_first=True), padded[0].new_tensor([len(row) for row in padded]).long()
    )
    assert both[0, : steps[0]].detach().numpy() == pytest.approx(scores[0][0].detach().numpy(), abs=1e-5)


def test_a_recogniser_is_saved_and_loaded(learnt, tmp_path):
    audio, recogniser = learnt
    recogniser.save(tmp_path)
    assert SmallRecogniser.load(tmp_path)(audio) == recogniser(audio)
