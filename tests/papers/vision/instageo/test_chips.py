"""Chips out of scenes: against an independent oracle, by hand, and with bad input."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import rasterio
from pyproj import Transformer

from assay.papers.vision.geo.rasters import read_in_mercator
from assay.papers.vision.instageo.method import (
    BandFile,
    ChipCreator,
    ChipDataset,
    LocalScenes,
    Points,
    SceneList,
    StacTree,
    TimeSteps,
    paint_labels,
    read_points,
)
from assay.papers.vision.instageo.method.observations import pick_granules
from assay.papers.vision.instageo.synthetic.region import cut_oracle
from papers.vision.geotiffs import BANDS, at_pixel, scene, write, write_bands

DAY = np.array(["2022-06-01"], "datetime64[s]")


def points_at(pixels, labels=None, day=DAY, **place):
    """Return points in the middle of (row, column) pixels."""
    places = np.array([at_pixel(row, column, **place) for row, column in pixels])
    labels = range(len(pixels)) if labels is None else labels
    return Points(places[:, 0], places[:, 1], np.repeat(day, len(pixels)), np.array(labels, np.int16))


def values(size, start=1):
    """Return bands of which no two pixels are equal."""
    return np.arange(start, start + 6 * size * size, dtype=np.uint16).reshape(6, size, size)


def creator(*scenes, **options):
    settings = {"chip_size": 4, "num_steps": 1, "workers": 1} | options
    return ChipCreator(SceneList(list(scenes)), **settings)


@pytest.fixture
def single(tmp_path):
    return scene("one", "2022-06-01", write_bands(tmp_path / "raw", "one", values(10)), 10)


# --- the oracle ---------------------------------------------------------------------------------


def test_every_chip_label_and_count_is_that_of_the_oracle(region, cut):
    made, _, _ = region
    chips, counts = cut_oracle(made, 32, 3, 60.0)
    funnel = cut.about["funnel"]
    for stage, count in counts.items():
        assert funnel[stage.replace("_", " ")] == count, stage
    assert funnel["points"] == 160
    assert 0 < funnel["not cloudy"] < funnel["in a whole chip"] <= funnel["with all steps"] < 160
    assert funnel["chips"] == len(cut) == len(chips)
    assert funnel["labelled pixels"] == sum((labels != -1).sum() for _, labels in chips.values())
    mine = {(cut.chip(row).tobytes(), cut.label(row).tobytes()) for row in range(len(cut))}
    theirs = {
        (chip.astype(np.float32).tobytes(), labels.astype(np.int64).tobytes())
        for chip, labels in chips.values()
    }
    assert mine == theirs
    zones = {rasterio.open(path).crs.to_epsg() for path in cut.inputs}
    assert zones == {32636, 32637}


def test_chips_lie_where_their_scene_does(cut):
    for chip, labels in zip(cut.inputs, cut.labels, strict=True):
        with rasterio.open(chip) as one, rasterio.open(labels) as other:
            assert one.transform == other.transform
            assert one.crs == other.crs
            assert (one.count, one.dtypes[0], one.nodata) == (18, "uint16", 0)
            assert (other.count, other.dtypes[0], other.nodata) == (1, "int16", -1)
            assert one.descriptions[:7] == (
                "blue_0",
                "green_0",
                "red_0",
                "nir_0",
                "swir1_0",
                "swir2_0",
                "blue_1",
            )
            assert chip.name.startswith("chip_2022060")
            assert labels.name == chip.name.replace("chip_", "seg_map_", 1)


def test_a_data_set_gives_bands_dates_and_classes(cut):
    chip, labels = cut[0]
    assert chip.shape == (6, 3, 32, 32)
    assert labels.shape == (32, 32)
    assert (chip[2, 1].numpy() == cut.chip(0)[1 * 6 + 2]).all()
    assert len(cut.subset([1, 0]).tensors()[0]) == 2


# --- by hand ------------------------------------------------------------------------------------


def test_points_fall_into_pixels_by_floor_and_border_chips_are_dropped(single, tmp_path):
    made = creator(single).create(
        points_at([(0, 0), (7, 3), (8, 0), (3, 9)], labels=[5, 6, 7, 8]), tmp_path / "c"
    )
    assert [path.name for path in made.inputs] == [
        "chip_20220601_36RWT_0_0.tif",
        "chip_20220601_36RWT_0_1.tif",
    ]
    assert made.about["funnel"]["in a scene"] == 4
    assert made.about["funnel"]["in a whole chip"] == 2
    upper, lower = made.label(0), made.label(1)
    assert upper[0, 0] == 5
    assert lower[3, 3] == 6
    assert (upper != -1).sum() == (lower != -1).sum() == 1
    assert (made.chip(1) == values(10)[:, 4:8, :4]).all()


def test_a_point_beside_a_corner_belongs_to_the_pixel_that_it_is_in(single, tmp_path):
    for number, (shift, pixel) in enumerate([(1e-4, 2), (-1e-4, 1)]):
        corner = points_at([(1.5 + shift, 1.5 + shift)])
        assert creator(single).create(corner, tmp_path / str(number)).label(0)[pixel, pixel] == 0


def test_windows_are_clipped_at_the_border_and_later_points_win():
    labels, pixels = np.array([4, 4, 7]), np.array([[0, 0], [3, 3], [3, 2]])
    painted = paint_labels(labels[:1], pixels[:1], 8, 1, np.int16)
    assert (painted == 4).sum() == 4
    assert (paint_labels(labels[1:2], pixels[1:2], 8, 1, np.int16) == 4).sum() == 9
    both = paint_labels(labels[1:], pixels[1:], 8, 1, np.int16)
    assert ((both == 7).sum(), (both == 4).sum()) == (9, 3)


def test_steps_go_back_from_the_month_start():
    day = np.array(["2022-06-17"], "datetime64[s]")
    queries = TimeSteps(3, 30).queries(day)[0].astype("datetime64[D]").astype(str).tolist()
    assert queries == ["2022-06-01", "2022-05-02", "2022-04-02"]
    assert TimeSteps(3, 30, month_start=False).queries(day)[0, 0] == day[0]
    assert TimeSteps(1).queries(day)[0, 0] == day[0]


def test_the_least_cloudy_scene_in_time_is_taken_and_an_unknown_cover_comes_last():
    days = ["2022-06-01", "2022-06-03", "2022-06-20", "2022-06-02"]
    scenes = [
        scene(name, day, {}, 4, cloud)
        for name, day, cloud in zip("abcd", days, [9.0, 3.0, 0.0, None], strict=True)
    ]
    inside = np.ones((4, 1), bool)
    queries = np.array([["2022-06-01"]], "datetime64[s]")
    assert pick_granules(scenes, inside, queries, 5.0).tolist() == [[1]]
    inside[1] = False
    assert pick_granules(scenes, inside, queries, 5.0).tolist() == [[0]]
    inside[0] = False
    assert pick_granules(scenes, inside, queries, 5.0).tolist() == [[3]]
    assert pick_granules(scenes, inside, queries, 0.5).tolist() == [[-1]]


def test_missing_and_repeated_granules_are_counted_apart(tmp_path):
    bands = write_bands(tmp_path / "raw", "one", values(8))
    scenes = [scene("new", "2022-06-01", bands, 8), scene("old", "2022-05-02", bands, 8)]
    days = np.array(["2022-06-01", "2022-05-20", "2022-08-01"], "datetime64[s]")
    points = points_at([(0, 0), (1, 1), (2, 2)])
    points = Points(points.longitude, points.latitude, days, points.label)
    made = creator(*scenes, num_steps=2).create(points, tmp_path / "c")
    funnel = made.about["funnel"]
    assert (funnel["in a scene"], funnel["with all steps"], funnel["with distinct granules"]) == (3, 1, 1)
    with pytest.raises(ValueError, match=r"with all steps 1 -> with distinct granules 0"):
        creator(*scenes, num_steps=2, temporal_step=0).create(points[np.array([0])], tmp_path / "e")


def test_observations_with_the_same_granules_open_each_file_once(single, tmp_path, monkeypatch):
    opened = []
    true_open = rasterio.open
    monkeypatch.setattr(
        rasterio,
        "open",
        lambda path, *rest, **more: opened.append(str(path)) or true_open(path, *rest, **more),
    )
    creator(single).create(points_at([(0, 0), (1, 1), (5, 5), (0, 7), (7, 0)]), tmp_path / "c")
    reads = [path for path in opened if "/raw/" in path]
    assert len(set(reads)) == 6
    assert len(reads) == 6 + 1  # each band once, and the first once more for its grid


def test_sets_of_granules_that_share_a_name_are_kept_apart(tmp_path):
    bands = write_bands(tmp_path / "raw", "one", values(8))
    scenes = [
        scene("n", "2022-06-01", bands, 8),
        scene("a", "2022-05-02", bands, 8),
        scene("b", "2022-04-02", bands, 8),
    ]
    days = np.array(["2022-06-01", "2022-06-01"], "datetime64[s]")
    points = points_at([(0, 0), (1, 1)])
    first = creator(*scenes[:2], num_steps=2)
    both = Points(points.longitude, points.latitude, days, points.label)
    assert len(first.create(both, tmp_path / "c")) == 1
    shifted = Points(
        both.longitude, both.latitude, np.array(["2022-06-01", "2022-05-31"], "datetime64[s]"), both.label
    )
    made = creator(
        *scenes, num_steps=2, temporal_step=30, temporal_tolerance=33.0, shift_to_month_start=False
    )
    assert len(set(made.create(shifted, tmp_path / "d").inputs)) == len(made.create(shifted, tmp_path / "d"))


def test_clouds_blank_their_date_and_the_labels_with_no_other(tmp_path):
    cloud = np.zeros((1, 4, 4), np.uint8)
    cloud[0, 0, 0] = 0b10
    mask = write(tmp_path / "raw" / "mask.tif", cloud, nodata=255)
    new = write_bands(tmp_path / "raw", "new", values(4))
    old = write_bands(tmp_path / "raw", "old", values(4, 200))
    clear = write(tmp_path / "raw" / "clear.tif", cloud * 0, nodata=255)
    scenes = [
        scene("new", "2022-06-01", new, 4, mask=BandFile(str(mask))),
        scene("old", "2022-05-02", old, 4, mask=BandFile(str(clear))),
    ]
    points = points_at([(0, 0), (1, 1)], labels=[3, 4])
    each = creator(*scenes, num_steps=2, mask_types=("cloud",)).create(points, tmp_path / "each")
    assert (each.chip(0)[:6, 0, 0] == 0).all()
    assert (each.chip(0)[6:, 0, 0] > 0).all()
    assert each.label(0)[0, 0] == 3  # seen on the older date
    both = creator(*scenes, num_steps=2, mask_types=("cloud",), masking_strategy="any")
    made = both.create(points, tmp_path / "any")
    assert (made.chip(0)[:, 0, 0] == 0).all()
    assert made.label(0)[0, 0] == -1
    assert made.about["funnel"]["not cloudy"] == 1
    with pytest.raises(ValueError, match=r"one has neither Fmask nor SCL"):
        creator(scene("one", "2022-06-01", new, 4), mask_types=("cloud",)).create(points, tmp_path / "none")


def test_bands_of_another_resolution_are_brought_to_the_first(tmp_path):
    bands = write_bands(tmp_path / "raw", "one", values(8))
    coarse = np.arange(1, 17, dtype=np.uint16).reshape(1, 4, 4)
    path = write(tmp_path / "raw" / "coarse.tif", coarse, pixel=60.0)
    mixed = bands | {"swir2": type(bands["blue"])(str(path))}
    made = creator(scene("one", "2022-06-01", mixed, 8)).create(points_at([(0, 0)]), tmp_path / "c")
    expected = coarse[0].repeat(2, axis=0).repeat(2, axis=1)[:4, :4]
    assert (made.chip(0)[5] == expected).all()


def test_values_are_clipped_before_they_are_cast_and_true_zeros_stay_data(tmp_path):
    raw = np.full((6, 4, 4), 100, np.int32)
    raw[0, 0, :4] = [-9999, 0, -20, 70_000]
    bands = write_bands(tmp_path / "raw", "one", raw, nodata=-9999)
    made = creator(scene("one", "2022-06-01", bands, 4)).create(points_at([(0, 0)]), tmp_path / "c")
    assert made.chip(0)[0, 0].tolist() == [0, 1, 1, 65535]


def test_fractions_need_a_scale(tmp_path):
    raw = np.full((6, 4, 4), 0.25, np.float32)
    raw[:, 0, 0] = np.nan
    one = scene("one", "2022-06-01", write_bands(tmp_path / "raw", "one", raw, nodata=None), 4)
    with pytest.raises(ValueError, match=r"holds fractions \(at most 0.25\).*scale of 10000"):
        creator(one).create(points_at([(1, 1)]), tmp_path / "c")
    made = creator(one, scale=10_000.0).create(points_at([(1, 1)]), tmp_path / "d")
    assert made.chip(0)[0, :2, :2].tolist() == [[0, 2500], [2500, 2500]]


LANDSAT = {"scale": 0.0000275, "offset": -0.2}
DAY_AND_PLACE = ("one", "2022-06-01")


def said(tmp_path, raw, tags=None, nodata=0, pixel=30.0, **options):
    """Cut the chip of a scene whose files state a scale and an offset; return it, and the creator's notes."""
    bands = write_bands(tmp_path / "raw", "one", raw, nodata=nodata, tags=tags, pixel=pixel)
    catalogue = options.pop("catalogue", {})
    bands = {name: replace(band, **catalogue) for name, band in bands.items()}
    size = round(raw.shape[1] * pixel / 30.0)
    made = creator(scene(*DAY_AND_PLACE, bands, size), **options)
    return made.create(points_at([(0, 0)]), tmp_path / "c").chip(0), made.notes


