"""Free energy: closed forms, limits, half precision, sequences."""

import math

import pytest
import torch

from assay.papers.language.elang.method import SCORES, free_energy, score_logits, sequence_energy
from assay.papers.language.elang.method.scores import (
    check_logits,
    length_score,
    max_log_softmax,
    negative_entropy,
    negative_free_energy,
    oracle_score,
    random_score,
    top2_margin,
)


@pytest.fixture
def logits():
    return torch.randn(64, 7, generator=torch.Generator().manual_seed(0)) * 3


def test_two_zero_logits():
    assert free_energy(torch.zeros(1, 2)).item() == pytest.approx(-math.log(2))


def test_a_shift_of_the_logits_shifts_the_energy_back(logits):
    torch.testing.assert_close(free_energy(logits + 5.0), free_energy(logits) - 5.0)
    torch.testing.assert_close(free_energy(logits + 5.0, 0.5), free_energy(logits, 0.5) - 5.0)


def test_low_temperature_is_the_largest_logit(logits):
    torch.testing.assert_close(free_energy(logits, 1e-3), -logits.amax(dim=-1), atol=1e-3, rtol=0)


def test_unit_temperature_is_logsumexp(logits):
    torch.testing.assert_close(free_energy(logits), -torch.logsumexp(logits, -1))
    torch.testing.assert_close(free_energy(logits.T, dim=0), -torch.logsumexp(logits, -1))


def test_temperature_rescales_energy_and_logits_alike(logits):
    torch.testing.assert_close(free_energy(2 * logits, 2.0), 2 * free_energy(logits))


def test_one_class_is_its_logit(logits):
    torch.testing.assert_close(free_energy(logits[:, :1]), -logits[:, 0])


def test_masked_classes_do_not_count(logits):
    masked = logits.clone()
    masked[:, 3] = -math.inf
    expected = free_energy(logits[:, [0, 1, 2, 4, 5, 6]])
    torch.testing.assert_close(free_energy(masked), expected)


def test_half_precision_over_a_vocabulary_is_summed_in_float32():
    logits = torch.randn(4, 32_128, generator=torch.Generator().manual_seed(0))
    half = free_energy(logits.half())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, free_energy(logits), atol=2e-3, rtol=0)
    assert free_energy(torch.zeros(1, 70_000, dtype=torch.half)).item() == pytest.approx(-math.log(70_000))


def test_temperature_must_be_positive(logits):
    with pytest.raises(ValueError, match="must be positive, got 0"):
        free_energy(logits, 0.0)


def test_softmax_confidence_is_energy_shifted_by_the_top_logit(logits):
    top = logits.amax(dim=-1)
    torch.testing.assert_close(logits.log_softmax(-1).amax(-1), top + free_energy(logits), atol=1e-6, rtol=0)
    torch.testing.assert_close(max_log_softmax(logits), top + free_energy(logits), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("logits", "energy", "to_swift"),
    [((2.0, -1.0), 2.0486, True), ((0.3, 0.1), 0.8981, False), ((2.1, 2.0), 2.7444, True)],
)
def test_worked_example_at_the_demo_threshold(logits, energy, to_swift):
    score = negative_free_energy(torch.tensor([logits]))
    assert score.item() == pytest.approx(energy, abs=1e-4)
    assert bool(score >= 1.31044) is to_swift


def test_where_energy_and_softmax_disagree():
    large_norm, wide_margin = torch.tensor([[2.1, 2.0]]), torch.tensor([[2.0, -1.0]])
    assert max_log_softmax(large_norm).exp().item() == pytest.approx(0.525, abs=1e-3)
    assert negative_free_energy(large_norm) > negative_free_energy(wide_margin)
    assert max_log_softmax(large_norm) < max_log_softmax(wide_margin)


# --- sequences ----------------------------------------------------------------------------------


def test_one_step_is_classification_over_the_vocabulary(logits):
    mask = torch.ones(len(logits), 1, dtype=torch.bool)
    torch.testing.assert_close(sequence_energy(logits.unsqueeze(1), mask), free_energy(logits))


