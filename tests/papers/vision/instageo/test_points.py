"""Points at the door, and the 100 km squares that they lie in."""

import numpy as np
import pandas as pd
import pytest

from assay.papers.vision.instageo.method import Columns, mgrs_tiles, read_points, utm_zone


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


def table(**changed):
    rows = {"x": [35.0, 35.1], "y": [30.0, 30.1], "date": ["2022-06-01", "2022-06-02"], "label": [0, 1]}
    return pd.DataFrame(rows | changed)


def test_points_come_from_csv_and_parquet_alike(tmp_path):
    table().to_csv(tmp_path / "points.csv", index=False)
    table().to_parquet(tmp_path / "points.parquet")
    first, second = (read_points(tmp_path / name) for name in ("points.csv", "points.parquet"))
    for name in ("longitude", "latitude", "date", "label"):
        assert (getattr(first, name) == getattr(second, name)).all()
    assert first.label.dtype == np.int16


def test_time_zones_are_brought_to_utc():
    dates = ["2022-06-01T23:30:00-05:00", "2022-06-02"]
    assert read_points(table(date=dates)).date.astype(str).tolist() == [
        "2022-06-02T04:30:00",
        "2022-06-02T00:00:00",
    ]


def test_numbers_can_be_dates():
    assert read_points(table(date=[20220601, 20220602])).date[0] == np.datetime64("2022-06-01")


def test_other_reference_systems_are_brought_to_the_globe():
    frame = table(x=[500_000.0, 501_000.0], y=[3_300_000.0, 3_300_000.0])
    points = read_points(frame, Columns(crs="EPSG:32636"))
    assert points.longitude[0] == pytest.approx(33.0)
    assert points.latitude[0] == pytest.approx(29.83, abs=0.01)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"date": ["soon", "2022-06-02"]}, r"1 dates of the table cannot be read, first in row 1: 'soon'"),
        ({"x": [35.0, None]}, "1 points have no number as a coordinate, first in row 2"),
        ({"y": [120.0, 121.0]}, "seem to be swapped"),
        ({"y": [120.0, 121.0], "x": [200.0, 35.0]}, "2 points of the table lie beyond the globe.*CRS"),
        ({"label": [0, -1]}, "1 labels are -1, first in row 2: that means no label"),
        ({"label": [0.5, 1]}, "no class numbers from 0 to 32767, first in row 1: 0.5"),
        ({"label": [40_000, 1]}, "no class numbers from 0 to 32767"),
        ({"label": ["water", 1]}, "1 labels are no numbers, first in row 1: 'water'"),
    ],
)
def test_bad_points_are_refused_with_their_row(changed, message):
    with pytest.raises(ValueError, match=message):
        read_points(table(**changed))


def test_255_is_a_class_like_others():
    assert read_points(table(label=[255, 0])).label.tolist() == [255, 0]


def test_values_are_labels_of_regression():
    assert read_points(table(label=[0.5, -2.0]), task="regression").label.tolist() == [0.5, -2.0]


def test_a_missing_column_is_named_with_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"no column 'label'. Did you mean 'labels'"):
        read_points(table().rename(columns={"label": "labels"}))
    with pytest.raises(ValueError, match=r"no reference system|no coordinate reference system"):
        read_points(table(), Columns(crs="nowhere"))
    with pytest.raises(ValueError, match=r"has no rows"):
        read_points(table().iloc[:0])
    with pytest.raises(FileNotFoundError):
        read_points(tmp_path / "none.csv")
    (tmp_path / "points.xlsx").write_text("x")
    with pytest.raises(ValueError, match=r"should be a .csv, .parquet or .gpkg"):
        read_points(tmp_path / "points.xlsx")