@pytest.mark.parametrize("way", ["file", "catalogue", "file before catalogue", "warped"])
def test_scales_and_offsets_are_applied(tmp_path, way):
    raw = np.full((6, 4, 4), 10_000, np.uint16)
    raw[:, 0, 1:4] = [0, 5000, 65_535]  # nothing, less than no reflectance, saturated
    tags = None if way == "catalogue" else LANDSAT
    catalogue = {"catalogue": LANDSAT, "file before catalogue": {"scale": 1e-4, "offset": -0.1}}.get(way, {})
    if way == "warped":
        bands = write_bands(tmp_path / "raw", "one", raw, tags=tags)
        coarse = write(tmp_path / "raw" / "c.tif", raw[:1, ::2, ::2], pixel=60.0, tags=tags)
        bands["swir2"] = BandFile(str(coarse))
        made = creator(scene(*DAY_AND_PLACE, bands, 4))
        chip, notes = made.create(points_at([(0, 0)]), tmp_path / "c").chip(0), made.notes
        assert chip[5, 0].tolist() == [750, 750, 1, 1]
    else:
        chip, notes = said(tmp_path, raw, tags, None, catalogue=catalogue)
    assert chip[0, 0].tolist() == [750, 0, 1, round(10_000 * (65_535 * 0.0000275 - 0.2))]
    assert "scale 2.75e-05 and offset -0.2 were applied" in notes[0]
    assert len(notes) == 1


