from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from assay.data import read_sound, resample, sound, to_mono
from assay.errors import InputError


def tone(seconds: float, rate: int = 16_000) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 200 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def stored(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    soundfile.write(path, samples, rate)
    return path


def test_a_segment_is_read_alone(tmp_path: Path) -> None:
    whole = tone(10)
    path = stored(tmp_path / "long.wav", whole)
    segment, rate = read_sound(path, 16_000, start=2.0, seconds=1.5)
    assert (len(segment), rate, segment.dtype) == (24_000, 16_000, np.float32)
    np.testing.assert_allclose(segment, whole[32_000:56_000], atol=1e-4)
    np.testing.assert_array_equal(read_sound(path.read_bytes(), start=9.0)[0], read_sound(path)[0][144_000:])


def test_channels_are_averaged_and_rates_resampled(tmp_path: Path) -> None:
    stereo = np.stack([tone(1, 48_000), np.zeros(48_000, np.float32)], axis=1)
    samples, rate = read_sound(stored(tmp_path / "x.flac", stereo, 48_000), 16_000)
    assert (samples.shape, rate) == ((16_000,), 16_000)
    np.testing.assert_allclose(samples[100:-100], tone(1)[100:-100] / 2, atol=1e-3)
    assert read_sound(tmp_path / "x.flac")[1] == 48_000


@pytest.mark.parametrize(
    ("start", "seconds", "words"),
    [
        (2.0, 1.0, "the segment from 2 to 3 s lies outside of its recording of 2.0 s"),
        (0.0, 2.5, "lies outside"),
        (-1.0, 1.0, "a segment of 1.0 s from -1.0 s on is none"),
        (0.0, 0.0, "is none"),
        (float("nan"), 1.0, "is none"),
    ],
)
def test_segments_outside_are_refused(tmp_path: Path, start: float, seconds: float, words: str) -> None:
    path = stored(tmp_path / "x.wav", tone(2))
    with pytest.raises(InputError, match=words):
        read_sound(path, 16_000, start, seconds)
    assert len(read_sound(path, 16_000, 1.0, 1.05)[0]) == 16_000  # what a rounded time adds


def test_what_is_no_sound_is_refused(tmp_path: Path, write, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (write("x.wav", b"RIFF no sound"), write("y.mp3", b"x" * 100), write("z.raw", b"x")):
        with pytest.raises(InputError, match="cannot be decoded"):
            read_sound(path)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.array([0.0, np.nan, 0.0]), 8000, "DOUBLE", format="WAV")
    with pytest.raises(InputError, match="1 of 3 samples are NaN or infinite"):
        read_sound(buffer.getvalue())
    monkeypatch.setattr(sound, "MOST_SAMPLES", 100)
    with pytest.raises(InputError, match="is too long: 2 s"):
        read_sound(stored(tmp_path / "x.wav", tone(2)))


def test_integers_are_scaled_by_their_range_and_odd_rates_refused() -> None:
    for kind in (np.int16, np.int32, np.uint8):
        limits = np.iinfo(kind)
        ends = to_mono(np.array([limits.min, limits.max], kind))
        np.testing.assert_allclose(ends, [-1, 1], atol=0.01)
    with pytest.raises(InputError, match="samples reach 30000"):
        to_mono(np.array([30_000.0]))
    with pytest.raises(InputError, match="the sampling rate is 0; it must be a whole number"):
        resample(np.zeros(3), 0, 16_000)
