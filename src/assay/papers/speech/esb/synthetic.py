"""Four different domains made of one collection of texts: phrases of frequent words, rendered and spoken.

| set | voice | words a minute | transcript |
|---|---|---|---|
| clean | en-us | 150 | UPPER CASE, NO PUNCTUATION |
| punctuated | en+f3 | 190 | Cased, with punctuation. |
| spontaneous | en-us+m3 | 160 | Um, cased, with the the fillers and restarts. |
| noisy | en-gb-scotland+m7 | 150 | lower case without punctuation, over babble at 5 to 10 dB |
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from assay.data import LoadedTable
from assay.errors import InputError, unknown
from assay.papers.speech.esb.config import Spoken
from assay.papers.speech.small_recogniser import Speech
from assay.papers.speech.synthesis import Voice, synthesise
from assay.trial import Trial

VOICES = {
    "clean": Voice("en-us", 150),
    "punctuated": Voice("en+f3", 190, 60),
    "spontaneous": Voice("en-us+m3", 160, 40),
    "noisy": Voice("en-gb-scotland+m7", 150, 45),
}
DOMAINS = tuple(VOICES)
Phrases: TypeAlias = dict[str, dict[str, list[str]]]
"""Of each set, those to train on ("train") and those that measure ("test")."""
FILLERS = ("um", "uh", "hmm")
FLOOR = 1e-3
"""Deviation of the hiss of the recording, which all sets have."""
MARGIN = 800
"""Samples of hiss before and after each utterance."""
BABBLE = (5.0, 10.0)
"""Signal-to-noise ratio of the noisy domain in dB: from, to."""

_WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
_TOKEN = re.compile(r"([A-Za-z]+(?:'[a-z]+)?)([.,;:?!]?)")
_ENDS = ".?!"


# --- texts --------------------------------------------------------------------------------------


def phrases(texts: Iterable[str], vocabulary: int, least: int = 4, most: int = 7) -> list[str]:
    """Return stretches of `least` to `most` words of the texts in which every word is a frequent one.

    Stretches do not run over the end of a sentence, and keep the case and the marks of the text.

    Args:
        texts: where they are cut from.
        vocabulary: how many of the most frequent words count as frequent. Single letters other than "a" do
            not count.
        least: words of the shortest.
        most: words of the longest.

    Returns:
        Each once, sorted.
    """
    texts = list(texts)
    counts = Counter(word.lower() for text in texts for word in _WORD.findall(text))
    usable = (word for word, _ in counts.most_common() if len(word) > 1 or word == "a")
    known = {word for word, _ in zip(usable, range(vocabulary), strict=False)}
    found: set[str] = set()
    for text in texts:
        run: list[str] = []
        for token in [*text.split(), ""]:
            match = _TOKEN.fullmatch(token)
            fits = match is not None and match[1].lower() in known
            if fits:
                run.append(token)
            if not fits or len(run) == most or token[-1] in _ENDS:
                if len(run) >= least:
                    found.add(" ".join(run))
                run = []
    return sorted(found)


def as_sentence(phrase: str) -> str:
    """Return a phrase with a capital at the start and a mark at the end."""
    ended = phrase if phrase[-1] in _ENDS else phrase.rstrip(",;:") + "."
    return ended[0].upper() + ended[1:]


def unformatted(text: str) -> str:
    """Return a text in lower case without punctuation."""
    return " ".join(_WORD.findall(text.lower()))


def hesitant(phrase: str, random: np.random.Generator) -> str:
    """Return a phrase as somebody who hesitates says it: one filler, and one word said twice."""
    words = phrase.split()
    restart = int(random.integers(len(words) - 1))
    words.insert(restart, words[restart].rstrip(",.;:?!"))
    filler = str(random.choice(FILLERS))
    place = int(random.integers(len(words)))
    if place:
        words[place - 1] = words[place - 1].rstrip(",.;:?!") + ","
    words.insert(place, f"{filler},")
    return as_sentence(" ".join(words))


def render(domain: str, phrase: str, random: np.random.Generator) -> str:
    """Return what a domain's transcript says for a phrase."""
    if domain == "clean":
        return unformatted(phrase).upper()
    if domain == "noisy":
        return unformatted(phrase)
    return hesitant(phrase, random) if domain == "spontaneous" else as_sentence(phrase)