def test_a_scale_of_one_in_ten_thousand_changes_nothing(tmp_path):
    raw = values(4)
    raw[0, 0, 0] = 9
    chip, _ = said(tmp_path, raw, {"scale": 0.0001, "offset": 0.0})
    assert (chip == raw).all()


def test_scales_that_give_no_reflectance_need_a_factor(tmp_path):
    kelvin = {"scale": 0.00341802, "offset": 149.0}
    raw = np.full((6, 4, 4), 44_000, np.uint16)
    with pytest.raises(ValueError, match=r"no reflectances \(their median is 299.4\). Give a scale"):
        said(tmp_path / "a", raw, kelvin)
    assert said(tmp_path / "b", raw, kelvin, scale=10.0)[0][0, 0, 0] == 2994
    chip, _ = said(tmp_path / "c", raw, kelvin, dtype="float32", no_data=-1)
    assert chip[0, 0, 0] == pytest.approx(299.39, abs=0.01)


def test_a_catalogues_scale_and_offset_come_from_its_raster_bands(edit_item):
    raster = {"scale": 0.0001, "offset": -0.1}

    def change(item):
        for name, asset in item["assets"].items():
            asset |= {"blue": {"raster:bands": [raster]}, "green": {"bands": [{"name": "x"}]}}.get(name, {})
        item["assets"]["green"] |= {f"raster:{name}": value for name, value in raster.items()}
        if item["id"] == "T36AAA_20220602":
            item["properties"]["earthsearch:boa_offset_applied"] = True

    for found in StacTree(edit_item(change)).scenes:
        offset = 0.0 if found.id == "T36AAA_20220602" else -0.1
        for band in ("blue", "green"):
            assert (found.bands[band].scale, found.bands[band].offset) == (0.0001, offset)
        assert (found.bands["red"].scale, found.bands["red"].offset) == (1.0, 0.0)


