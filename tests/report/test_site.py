"""The site of results: opened and used in a real browser, on real results."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from assay import catalogue, checking, report
from assay.checking.results import Checked
from assay.report import live
from assay.report.plots import Row, forest
from assay.report.views import command

DRAWN = ("toy", "elang")
"""The papers whose pages are opened. Those of all papers are written where the guide's blocks are run."""

ONLY_THE_TOY = """
import sys
from assay import catalogue, cli
toy = catalogue.entry("toy")
catalogue.entries = lambda: [toy]
cli.main(sys.argv[1:])
"""

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a check of the toy paper."""
    folder = tmp_path_factory.mktemp("store")
    with ThreadPoolExecutor(1) as executor:
        checking.check("toy", store=folder, executor=executor)
    return folder


@pytest.fixture(scope="module")
def site(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    first = catalogue.slugs()[0]  # where the keyboard leads
    return report.write(tmp_path_factory.mktemp("site"), store, [first, *DRAWN]).parent


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "Chromium is not installed: `make test` installs it where it may (apt-get install chromium)"
    opened = playwright.chromium.launch(executable_path=path, args=FLAGS)
    yield opened
    opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test when it logs an error or asks for anything outside."""
    troubles: list[str] = []
    context = browser.new_context()
    opened = context.new_page()
    opened.on("console", lambda message: troubles.append(message.text))
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    inside = ("file:", "data:", "http://127.0.0.1:")
    opened.on("request", lambda asked: None if asked.url.startswith(inside) else troubles.append(asked.url))
    yield opened
    context.close()
    assert troubles == []


def shown(page: Page) -> set[str]:
    """The slugs of the rows that can be seen."""
    links = page.locator(".papers tbody tr:visible td:first-child a")
    return set(links.all_inner_texts())


def test_search_and_filters_leave_what_fits(page: Page, site: Path) -> None:
    page.goto((site / "index.html").as_uri())
    everything = shown(page)
    assert {"toy", "ef21w", "elang", "lelp"} <= everything
    page.get_by_label("Search").fill("toy checker")
    assert shown(page) == {"toy"}
    expect(page.get_by_role("status")).to_have_text("1 paper")
    page.get_by_label("Search").fill("")
    page.get_by_label("Family").select_option("distillation")
    assert "lelp" in shown(page)
    assert not {"toy", "elang"} & shown(page)
    page.get_by_label("Family").select_option("")
    page.get_by_label("Verdict").select_option("contradicted")
    assert "elang" in shown(page)
    assert "toy" not in shown(page)
    page.get_by_label("Verdict").select_option("")
    assert shown(page) == everything


def test_a_paper_shows_the_claim_the_number_reported_and_the_one_measured(page: Page, site: Path) -> None:
    page.goto((site / "index.html").as_uri())
    page.get_by_role("link", name="toy", exact=True).click()
    expect(page).to_have_title("toy: assay")
    claim = page.locator("article", has_text="The high arm scores higher")
    expect(claim.locator(".verdict")).to_have_text("supported")
    expect(claim).to_contain_text("+1 (section 1)")
    expect(claim).to_contain_text(re.compile(r"Measured here\s+\+\d+\.\d+ points \[\+"))
    claim.get_by_text("Tests and conditions").click()
    expect(claim.get_by_role("row", name="score: high better than low")).to_be_visible()
    expect(claim).to_contain_text("score: high at least -100: held")
    expect(claim).to_contain_text("Equal between the compared arms: draws.")
    expect(page.locator("pre")).to_have_text("assay check toy --seeds 6")
    expect(page.get_by_text("it is a toy")).to_be_visible()
    expect(page.get_by_text("needs a cluster")).to_be_visible()
    page.get_by_role("link", name="all papers").click()
    expect(page).to_have_title("assay: what was checked")


def test_every_seed_is_drawn_and_every_drawing_has_words(page: Page, site: Path) -> None:
    page.goto((site / "papers" / "toy.html").as_uri())
    drawings = page.get_by_role("img")
    assert drawings.count() >= 3  # effects, a metric, a curve
    for drawing in drawings.all():
        assert drawing.get_attribute("aria-label") or drawing.get_attribute("alt")
    row = Row("a better than b", "supported", [1.0, 2.0, 3.0], 2.0, [1.5, 2.5], [0.0], "points", False)
    drawn = forest([row])
    dots = drawn.count("<use ")
    assert forest([Row(**{**vars(row), "values": [1.0, 2.0, 3.0, 2.5]})]).count("<use ") == dots + 1


