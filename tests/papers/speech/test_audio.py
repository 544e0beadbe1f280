"""Sound at the door: rates, scales, channels and what is refused."""

import numpy as np
import pytest
from scipy.signal import resample_poly

from assay.errors import InputError
from assay.papers.speech.audio import AudioWarning, as_speech, chunks

RATE = 16_000


def tone(seconds=0.5, rate=RATE, frequency=440.0):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def loudest_frequency(samples):
    return np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_another_rate_is_resampled_and_keeps_its_pitch_and_length(rate):
    found = as_speech(tone(rate=rate), rate)
    assert found.dtype == np.float32
    assert len(found) == pytest.approx(RATE / 2, abs=2)
    assert loudest_frequency(found) == pytest.approx(440, abs=4)


def test_resampling_is_that_of_scipy():
    samples = np.random.default_rng(0).normal(0, 0.1, 5_000)
    expected = resample_poly(samples, 320, 441).astype(np.float32)
    assert np.array_equal(as_speech(samples, 22_050), expected)


def test_integers_are_scaled_by_their_range():
    assert as_speech(np.array([0, 16384, -32768], np.int16), RATE).tolist() == [0, 0.5, -1]
    assert as_speech(np.array([128, 192, 0], np.uint8), RATE).tolist() == [0, 0.5, -1]
    assert as_speech(np.array([2**30], np.int32), RATE).tolist() == [0.5]


def test_channels_are_averaged_whichever_axis_they_are_on():
    stereo = np.stack([tone(), np.zeros(RATE // 2, np.float32)])
    assert as_speech(stereo, RATE) == pytest.approx(tone() / 2)
    assert as_speech(stereo.T, RATE) == pytest.approx(tone() / 2)


def test_empty_and_clipped_sound_is_warned_of():
    with pytest.warns(AudioWarning, match=r"leer is empty"):
        assert len(as_speech(np.zeros(0), RATE, "leer")) == 0
    with pytest.warns(AudioWarning, match=r"stereo is empty"):
        assert len(as_speech(np.zeros((0, 2)), RATE, "stereo")) == 0
    with pytest.warns(AudioWarning, match=r"loud is clipped"):
        as_speech(np.clip(5 * tone(), -1, 1), RATE, "loud")


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        ([0.0, np.nan], RATE, "one: 1 of 2 samples are NaN or infinite"),
        ([0.0, np.inf], RATE, "NaN or infinite"),
        ([0.0, 20_000.0], RATE, "samples reach 20000, .* Give 16-bit samples as int16"),
        ([[[0.0]]], RATE, r"array of numbers \[samples\] .* not float64 of shape \(1, 1, 1\)"),
        (["a"], RATE, "array of numbers"),
        ([0.0], 0, "sampling rate is 0"),
        ([0.0], 44_100.5, "whole number"),
        ([0.0], np.nan, "sampling rate is nan"),
    ],
)
def test_what_is_no_sound_is_refused(samples, rate, message):
    with pytest.raises(InputError, match=message):
        as_speech(samples, rate, "one")


def test_long_sound_is_cut_at_quiet_places_and_nothing_is_lost():
    pause = np.zeros(RATE // 4, np.float32)
    sound = np.concatenate([tone(0.9), pause, tone(0.9), pause, tone(0.5)])
    parts = list(chunks(sound, 1.1))
    assert np.array_equal(np.concatenate(parts), sound)
    assert max(map(len, parts)) <= 1.1 * RATE
    ends = np.cumsum([len(part) for part in parts])[:-1] / RATE
    assert 0.9 < ends[0] < 1.15
    assert [len(part) for part in chunks(tone(), 30)] == [RATE // 2]