@pytest.mark.parametrize("grid", [{"epsg": 32760}, {"epsg": 4326, "pixel": 0.001}])
def test_chips_over_180_degrees_hold_the_points_on_both_sides(tmp_path, grid):
    corner = (179.968, -16.968)
    if grid["epsg"] != 4326:
        corner = Transformer.from_crs(4326, grid["epsg"], always_xy=True).transform(*corner)
    pixels = values(64)
    write(tmp_path / "raw" / "f_20220601.tif", pixels, corner=corner, names=BANDS, **grid)
    places = np.array([[179.9755, -16.9755], [-179.9755, -16.9755]])
    if grid["epsg"] != 4326:
        places = np.array(
            [at_pixel(row, column, corner=corner, **grid) for row, column in ((5, 5), (50, 60))]
        )
    points = Points(*places.T, np.repeat(DAY, 2), np.array([3, 4], np.int16))
    made = ChipCreator(LocalScenes(tmp_path / "raw"), chip_size=64, num_steps=1).create(
        points, tmp_path / "c"
    )
    labels = [made.label(row) for row in range(len(made))]
    assert {int(label.max()) for label in labels} <= {3, 4}
    assert sum(int((label != -1).sum()) for label in labels) == 2
    assert (made.chip(0) == pixels).all()
    assert all(abs(longitude) <= 180 for longitude, _ in made.places)
    (path, *_) = made.inputs
    _, (west, south, east, north) = read_in_mercator(path, [1], 0, 1024)
    assert 0.9 < (east - west) / (north - south) < 1.1  # not around the globe


