"""Prediction rasters with their place, and the map in a real browser."""

import re
import shutil
import warnings

import numpy as np
import pytest
import rasterio
import torch
from playwright.sync_api import expect, sync_playwright
from torch import nn

from assay.papers.vision.geo.webmap import NO_CLASS
from assay.papers.vision.instageo.method import (
    Predicted,
    StaticMap,
    distinct_colors,
    merge_rasters,
    predict_rasters,
)
from papers.vision.geotiffs import write

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
EVIL = "</script><script>alert(1)</script> & <b>"


class Threshold(nn.Module):
    """Class 1 where the first band is bright."""

    def forward(self, chips):
        bright = (chips[:, 0, 0] > 1500).float()
        return torch.stack([1 - bright, bright], dim=1)


@pytest.fixture(scope="module")
def predictions(cut, tmp_path_factory):
    return predict_rasters(Threshold(), cut, tmp_path_factory.mktemp("predictions"), batch_size=3)


def test_predictions_have_the_place_of_their_chip(cut, predictions):
    for row, each in enumerate(predictions):
        with rasterio.open(each.path) as made, rasterio.open(cut.inputs[row]) as chip:
            assert made.transform == chip.transform
            assert made.crs == chip.crs
            assert (made.dtypes[0], made.nodata) == ("uint8", NO_CLASS)
            expected = np.where((chip.read() == 0).all(axis=0), NO_CLASS, chip.read(1) > 1500)
            assert (made.read(1) == expected).all()
        assert each.path.name == cut.inputs[row].name.replace("chip_", "prediction_", 1)


def test_predicting_again_keeps_what_is_there(cut, predictions):
    before = [each.path.stat().st_mtime_ns for each in predictions]
    assert predict_rasters(nn.Identity(), cut, predictions[0].path.parent) == predictions
    assert [each.path.stat().st_mtime_ns for each in predictions] == before


def test_values_are_predicted_as_numbers(cut, tmp_path):
    class Mean(nn.Module):
        def forward(self, chips):
            return chips.mean(dim=(1, 2), keepdim=True)[:, 0]

    (made, *_) = predict_rasters(Mean(), cut.subset([0]), tmp_path)
    with rasterio.open(made.path) as file:
        assert file.dtypes[0] == "float32"
        assert file.read(1) == pytest.approx(cut.chip(0).mean(axis=0), rel=1e-5)


def test_zones_are_merged_apart(predictions, tmp_path):
    merged = merge_rasters([each.path for each in predictions], tmp_path)
    assert [path.name for path in merged] == ["merged_EPSG_32636.tif", "merged_EPSG_32637.tif"]
    with rasterio.open(predictions[0].path) as part, rasterio.open(merged[0]) as whole:
        row, column = (
            round((whole.transform.f - part.transform.f) / 30),
            round((part.transform.c - whole.transform.c) / 30),
        )
        assert (whole.read(1)[row : row + 32, column : column + 32] == part.read(1)).mean() > 0.5
        assert whole.profile["tiled"]


def test_too_many_classes_are_refused(cut, tmp_path):
    class Many(nn.Module):
        def forward(self, chips):
            return torch.zeros(len(chips), 300, *chips.shape[-2:])

    with pytest.raises(ValueError, match=r"255 classes at most, not 300"):
        predict_rasters(Many(), cut.subset([0]), tmp_path)


@pytest.fixture(scope="module")
def page_path(predictions, tmp_path_factory):
    names = ["dark", f"bright {EVIL}"]
    return StaticMap(names, f"Region {EVIL}").export(predictions, tmp_path_factory.mktemp("map"))


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "Chromium is not installed: `make test` installs it where it may (apt-get install chromium)"
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, page_path):
    """The map, opened from the disk; it must not log an error or ask for anything outside."""
    troubles = []
    context = browser.new_context(viewport={"width": 900, "height": 700})
    opened = context.new_page()
    opened.on("console", lambda message: troubles.append(message.text))
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("dialog", lambda dialog: troubles.append(dialog.message))
    inside = ("file:", "data:")
    opened.on("request", lambda asked: None if asked.url.startswith(inside) else troubles.append(asked.url))
    opened.goto(page_path.as_uri())
    expect(opened.locator("body[data-ready=yes]")).to_be_attached()
    yield opened
    context.close()
    assert troubles == []


