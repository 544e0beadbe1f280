"""Points of a GeoPackage that is written here, byte by byte."""

import sqlite3
import struct
from contextlib import closing

import numpy as np
import pytest
import shapely

from assay.papers.vision.instageo.method import Columns, read_points


def blob(shape, envelope=0, epsg=32636):
    """Return a geometry with its header; envelope 0 has none, 1 has four numbers."""
    header = struct.pack("<2sBBi", b"GP", 0, 1 | envelope << 1, epsg)
    rim = struct.pack("<4d", *shape.bounds) if envelope else b""
    return header + rim[:32] + shapely.to_wkb(shape)


def package(path, shapes, epsg=32636, layers=("fields",)):
    with closing(sqlite3.connect(path)) as file:
        file.execute(
            "CREATE TABLE gpkg_spatial_ref_sys (srs_id, organization, organization_coordsys_id, definition)"
        )
        file.execute("INSERT INTO gpkg_spatial_ref_sys VALUES (?, 'EPSG', ?, '')", (epsg, epsg))
        file.execute("CREATE TABLE gpkg_geometry_columns (table_name, column_name, srs_id)")
        for layer in layers:
            file.execute("INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', ?)", (layer, epsg))
            file.execute(f'CREATE TABLE "{layer}" (fid INTEGER, geom BLOB, date TEXT, label INTEGER)')
            rows = [(n, shape, "2022-06-01", n) for n, shape in enumerate(shapes)]
            file.executemany(f'INSERT INTO "{layer}" VALUES (?, ?, ?, ?)', rows)
        file.commit()
    return path


PLACES = [shapely.Point(500_000.0, 3_300_000.0), shapely.MultiPoint([(501_000.0, 3_301_000.0)])]


def test_points_come_with_their_reference_system(tmp_path):
    shapes = [blob(PLACES[0]), blob(PLACES[1], envelope=1)]
    points = read_points(package(tmp_path / "p.gpkg", shapes, layers=('my "fields"'.replace('"', "'"),)))
    assert points.longitude[0] == pytest.approx(33.0)
    assert points.latitude[0] == pytest.approx(29.83, abs=0.01)
    assert points.longitude[1] > points.longitude[0]
    assert points.label.tolist() == [0, 1]
    assert (points.date == np.datetime64("2022-06-01")).all()
    other = read_points(tmp_path / "p.gpkg", Columns(crs="EPSG:32637"))  # what the user says counts
    assert other.longitude[0] == pytest.approx(39.0)


@pytest.mark.parametrize(
    ("shapes", "more", "message"),
    [
        ([blob(shapely.LineString([(0, 0), (1, 1)]))], {}, r"row 1 of .* is no point: it is a LineString"),
        ([blob(PLACES[0]), None], {}, r"row 2 of .* is no point: it has no geometry"),
        ([b"GP\x00\x01\x00"], {}, r"row 1 of .* is no point"),
        ([blob(shapely.Point())], {}, r"it is a Point without a place"),
        ([blob(PLACES[0])], {"epsg": 0}, r"has no coordinate reference system"),
        ([blob(PLACES[0])], {"layers": ("a", "b")}, r"should have one layer of points; its layers: a, b"),
        ([], {}, r"has no rows"),
    ],
)
def test_what_is_no_layer_of_points_is_refused(tmp_path, shapes, more, message):
    with pytest.raises(ValueError, match=message):
        read_points(package(tmp_path / "p.gpkg", shapes, **more))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "p.gpkg").write_text("x, y, date, label" * 100)
    with pytest.raises(ValueError, match=r"cannot be read as a GeoPackage"):
        read_points(tmp_path / "p.gpkg")
    with pytest.raises(FileNotFoundError):
        read_points(tmp_path / "none.gpkg")
    assert not (tmp_path / "none.gpkg").exists()