def test_pictures_of_a_recipe_are_shown_with_their_words(page: Page, site: Path) -> None:
    page.goto((site / "papers" / "toy.html").as_uri())
    picture = page.get_by_role("img", name="a grey field")
    assert picture.evaluate("node => node.naturalWidth") == 8
    expect(page.get_by_text("high: a grey field")).to_be_visible()


def test_everything_can_be_reached_by_keyboard(page: Page, site: Path) -> None:
    page.goto((site / "index.html").as_uri())
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert reached[:4] == ["Skip to the content", "search", "family", "verdict"]
    page.keyboard.press("Enter")  # the first paper
    expect(page.get_by_role("link", name="all papers")).to_be_visible()


def test_it_fits_a_phone_follows_dark_mode_and_prints_open(browser: Browser, site: Path) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 700}, color_scheme="dark")
    page = context.new_page()
    for name in ("index.html", "papers/toy.html", "papers/elang.html"):
        page.goto((site / name).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 28)"
    ink = page.locator("svg text").first
    assert ink.evaluate("node => getComputedStyle(node).fill") == "rgb(232, 230, 225)"
    page.emulate_media(media="print", color_scheme="light")
    page.goto((site / "index.html").as_uri())
    expect(page.get_by_label("Search")).to_be_hidden()
    context.close()


def test_a_damaged_result_is_skipped(store: Path, tmp_path: Path) -> None:
    copied = tmp_path / "store"
    shutil.copytree(store / "results", copied / "results")
    (copied / "results" / "toy--tiny.json").write_text('{"paper": "toy"')
    (copied / "results" / "toy--paper.json").write_text('{"paper": "toy", "claims": [3]}')
    with pytest.warns(UserWarning, match=r"toy--(tiny|paper).json cannot be used") as told:
        index = report.write(tmp_path / "site", copied, ["toy"])
    assert len(told) == 2
    assert "The high arm scores higher" in (index.parent / "papers" / "toy.html").read_text()


def test_text_from_a_result_is_never_markup(store: Path, tmp_path: Path) -> None:
    copied = tmp_path / "store"
    shutil.copytree(store / "results", copied / "results")
    path = copied / "results" / "toy--laptop.json"
    result = json.loads(path.read_text())
    result["claims"][0]["reason"] = result["claims"][0]["tests"][0]["test"] = "<script>alert(1)</script>"
    result["claims"][0]["verdict"] = "inconclusive"
    path.write_text(json.dumps(result))
    page = report.write(tmp_path / "site", copied, ["toy"]).parent / "papers" / "toy.html"
    assert "<script>alert" not in page.read_text()


def test_the_command_repeats_the_check(store: Path) -> None:
    result = json.loads((store / "results" / "toy--laptop.json").read_text()) | {"preset": "tiny"}
    result["provenance"] |= {
        "overrides": {"inner.scale": "2.0", "data": "csv:my file.csv"},
        "seeds": {"draw": [1000, 1001, 1002]},
        "precision": "bf16-mixed",
    }
    assert command(Checked.from_json(result)) == (
        "assay check toy --preset tiny --inner.scale 2.0 --data 'csv:my file.csv' --first-seed 1000 --seeds 3"
        " --precision bf16-mixed"
    )


def test_live_progress_moves_in_the_browser(page: Page, tmp_path: Path) -> None:
    words = ["check", "toy", "--live", "--store", str(tmp_path), "--seconds", "0.4", "--workers", "1"]
    checked = subprocess.Popen(
        [sys.executable, "-c", ONLY_THE_TOY, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    try:
        assert checked.stderr is not None
        line = next(text for text in checked.stderr if "http://127.0.0.1:" in text)
        page.goto(re.search(r"http://127\.0\.0\.1:\d+/", line)[0])  # type: ignore[index]
        bar = page.get_by_label("progress of toy")
        expect(bar).to_be_visible()
        seen = set()
        while checked.poll() is None and len(seen) < 3:
            seen.add(page.evaluate("document.querySelector('#live progress')?.value ?? -1"))
            page.wait_for_timeout(100)
        assert len(seen) >= 3
        page.goto("about:blank")
    finally:
        checked.communicate(timeout=60)
    assert checked.returncode == 0


def test_the_live_site_answers_only_this_machine_by_its_own_name(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = catalogue.entry("toy")
    monkeypatch.setattr(catalogue, "entries", lambda: [toy])
    with live.LiveSite(store, ["toy"]) as served:
        served.advance("toy", 2, 6)
        with urllib.request.urlopen(served.url + "progress.json") as answer:
            assert json.load(answer)["papers"] == [{"slug": "toy", "done": 2, "total": 6, "doing": ""}]
        assert served.url.startswith("http://127.0.0.1:")
        request = urllib.request.Request(served.url, headers={"Host": "elsewhere.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request)
