"""Chips for label rasters: against a numpy oracle in two zones, the funnel, and bad input."""

import numpy as np
import pandas as pd
import pytest
import rasterio
from pyproj import Transformer

from assay.papers.vision.instageo.method import (
    BandFile,
    ChipCreator,
    ChipDataset,
    SceneList,
    read_label_rasters,
)
from papers.vision.geotiffs import LEFT, PIXEL, TOP, scene, write, write_bands

SIZE = 40
"""Pixels of a scene's side."""
CLOUDY = np.s_[14:18, 11:19]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Two dates of one scene in zone 36, with values above 10,000, no data and a cloud on the newer one."""
    folder = tmp_path_factory.mktemp("raw")
    random = np.random.default_rng(1004)
    values = random.integers(1, 12_000, (2, 6, SIZE, SIZE)).astype(np.uint16)
    values[:, :, 20, 20] = 0
    clouds = np.zeros((2, SIZE, SIZE), np.uint8)
    clouds[0][CLOUDY] = 0b10
    scenes = []
    for number, day in enumerate(("2022-06-01", "2022-05-02")):
        mask = write(folder / f"mask{number}.tif", clouds[number][None], nodata=255)
        bands = write_bands(folder, f"s{number}", values[number])
        scenes.append(scene(f"s{number}", day, bands, SIZE, mask=BandFile(str(mask))))
    return scenes, values, clouds


def label_map(height, width, seed=1005):
    labels = np.random.default_rng(seed).integers(0, 5, (1, height, width)).astype(np.int16)
    labels[0, ::3, ::2] = -1
    return labels


def place_in(epsg, column, row):
    """Return the corner of a raster that lies at a pixel of the scene, on whole metres of a zone."""
    x, y = Transformer.from_crs(32636, epsg, always_xy=True).transform(
        LEFT + column * PIXEL, TOP - row * PIXEL
    )
    return float(round(x)), float(round(y))


def oracle(values, clouds, labels, epsg, corner, pixel, strategy="each"):
    """Look each pixel of a label raster up in the scene's arrays."""
    height, width = labels.shape
    x, y = np.meshgrid(
        corner[0] + (np.arange(width) + 0.5) * pixel, corner[1] - (np.arange(height) + 0.5) * pixel
    )
    east, north = Transformer.from_crs(epsg, 32636, always_xy=True).transform(x, y)
    rows, columns = np.floor((TOP - north) / PIXEL).astype(int), np.floor((east - LEFT) / PIXEL).astype(int)
    inside = (rows >= 0) & (rows < SIZE) & (columns >= 0) & (columns < SIZE)
    rows, columns = np.clip(rows, 0, SIZE - 1), np.clip(columns, 0, SIZE - 1)
    hidden = clouds[:, rows, columns] > 0
    if strategy == "any":
        hidden = hidden.any(axis=0)[None].repeat(2, axis=0)
    chip = np.where(inside & ~hidden[:, None], np.minimum(values[:, :, rows, columns], 10_000), 0)
    chip = chip.reshape(12, height, width)
    valid = (chip != 0).any(axis=0) if strategy == "each" else (chip != 0).all(axis=0)
    return chip, np.where(valid, labels, -1)


def creator(seen, **options):
    settings = {"chip_size": 8, "num_steps": 2, "workers": 1, "mask_types": ("cloud",)} | options
    return ChipCreator(SceneList(seen[0]), **settings)


@pytest.mark.parametrize(("epsg", "pixel"), [(32636, 30.0), (32637, 20.0)])
@pytest.mark.parametrize("strategy", ["each", "any"])
def test_every_pixel_is_that_of_the_oracle_on_the_raster_s_own_grid(seen, tmp_path, epsg, pixel, strategy):
    corner, labels = place_in(epsg, 9.6, 12.3), label_map(20, 18)
    write(tmp_path / "labels" / "field_20220615.tif", labels, epsg, corner, pixel, nodata=-1)
    made = creator(seen, masking_strategy=strategy).create_from_rasters(tmp_path / "labels", tmp_path / "c")
    chip, known = oracle(*seen[1:], labels[0], epsg, corner, pixel, strategy)
    assert len(made) == 4  # 2 x 2 whole cells
    for row, path in enumerate(made.inputs):
        across, down = (int(part) for part in path.stem.split("_")[-2:])
        at = np.s_[8 * down : 8 * down + 8, 8 * across : 8 * across + 8]
        assert (made.chip(row) == chip[(slice(None), *at)]).all()
        assert (made.label(row) == known[at]).all()
        with rasterio.open(path) as one, rasterio.open(made.labels[row]) as other:
            assert one.crs.to_epsg() == epsg
            assert one.transform == other.transform
            assert one.transform[2] == pytest.approx(corner[0] + 8 * across * pixel)
            assert (one.transform[0], one.dtypes[0]) == (pixel, "uint16")
    whole = np.s_[:16, :16]
    funnel = made.about["funnel"]
    assert funnel["points"] == funnel["with distinct granules"] == (labels != -1).sum()
    assert funnel["in a whole chip"] == (labels[0][whole] != -1).sum()
    assert funnel["not cloudy"] == funnel["labelled pixels"] == (known[whole] != -1).sum()
    assert funnel["not cloudy"] < funnel["in a whole chip"] < funnel["points"]