def test_two_steps_are_their_mean_and_padding_is_ignored(logits):
    steps = torch.stack([logits, logits.flip(0), torch.full_like(logits, torch.nan)], dim=1)
    mask = torch.tensor([True, True, False]).expand(len(logits), 3)
    expected = (free_energy(logits) + free_energy(logits.flip(0))) / 2
    torch.testing.assert_close(sequence_energy(steps, mask), expected)
    torch.testing.assert_close(sequence_energy(steps.unbind(1), mask), expected)


def test_no_steps_have_no_energy(logits):
    mask = torch.zeros(len(logits), 1, dtype=torch.bool)
    assert sequence_energy(logits.unsqueeze(1), mask).isnan().all()


def test_sequences_are_scored_step_by_step(logits):
    steps = torch.stack([logits, logits * 2], dim=1)
    for name, score in SCORES.items():
        expected = (score(logits, 1.0) + score(logits * 2, 1.0)) / 2
        torch.testing.assert_close(score_logits(steps, name), expected)
        torch.testing.assert_close(score_logits(steps.unbind(1), name), expected)


# --- the other scores ---------------------------------------------------------------------------


def test_scores_of_a_hand_computed_row():
    row = torch.tensor([[0.6, 0.3, 0.1]]).log() + 4.0
    assert max_log_softmax(row).item() == pytest.approx(math.log(0.6))
    assert top2_margin(row).item() == pytest.approx(0.3)
    entropy = -(0.6 * math.log(0.6) + 0.3 * math.log(0.3) + 0.1 * math.log(0.1))
    assert negative_entropy(row).item() == pytest.approx(-entropy)
    assert negative_free_energy(row).item() == pytest.approx(4.0)


def test_only_energy_sees_the_norm(logits):
    for name in ("max_log_softmax", "negative_entropy", "top2_margin"):
        torch.testing.assert_close(
            SCORES[name](logits + 9, 1.0), SCORES[name](logits, 1.0), atol=1e-5, rtol=0
        )
    assert (negative_free_energy(logits + 9) > negative_free_energy(logits) + 8.9).all()


def test_two_classes_rank_alike_by_softmax_entropy_and_margin(logits):
    two = logits[:, :2]
    orders = {name: SCORES[name](two, 1.0).argsort().tolist() for name in SCORES}
    assert orders["max_log_softmax"] == orders["negative_entropy"] == orders["top2_margin"]
    assert orders["negative_free_energy"] != orders["max_log_softmax"]


def test_confident_rows_do_not_tie():
    margins = torch.tensor([[20.0, 0.0], [30.0, 0.0], [40.0, 0.0]])
    assert len(max_log_softmax(margins).unique()) == 3
    assert margins.softmax(-1).amax(-1).unique().numel() == 1


def test_model_free_scores():
    assert length_score(["a b c", "a", ""]).tolist() == [-3, -1, 0]
    assert oracle_score(torch.tensor([True, False, True]), torch.tensor([True, True, False])).tolist() == [
        0,
        -1,
        1,
    ]
    first, again = (random_score(5, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)


# --- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_normalised_log_probabilities_are_refused(logits, dtype):
    with pytest.raises(ValueError, match="normalised log-probabilities"):
        score_logits(logits.log_softmax(-1).to(dtype))


def test_probabilities_are_refused(logits):
    with pytest.raises(ValueError, match="softmax was already applied"):
        score_logits(logits.softmax(-1))


def test_a_single_row_near_zero_energy_is_not_refused():
    check_logits(torch.tensor([[0.6, 0.4]]).log())


def test_one_class_has_no_energy(logits):
    with pytest.raises(ValueError, match="score of your own"):
        score_logits(logits[:, :1])


def test_an_unknown_score_names_the_known_ones(logits):
    with pytest.raises(ValueError, match="There is no score 'energy'"):
        score_logits(logits, "energy")