def test_values_are_kept_for_regression(single, tmp_path):
    points = points_at([(0, 0)])
    points = Points(points.longitude, points.latitude, points.date, np.array([0.5], np.float32))
    made = creator(single, task="regression").create(points, tmp_path / "c")
    assert made[0][1].dtype.is_floating_point
    assert made.label(0)[0, 0] == 0.5


# --- going on, and bad input --------------------------------------------------------------------


def test_a_stopped_run_goes_on_and_keeps_what_is_there(single, tmp_path):
    points = points_at([(0, 0), (5, 5)], labels=[3, 4])
    first = creator(single).create(points, tmp_path / "c")
    before = {path: path.stat().st_mtime_ns for path in first.inputs}
    first.labels[1].unlink()
    again = creator(single).create(points, tmp_path / "c")
    assert again.about["funnel"] == first.about["funnel"]
    assert before[first.inputs[0]] == first.inputs[0].stat().st_mtime_ns  # kept
    assert before[first.inputs[1]] != first.inputs[1].stat().st_mtime_ns  # its label map was gone
    with pytest.raises(ValueError, match=r"holds chips of other points or settings"):
        creator(single, window_size=1).create(points, tmp_path / "c")
    with pytest.raises(ValueError, match=r"holds chips of other points or settings"):
        creator(single).create(points_at([(0, 0)]), tmp_path / "c")


def test_points_outside_every_scene_are_counted(single, tmp_path):
    with pytest.raises(ValueError, match=r"no chip could be made. points 2 .* in a scene 0"):
        creator(single).create(points_at([(500, 0), (0, 900)]), tmp_path / "c")


def test_swapped_coordinates_are_noticed(single, tmp_path):
    right = points_at([(0, 0)])
    swapped = Points(right.latitude, right.longitude, right.date, right.label)
    with pytest.raises(ValueError, match=r"with x and y exchanged 1 would be"):
        creator(single).create(swapped, tmp_path / "c")


def test_a_scene_smaller_than_a_chip_is_named(single, tmp_path):
    with pytest.raises(ValueError, match=r"one has 10 x 10 pixels, less than a chip of 16"):
        creator(single, chip_size=16).create(points_at([(0, 0)]), tmp_path / "c")


def test_tiles_with_few_points_are_left_out(single, tmp_path):
    with pytest.raises(ValueError, match=r"none of 1 tiles has 3 points \(the most: 2 in 36RWT\)"):
        creator(single, min_count=3).create(points_at([(0, 0), (1, 1)]), tmp_path / "c")


def test_cloudy_scenes_are_left_out_and_scenes_of_unknown_cover_are_not(tmp_path):
    bands = write_bands(tmp_path / "raw", "one", values(4))
    cloudy, unknown = (scene("one", "2022-06-01", bands, 4, cloud) for cloud in (50.0, None))
    with pytest.raises(ValueError, match=r"no chip could be made"):
        creator(cloudy).create(points_at([(0, 0)]), tmp_path / "c")
    assert len(creator(unknown).create(points_at([(0, 0)]), tmp_path / "d")) == 1


