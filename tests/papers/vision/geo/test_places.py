"""Places on the globe: tiles, distances, and groups that stay together."""

import numpy as np
import pytest

from assay.papers.vision.geo.places import (
    connected_groups,
    great_circle,
    kmeans_groups,
    mgrs_tiles,
    split_groups,
    utm_zone,
)


@pytest.mark.parametrize(
    ("longitude", "latitude", "tile"),
    [
        (2.35, 48.85, "31UDQ"),  # Paris
        (-74.0, 40.7, "18TWL"),  # New York
        (151.2, -33.87, "56HLH"),  # Sydney
        (5.32, 60.39, "32VKN"),  # Bergen, in the zone that is wider there
        (16.0, 78.2, "33XWG"),  # Svalbard
        (-165.25, -4.76, "03MVQ"),
    ],
)
def test_tiles_are_those_of_the_military_grid(longitude, latitude, tile):
    assert mgrs_tiles(np.array([longitude]), np.array([latitude]))[0] == tile


def test_zones_have_the_exceptions_of_the_north():
    longitude, latitude = np.array([4.0, 4.0, 8.0, 20.0, 34.0]), np.array([60.0, 50.0, 75.0, 75.0, 75.0])
    assert utm_zone(longitude, latitude).tolist() == [32, 31, 31, 33, 37]


def test_tiles_end_where_utm_does():
    with pytest.raises(ValueError, match=r"1 points have a latitude outside -80 to 84"):
        mgrs_tiles(np.array([0.0]), np.array([85.0]))


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
