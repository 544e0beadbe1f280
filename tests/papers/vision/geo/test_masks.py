"""Quality bands, blanking, where a label may stand, and cleaning."""

import numpy as np
import pytest

from assay.papers.vision.instageo.method import (
    ChipCleaner,
    blank,
    buffer_labels,
    limit_labels,
    observed,
    quality_mask,
)


def test_fmask_is_read_bit_by_bit():
    value = np.array([0b00001010], np.uint8)
    found = {
        name: bool(quality_mask(value, "Fmask", (name,))[0])
        for name in ("cloud", "near_cloud_or_shadow", "cloud_shadow", "water")
    }
    assert found == {"cloud": True, "near_cloud_or_shadow": False, "cloud_shadow": True, "water": False}


def test_scl_is_read_by_class():
    classes = np.array([4, 6, 8, 9])
    assert quality_mask(classes, "SCL", ("cloud",)).tolist() == [False, False, True, True]
    assert quality_mask(classes, "SCL", ("cloud", "water")).tolist() == [False, True, True, True]
    with pytest.raises(ValueError, match=r"SCL has no 'cloud_shadow'"):
        quality_mask(classes, "SCL", ("cloud_shadow",))


def test_each_blanks_its_own_step_and_any_blanks_all():
    chip = np.ones((4, 1, 2), np.uint16)  # two steps of two bands
    masks = np.array([[[True, False]], [[False, False]]])
    assert blank(chip, masks, "each", 0)[:, 0].tolist() == [[0, 1], [0, 1], [1, 1], [1, 1]]
    assert blank(chip, masks, "any", 0)[:, 0].tolist() == [[0, 1]] * 4


def test_each_keeps_labels_where_one_band_is_there_and_any_where_all_are():
    chip = np.array([[[1, 0, 1]], [[0, 0, 1]]], np.uint16)
    assert observed(chip, "each", 0).tolist() == [[True, False, True]]
    assert observed(chip, "any", 0).tolist() == [[False, False, True]]


def test_chips_with_more_than_half_empty_are_left_out():
    half, empty = np.ones((2, 2, 2)), np.ones((2, 2, 2))
    half[0, 0] = 0
    empty[0] = 0
    assert ChipCleaner().clean([half, empty]) == [0]
    assert ChipCleaner(strategy="each").clean([half, empty]) == [0, 1]


def test_buffered_labels_grow_and_do_not_overwrite():
    labels = np.full((5, 5), -1)
    labels[2, 2], labels[0, 0] = 3, 1
    grown = buffer_labels(labels, 1)
    assert (grown[1:4, 1:4] == 3).all()  # the pixel between both goes to the one further down
    assert grown[0, 0] == 1
    assert grown[4, 4] == -1
    assert (buffer_labels(labels, 0) == labels).all()


def test_labels_are_limited_to_what_was_seen():
    chip = np.ones((2, 1, 2))
    chip[:, 0, 1] = 0
    assert limit_labels(np.array([[4, 4]]), chip).tolist() == [[4, -1]]
