"""What is corrected in the transcripts of the known sets: part of the data, not of a system.

A published set marks what is no speech, or spells its punctuation, in ways that no recogniser could know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

Fixup = Callable[[str], str]

NOT_SPEECH = frozenset(
    {
        "",
        "ignore_time_segment_in_scoring",
        "<noise>",
        "<music>",
        "[noise]",
        "[laughter]",
        "[silence]",
        "[vocalized-noise]",
        "<crosstalk>",
        "<affirmative>",
        "<inaudible>",
        "inaudible",
        "<laugh>",
        "<silence>",
        "<other>",
        "<sil>",
    }
)
"""Transcripts, in lower case, of segments that are left out."""

_EARNINGS = re.compile(
    r"<(noise|crosstalk|affirmative|inaudible|laugh|silence)>|\binaudible\b", re.IGNORECASE
)
_TEDLIUM = re.compile(r"\s+('(?:s|t|re|ve|m|ll|d|clock|all)\b)")
_GIGASPEECH = {" <comma>": ",", " <period>": ".", " <questionmark>": "?", " <exclamationpoint>": "!"}
_FILLERS = re.compile(r"\b(uh|uhm|um|hmm|mm|mhm|mmm)\b", re.IGNORECASE)
_JUNK = re.compile(  # [laughter-yes] is a yes; _1 numbers pronunciations; <german ((ja wohl)) > is a tag
    r"\[(noise|silence|vocalized-noise|laughter|laugh|sigh|cough|mn|breath|lipsmack|sneeze|skip|pause)\]"
    r"|\[laughter-|_1|\(%hesitation\)|<[^>]*>",
    re.IGNORECASE,
)
_UNSAID = re.compile(r"-\[.*?\]|\[.*?\]-|\[.*?\]")


def _common_voice(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return text.replace('""', '"')


def _tedlium(text: str) -> str:
    return _TEDLIUM.sub(r"\1", text.replace("<unk>", ""))


def _gigaspeech(text: str) -> str:
    lowered = text.lower().replace("<other>", "").replace("<sil>", "")
    for tag, mark in _GIGASPEECH.items():
        lowered = lowered.replace(tag, mark)
    return lowered


_earnings22: Fixup = partial(_EARNINGS.sub, "")


def _switchboard(text: str) -> str:
    """Keep what was said: u_.c_. as u c, westmin[ster]- as westmin-, of [ah/are] what was meant."""
    letters = _JUNK.sub("", text).replace("_.", " ").replace(".", "")
    half = re.sub(r"-/.*?\]", "-", letters)  # [lem[guini]-/linguini]: the word was not finished
    words = re.sub(r"\S*/", "", half).split()
    bare = (word[1:] if word[0] == "[" else word.removesuffix("]") for word in words)
    return _FILLERS.sub("", re.sub(r"[{}()\[\]]", "", _UNSAID.sub("-", " ".join(bare))))


@dataclass(frozen=True)
class KnownSet:
    """A set of the benchmark: what it is, where it is, and what is corrected in it."""

    domain: str
    licence: str
    hub: tuple[str, ...] = ()
    """Parquet sources of its test sets."""
    fixup: Fixup = str
    cut_end: float = 0.0
    """Seconds that are cut from the end of each segment."""
    gated: bool = False


_HUB = "hub:hf-audio/esb-datasets-test-only-sorted"

KNOWN: Mapping[str, KnownSet] = MappingProxyType(
    {
        "librispeech": KnownSet(
            "audiobooks",
            "CC-BY-4.0",
            (f"{_HUB}/librispeech#test.clean", f"{_HUB}/librispeech#test.other"),
        ),
        "common_voice": KnownSet(
            "read Wikipedia", "CC0", (f"{_HUB}/common_voice#test",), _common_voice, gated=True
        ),
        "voxpopuli": KnownSet("European Parliament", "CC0", (f"{_HUB}/voxpopuli#test",)),
        "tedlium": KnownSet("TED talks", "CC-BY-NC-ND-3.0", (f"{_HUB}/tedlium#test",), _tedlium),
        "gigaspeech": KnownSet(
            "audiobooks, podcasts, video",
            "Apache-2.0",
            (f"{_HUB}/gigaspeech#test",),
            _gigaspeech,
            gated=True,
        ),
        "spgispeech": KnownSet("earnings calls", "user agreement", (f"{_HUB}/spgispeech#test",), gated=True),
        "earnings22": KnownSet(
            "earnings calls, accents",
            "CC-BY-SA-4.0",
            (f"{_HUB}/earnings22#test",),
            partial(_EARNINGS.sub, ""),
            0.1,
        ),
        "ami": KnownSet("meetings", "CC-BY-4.0", (f"{_HUB}/ami#test",)),
        "switchboard": KnownSet("telephone calls", "paid", fixup=_switchboard),
    }
)
"""The eight sets and one of the two optional ones, by name."""


def mend(text: str, name: str | None = None) -> str | None:
    """Return a transcript as it is scored, or `None` for a segment that is left out.

    Args:
        text: the transcript as published.
        name: the known set that it is from; any other name, or none, has its white space collapsed alone.
    """
    if text.strip().lower() in NOT_SPEECH:
        return None
    known = KNOWN.get(name or "")
    corrected = " ".join((known.fixup(text) if known else text).split())
    return None if corrected.lower() in NOT_SPEECH else corrected
