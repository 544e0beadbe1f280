"""Random changes of chips and labels."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from assay.papers.vision.augmentation import Augmentation, blurred, turned


def numbered(size=8):
    """Return a chip whose pixels are numbered from 1, and labels that are the same numbers."""
    pixels = torch.arange(1, size * size + 1).view(size, size)
    return pixels.float().expand(1, 2, 3, size, size), pixels[None]


def test_flips_move_labels_with_their_pixels():
    chips, labels = (values.repeat(40, *[1] * (values.ndim - 1)) for values in numbered())
    changed, moved = Augmentation()(chips, labels, torch.Generator().manual_seed(0))
    assert (changed[:, 0, 0].long() == moved).all()
    assert (changed == changed[:, :1, :1]).all()  # all bands and dates alike
    seen = {tuple(label.flatten().tolist()) for label in moved}
    assert seen == {tuple(labels[0].flip(axes).flatten().tolist()) for axes in ((), (0,), (1,), (0, 1))}


def test_crops_and_turns_move_labels_with_their_pixels():
    chips, labels = (values.repeat(20, *[1] * (values.ndim - 1)) for values in numbered())
    cut, kept = Augmentation(crop=5, flips=False)(chips, labels, torch.Generator().manual_seed(0))
    assert cut.shape[-2:] == kept.shape[-2:] == (5, 5)
    assert (cut[:, 0, 0].long() == kept).all()
    assert len({label[0, 0].item() for label in kept}) > 5
    spun, moved = Augmentation(flips=False, degrees=40.0)(chips, labels, torch.Generator().manual_seed(0))
    there = moved != -1
    assert (spun[:, 0, 0].long()[there] == moved[there]).all()
    assert (spun[:, 0, 0][~there] == 0).all()  # no data where nothing was
    assert 0 < (~there).float().mean() < 0.3


def test_a_quarter_turn_is_a_rotation():
    layers = torch.arange(15.0).view(1, 3, 5)
    square = torch.arange(16.0).view(1, 4, 4)
    assert torch.equal(turned(square, 90.0, -1.0), square.rot90(1, (1, 2)))
    assert torch.equal(turned(layers, 180.0, -1.0), layers.rot90(2, (1, 2)))
    assert torch.equal(turned(layers, 0.0, -1.0), layers)


def test_a_blur_is_scipys_in_three_pixels():
    layers = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = [ndimage.gaussian_filter(layer, 0.8, radius=1, mode="mirror") for layer in layers.numpy()]
    torch.testing.assert_close(blurred(layers, 0.8).numpy(), np.stack(expected))


def test_all_of_the_papers_changes_leave_no_data_alone_and_stay_in_their_ranges():
    chips = torch.full((30, 6, 1, 32, 32), 2000.0)
    chips[..., :4] = 0
    labels = torch.zeros(30, 32, 32, dtype=torch.long)
    changed, moved = Augmentation.full()(chips, labels, torch.Generator().manual_seed(0))
    assert ((changed == 0).flatten(1).sum(dim=1) >= 30 * 4).all()
    assert set(moved.unique().tolist()) == {-1, 0}
    inner = changed[..., 14:18, 14:18]
    brightness = inner.mean(dim=(1, 2, 3, 4)) / 2000
    assert 0.75 < brightness.min() < 0.9 < 1.1 < brightness.max() < 1.25
    assert inner[:, 0].std(dim=(1, 2, 3)).mean() == pytest.approx(500, rel=0.15)
    again, _ = Augmentation.full()(chips, labels, torch.Generator().manual_seed(0))
    assert torch.equal(changed, again)


def test_one_factor_scales_the_distance_from_the_mean():
    chips = torch.tensor([[100.0, 300.0], [0.0, 200.0]]).view(1, 1, 1, 2, 2)
    changed, _ = Augmentation(flips=False, contrast=0.2)(
        chips, torch.zeros(1, 2, 2).long(), torch.Generator().manual_seed(3)
    )
    low, high, nothing, middle = changed.flatten().tolist()
    assert nothing == 0  # left out of the mean, which is 200
    assert middle == pytest.approx(200)
    assert high - 200 == pytest.approx(200 - low)
    assert 80 <= high - 200 <= 120
    assert high != 300
