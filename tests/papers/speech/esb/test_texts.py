"""The normaliser and the fix-ups: the outputs that the field agrees on."""

import pytest

from assay.papers.speech.esb.method import KNOWN, Normaliser, mend
from assay.papers.speech.esb.method.normaliser import has_brackets

SWITCHBOARD = "we are -ing to westmin- for lem-"
NORMALISED = {
    "Mr. Smith won't pay $20 million": "mister smith will not pay $20000000",
    "colour": "color",
    "twenty five": "25",
    "um, okay": "okay",
    "He said: 'it 's fine'": "he said it is fine",
    "one oh one": "101",
    "double seven": "77",
    "I'd been 5,000 miles": "i had been 5000 miles",
    "[noise] hello (laughs) world": "hello world",
    "naïve café 50%": "naive cafe 50%",
    "B. B. C.": "b b c",
    "e-mail T.V.": "e mail t v",
}


@pytest.mark.parametrize(("text", "expected"), NORMALISED.items())
def test_the_normaliser_gives_what_whispers_gives_and_leaves_it_alone(text, expected):
    normalise = Normaliser()
    assert normalise(text) == expected
    assert normalise(expected) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The B.B.C. and U.S.A.", "the bbc and usa"),
        ("T.V.s, e.g. this... and that ...", "tvs eg this and that"),
        ("e-mail, I.B.M.x", "e mail ibmx"),
        ("Mr. Smith won't pay $20 million.", "mister smith will not pay $20000000"),
    ],
)
def test_the_leaderboards_normaliser_joins_spelled_letters(text, expected):
    assert Normaliser("leaderboard")(text) == expected
    assert Normaliser("leaderboard").version.startswith("open-asr-leaderboard 2025, whisper-english")


def test_the_normaliser_has_a_version():
    assert "transformers 5" in Normaliser().version
    assert "spellings" in Normaliser().version


def test_brackets_whose_words_are_deleted_are_seen():
    assert has_brackets("so (he said) it was")
    assert not has_brackets("3 < 4 words )(")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("tedlium", "it 's <unk> fine", "it's fine"),
        ("tedlium", "they 'll go at six o 'clock", "they'll go at six o'clock"),
        ("gigaspeech", "hello <comma> you <period>", "hello, you."),
        ("gigaspeech", "WHAT <QUESTIONMARK> <SIL> NO <EXCLAMATIONPOINT>", "what? no!"),
        ("common_voice", '"A ""b"" c"', 'A "b" c'),
        ("common_voice", 'He said "no"', 'He said "no"'),
        ("earnings22", "so <laugh> inaudible we <crosstalk> grew", "so we grew"),
        ("switchboard", "uh i_. <b_aside> wen[t]- went hmm home", "i wen- went home"),
        ("switchboard", "we [ah/are] -[go]ing to westmin[ster]- for [lem[guini]-/linguini]", SWITCHBOARD),
        (
            "switchboard",
            "[laughter-yes] [laughter] u_.c_.l_.a. {and} tech[n]ology",
            "yes u c l a and tech-ology",
        ),
        ("switchboard", "<german (( ja wohl )) > them_1 (%hesitation) ((so))", "them so"),
        ("librispeech", "A  MAN 'S <unk>", "A MAN 'S <unk>"),
        (None, "  two\tspaces ", "two spaces"),
    ],
)
def test_transcripts_are_mended_by_the_set(name, text, expected):
    assert mend(text, name) == expected


@pytest.mark.parametrize(
    "text", ["<sil>", "<SIL>", " ", "[Noise]", "ignore_time_segment_in_scoring", "<Music>"]
)
def test_segments_without_speech_are_dropped(text):
    assert mend(text) is None
    assert mend(text, "gigaspeech") is None


def test_a_segment_that_mending_empties_is_dropped():
    assert mend("<laugh> <noise>", "earnings22") is None


def test_all_eight_sets_are_known_with_their_licences():
    assert set(KNOWN) == {
        "librispeech",
        "common_voice",
        "voxpopuli",
        "tedlium",
        "gigaspeech",
        "spgispeech",
        "earnings22",
        "ami",
        "switchboard",
    }
    assert all(known.licence and known.domain for known in KNOWN.values())
    assert {name for name, known in KNOWN.items() if known.gated} == {
        "common_voice",
        "gigaspeech",
        "spgispeech",
    }
    assert KNOWN["earnings22"].cut_end == 0.1
