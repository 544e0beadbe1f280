"""The recipes: the whole chain on files, published weights and layouts, and what is refused."""

import re
import tarfile

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import assay
from assay import catalogue, options
from assay.cli import running
from assay.errors import InputError
from assay.papers.vision.geo.options import Imagery
from assay.papers.vision.instageo import Segmenter
from assay.papers.vision.instageo.config import Compress, Distil, Fidelity
from assay.papers.vision.instageo.evaluation import agreement, score
from assay.papers.vision.instageo.inputs import (
    ChipSplit,
    LabelledChips,
    keep_labels,
    split_chips,
    unpack,
)
from assay.papers.vision.instageo.method import PRITHVI, EncoderShape, PrithviEncoder
from assay.papers.vision.instageo.stages import CutChips, cut_from_arrays, cut_fully_labelled, scene_parts
from assay.papers.vision.instageo.synthetic.landscapes import Terrain, cut_tiles, make_landscape
from assay.papers.vision.instageo.training import TrainingPlan, build_teacher
from assay.trial import Trial
from papers.vision.geotiffs import write

ENTRY = catalogue.entry("instageo")
TINY = {
    "finetune.gradient_steps": 2,
    "finetune.teacher_steps": 2,
    "vit.dim": 32,
    "vit.depth": 2,
    "depths": (1, 2),
}


def run(recipe, out, **overrides):
    plain = {name.replace("__", "."): value for name, value in overrides.items()}
    return running.run("instageo", recipe, out=out, overrides=plain)


@pytest.fixture(scope="module")
def chain(region, tmp_path_factory):
    """Chips, a student and a map, each from the folder of the one before."""
    folder = tmp_path_factory.mktemp("chain")
    _, catalog, points = region
    made = run(
        "chips",
        folder / "chips",
        points=str(points),
        imagery=f"stac:{catalog}",
        chip_size=32,
        patch_size=8,
        min_count=1,
        cloud_coverage=60.0,
        mask_types=("cloud",),
        keep=str(folder / "kept"),
    )
    trained = running.run(
        "instageo", "distil", out=folder / "model", overrides=TINY | {"chips": str(folder / "chips")}
    )
    mapped = run("map", folder / "map", segmenter=str(folder / "model"), chips=str(folder / "chips"))
    return folder, made, trained, mapped


def test_the_chain_from_points_to_map_runs_on_files(chain):
    folder, made, trained, mapped = chain
    assert made.metrics["points_points"] == 160
    assert made.metrics["chips"] == made.metrics["points_chips"] > 5
    assert trained.metrics["size_ratio"] >= 1
    assert 0 <= trained.metrics["miou"] <= 1
    assert mapped.metrics["rasters"] == made.metrics["chips"]
    assert mapped.metrics["zones"] == 2
    shown = assay.load(folder / "map")
    assert (shown.folder / shown.page).read_text().startswith("<!doctype html>")
    assert all((shown.folder / name).exists() for name in (*shown.rasters, *shown.merged))


def test_what_was_written_loads_again(chain):
    folder = chain[0]
    chips = assay.load(folder / "chips")
    student = assay.load(folder / "model", "student")
    assert isinstance(student, Segmenter)
    inputs, _ = chips.tensors([0, 1])
    assert student.predict(inputs).shape == (2, 32, 32)
    report = student.report
    assert student.model.shape.depth == report.depth
    assert set(report.validation) == {"teacher", "1", "2"}
    assert report.grams_co2 is None
    teacher = assay.load(folder / "model", "teacher")
    assert report.parameters["teacher"] == sum(p.numel() for p in teacher.model.parameters())
    with pytest.raises(ValueError, match=r"reads 6 bands on 3 dates; these chips have 6 bands on 1"):
        student.predict(torch.zeros(1, 6, 1, 32, 32))


def test_a_kept_folder_goes_on(chain, region, tmp_path):
    folder, made, _, _ = chain
    before = {path: path.stat().st_mtime_ns for path in (folder / "kept" / "chips").iterdir()}
    _, catalog, points = region
    again = run(
        "chips",
        tmp_path / "again",
        points=str(points),
        imagery=f"stac:{catalog}",
        chip_size=32,
        patch_size=8,
        min_count=1,
        cloud_coverage=60.0,
        mask_types=("cloud",),
        keep=str(folder / "kept"),
    )
    assert again.metrics == made.metrics
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "kept" / "chips").iterdir()}


