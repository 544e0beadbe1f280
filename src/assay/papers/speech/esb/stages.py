"""What the arms of one seed share: the speech of the spoken sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from assay.papers.speech.esb.method import SpeechDataset
from assay.papers.speech.esb.synthetic import speak


@dataclass(frozen=True)
class SpokenPart:
    """The utterances of one part of a spoken set, their samples in a row."""

    texts: list[str]
    samples: np.ndarray
    """int16 [samples] at 16 kHz."""
    ends: np.ndarray
    """Where each utterance ends."""

    def dataset(self, name: str) -> SpeechDataset:
        """Return them as a set."""
        return SpeechDataset.from_arrays(name, np.split(self.samples, self.ends[:-1]), self.texts)


def speak_sets(chosen: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, SpokenPart]]:
    """Speak the phrases of each part of each set."""
    random = np.random.default_rng(torch.initial_seed())
    return {
        name: {part: _spoken(name, texts, random) for part, texts in parts.items()}
        for name, parts in chosen.items()
    }


def _spoken(name: str, phrases: Sequence[str], random: np.random.Generator) -> SpokenPart:
    if not phrases:
        return SpokenPart([], np.zeros(0, np.int16), np.zeros(0, np.int64))
    said = speak(name, phrases, random)
    samples = [np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16) for sound in said.audio]
    return SpokenPart(said.texts, np.concatenate(samples), np.cumsum([len(sound) for sound in samples]))
