"""The recipe on the user's folders and tables: what it writes, measures and refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

import assay
from assay import catalogue, options
from assay.cli import running
from assay.data import Table
from assay.errors import InputError
from assay.papers.privacy.bayes_unlearnable import PublishedPictures
from assay.papers.privacy.bayes_unlearnable.config import Protect
from assay.papers.privacy.bayes_unlearnable.inputs import read_split
from assay.papers.privacy.bayes_unlearnable.recipe import protect
from assay.papers.privacy.bayes_unlearnable.stages import protection_of
from assay.papers.privacy.pictures import read_pictures
from assay.training import Compute
from assay.trial import Trial

from .card_files import draw_photos

ENTRY = catalogue.entry("bayes_unlearnable")
RECIPE = ENTRY.paper.recipes["protect"]
QUICK: dict[str, Any] = dict(RECIPE.presets["tiny"].settings)


def draw(seed: int, bright: bool, size: int = 8) -> PIL.Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 120, (size, size, 3)) + (100 if bright else 20)
    return PIL.Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 pictures of two classes."""
    folder = tmp_path_factory.mktemp("photos")
    draw_photos(folder)
    return folder


@pytest.fixture(scope="module")
def written(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `assay run` makes of the folder."""
    out = tmp_path_factory.mktemp("runs") / "out"
    overrides = {"data": f"images:{photos}", "protect_held_out": True}
    running.run("bayes_unlearnable", out=out, preset="tiny", overrides=overrides)
    return out


def config(data: str, **changes: Any) -> Protect:
    return options.resolve(Protect, QUICK, {"data": data}, changes)


def pixels(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as picture:
        return np.asarray(picture).astype(int)


# --- what is written ------------------------------------------------------------------------------


def test_a_run_writes_the_same_tree_inside_the_ball(photos: Path, written: Path) -> None:
    originals = sorted(path.relative_to(photos) for path in photos.rglob("*.png"))
    assert sorted(path.relative_to(written / "pictures") for path in written.rglob("*.png")) == originals
    changes = [
        np.abs(pixels(photos / name) - pixels(written / "pictures" / name)).max() for name in originals
    ]
    assert max(changes) <= 8
    assert min(changes) > 0
    manifest = json.loads((written / "pictures" / "manifest.json").read_text())
    assert manifest["files"] == [name.as_posix() for name in originals]
    assert manifest["eps"] == pytest.approx(8 / 255)
    assert 0 <= manifest["metrics"]["accuracy"] <= 1
    assert 0 <= manifest["metrics"]["bayes_error_second"] <= 0.5


def test_what_was_written_loads_and_reads_as_a_table(photos: Path, written: Path) -> None:
    published = assay.load(written)
    assert isinstance(published, PublishedPictures)
    assert published.label_names == ("day", "night")
    again = read_pictures(Table(f"images:{written / 'pictures'}").load())
    assert torch.equal(again.pixels, published.pixels)
    assert torch.equal(again.labels, published.labels)
    clean = read_pictures(Table(f"images:{photos}").load()).pixels
    mixed, protected = published.mix(clean, 0.25, "subset", torch.Generator().manual_seed(0))
    assert int(protected.sum()) == 10
    assert torch.equal(mixed[protected], published.pixels[protected])
    assert torch.equal(mixed[~protected], clean[~protected])
    with pytest.raises(InputError, match="give the originals in the same order"):
        published.mix(clean[1:], 0.5)


def test_arrays_are_published_in_class_folders_or_with_a_table(tmp_path: Path) -> None:
    original = torch.randint(0, 256, (4, 3, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    labels = torch.tensor([0, 1, 0, 1])
    published = PublishedPictures.of((original / 255 + 1).clamp(0, 1), original, labels, eps=8 / 255)
    assert (published.pixels.int() - original.int()).abs().max() == 8
    published.save(tmp_path / "numbered")
    assert sorted(path.name for path in (tmp_path / "numbered").iterdir()) == ["0", "1", "manifest.json"]
    PublishedPictures(published.pixels, labels, ("p", "q", "r", "s"), ("cat", "dog")).save(tmp_path / "flat")
    table = Table(f"images:{tmp_path / 'flat'}").load()
    assert table.label_names == ("cat", "dog")
    assert torch.equal(read_pictures(table).pixels, published.pixels)
    (tmp_path / "flat" / "manifest.json").write_text(json.dumps({"files": ["p.png"]}))
    with pytest.raises(InputError, match="has no 'labels'"):
        PublishedPictures.load(tmp_path / "flat")


# --- what is measured -----------------------------------------------------------------------------


def test_held_out_pictures_can_be_protected_but_no_victim_learns_from_them(photos: Path) -> None:
    dropped, kept = (
        read_split(config(f"images:{photos}", protect_held_out=protects), Trial(seed=1000))
        for protects in (False, True)
    )
    assert len(kept.pictures) == 40
    assert int(kept.train.sum()) == len(dropped.pictures) == int(dropped.train.sum()) == 30
    held_out = set(kept.pictures.select(~kept.train).names)
    assert held_out == set(kept.test.names) == set(dropped.test.names)
    assert Protect().protect_held_out
    assert not any(preset.settings["protect_held_out"] for preset in RECIPE.presets.values())


def test_arms_share_what_they_protect_and_differ_in_what_is_learnt(photos: Path) -> None:
    table = Table(f"images:{photos}").load()
    pictures = read_pictures(table)
    stages = {
        arm.name: protection_of(options.resolve(Protect, QUICK, arm.settings), pictures, 2, Compute())
        for arm in RECIPE.arms
    }
    assert stages["beo"] == stages["beo-mix"]
    assert stages["em"] == stages["em-mix"]
    assert stages["clean-all"] == stages["clean-half"]
    assert len(set(map(repr, stages.values()))) == 6


@pytest.mark.parametrize("training", ["all", "mix", "clean_part"])
def test_victims_make_equally_many_steps(photos: Path, training: str) -> None:
    trial = Trial(seed=1000)
    asked = config(f"images:{photos}", protection="random", training=training)
    metrics = protect(asked, trial)
    assert trial.counters == {"gradient_steps": 1, "gradient_steps_second": 1}
    assert metrics["largest_change"] == (0 if training == "clean_part" else 8)


def test_the_mix_without_protection_is_the_clean_set(photos: Path) -> None:
    clean, mixed = (
        protect(config(f"images:{photos}", protection="none", training=training), Trial(seed=1000))
        for training in ("all", "mix")
    )
    assert clean == mixed


def test_the_paper_preset_reads_the_hubs_format(tmp_path: Path) -> None:
    """Rows as in uoft-cs/cifar10: a picture `img`, a class `label`, splits train and test."""
    import datasets

    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["airplane", "automobile"])}
    )
    for split, count in (("train", 4), ("test", 2)):
        rows = {
            "img": [draw(number, number % 2 == 0, size=32) for number in range(count)],
            "label": [number % 2 for number in range(count)],
        }
        folder = tmp_path / "cifar10"
        folder.mkdir(exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}.parquet")
    preset = RECIPE.presets["paper"]
    asked = options.resolve(
        Protect,
        preset.settings_for(own_data=True),
        RECIPE.arm("beo").settings,
        {"data": f"parquet:{tmp_path / 'cifar10'}", "ascent.steps": 1, "ascent.network.epochs": 1},
        {"victim.epochs": 1, "second_victim.epochs": 1},
    )
    assert asked.ascent.network.network == asked.victim.network == "resnet18"
    metrics = protect(asked, Trial(seed=1000))
    assert metrics["largest_change"] == 0  # a step of 0.001 is below half a level
    assert metrics["accuracy"] in {0, 0.5, 1}


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": 0.0}, "eps must be above 0"),
        ({"eps": 8.0}, "For 8 of 255 levels write 0.03137"),
        ({"eps": 0.5}, "at most 0.25"),
        ({"eps": 0.001}, "files of 8 bits cannot hold"),
        ({"protection": "em", "norm": "l2"}, "leave --norm at linf"),
    ],
)
def test_options_that_make_no_sense_are_refused(photos: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        protect(config(f"images:{photos}", **changes), Trial(seed=1000))


def test_one_class_and_no_pictures_are_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    for number in range(4):
        draw(number, True).save(tmp_path / "only" / f"{number}.png")
    with pytest.raises(InputError, match="only one class"):
        protect(config(f"images:{tmp_path}"), Trial(seed=1000))
    with pytest.raises(InputError, match="has no pictures"):
        protect(config("bundled:wine"), Trial(seed=1000))


def test_test_pictures_of_another_size_are_refused(photos: Path, tmp_path: Path) -> None:
    for label in ("day", "night"):
        (tmp_path / label).mkdir()
        for number in range(2):
            draw(number, label == "day", size=10).save(tmp_path / label / f"{number}.png")
    asked = options.resolve(Protect, QUICK, {"data": f"images:{photos}", "data.test": f"images:{tmp_path}"})
    with pytest.raises(InputError, match="different sizes: set --size"):
        protect(asked, Trial(seed=1000))
