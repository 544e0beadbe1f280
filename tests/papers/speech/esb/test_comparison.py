"""The paired bootstrap."""

import numpy as np
import pytest

from assay.errors import InputError
from assay.papers.speech.esb.method import PairedCounts, paired_bootstrap


def counts(first, second, words=10, recordings=None):
    n = len(first)
    return PairedCounts(np.array(first), np.array(second), np.full(n, words), recordings)


def test_the_difference_is_pooled_in_a_set_and_averaged_over_sets():
    found = paired_bootstrap({"a": counts([1, 3], [0, 0]), "b": counts([0] * 50, [1] * 50)}, draws=100)
    assert found.sets["a"].value == pytest.approx(4 / 20)
    assert found.macro.value == pytest.approx((0.2 - 0.1) / 2)
    assert found.sets["b"].low == found.sets["b"].high == pytest.approx(-0.1)
    assert found.sets["b"].better == 1.0
    assert "| b | -10.00 points [-10.00, -10.00] | 100 % |" in found.table()


def test_the_interval_has_the_width_of_the_normal_one():
    random = np.random.default_rng(0)
    first, second = random.binomial(10, 0.3, 400), random.binomial(10, 0.2, 400)
    found = paired_bootstrap({"a": counts(first, second)}).macro
    half = 1.96 * ((first - second) / 10).std() / np.sqrt(400)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)
    assert found.low < found.value < found.high


def test_utterances_of_one_recording_are_drawn_together():
    first, second = [5, 5, 0, 0] * 20, [0, 0, 5, 5] * 20
    alone = paired_bootstrap({"a": counts(first, second)}).macro
    together = paired_bootstrap(
        {"a": counts(first, second, recordings=[str(n // 2) for n in range(80)])}
    ).macro
    assert together.high - together.low > 1.3 * (alone.high - alone.low)
    ungrouped = paired_bootstrap({"a": counts(first, second, recordings=[None] * 80)}).macro
    assert ungrouped.high - ungrouped.low == pytest.approx(alone.high - alone.low, rel=0.2)


def test_null_intervals_cover_zero():
    random = np.random.default_rng(1)
    covered = 0
    for seed in range(100):
        drawn = random.binomial(10, 0.3, (2, 80))
        found = paired_bootstrap({"a": counts(*drawn)}, draws=300, seed=seed).macro
        covered += found.low <= 0 <= found.high
    assert covered >= 88


def test_nothing_to_compare_on_is_refused():
    with pytest.raises(InputError, match=r"no set"):
        paired_bootstrap({})
    with pytest.raises(InputError, match=r"'a' has no words"):
        paired_bootstrap({"a": counts([1], [0], words=0)})