def test_label_rasters_take_the_place_of_points(region, tmp_path):
    made, catalog, points = region
    tile = made.tiles[0]
    labels = np.where(tile.classes < 0, -1, tile.classes).astype(np.int16)[None]
    for name, top in (("north", 0), ("south", 32)):
        corner = (tile.left, tile.top - top * 30.0)
        write(
            tmp_path / "l" / f"{name}_20220606.tif",
            labels[:, top : top + 32, :64],
            tile.epsg,
            corner,
            nodata=-1,
        )
    settings = {"imagery": f"stac:{catalog}", "chip_size": 32, "patch_size": 8, "cloud_coverage": 100.0}
    found = run("chips", tmp_path / "c", label_rasters=f"folder:{tmp_path / 'l'}", **settings)
    assert found.metrics["chips"] == 4
    assert found.metrics["points_points"] == (labels[:, :64, :64] != -1).sum()
    assert (assay.load(tmp_path / "c").label(0) == labels[0, :32, :32]).all()
    both = {"label_rasters": f"folder:{tmp_path / 'l'}", "points": str(points)}
    with pytest.raises(InputError, match=r"either --points or --label-rasters, not both"):
        run("chips", tmp_path / "d", **both, **settings)
    with pytest.raises(InputError, match=r"Give --imagery and either --points or --label-rasters"):
        run("chips", tmp_path / "e", label_rasters=f"folder:{tmp_path / 'l'}")
    with pytest.raises(InputError, match=r"names no label rasters: write folder:DIR"):
        run("chips", tmp_path / "f", label_rasters="labels", **settings)


def test_chips_of_a_made_up_region_need_nothing(tmp_path):
    made = run(
        "chips", tmp_path / "c", region__side=64, region__points=40, chip_size=32, patch_size=8, min_count=1
    )
    assert made.metrics["chips"] > 0
    assert len(assay.load(tmp_path / "c")) == made.metrics["chips"]


def test_a_model_can_be_checked_on_the_users_chips(chain):
    config = options.resolve(
        Compress, {"chips": str(chain[0] / "chips"), "chips.classes": tuple("abcdef"), "labelled": 1.0}
    )
    trial = Trial(seed=1000)
    parts = split_chips(config, trial)
    assert parts.class_names == tuple("abcdef")
    assert trial.resplit > 0  # seeds split one data set again
    assert len(parts.train) + len(parts.test) == chain[1].metrics["chips"]
    few = options.resolve(Compress, {"chips": str(chain[0] / "chips"), "chips.classes": ("a",)})
    with pytest.raises(InputError, match=r"--chips.classes names 1 classes, but labels go up to 5"):
        split_chips(few, Trial(seed=1000))


# --- made-up scenes -----------------------------------------------------------------------------


def test_no_scene_and_no_pixel_of_a_photograph_is_in_train_and_test():
    assert scene_parts(6) == ["train"] * 3 + ["validation"] + ["test"] * 2
    config = options.resolve(Compress, ENTRY.recipe("compress").presets["tiny"].settings, {"labelled": 1.0})
    parts = split_chips(config, Trial(seed=1000))
    mine = {chip.numpy().tobytes() for chip in parts.train.chips}
    assert not mine & {chip.numpy().tobytes() for chip in parts.test.chips}
    assert (parts.train.labels >= 0).float().mean() > 0.7
    sparse_parts = split_chips(
        options.resolve(Compress, ENTRY.recipe("compress").presets["tiny"].settings), Trial(seed=1000)
    )
    assert torch.equal(sparse_parts.train.chips, parts.train.chips)
    assert torch.equal(sparse_parts.test.labels, parts.test.labels)  # the whole truth
    share = (sparse_parts.train.labels >= 0).sum() / (parts.train.labels >= 0).sum()
    assert share.item() == pytest.approx(0.05, abs=0.02)


def test_textures_of_test_scenes_are_other_pixels():
    from assay.papers.vision.instageo.synthetic import landscapes

    grey = landscapes._photograph(landscapes.PHOTOGRAPHS[1])
    cut = round(landscapes.TRAIN_SHARE * grey.shape[1])
    drawn = {
        part: landscapes._texture(landscapes.PHOTOGRAPHS[1], part, (8, 8), np.random.default_rng(0))
        for part in ("train", "test")
    }
    assert grey[:, :cut].shape[1] + grey[:, cut:].shape[1] == grey.shape[1]
    assert not np.allclose(drawn["train"], drawn["test"])


def test_landscapes_are_the_same_for_a_seed_and_have_their_spectra():
    first, second = (
        make_landscape((64, 64), "train", np.random.default_rng(5), Terrain(6.0, 0.0, 0.0)) for _ in range(2)
    )
    assert (first.reflectance == second.reflectance).all()
    assert not first.clouds.any()
    water = first.reflectance[:, 3][:, first.classes == 0].mean()
    forest = first.reflectance[:, 3][:, first.classes == 1].mean()
    assert water < 400 < forest


