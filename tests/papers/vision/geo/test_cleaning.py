"""Cleaning chips and label maps."""

import numpy as np

from assay.papers.vision.instageo.method import ChipCleaner, buffer_labels, limit_labels


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
