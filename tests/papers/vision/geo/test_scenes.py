"""Scenes in folders, in STAC trees and behind a STAC API."""

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from pyproj import Transformer

from assay.papers.vision.geo.scenes import (
    BandFile,
    LocalScenes,
    Scene,
    SceneCatalog,
    StacApi,
    StacTree,
    pick_bands,
)
from papers.vision.geotiffs import BANDS, write

ALWAYS = datetime(1980, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
WORLD = (-180.0, -90.0, 180.0, 90.0)


def layers(count=6, size=4):
    return np.full((count, size, size), 7, np.uint16)


def local(folder, **options):
    return list(LocalScenes(folder, **options).search(WORLD, *ALWAYS))


def test_one_file_a_band_makes_a_scene(tmp_path):
    for band in ("B02", "B03", "B04", "B8A", "B11", "B12", "Fmask"):
        write(tmp_path / f"HLS.S30.T36RUU.2022152T082611.v2.0.{band}.tif", layers(1))
    (found,) = local(tmp_path)
    assert tuple(found.bands) == BANDS
    assert found.bands["nir"].path.endswith("B8A.tif")
    assert found.datetime == datetime(2022, 6, 1, tzinfo=UTC)
    assert found.mask_kind == "Fmask"
    assert isinstance(LocalScenes(tmp_path), SceneCatalog)


@pytest.mark.parametrize(
    ("names", "near_infrared"),
    [
        (("B02", "B03", "B04", "B05", "B06", "B07"), "B05"),
        (("B1", "B2", "B3", "B4", "B5", "B7"), "B4"),
        (("B1", "B2", "B3", "B4", "B5", "B7", "B8A", "B11", "B12"), "B8A"),
    ],
)
def test_sensors_are_known_by_their_bands(tmp_path, names, near_infrared):
    for band in names:
        write(tmp_path / f"LT52240631988227CUB02_{band}.TIF", layers(1))
    (found,) = local(tmp_path)
    assert f"_{near_infrared}.TIF" in found.bands["nir"].path
    assert found.datetime == datetime(1988, 8, 14, tzinfo=UTC)


LANDSAT_8 = ("B2", "B3", "B4", "B5", "B6", "B7")
LANDSAT_7 = ("B1", "B2", "B3", "B4", "B5", "B7")


@pytest.mark.parametrize(
    ("scene", "prefix", "expected"),
    [
        ("LC08_L2SP_195026_20220531_20220602_02_T1", "SR_", LANDSAT_8),
        ("LC09_L2SP_195026_20220531_20220602_02_T1", "SR_", LANDSAT_8),
        ("LO08_L1TP_195026_20220531_20220602_02_T1", "", LANDSAT_8),
        ("LC81950262022151LGN00", "", LANDSAT_8),
        ("LE07_L2SP_195026_20220531_20220602_02_T1", "SR_", LANDSAT_7),
        ("LT05_L1TP_195026_19880814_20200917_02_T1", "", LANDSAT_7),
        ("LT51950261988227CUB02", "", LANDSAT_7),
    ],
)
def test_landsats_bands_are_those_of_its_number(tmp_path, scene, prefix, expected):
    for number in range(1, 8):
        write(tmp_path / "files" / f"{scene}_{prefix}B{number}.TIF", layers(1))
    (found,) = local(tmp_path / "files")
    assert tuple(found.bands) == BANDS
    assert tuple(file.path[-6:-4] for file in found.bands.values()) == expected
    write(tmp_path / "one" / f"{scene}.tif", layers(7), names=[f"{prefix}B{n}" for n in range(1, 8)])
    (found,) = local(tmp_path / "one")
    assert [f"B{file.index}" for file in found.bands.values()] == list(expected)


def test_landsats_bands_without_a_number_are_refused_where_they_may_be_of_two(tmp_path):
    for number in range(2, 8):
        write(tmp_path / f"scene_20220531_SR_B{number}.tif", layers(1))
    assert local(tmp_path)[0].bands["blue"].path.endswith("B2.tif")  # without a B1 it is no earlier one
    write(tmp_path / "scene_20220531_SR_B1.tif", layers(1))
    with pytest.raises(ValueError, match=r"mean other bands in Landsat 8 and 9 than before.* Name the bands"):
        LocalScenes(tmp_path)
    assert local(tmp_path, bands=("B3", "B2"))[0].bands["B3"].path.endswith("B3.tif")


@pytest.mark.parametrize(("platform", "first"), [("landsat-8", "B2"), ("LANDSAT_7", "B1")])
def test_landsats_number_is_read_from_an_items_platform(edit_item, platform, first):
    def change(item):
        item["properties"]["platform"] = platform
        (some, *_) = item["assets"].values()
        item["assets"] = {f"SR_B{number}": some for number in range(1, 8)}

    files = {f"SR_B{number}": number for number in range(1, 8)}
    (found, *_) = StacTree(edit_item(change)).scenes
    assert tuple(found.bands) == BANDS
    picked = pick_bands({name: BandFile(name, number) for name, number in files.items()}, platform=platform)
    assert picked["blue"].path == f"SR_{first}"


def test_red_edges_of_sentinel_2_are_not_taken_for_landsats_bands(tmp_path):
    for name in ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12"):
        write(tmp_path / f"S2_20220601_{name}.tif", layers(1))
    with pytest.raises(ValueError, match=r"lacks the bands B8A"):
        LocalScenes(tmp_path)


# --- over 180 degrees ---------------------------------------------------------------------------

FIJI = np.array([179.97, -179.97, 0.0]), np.full(3, -17.0)


def fiji(epsg=32760, size=512, pixel=30.0):
    """Return the corner of a raster around (180, -17)."""
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(180.0, -17.0)
    return x - size / 2 * pixel, y + size / 2 * pixel


@pytest.mark.parametrize(
    "place",
    [
        {"epsg": 32760, "corner": fiji()},
        {"epsg": 32701, "corner": fiji(32701)},
        {"epsg": 4326, "corner": (179.9, -16.9), "pixel": 0.001},
        {"epsg": 4326, "corner": (-180.1, -16.9), "pixel": 0.001},
    ],
)
def test_a_scene_over_180_degrees_holds_the_points_on_both_sides(tmp_path, place):
    write(tmp_path / "f_20220531.tif", layers(size=512), names=BANDS, **place)
    scenes = LocalScenes(tmp_path)
    (found,) = scenes.scenes
    assert found.contains(*FIJI).tolist() == [True, True, False]
    for longitude in (179.95, -179.95):
        box = (longitude, -17.01, longitude + 0.01, -17.0)
        assert scenes.search(box, *ALWAYS) == [found]
    assert scenes.search((0.0, -18.0, 1.0, -16.0), *ALWAYS) == []


def ring(*corners):
    return tuple((float(x), float(y)) for x, y in (*corners, corners[0]))


@pytest.mark.parametrize(
    "footprint",
    [
        (ring((179, -18), (-179, -18), (-179, -16), (179, -16)),),  # with a jump
        (ring((179, -18), (181, -18), (181, -16), (179, -16)),),  # going on
        (ring((-181, -18), (-179, -18), (-179, -16), (-181, -16)),),
        (  # cut in two, as GeoJSON wants it
            ring((179, -18), (180, -18), (180, -16), (179, -16)),
            ring((-180, -18), (-179, -18), (-179, -16), (-180, -16)),
        ),
    ],
)
def test_footprints_over_180_degrees_are_read_however_they_are_written(footprint):
    found = Scene("f", ALWAYS[0], footprint, {})
    assert found.contains(*FIJI).tolist() == [True, True, False]
    assert found.touches((-179.5, -17.5, -179.4, -17.4))
    assert not found.touches((178.0, -17.5, 178.5, -17.4))


def test_a_scene_around_the_globe_stays_one():
    whole = Scene("w", ALWAYS[0], (ring((-180, -80), (180, -80), (180, 80), (-180, 80)),), {})
    assert whole.contains(*FIJI).all()


def test_one_file_with_all_bands_is_read_by_description_or_number(tmp_path):
    write(tmp_path / "named_2022-06-01.tif", layers(), names=BANDS, tags={"CLOUD_COVERAGE": "12.5"})
    (found,) = local(tmp_path)
    assert [found.bands[band].index for band in BANDS] == [1, 2, 3, 4, 5, 6]
    assert found.cloud_cover == 12.5
    (tmp_path / "named_2022-06-01.tif").unlink()
    write(tmp_path / "plain.tif", layers(8), tags={"TIFFTAG_DATETIME": "2022:06:01 10:20:30"})
    (found,) = local(tmp_path, bands=("8", "2"))
    assert {name: file.index for name, file in found.bands.items()} == {"8": 8, "2": 2}
    assert found.datetime == datetime(2022, 6, 1, 10, 20, 30, tzinfo=UTC)


def test_a_footprint_is_the_outline_on_the_globe(tmp_path):
    write(tmp_path / "a_20220601.tif", layers(size=100), names=BANDS)
    (found,) = local(tmp_path)
    longitude, latitude = np.array(found.footprint[0]).T
    assert longitude.min() == pytest.approx(33.0, abs=1e-6)
    assert latitude.max() - latitude.min() == pytest.approx(3000 / 110_860, rel=0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: write(f / "a_20220601.tif", layers(), epsg=None, names=BANDS), "no coordinate reference"),
        (lambda f: write(f / "undated.tif", layers(), names=BANDS), "undated has no date"),
        (
            lambda f: write(f / "a_20220601.tif", layers(3), names=BANDS[:3]),
            "lacks the bands nir, swir1, swir2",
        ),
        (lambda f: None, "holds no GeoTIFF"),
    ],
)
@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_unusable_scenes_say_why(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(ValueError, match=message):
        LocalScenes(tmp_path)


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_one_bad_scene_is_skipped_with_a_note(tmp_path):
    write(tmp_path / "good_20220601.tif", layers(), names=BANDS)
    write(tmp_path / "bad_20220601.tif", layers(), epsg=None, names=BANDS)
    found = LocalScenes(tmp_path)
    assert [scene.id for scene in found.scenes] == ["good_20220601"]
    assert "bad_20220601.tif has no coordinate reference system" in found.notes[0]


def test_a_tree_of_items_is_read_in_order_of_time(region):
    made, catalog, _ = region
    found = StacTree(catalog)
    assert [scene.datetime for scene in found.scenes] == sorted(
        time for tile in made.tiles for time in tile.times
    )
    assert found.notes == []
    assert [scene.id for scene in StacTree(catalog.parent).scenes] == [scene.id for scene in found.scenes]
    assert found.search((0.0, 0.0, 1.0, 1.0), *ALWAYS) == []


def test_an_item_that_lacks_an_asset_is_skipped_with_its_name(edit_item):
    def change(item):
        if item["id"] == "T36AAA_20220602":
            del item["assets"]["nir"]
        if item["id"] == "T36AAA_20220503":
            item["assets"]["red"]["href"] = "./gone.tif"

    found = StacTree(edit_item(change))
    assert len(found.scenes) == 4
    text = " ".join(found.notes)
    assert "T36AAA_20220602 lacks the bands" in text
    assert "nir" in text
    assert "the file of asset red of T36AAA_20220503 is missing" in text


def test_bands_are_found_by_their_common_names(edit_item):
    common = {"nir": "nir08", "swir1": "swir16", "swir2": "swir22"}

    def change(item):
        item["assets"] = {
            f"asset{number}": asset | {"eo:bands": [{"name": "x", "common_name": common.get(key, key)}]}
            for number, (key, asset) in enumerate(item["assets"].items())
            if key != "Fmask"
        }

    found = StacTree(edit_item(change))
    assert tuple(found.scenes[0].bands) == BANDS
    assert found.scenes[0].mask is None


def test_a_tree_without_a_usable_item_is_refused(edit_item, tmp_path):
    def change(item):
        item["assets"] = {}

    with pytest.raises(ValueError, match=r"no item of .* can be used: STAC item skipped: T36AAA"):
        StacTree(edit_item(change))
    with pytest.raises(ValueError, match=r"cannot be read as a STAC catalogue"):
        StacTree(tmp_path / "nothing.json")


@pytest.fixture
def server(region):
    """A STAC API on this machine, with the region's items and absolute paths."""
    folder = Path(region[1]).parent
    items = []
    for path in sorted(folder.rglob("T*.json")):
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            asset["href"] = str(path.parent / Path(asset["href"]).name)
        items.append(item | {"links": [], "collection": "hls", "bbox": [35.0, 29.0, 37.0, 31.0]})
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            root = f"http://{self.headers['Host']}"
            conforms = [f"https://api.stacspec.org/v1.0.0/{part}" for part in ("core", "item-search")]
            links = [{"rel": "self", "href": root}, {"rel": "root", "href": root}]
            links += [
                {"rel": "search", "href": f"{root}/search", "method": "POST", "type": "application/geo+json"}
            ]
            self.reply(
                {
                    "type": "Catalog",
                    "stac_version": "1.0.0",
                    "id": "api",
                    "description": "api",
                    "conformsTo": conforms,
                    "links": links,
                }
            )

        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.reply({"type": "FeatureCollection", "features": items, "links": []})

        def reply(self, content):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/", asked
        running.shutdown()


def test_an_api_is_asked_for_place_and_time(server, region):
    address, asked = server
    found = StacApi(address, collections=["hls"]).search((35.0, 29.0, 37.0, 31.0), *ALWAYS)
    assert [scene.id for scene in found] == [scene.id for scene in StacTree(region[1]).scenes]
    assert asked[0]["bbox"] == [35.0, 29.0, 37.0, 31.0]
    assert asked[0]["collections"] == ["hls"]
    assert asked[0]["datetime"].startswith("1980-01-01")


def test_a_server_that_does_not_answer_is_named_without_secrets():
    api = StacApi("http://user:secret@127.0.0.1:9/stac?token=hidden")
    with pytest.raises(ValueError, match=r"http://127.0.0.1:9/stac does not answer as a STAC API") as told:
        api.search(WORLD, *ALWAYS)
    assert "secret" not in str(told.value)
    assert "hidden" not in str(told.value)
