"""Best weights, crops, values instead of classes, and radar, by the recipes on files."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import rasterio
import torch

import assay
from assay import catalogue, options
from assay.cli import running
from assay.errors import InputError
from assay.papers.vision.instageo.config import Compress, Fidelity
from assay.papers.vision.instageo.evaluation import score
from assay.papers.vision.instageo.inputs import ChipSplit, LabelledChips, crop, split_chips
from assay.papers.vision.instageo.method import ChipCreator, LocalScenes, RegressionDistillationLoss
from assay.papers.vision.instageo.training import (
    Best,
    TrainingPlan,
    build_teacher,
    make_loss,
    train_teacher,
)
from assay.training import Compute
from assay.trial import Trial
from papers.vision.geotiffs import at_pixel, write

TINY = {
    "finetune.gradient_steps": 2,
    "finetune.teacher_steps": 2,
    "vit.dim": 32,
    "vit.depth": 2,
    "depths": (1, 2),
}
SMALL = catalogue.entry("instageo").recipe("compress").presets["tiny"].settings


def table(path, size, label):
    """Write points on every third pixel of a square scene."""
    rows = []
    for row in range(1, size, 3):
        for column in range(1, size, 3):
            x, y = at_pixel(row, column)
            rows.append({"x": x, "y": y, "date": "2022-06-02", "label": label(row, column)})
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def run(recipe, out, **overrides):
    return running.run(
        "instageo", recipe, out=out, overrides={k.replace("__", "."): v for k, v in overrides.items()}
    )


CUT = {"chip_size": 16, "patch_size": 8, "num_steps": 1, "min_count": 1}


def test_the_best_weights_are_those_of_the_best_pass():
    config = options.resolve(Compress, SMALL)
    parts = split_chips(config, Trial(seed=1000))
    model = build_teacher(TrainingPlan.of(config), parts)
    best = Best(model, parts, every=3, steps=7)
    looked = {}
    for step in range(1, 8):
        with torch.no_grad():
            model.head.classify.bias[step % 6] += 5.0 * step
        best(step, torch.zeros(()))
        looked[step] = score(model, parts.validation, parts)["miou"]
    assert best.quality == max(looked[step] for step in (3, 6, 7))  # each pass, and the last step
    model.load_state_dict(best.weights)
    assert score(model, parts.validation, parts)["miou"] == best.quality


@pytest.mark.parametrize("augment", ["flips", "all"])
def test_a_teacher_is_chosen_on_validation_chips_and_its_logits_are_not_kept_for_changed_chips(augment):
    more = {"finetune.augment": augment, "finetune.select": "best", "finetune.crop": 16}
    config = options.resolve(Compress, SMALL, more)
    parts = split_chips(config, Trial(seed=1000))
    found = train_teacher(TrainingPlan.of(config).of_teacher(), parts, Compute(accelerator="cpu"))
    assert found.logits is None
    assert found.weights["encoder.pos_embed"].shape[1] == 1 + (16 // 8) ** 2
    metrics = catalogue.entry("instageo").function("compress")(config, Trial(seed=1000))
    assert 0 <= metrics["miou"] <= 1


def test_large_chips_are_tiled_side_by_side():
    labels = torch.arange(2 * 5 * 7).view(2, 5, 7)
    rows = LabelledChips(labels[:, None, None].float(), labels)
    found = crop(ChipSplit(rows, rows, rows, ("a",)), 2, at_random=False).test
    assert found.labels.shape == (2 * 2 * 3, 2, 2)
    assert torch.equal(found.chips[:, 0, 0].long(), found.labels)
    assert found.labels[0].tolist() == [[0, 1], [7, 8]]
    assert crop(ChipSplit(rows, rows, rows, ("a",)), 2, at_random=True).train is rows
    with pytest.raises(InputError, match=r"finetune.crop 6 is larger than the chips of 5 x 7 pixels"):
        crop(ChipSplit(rows, rows, rows, ("a",)), 6, at_random=False)


def test_what_choosing_the_best_needs_is_said(tmp_path):
    with pytest.raises(InputError, match=r"this check has no validation chips"):
        options.resolve(Fidelity, {"finetune.select": "best"})
    for number in range(8):
        write(tmp_path / f"c_{number}_merged.tif", np.full((6, 8, 8), number + 1, np.int16))
        write(tmp_path / f"c_{number}.mask.tif", np.ones((1, 8, 8), np.uint8), nodata=None)
    chosen = {"chips": str(tmp_path), "finetune.select": "best", "labelled": 1.0}
    with pytest.raises(InputError, match=r"finetune.select best needs validation chips: give --validation"):
        split_chips(options.resolve(Compress, chosen), Trial(seed=1000))
    parts = split_chips(options.resolve(Compress, chosen, {"validation": 0.2}), Trial(seed=1000))
    assert len(parts.validation) == 2


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """Chips whose labels are values, cut by the command."""
    folder = tmp_path_factory.mktemp("values")
    pixels = np.random.default_rng(0).integers(1, 4000, (6, 64, 64)).astype(np.uint16)
    names = ("blue", "green", "red", "nir", "swir1", "swir2")
    write(folder / "scenes" / "a_20220602.tif", pixels, names=names)
    points = table(folder / "p.csv", 64, lambda row, column: row / 10 - 3)
    run(
        "chips",
        folder / "chips",
        points=str(points),
        imagery=f"folder:{folder / 'scenes'}",
        task="regression",
        **CUT,
    )
    return folder


def test_values_are_learnt_predicted_and_shown(values, tmp_path):
    trained = running.run(
        "instageo", "distil", out=tmp_path / "m", overrides=TINY | {"chips": str(values / "chips")}
    )
    assert trained.metrics["r2"] <= 1
    assert trained.metrics["rmse"] > 0
    student = assay.load(tmp_path / "m", "student")
    assert set(student.report.validation) == {"teacher", "1", "2"}
    inputs, labels = assay.load(values / "chips").tensors()
    assert labels.dtype == torch.float32
    assert student.predict(inputs).shape == labels.shape
    run("map", tmp_path / "map", segmenter=str(tmp_path / "m"), chips=str(values / "chips"))
    shown = assay.load(tmp_path / "map")
    with rasterio.open(shown.folder / shown.rasters[0]) as file:
        assert file.dtypes == ("float32",)
        torch.testing.assert_close(torch.from_numpy(file.read(1)), student.predict(inputs[:1])[0])
    page = (shown.folder / shown.page).read_text()
    assert re.search(r'"name":"below -?[\d.]', page)
    assert len(re.findall(r'"color":', page)) == 8


def test_values_are_refused_where_classes_are_needed(values):
    given = {"chips": str(values / "chips")}
    with pytest.raises(InputError, match=r"have values for regression: `assay run instageo distil` learns"):
        split_chips(options.resolve(Compress, given), Trial(seed=1000))
    named = {"chips.classes": ("a", "b")}
    config = catalogue.entry("instageo").config("distil")
    with pytest.raises(InputError, match=r"no classes: leave --chips.classes out"):
        split_chips(options.resolve(config, given, named), Trial(seed=1000))
    parts = split_chips(options.resolve(config, given), Trial(seed=1000))
    plan = TrainingPlan.of(options.resolve(config, given))
    assert isinstance(make_loss(plan, parts), RegressionDistillationLoss)
    with pytest.raises(InputError, match=r"ce_weight, everywhere and finetune.weigh_classes are for classes"):
        make_loss(replace(plan, everywhere=True), parts)


def test_radar_keeps_decibels_and_marks_nothing_by_minus_1(tmp_path):
    decibels = np.random.default_rng(0).normal(-12, 3, (2, 32, 32)).astype(np.float32)
    decibels[:, :4] = np.nan
    for number, band in enumerate(("VV", "VH")):
        path = tmp_path / "s1" / f"S1_20220602_{band}.tif"
        write(path, decibels[number : number + 1], nodata=float("nan"))
    points = table(tmp_path / "p.csv", 32, lambda row, column: int(row > 15))
    made = run(
        "chips", tmp_path / "c", points=str(points), imagery=f"folder:{tmp_path / 's1'}", radar=True, **CUT
    )
    chips = assay.load(tmp_path / "c")
    assert chips.no_data == -1.0
    assert made.metrics["chips"] == 4
    first = chips.chip(0)
    assert np.array_equal(first[:, 4:], decibels[:, 4:16, :16])
    assert (first[:, :4] == -1).all()
    assert (chips.label(0)[:4] == -1).all()
    with pytest.raises(ValueError, match=r"lacks the bands"):  # radar is not taken unasked
        LocalScenes(tmp_path / "s1")
    with pytest.raises(ValueError, match=r"no_data must be a value of uint16"):
        ChipCreator(LocalScenes(tmp_path / "s1", ("VV", "VH")), no_data=-1)