def pixel_of(page, predictions, row):
    """Return where the middle of a prediction's most common class is on the screen, and that class."""
    boxes = page.evaluate("overlays.filter(o => o.layer === 'prediction').map(o => o.item.name)")
    number = boxes.index(predictions[row].path.stem)
    return page.evaluate(
        """number => {
          const overlay = overlays.filter(o => o.layer === 'prediction')[number];
          const box = overlay.canvas.getBoundingClientRect();
          const middle = Math.floor(overlay.canvas.height / 2) * overlay.canvas.width
            + Math.floor(overlay.canvas.width / 2);
          return {x: box.x + (Math.floor(overlay.canvas.width / 2) + .5) / overlay.canvas.width * box.width,
            y: box.y + (Math.floor(overlay.canvas.height / 2) + .5) / overlay.canvas.height * box.height,
            number: overlay.classes[middle]};
        }""",
        number,
    )


def test_a_click_says_the_class_that_the_raster_has_there(page, predictions):
    names = ["dark", f"bright {EVIL}"]
    for _ in range(3):
        page.get_by_role("button", name="Zoom out").click()  # away from the panel
    said = 0
    for row in range(len(predictions)):
        at = pixel_of(page, predictions, row)
        if (
            at["number"] < 0
            or page.evaluate("at => document.elementFromPoint(at.x, at.y).tagName", at) != "CANVAS"
        ):
            continue
        page.mouse.click(at["x"], at["y"])
        readout = page.locator("#readout")
        expect(readout).to_contain_text(re.compile(r"At 30\.\d+, 3\d\.\d+"))
        name = re.search(r"Prediction: (.*?) \(prediction_", readout.inner_text())[1]
        assert name == names[at["number"]]
        place = re.search(r"At (\S+), (\S+)\.$", readout.inner_text())
        with rasterio.open(predictions[row].path) as file:
            (x,), (y,) = rasterio.warp.transform(4326, file.crs, [float(place[2])], [float(place[1])])
            left, bottom, right, top = file.bounds
            assert left - 30 <= x <= right + 30
            assert bottom - 30 <= y <= top + 30
        said += 1
    assert said >= 3
    page.mouse.click(2, 698)
    expect(page.locator("#readout")).to_contain_text("Nothing here.")


def test_layers_are_shown_and_hidden(page):
    hidden = "overlays.filter(o => o.canvas.style.display === 'none').map(o => o.layer)"
    assert page.evaluate(hidden) == []
    assert page.evaluate("new Set(overlays.map(o => o.layer)).size") == 3
    for name, layer in (("Prediction", "prediction"), ("Labels", "labels"), ("Picture", "picture")):
        page.get_by_label(name, exact=True).uncheck()
        assert set(page.evaluate(hidden)) == {layer}
        page.get_by_label(name, exact=True).check()


def test_users_texts_are_never_markup(page, page_path):
    text = page_path.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert page.title() == f"Region {EVIL}"
    expect(page.get_by_role("heading")).to_have_text(f"Region {EVIL}")
    assert f"bright {EVIL}" in page.get_by_label("Classes").inner_text()
    assert not re.search(r"""(src|href)=["']?https?:""", text)


def test_it_moves_by_mouse_and_keyboard(page):
    def view():
        return page.evaluate("({...view})")

    start = view()
    page.mouse.move(600, 650)
    page.mouse.down()
    page.mouse.move(500, 600, steps=4)
    page.mouse.up()
    moved = view()
    assert moved["x"] - start["x"] == pytest.approx(100 / start["scale"])
    assert moved["y"] - start["y"] == pytest.approx(-50 / start["scale"])
    page.locator("#map").focus()
    page.keyboard.press("ArrowUp")
    assert view()["y"] > moved["y"]
    page.keyboard.press("+")
    assert view()["scale"] == pytest.approx(1.5 * start["scale"])
    page.keyboard.press("Enter")
    expect(page.locator("#readout")).to_contain_text("At 30.")
    page.get_by_role("button", name="Show everything").click()
    assert view()["scale"] == pytest.approx(start["scale"])


def test_rasters_without_a_place_are_no_map(tmp_path):
    chip = tmp_path / "chip_1.tif"
    with warnings.catch_warnings(action="ignore"):  # that they have no place
        write(chip, np.ones((6, 4, 4), np.uint16), epsg=None)
        path = write(tmp_path / "prediction_1.tif", np.ones((1, 4, 4), np.uint8), epsg=None)
        with pytest.raises(ValueError, match=r"no prediction has a CRS"):
            StaticMap().export([Predicted(path, chip)], tmp_path)
        assert merge_rasters([path], tmp_path) == []


def test_colours_differ_and_are_checked(predictions, tmp_path):
    assert len(set(distinct_colors(30))) == 30
    with pytest.raises(ValueError, match=r"1 colours are given for 6 classes"):
        StaticMap([], colors=["#ffffff"]).export(predictions, tmp_path)
    with pytest.raises(ValueError, match=r"'red' is no colour"):
        StaticMap([], colors=["red"] * 6).export(predictions, tmp_path)