def test_scenes_are_cut_row_by_row():
    tiles = cut_tiles(np.arange(2 * 4 * 6).reshape(2, 4, 6), 2)
    assert tiles.shape == (6, 2, 2, 2)
    assert tiles[1, 0].tolist() == [[2, 3], [8, 9]]


def test_a_share_of_the_labels_is_kept():
    labels = torch.zeros(10, 100, 100, dtype=torch.long)
    kept = keep_labels(labels, 0.05, torch.Generator().manual_seed(0))
    assert (kept == 0).float().mean().item() == pytest.approx(0.05, abs=0.005)
    assert torch.equal(keep_labels(labels, 1.0, torch.Generator()), labels)
    with pytest.raises(InputError, match=r"--labelled must be above 0 and at most 1, not 0"):
        keep_labels(labels, 0.0, torch.Generator())


# --- fidelity -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("cut", "expected"), [("creator", 1.0), ("oracle", 1.0), ("misplaced", None)])
def test_agreement_with_the_oracle_is_measured(cut, expected):
    config = options.resolve(Fidelity, ENTRY.recipe("fidelity").presets["tiny"].settings, {"cut": cut})
    found = ENTRY.function("fidelity")(config, Trial(seed=1000))["label_agreement"]
    assert found == expected if expected else found < 0.2


def test_a_missing_chip_costs_agreement_and_the_test_region_is_fully_labelled():
    region = options.resolve(Fidelity, ENTRY.recipe("fidelity").presets["tiny"].settings).region
    oracle, whole = (cut(region, 32, 3, 7) for cut in (cut_from_arrays, cut_fully_labelled))
    assert agreement(oracle, oracle)["label_agreement"] == 1
    assert agreement(CutChips(oracle.chips[:-1], oracle.labels[:-1]), oracle)["label_agreement"] < 1
    assert whole.chips.shape[1:] == (18, 32, 32)
    assert (whole.labels >= 0).mean() > 0.8


# --- published weights and data -----------------------------------------------------------------


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_published_weights_start_the_teacher_and_its_students(tmp_path, monkeypatch, ending):
    small = {"dim": 32, "depth": 2, "heads": 4, "patch_size": 16}
    monkeypatch.setitem(PRITHVI, "v1-100m", small)
    torch.manual_seed(0)
    source = PrithviEncoder(EncoderShape.prithvi("v1-100m", 1, 32))
    weights = {f"encoder.{name}": tensor for name, tensor in source.state_dict().items()}
    path = tmp_path / f"prithvi.{ending}"
    (save_file if ending == "safetensors" else torch.save)(weights, path)
    settings = ENTRY.recipe("compress").presets["tiny"].settings
    backbone = {"backbone": f"v1-100m={path}"}
    config = options.resolve(Compress, settings, backbone, {"finetune.gradient_steps": 1})
    parts = split_chips(config, Trial(seed=1000))
    teacher = build_teacher(TrainingPlan.of(config), parts)
    assert torch.equal(teacher.encoder.blocks[1].attn.qkv.weight, source.blocks[1].attn.qkv.weight)
    metrics = ENTRY.function("compress")(config, Trial(seed=1000))
    assert metrics["size_ratio"] > 1
    assert len(config.backbone.fingerprint()) == 64


def test_the_paper_preset_names_real_data_and_weights():
    config = options.resolve(Compress, ENTRY.recipe("compress").presets["paper"].settings_for())
    assert config.chips.source == "hub:ibm-nasa-geospatial/multi-temporal-crop-classification"
    assert (config.chips.num_steps, config.chips.label_shift) == (3, -1)
    assert config.backbone.name == "v1-100m"
    assert config.finetune.gradient_steps is None
    mine = options.resolve(
        Compress, ENTRY.recipe("compress").presets["paper"].settings_for(), {"chips": "folder"}
    )
    assert mine.chips.num_steps is None  # roles belong to the source


