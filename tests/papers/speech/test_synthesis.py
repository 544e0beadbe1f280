"""Speech made of texts: the same on every run."""

import numpy as np
import pytest

from assay.errors import InputError
from assay.papers.speech.synthesis import Voice, synthesise

SLOW = Voice("en-us", 120)


def test_espeak_says_the_same_whatever_it_said_before():
    first = synthesise(["hello world", "and again"], SLOW)
    synthesise(["something else"], Voice("en+f3", 220))
    second = synthesise(["hello world", "and again"], SLOW)
    assert all(np.array_equal(one, two) for one, two in zip(first, second, strict=True))
    assert first[0].dtype == np.float32
    assert 0.01 < np.abs(first[0]).max() <= 1
    assert len(synthesise(["hello world"], Voice("en-us", 240))[0]) < 0.75 * len(first[0])


def test_voices_and_texts_that_espeak_does_not_know_are_refused():
    with pytest.raises(InputError, match=r"no voice 'xx'. Give one such as en-us"):
        synthesise(["a"], Voice("xx"))
    with pytest.raises(InputError, match=r"says nothing for the text ''"):
        synthesise([""], SLOW)
