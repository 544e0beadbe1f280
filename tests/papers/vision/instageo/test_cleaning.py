"""Cleaning chips, distances on the globe, and groups that stay together."""

import numpy as np
import pytest

from assay.papers.vision.instageo.method import (
    ChipCleaner,
    buffer_labels,
    connected_groups,
    great_circle,
    kmeans_groups,
    limit_labels,
    split_groups,
)


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


def test_distances_are_those_of_great_circles():
    places = np.array([[0.0, 0.0], [90.0, 0.0], [0.0, 90.0], [180.0, 0.0]])
    quarter = np.pi / 2 * 6371.0088
    assert great_circle(places, places)[0] == pytest.approx([0, quarter, quarter, 2 * quarter])
    date_line = great_circle(np.array([[179.9, 0.0]]), np.array([[-179.9, 0.0]]))
    assert date_line[0, 0] == pytest.approx(0.2 / 90 * quarter)


def test_places_are_linked_by_steps():
    chain = np.array([[0.0, 0.0], [3.0, 0.0], [6.0, 0.0], [20.0, 0.0]])  # 334 km apart, then far
    groups = connected_groups(chain, 400.0)
    assert len(set(groups[:3])) == 1
    assert groups[3] != groups[0]
    assert len(set(connected_groups(chain, 300.0))) == 4


def test_clusters_are_never_more_than_places():
    places = np.array([[0.0, 0.0], [0.0, 0.0], [5.0, 5.0]])
    groups = kmeans_groups(places, 20)
    assert groups[0] == groups[1] != groups[2]
    assert len(set(kmeans_groups(places, 3, years=np.array([2020, 2021, 2021])))) == 3


def test_groups_go_whole_to_one_part():
    groups = np.repeat(np.arange(10), 10)
    parts = split_groups(groups, seed=3)
    assert [len(part) for part in parts] == [60, 20, 20]
    owners = [set(groups[part]) for part in parts]
    assert not owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2]
    with pytest.raises(ValueError, match=r"2 groups of places cannot fill 3 parts"):
        split_groups(np.array([0, 0, 1]))
