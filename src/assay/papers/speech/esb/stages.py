"""What the arms of one seed share: the speech of the spoken sets."""

from __future__ import annotations

import numpy as np
import torch

from assay.papers.speech.esb.synthetic import Phrases, speak
from assay.papers.speech.small_recogniser import Speech


def speak_sets(chosen: Phrases) -> dict[str, dict[str, Speech]]:
    """Speak the phrases of each part of each set; the samples are int16, half the size."""
    random = np.random.default_rng(torch.initial_seed())

    def spoken(name: str, phrases: list[str]) -> Speech:
        said = speak(name, phrases, random) if phrases else Speech([], [])
        samples = [np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16) for sound in said.audio]
        return Speech(samples, said.texts)

    return {
        name: {part: spoken(name, phrases) for part, phrases in parts.items()}
        for name, parts in chosen.items()
    }
