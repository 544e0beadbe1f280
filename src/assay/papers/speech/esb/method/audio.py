"""Sound as every system gets it: float32, mono, 16 kHz."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from assay.errors import InputError

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
    array = np.asarray(samples)
    if not (math.isfinite(rate) and rate == int(rate) and rate > 0):
        raise InputError(
            f"{name}: the sampling rate is {rate}; it must be a whole number of samples a second."
        )
    if array.ndim not in (1, 2) or array.dtype.kind not in "iuf":
        raise InputError(
            f"{name}: audio is an array of numbers [samples] or [samples, channels], not"
            f" {array.dtype} of shape {array.shape}."
        )
    scaled = _scaled(array)
    if scaled.ndim == 2:
        # An empty file with two channels has the shape (0, 2), which has no mean.
        scaled = scaled.mean(axis=int(np.argmin(scaled.shape))) if scaled.size else np.zeros(0)
    _check(scaled, name)
    if int(rate) != RATE and len(scaled):
        from scipy.signal import resample_poly

        common = math.gcd(int(rate), RATE)
        up, down = RATE // common, int(rate) // common
        scaled = resample_poly(scaled, up, down, window=_low_pass(up, down))
    return np.ascontiguousarray(scaled, dtype=np.float32)


@functools.cache
def _low_pass(up: int, down: int) -> np.ndarray:
    """Return the filter that `resample_poly` designs for a ratio by default, which takes half of its time."""
    from scipy.signal import firwin

    slower = max(up, down)
    designed: np.ndarray = firwin(20 * slower + 1, 1 / slower, window=("kaiser", 5.0))
    return designed


def _scaled(array: np.ndarray) -> np.ndarray:
    """Bring integers to -1 and 1 by the range of their type."""
    if array.dtype.kind == "f":
        return array.astype(np.float64)
    limits = np.iinfo(array.dtype)
    half = (float(limits.max) - float(limits.min) + 1) / 2
    offset = half if array.dtype.kind == "u" else 0.0
    scaled: np.ndarray = (array.astype(np.float64) - offset) / half
    return scaled


def _check(mono: np.ndarray, name: str) -> None:
    if not len(mono):
        warnings.warn(f"{name} is empty: no sample in it.", AudioWarning, stacklevel=3)
        return
    if not np.isfinite(mono).all():
        count = int((~np.isfinite(mono)).sum())
        raise InputError(
            f"{name}: {count} of {len(mono)} samples are NaN or infinite. Decode the file"
            " anew or leave it out."
        )
    peak = float(np.abs(mono).max())
    if peak > 8:
        raise InputError(
            f"{name}: samples reach {peak:g}, but real numbers must lie within -1 and 1. Give"
            " 16-bit samples as int16, or divide them by 32768."
        )
    clipped = int((np.abs(mono) >= 0.999 * peak).sum())
    if peak >= 0.999 and clipped >= max(10, CLIPPED * len(mono)):
        warnings.warn(f"{name} is clipped: many samples are at the limits.", AudioWarning, stacklevel=3)


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