# --- sound --------------------------------------------------------------------------------------


def speak(domain: str, chosen: Sequence[str], random: np.random.Generator) -> Speech:
    """Render phrases as a domain does, and speak them: float32 at 16 kHz."""
    texts = [render(domain, phrase, random) for phrase in chosen]
    said = [text.lower() if domain == "clean" else text for text in texts]  # capitals would be spelled
    audio = [recorded(sound, random) for sound in synthesise(said, VOICES[domain])]
    if domain == "noisy":
        audio = [
            over_babble(sound, audio[:row] + audio[row + 1 :] or audio, random)
            for row, sound in enumerate(audio)
        ]
    return Speech(audio, texts)


def recorded(speech: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return speech with a margin, over the hiss of a recording: float32 [samples]."""
    padded = np.pad(speech, MARGIN)
    return (padded + FLOOR * random.standard_normal(len(padded))).astype(np.float32)


def over_babble(speech: np.ndarray, others: Sequence[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """Return speech over the sum of four other utterances, at 5 to 10 dB: float32 [samples]."""
    noise = np.zeros(len(speech))
    for index in random.choice(len(others), size=min(4, len(others)), replace=False):
        repeated = np.resize(others[index], len(speech) + int(random.integers(8000)))
        noise += repeated[-len(speech) :]
    ratio = 10 ** (-random.uniform(*BABBLE) / 20)
    power = float(np.mean(speech.astype(np.float64) ** 2))
    loudness = math.sqrt(power / max(float(np.mean(noise**2)), 1e-12))
    mixed: np.ndarray = speech + ratio * loudness * noise
    mixed /= max(1.0, float(np.abs(mixed).max()))
    return mixed.astype(np.float32)


# --- sets ---------------------------------------------------------------------------------------


def choose_phrases(
    loaded: LoadedTable, spoken: Spoken, trial: Trial, names: Sequence[str] = DOMAINS, training: bool = True
) -> Phrases:
    """Return phrases to train on and to test with for each set, none of them twice.

    Raises:
        InputError: the texts have too few phrases of frequent words.
    """
    wrong = [name for name in names if name not in DOMAINS]
    if wrong:
        raise unknown("spoken set", wrong[0], DOMAINS)
    if "text" not in loaded.rows.column_names:
        raise InputError(
            f"{loaded.source} has neither sound nor text. Name a column with --data.audio or --data.text."
        )
    sizes = {"train": spoken.training_utterances, "test": spoken.test_utterances}
    known = phrases(loaded.rows["text"][:], spoken.vocabulary, spoken.least_words, spoken.most_words)
    needed = len(DOMAINS) * sum(sizes.values())
    if len(known) < needed:
        raise InputError(
            f"{loaded.source} has {len(known)} phrases of {spoken.least_words} to {spoken.most_words}"
            f" frequent words; {needed} are needed. Give more texts, a larger --spoken.vocabulary or fewer"
            " utterances (--spoken.training-utterances, --spoken.test-utterances)."
        )
    split = trial.split(len(known), test=len(DOMAINS) * sizes["test"] / len(known))
    random = trial.numpy("phrases")
    parts = {"train": random.permutation(split.train), "test": random.permutation(split.test)}

    def chosen(name: str, part: str) -> list[str]:
        if part == "train" and not training:
            return []
        start = DOMAINS.index(name)
        return [known[row] for row in parts[part][start :: len(DOMAINS)][: sizes[part]]]

    return {name: {part: chosen(name, part) for part in ("test", "train")} for name in names}
