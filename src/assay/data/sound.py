"""Sound of users: float32, one channel, at the rate that is asked for, in segments."""

from __future__ import annotations

import functools
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.data.paths import existing_file
from assay.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np

    Samples = np.ndarray[Any, np.dtype[np.float32]]

SOUNDS = frozenset({".aif", ".aiff", ".au", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".sph", ".wav"})
MOST_SAMPLES = 1 << 29
"""About nine hours at 16 kHz, over all channels."""


def read_sound(
    content: str | Path | bytes,
    rate: int | None = None,
    start: float = 0.0,
    seconds: float | None = None,
    name: str | None = None,
) -> tuple[Samples, int]:
    """Return float32 samples of one channel, and their rate.

    Channels are averaged; another rate is resampled with a polyphase filter.

    Args:
        content: a file, or its bytes: WAV, FLAC, OGG, MP3, SPHERE and what else libsndfile reads.
        rate: samples a second; by default those of the file.
        start: where the segment begins, in seconds.
        seconds: how long it is; by default up to the end.
        name: how errors call it; by default its path.

    Raises:
        InputError: it is missing or no sound, the segment lies outside of it, or it has NaN in it.
        MissingExtraError: soundfile is not installed.
    """
    if isinstance(content, str | Path):
        name, content = str(content) if name is None else name, existing_file(content)
    shown = "the sound" if name is None else name
    samples, found = _decode(content, start, seconds, shown)
    mono = to_mono(samples, shown)
    wanted = found if rate is None else rate
    return resample(mono, found, wanted, shown), wanted


def check_sound(path: Path) -> str | None:
    """Say what is wrong with a sound file, or `None`: the format itself is left to its decoder."""
    return "it is empty" if path.stat().st_size == 0 else None


def to_mono(samples: Any, name: str = "the sound") -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return samples as float64 [n]: integers scaled by their full range, channels averaged.

    Args:
        samples: real numbers or integers, [n], [n, channels] or [channels, n]; channels are the shorter axis.
        name: what messages call it.

    Raises:
        InputError: the samples are no such array, are not finite, or lie far outside of -1 and 1.
    """
    import numpy as np

    array = np.asarray(samples)
    if array.ndim not in (1, 2) or array.dtype.kind not in "iuf":
        raise InputError(
            f"{name}: audio is an array of numbers [samples] or [samples, channels], not"
            f" {array.dtype} of shape {array.shape}."
        )
    scaled = _scaled(array)
    if scaled.ndim == 2:
        # an empty file with two channels has the shape (0, 2), which has no mean
        scaled = scaled.mean(axis=int(np.argmin(scaled.shape))) if scaled.size else np.zeros(0)
    bad = int((~np.isfinite(scaled)).sum())
    if bad:
        raise InputError(
            f"{name}: {bad} of {len(scaled)} samples are NaN or infinite. Decode the file again or leave it"
            " out."
        )
    peak = float(np.abs(scaled).max(initial=0))
    if peak > 8:
        raise InputError(
            f"{name}: samples reach {peak:g}, but real numbers must lie within -1 and 1. Give"
            " 16-bit samples as int16, or divide them by 32768."
        )
    return scaled


def resample(mono: np.ndarray[Any, Any], found: float, wanted: int, name: str = "the sound") -> Samples:
    """Return samples at another rate, as float32.

    Raises:
        InputError: a rate is not a whole number above 0.
    """
    import numpy as np

    for rate in (found, wanted):
        if not (math.isfinite(rate) and rate == int(rate) and rate > 0):
            raise InputError(
                f"{name}: the sampling rate is {rate}; it must be a whole number of samples a second."
            )
    if int(found) != wanted and len(mono):
        from scipy.signal import resample_poly

        common = math.gcd(int(found), wanted)
        up, down = wanted // common, int(found) // common
        mono = resample_poly(mono, up, down, window=_low_pass(up, down))
    return np.ascontiguousarray(mono, dtype=np.float32)


def _decode(content: Path | bytes, start: float, seconds: float | None, name: str) -> tuple[Any, int]:
    """Return samples [n] or [n, channels] of a segment, and their rate."""
    try:
        import soundfile
    except (ModuleNotFoundError, OSError):
        raise MissingExtraError("soundfile", "speech") from None
    if not (math.isfinite(start) and start >= 0 and (seconds is None or 0 < seconds < math.inf)):
        raise InputError(f"{name}: a segment of {seconds} s from {start} s on is none.")
    try:
        with soundfile.SoundFile(io.BytesIO(content) if isinstance(content, bytes) else content) as file:
            rate, length = file.samplerate, file.frames
            first = int(start * rate)
            last = length if seconds is None else round((start + seconds) * rate)
            # a tenth of a second beyond the end is the rounding of those who wrote the times
            if (start or seconds is not None) and not first < last <= length + rate // 10:
                raise InputError(
                    f"{name}: the segment from {start:g} to {last / rate:g} s lies outside of its recording"
                    f" of {length / rate:.1f} s."
                )
            if (min(last, length) - first) * file.channels > MOST_SAMPLES:
                raise InputError(f"{name} is too long: {length / rate:.0f} s. Cut it into parts.")
            file.seek(first)
            return file.read(max(0, min(last, length) - first), dtype="float32"), rate
    except (soundfile.SoundFileError, OSError, TypeError, ValueError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{name} cannot be decoded ({str(error).rstrip('.')}). Give WAV, FLAC, OGG, MP3 or SPHERE."
        ) from None


@functools.cache
def _low_pass(up: int, down: int) -> Any:
    """Return the filter that `resample_poly` designs for a ratio by default, which takes half of its time."""
    from scipy.signal import firwin

    slower = max(up, down)
    return firwin(20 * slower + 1, 1 / slower, window=("kaiser", 5.0))


def _scaled(array: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Bring integers to -1 and 1 by the range of their type."""
    import numpy as np

    if array.dtype.kind == "f":
        return array.astype(np.float64)
    limits = np.iinfo(array.dtype)
    half = (float(limits.max) - float(limits.min) + 1) / 2
    offset = half if array.dtype.kind == "u" else 0.0
    scaled: np.ndarray[Any, np.dtype[np.float64]] = (array.astype(np.float64) - offset) / half
    return scaled
