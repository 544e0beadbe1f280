"""Sound as every recogniser gets it: float32, mono, 16 kHz."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from assay.data import resample, to_mono

RATE = 16_000
"""Samples a second of all speech here."""
CLIPPED = 0.01
"""Share of samples at the limits from which audio counts as clipped."""


class AudioWarning(UserWarning):
    """Audio that can be transcribed but is suspect."""


def as_speech(samples: Any, rate: float | int, name: str = "audio") -> np.ndarray:
    """Return samples as float32 [n] at 16 kHz.

    Integers are scaled by their full range, channels (the shorter axis of two) are averaged, and another rate
    is resampled with a polyphase filter; samples are never reinterpreted at another rate.

    Args:
        samples: real numbers or integers, [n], [n, channels] or [channels, n].
        rate: samples a second.
        name: what messages call it.

    Raises:
        InputError: the samples are no such array, are not finite or lie far outside of -1 and 1, or the rate
            is not a whole number above 0.

    Warns:
        AudioWarning: it is empty, or at least 1 % of the samples are at the limits.
    """
    mono = to_mono(samples, name)
    if not len(mono):
        warnings.warn(f"{name} is empty: no sample in it.", AudioWarning, stacklevel=2)
    else:
        peak = float(np.abs(mono).max())
        clipped = int((np.abs(mono) >= 0.999 * peak).sum())
        if peak >= 0.999 and clipped >= max(10, CLIPPED * len(mono)):
            warnings.warn(f"{name} is clipped: many samples are at the limits.", AudioWarning, stacklevel=2)
    return resample(mono, rate, RATE, name)


def chunks(samples: np.ndarray, seconds: float | int, search: float = 0.2) -> Iterator[np.ndarray]:
    """Yield parts of at most `seconds`, cut at the quietest place in the last share `search` of each.

    Quiet is the least energy over 50 ms.
    """
    longest = int(seconds * RATE)
    start = int(longest * (1 - search))
    window = max(1, min(RATE // 20, longest - start))
    while len(samples) > longest:
        energy = np.convolve(samples[start:longest].astype(np.float64) ** 2, np.ones(window), mode="valid")
        cut = start + int(energy.argmin()) + window // 2
        yield samples[:cut]
        samples = samples[cut:]
    yield samples