def test_the_published_crop_layout_is_learnt(tmp_path):
    random = np.random.default_rng(0)
    for number in range(8):
        part = "training" if number < 6 else "validation"
        folder = tmp_path / f"{part}_chips"
        write(folder / f"chip_{number}_merged.tif", random.integers(1, 4000, (18, 16, 16)).astype(np.int16))
        write(
            folder / f"chip_{number}.mask.tif",
            random.integers(0, 4, (1, 16, 16)).astype(np.uint8),
            nodata=None,
        )
    (tmp_path / "training_data.txt").write_text("\n".join(f"chip_{n}" for n in range(6)))
    (tmp_path / "validation_data.txt").write_text("chip_6\nchip_7")
    config = options.resolve(Distil, {"chips": str(tmp_path), "chips.num_steps": 3, "chips.label_shift": -1})
    parts = split_chips(config, Trial(seed=1000))
    assert parts.train.chips.shape[1:] == (6, 3, 16, 16)
    assert len(parts.test) == 2
    assert len(parts.train) + len(parts.validation) == 6
    assert parts.train.labels.max() == 2
    assert (parts.train.labels == -1).any()


def test_archives_are_unpacked_inside_their_folder(tmp_path):
    (tmp_path / "inner.txt").write_text("x")
    with tarfile.open(tmp_path / "training_chips.tgz", "w:gz") as packed:
        packed.add(tmp_path / "inner.txt", "a/inner.txt")
    unpack(tmp_path)
    assert (tmp_path / "training_chips" / "a" / "inner.txt").read_text() == "x"
    with tarfile.open(tmp_path / "evil.tgz", "w:gz") as packed:
        packed.add(tmp_path / "inner.txt", "../../escaped.txt")
    with pytest.raises(InputError):
        unpack(tmp_path)
    assert not (tmp_path.parent / "escaped.txt").exists()


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        ("chips", {"chip_size": 50}, "--chip-size 50 cannot be divided into patches of 16"),
        ("chips", {"points": "points.csv"}, "Give --imagery and either --points or --label-rasters"),
        ("chips", {"imagery": "scenes"}, "does not say what the scenes are"),
        ("chips", {"points": "none.csv", "imagery": "folder:none"}, "There is no file none.csv"),
        ("distil", {"chips": "nowhere"}, "There is no folder nowhere"),
        ("distil", {"backbone": "resnet"}, "'resnet' is no backbone: write hub:NAME, or NAME=FILE"),
        ("distil", {"landscapes.dates": 4}, "--landscapes.dates: got 4"),
        ("distil", {"landscapes.scenes": 3}, "--landscapes.scenes: got 3"),
        ("map", {"segmenter": "nowhere", "chips": "x"}, "nowhere holds no model"),
    ],
)
def test_options_that_cannot_be_used_are_refused(tmp_path, monkeypatch, recipe, overrides, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(message)):
        running.run("instageo", recipe, out=tmp_path / "out", overrides=overrides)
    assert not (tmp_path / "out").exists()


def test_depths_beyond_the_teacher_and_chips_of_no_label_are_refused(tmp_path):
    settings = ENTRY.recipe("distil").presets["tiny"].settings
    with pytest.raises(InputError, match=r"the teacher has 2 blocks"):
        running.run("instageo", "distil", out=tmp_path / "o", overrides=dict(settings) | {"depths": (3,)})
    pd.DataFrame({"Input": ["a.tif"] * 5, "Label": ["b.tif"] * 5}).to_csv(tmp_path / "chips.csv")
    write(tmp_path / "a.tif", np.ones((6, 8, 8), np.uint16))
    write(tmp_path / "b.tif", np.full((1, 8, 8), -1, np.int16), nodata=-1)
    with pytest.raises(InputError, match=r"no pixel of the training or of the test chips has a label"):
        split_chips(options.resolve(Compress, {"chips": str(tmp_path)}), Trial(seed=1000))


def test_a_servers_secrets_are_not_in_a_fingerprint():
    source = Imagery("https://user:secret@host/stac?token=hidden")
    assert "secret" not in source.fingerprint()
    assert "hidden" not in source.fingerprint()


def test_a_perfect_model_scores_one():
    class Perfect(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Linear(1, 1)

        def forward(self, chips):
            return torch.stack([-chips[:, 0, 0], chips[:, 0, 0]], dim=1)

    labels = torch.tensor([[[0, 1], [1, -1]]])
    chips = LabelledChips((2.0 * labels - 1)[:, None, None], labels)
    assert score(Perfect(), chips, ChipSplit(chips, chips, chips, ("a", "b"))) == {"miou": 1.0, "auc": 1.0}


def test_chips_of_the_same_pixels_are_compared_with_their_own_labels():
    chip = np.ones((18, 4, 4), np.uint16)
    labels = [np.full((4, 4), -1, np.int16) for _ in range(3)]
    for number, label in enumerate(labels):
        label[number, 0] = number
    oracle, cut = (CutChips.ordered(np.stack([chip] * 3), np.stack(each)) for each in (labels, labels[::-1]))
    assert agreement(cut, oracle)["label_agreement"] == 1