def test_a_table_gives_dates_and_chips_load_and_go_on(seen, tmp_path):
    for name, column in (("a", 2), ("b", 20)):
        write(tmp_path / f"{name}.tif", label_map(8, 8), 32636, place_in(32636, column, 2), nodata=-1)
    table = tmp_path / "rasters.csv"
    pd.DataFrame({"path": ["a.tif", "b.tif"], "date": ["2022-06-15", "2022-06-20T23:00-05:00"]}).to_csv(table)
    made = creator(seen).create_from_rasters(table, tmp_path / "c")
    assert [path.stem.split("_")[3] for path in made.inputs] == ["a", "b"]
    assert made.about["funnel"]["granule sets"] == 1
    assert made[0][0].shape == (6, 2, 8, 8)
    before = [path.stat().st_mtime_ns for path in made.inputs]
    again = creator(seen).create_from_rasters(table, tmp_path / "c")
    assert before == [path.stat().st_mtime_ns for path in again.inputs]
    assert again.about["funnel"] == ChipDataset.load(tmp_path / "c").about["funnel"] == made.about["funnel"]
    write(tmp_path / "b.tif", label_map(8, 8, 1), 32636, place_in(32636, 20, 2), nodata=-1)
    with pytest.raises(ValueError, match=r"holds chips of other"):
        creator(seen).create_from_rasters(table, tmp_path / "c")


def test_values_are_labels_of_regression(seen, tmp_path):
    labels = np.full((1, 8, 8), 0.25, np.float32)
    labels[0, 0, 0] = np.nan
    write(tmp_path / "l" / "yield_20220615.tif", labels, corner=place_in(32636, 2, 2), nodata=None)
    made = creator(seen, task="regression").create_from_rasters(tmp_path / "l", tmp_path / "c")
    assert made.label(0)[0, :2].tolist() == [-1, 0.25]


@pytest.mark.parametrize(
    ("place", "name", "change", "message"),
    [
        ((900, 2), "field_20220615", {}, r"no scene holds any of the places"),
        (
            (2, 2),
            "field_20230615",
            {},
            r"scenes there are from 2022-05-02 to 2022-06-01; looked for within 5 days: 2023-05-02",
        ),
        ((2, 2), "field", {}, r"field has no date"),
        ((2, 2), "field_20220615", {"epsg": None}, r"no coordinate reference system"),
    ],
)
@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_rasters_without_place_date_or_scene_are_refused(seen, tmp_path, place, name, change, message):
    write(tmp_path / "l" / f"{name}.tif", label_map(8, 8), **{"corner": place_in(32636, *place)} | change)
    with pytest.raises(ValueError, match=message):
        creator(seen).create_from_rasters(tmp_path / "l", tmp_path / "c")


@pytest.mark.parametrize(
    ("labels", "nodata", "message"),
    [
        (np.full((1, 8, 8), -5, np.int16), None, r"has the label -5, which is no class number"),
        (np.full((1, 8, 8), 0.5, np.float32), None, r"has the label 0.5, .* measured values need regression"),
        (np.full((1, 8, 8), 9, np.int16), 9, r"none of 1 label rasters has a label"),
        (np.ones((2, 8, 8), np.int16), None, r"has 2 bands; labels have one"),
        (np.ones((1, 4, 4), np.int16), None, r"no chip could be made.*4 x 4 pixels, less than a chip of 8"),
    ],
)
def test_bad_labels_are_refused(seen, tmp_path, labels, nodata, message):
    write(tmp_path / "l" / "field_20220615.tif", labels, corner=place_in(32636, 2, 2), nodata=nodata)
    with pytest.raises(ValueError, match=message):
        creator(seen).create_from_rasters(tmp_path / "l", tmp_path / "c")


def test_a_list_of_rasters_is_checked(tmp_path):
    with pytest.raises(ValueError, match="no file"):
        read_label_rasters(tmp_path / "none")
    with pytest.raises(ValueError, match=r"names no label raster"):
        read_label_rasters(tmp_path)
    table = tmp_path / "t.csv"
    for rows, message in (
        ({"file": ["a.tif"]}, "no column 'path'"),
        ({"path": ["a.tif"], "date": ["soon"]}, r"row 1: 'soon' is no date in an ISO form"),
    ):
        pd.DataFrame(rows).to_csv(table)
        with pytest.raises(ValueError, match=message):
            read_label_rasters(table)
    pd.DataFrame({"path": ["a.tif"], "date": ["2022-06-01"]}).to_csv(table)
    with pytest.raises(ValueError, match=r"no file .*a.tif"):
        read_label_rasters(table)
    for folder in ("x", "y"):
        write(tmp_path / folder / "f_20220601.tif", label_map(4, 4))
    with pytest.raises(ValueError, match=r"two label rasters are called f_20220601"):
        read_label_rasters(tmp_path)
