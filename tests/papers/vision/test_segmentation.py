"""One-pass metrics against formulas and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score, r2_score, roc_auc_score, root_mean_squared_error

from assay.papers.vision.segmentation import ConfusionMatrix, RocHistogram, ValueErrors


def test_iou_of_a_matrix_by_hand():
    matrix = ConfusionMatrix(2)
    matrix.counts[:] = [[5, 1], [2, 2]]
    assert matrix.iou() == pytest.approx([5 / 8, 2 / 5])
    assert matrix.miou() == pytest.approx((5 / 8 + 2 / 5) / 2)
    assert matrix.accuracy() == pytest.approx(0.7)


def test_batches_add_up_to_the_library_and_a_class_that_is_not_there_counts_as_0():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 3, (4, 5, 6), generator=generator)
    guesses = torch.randint(0, 3, (4, 5, 6), generator=generator)
    matrix = ConfusionMatrix(4)
    for rows in ((0, 1), (1, 4)):
        matrix.add(guesses[slice(*rows)], labels[slice(*rows)])
    valid = labels >= 0
    expected = jaccard_score(labels[valid], guesses[valid], average=None, labels=[0, 1, 2])
    assert matrix.iou() == pytest.approx([*expected, 0.0])
    with pytest.raises(ValueError, match=r"labels go from 4 to 4, classes from 0 to 3"):
        matrix.add(torch.tensor([0]), torch.tensor([4]))


def test_areas_are_those_of_the_library_for_probabilities_on_the_bins():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 400)
    rows = random.integers(0, 1024, (400, 3)) / 1024
    histogram = RocHistogram(3)
    for part in (slice(0, 100), slice(100, 400)):
        histogram.add_probabilities(torch.from_numpy(rows[part]).float(), torch.from_numpy(labels[part]))
    expected = [roc_auc_score(labels == number, rows[:, number]) for number in range(3)]
    assert histogram.areas() == pytest.approx(expected, abs=1e-12)
    assert histogram.auc() == pytest.approx(np.mean(expected))


def test_areas_of_maps_leave_pixels_without_a_label_out():
    logits = torch.tensor([[[[9.0, -9.0, 0.0]], [[-9.0, 9.0, 0.0]]]])
    histogram = RocHistogram(2)
    histogram.add(logits, torch.tensor([[[0, 1, -1]]]))
    assert histogram.counts.sum() == 4
    assert histogram.areas().tolist() == [1.0, 1.0]
    assert np.isnan(RocHistogram(2).auc())


def test_errors_of_values_are_those_of_the_library_and_skip_what_has_no_label():
    generator = torch.Generator().manual_seed(0)
    labels, guesses = torch.randn(4, 5, 6, generator=generator), torch.randn(4, 5, 6, generator=generator)
    labels[0] = -1
    errors = ValueErrors()
    for rows in ((0, 1), (1, 4)):
        errors.add(guesses[slice(*rows)], labels[slice(*rows)])
    assert errors.r2() == pytest.approx(r2_score(labels[1:].flatten(), guesses[1:].flatten()))
    assert errors.rmse() == pytest.approx(
        root_mean_squared_error(labels[1:].flatten(), guesses[1:].flatten())
    )
    assert np.isnan(ValueErrors().r2())
    assert np.isnan(ValueErrors().rmse())