def test_scenes_with_other_bands_are_refused(tmp_path):
    bands = write_bands(tmp_path / "raw", "one", values(4))
    scenes = [
        scene("new", "2022-06-01", bands, 4),
        scene("old", "2022-05-02", {name: bands[name] for name in BANDS[:3]}, 4),
    ]
    with pytest.raises(ValueError, match=r"old has the bands blue, green, red, but new has"):
        creator(*scenes, num_steps=2).create(points_at([(0, 0)]), tmp_path / "c")


@pytest.mark.parametrize(
    "option", [{"chip_size": 0}, {"window_size": -1}, {"no_data": -1}, {"min_count": 0}, {"num_steps": 0}]
)
def test_settings_out_of_range_are_refused(single, tmp_path, option):
    with pytest.raises(ValueError, match=r"must be"):
        creator(single, **option).create(points_at([(0, 0)]), tmp_path / "c")


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_a_file_that_lost_its_reference_is_named(tmp_path):
    bands = write_bands(tmp_path / "raw", "one", values(4))
    with warnings.catch_warnings(action="ignore"):  # that it has no place
        write(tmp_path / "raw" / "one_blue.tif", values(4)[:1], epsg=None)
    with pytest.raises(ValueError, match=r"one_blue.tif has no coordinate reference system"):
        creator(scene("one", "2022-06-01", bands, 4)).create(points_at([(0, 0)]), tmp_path / "c")


# --- reading chips ------------------------------------------------------------------------------


def test_published_layouts_are_read_with_their_lists(tmp_path):
    for name, folder in (("chip_1", "training_chips"), ("chip_2", "validation_chips")):
        write(tmp_path / folder / f"{name}_merged.tif", np.ones((18, 4, 4), np.int16))
        write(
            tmp_path / folder / f"{name}.mask.tif",
            np.array([[[0, 1], [2, 13]]], np.uint8).repeat(2, 1).repeat(2, 2),
            nodata=None,
        )
    (tmp_path / "training_data.txt").write_text("chip_1\n")
    (tmp_path / "validation_data.txt").write_text("chip_2\n")
    found = ChipDataset.load(tmp_path)
    assert found.parts == ("train", "validation")
    chip, labels = replace(found, num_steps=3, label_shift=-1)[0]
    assert chip.shape == (6, 3, 4, 4)
    assert labels[::2, ::2].tolist() == [[-1, 0], [1, 12]]


def test_sen1floods11_is_read_with_six_of_its_bands(tmp_path):
    bands = np.arange(13, dtype=np.int16)[:, None, None].repeat(4, 1).repeat(4, 2)
    write(tmp_path / "S2Hand" / "Spain_1_S2Hand.tif", bands, nodata=None)
    write(tmp_path / "LabelHand" / "Spain_1_LabelHand.tif", np.full((1, 4, 4), -1, np.int16), nodata=None)
    chip, labels = ChipDataset.load(tmp_path)[0]
    assert chip[:, 0, 0, 0].tolist() == [1, 2, 3, 8, 11, 12]
    assert (labels == -1).all()


def test_incomplete_folders_are_refused(tmp_path, cut):
    with pytest.raises(ValueError, match=r"holds no chips: expected chips.csv"):
        ChipDataset.load(tmp_path)
    pd.DataFrame({"Input": ["a.tif"], "Label": ["b.tif"]}).to_csv(tmp_path / "chips.csv")
    with pytest.raises(ValueError, match=r"2 files of .* are missing, first .*a.tif"):
        ChipDataset.load(tmp_path)
    pd.DataFrame({"Input": ["a.tif"]}).to_csv(tmp_path / "chips.csv")
    with pytest.raises(ValueError, match=r"has no column 'Label'"):
        ChipDataset.load(tmp_path)
    write(tmp_path / "other" / "x_merged.tif", values(4))
    with pytest.raises(ValueError, match=r"has no label map x.mask.tif"):
        ChipDataset.load(tmp_path / "other")


def test_what_was_done_is_written_beside_the_chips(cut, region):
    described = json.loads((cut.inputs[0].parent.parent / "chips.json").read_text())
    assert described["settings"]["chip_size"] == 32
    assert described["bands"] == list(BANDS)
    assert set(described["granules"]) <= {scene.id for scene in StacTree(region[1]).scenes}
    assert len(read_points(region[2])) == described["funnel"]["points"]
