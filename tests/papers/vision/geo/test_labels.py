"""Labelled points: from tables and from layers, and what is refused."""

import warnings

import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely

from assay.papers.vision.instageo.method import Columns, read_points


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
        (
            {"date": ["soon", "2022-06-02"]},
            r"the table: column 'date', row 1: 'soon' is no date in an ISO form",
        ),
        ({"date": ["2022-06-01", None]}, r"row 2: the date is empty"),
        ({"date": ["2022-06-01", "2022-06-31"]}, r"row 2: '2022-06-31' is not in the calendar"),
        ({"x": [35.0, None]}, "1 points have no number as a coordinate, first in row 2"),
        ({"y": [120.0, 121.0]}, "seem to be swapped"),
        ({"y": [120.0, 121.0], "x": [200.0, 35.0]}, "2 points of the table lie beyond the globe.*CRS"),
        ({"label": [0, -1]}, "1 labels mean that there is no label, first in row 2: -1"),
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
    with pytest.raises(ValueError, match=r"no file .*none.csv"):
        read_points(tmp_path / "none.csv")
    (tmp_path / "points.xlsx").write_text("x")
    with pytest.raises(ValueError, match=r"should be a file that ends in .csv"):
        read_points(tmp_path / "points.xlsx")


@pytest.mark.parametrize("text", ["31/05/2022", "05/06/2022", "5.6.2022", "05-06-2022"])
def test_dates_of_which_the_day_or_the_month_may_stand_first_are_refused(tmp_path, text):
    table(date=["2022-06-01", text]).to_csv(tmp_path / "points.csv", index=False)
    with pytest.raises(ValueError, match=r"points.csv: column 'date', row 2: .* is ambiguous"):
        read_points(tmp_path / "points.csv")


# --- layers -------------------------------------------------------------------------------------

PLACES = [shapely.Point(500_000.0, 3_300_000.0), shapely.MultiPoint([(501_000.0, 3_301_000.0)])]


def package(path, shapes, crs="EPSG:32636", layers=("fields",), **columns):
    """Write a GeoPackage whose layers have these shapes."""
    values = {"date": ["2022-06-01"] * len(shapes), "label": list(range(len(shapes)))} | columns
    data = [np.array(v, "datetime64[ms]" if n == "seen" else None) for n, v in values.items()]
    data = [each.astype(object) if each.dtype.kind == "U" else each for each in data]
    wkb = np.array([None if shape is None else shapely.to_wkb(shape) for shape in shapes], object)
    for layer in layers:
        with warnings.catch_warnings(action="ignore"):  # that it has no CRS
            pyogrio.raw.write(
                path, wkb, data, list(values), geometry_type="Unknown", crs=crs, layer=layer, driver="GPKG"
            )
    return path


def test_points_of_a_layer_come_with_their_reference_system(tmp_path):
    points = read_points(package(tmp_path / "p.gpkg", PLACES, layers=("my 'fields'",)))
    assert points.longitude[0] == pytest.approx(33.0)
    assert points.latitude[0] == pytest.approx(29.83, abs=0.01)
    assert points.longitude[1] > points.longitude[0]
    assert points.label.tolist() == [0, 1]
    assert (points.date == np.datetime64("2022-06-01")).all()
    other = read_points(tmp_path / "p.gpkg", Columns(crs="EPSG:32637"))  # what the user says counts
    assert other.longitude[0] == pytest.approx(39.0)


def test_dates_of_a_layer_may_have_their_own_type(tmp_path):
    path = package(tmp_path / "p.gpkg", PLACES, seen=["2022-06-01T10:20:30", "2022-06-02T00:00:00"])
    dates = read_points(path, Columns(date="seen")).date
    assert dates.astype(str).tolist() == ["2022-06-01T10:20:30", "2022-06-02T00:00:00"]


@pytest.mark.parametrize(
    ("shapes", "more", "message"),
    [
        ([shapely.LineString([(0, 0), (1, 1)])], {}, r"row 1 of .* is no point: it is LINESTRING"),
        ([PLACES[0], None], {}, r"row 2 of .* is no point: it has no geometry"),
        ([shapely.Point()], {}, r"row 1 of .* is no point: it is POINT EMPTY"),
        ([PLACES[0]], {"crs": None}, r"has no coordinate reference system"),
        ([PLACES[0]], {"layers": ("a", "b")}, r"should have one layer of points; its layers: a, b"),
        ([], {}, r"has no rows"),
    ],
)
def test_what_is_no_layer_of_points_is_refused(tmp_path, shapes, more, message):
    with pytest.raises(ValueError, match=message):
        read_points(package(tmp_path / "p.gpkg", shapes, **more))


def test_other_files_are_refused_as_layers(tmp_path):
    (tmp_path / "p.gpkg").write_text("x, y, date, label" * 100)
    with pytest.raises(ValueError, match=r"cannot be read as a GeoPackage"):
        read_points(tmp_path / "p.gpkg")
    with pytest.raises(ValueError, match=r"no file .*none.gpkg"):
        read_points(tmp_path / "none.gpkg")
    assert not (tmp_path / "none.gpkg").exists()
