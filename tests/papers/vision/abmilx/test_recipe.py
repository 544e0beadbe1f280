"""The recipes on bags in all forms: what they write, measure and refuse."""

import csv
import json
import math

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

import assay
from assay import catalogue, options
from assay.cli import running
from assay.data import Table
from assay.errors import DivergedError, InputError, StorageError
from assay.papers.vision.abmilx import TrainedMIL, evaluation
from assay.papers.vision.abmilx.config import Bags, DrawnBags, Layers, Learning, Slides, Train
from assay.papers.vision.abmilx.inputs.reading import read_bags
from assay.papers.vision.abmilx.recipe import VALIDATION, split_bags, train
from assay.papers.vision.abmilx.stages import RateScores, Search, read_pools, search_rates
from assay.papers.vision.abmilx.synthetic import NEEDLE
from assay.papers.vision.abmilx.training import EncoderSpec, ModelSpec, PatchEncoder, TrainingSetup
from assay.trial import Trial

ENTRY = catalogue.entry("abmilx")
RECIPE = ENTRY.paper.recipes["train"]
QUICK = {
    "training.epochs": 2,
    "training.batch_size": 4,
    "training.learning_rates": (3e-3, 1e-2),
    "layers.embed_dim": 16,
}
ONE_RATE = {"training__learning_rates": (1e-2,)}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(evaluation, "RESAMPLES", 20)


def run(tmp_path, recipe=None, **overrides):
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    running.run("abmilx", recipe, out=tmp_path / "out", overrides=QUICK | named, seed=1000)
    return tmp_path / "out"


def metrics_of(out):
    return json.loads((out / "model" / "metrics.json").read_text())


def rows_of(out):
    with (out / "model" / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


# --- what a run writes --------------------------------------------------------------------------


def test_a_folder_of_bags_gives_a_model_predictions_maps_and_intervals(folder_of_bags, tmp_path):
    out = run(
        tmp_path, data=f"folder:{folder_of_bags / 'images'}", data__labels=str(folder_of_bags / "labels.csv")
    )
    rows = rows_of(out)
    assert {"bag", "label", "predicted", "p(normal)", "p(tumour)"} == set(rows[0])
    assert all(
        float(row["p(normal)"]) + float(row["p(tumour)"]) == pytest.approx(1, abs=1e-5) for row in rows
    )
    assert len(list((out / "model" / "heat_maps").glob("*.png"))) == len(rows)
    found = metrics_of(out)
    low, high = found["intervals"]["accuracy"]
    assert 0 <= low <= found["metrics"]["accuracy"] <= high <= 1
    assert found["metrics"]["learning_rate"] in QUICK["training.learning_rates"]
    model = assay.load(out)
    assert isinstance(model, TrainedMIL)
    pictures = [
        torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
        for path in sorted((folder_of_bags / "images" / rows[0]["bag"]).glob("*.png"))
    ]
    bag = torch.stack(pictures)
    chances = model.predict_proba([bag])[0]
    assert chances[1] == pytest.approx(float(rows[0]["p(tumour)"]), abs=1e-5)
    assert model.predict([bag, bag.numpy()]).tolist() == [rows[0]["predicted"]] * 2
    for wrong in (bag / 255, bag.float()):
        with pytest.raises(ValueError, match=r"Bag 0 holds torch.float32; .* torch.uint8, from 0 to 255"):
            model.predict([wrong])
    with pytest.raises(ValueError, match=r"Bag 1 has the shape \(\d, 3, 6, 6\); .* \(3, 12, 12\)"):
        model.predict([bag, bag[:, :, ::2, ::2]])
    assert model.attention(torch.stack(pictures)).sum().item() == pytest.approx(1)
    train = model.module.train()  # an ordinary module that learns on
    train(torch.stack(pictures)[None]).sum().backward()
    assert all(parameter.grad is not None for parameter in train.aggregator.parameters())


def bags_in(folder):
    source = Bags(f"folder:{folder / 'images'}", str(folder / "labels.csv"))
    return read_bags(source, Slides(), None)


def test_patients_stay_together(folder_of_bags):
    parts = split_bags(bags_in(folder_of_bags), 0.25, VALIDATION, Trial(seed=1000))
    patients = [{bag.group for bag in part} for part in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 8
    assert min(map(len, patients)) > 0


def test_repeated_rows_are_seen_more_often_in_training_alone(folder_of_bags, tmp_path):
    text = (folder_of_bags / "labels.csv").read_text()
    rows = text.splitlines()
    (tmp_path / "labels.csv").write_text("\n".join(rows + rows[1:] + rows[1:]))
    (tmp_path / "images").symlink_to(folder_of_bags / "images")
    parts = split_bags(bags_in(tmp_path), 0.25, 0.0, Trial(seed=1000))
    assert len({bag.bag_id for bag in parts.train}) * 3 == len(parts.train)
    assert len({bag.bag_id for bag in parts.test}) == len(parts.test) == 16 - len(parts.train) // 3


def test_whole_slides_at_two_magnifications_give_maps_of_the_slide(slides, tmp_path):
    out = run(
        tmp_path,
        data=f"slides:{slides / 'slides'}",
        data__labels=str(slides / "labels.csv"),
        slides__patch=32,
        slides__least_tissue=0.5,
        patches__instances=8,
        patches__low_share=0.25,
        training__learning_rates=(3e-3,),
    )
    first = sorted((out / "model" / "heat_maps").glob("*.png"))[0]
    with Image.open(first) as picture:
        assert picture.size == (384, 256)
        pixels = np.asarray(picture)
    assert pixels[10, 10].tolist() == [245, 245, 245]  # glass stays as it is
    assert not np.array_equal(pixels[100, 160], pixels[10, 10])


def test_the_paper_preset_reads_the_authors_files_with_a_vision_model(packed, tmp_path):
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 6, 8, 10], depths=[1, 1, 1, 1], layer_type="basic"
    )
    ResNetForImageClassification(config).save_pretrained(tmp_path / "resnet")
    running.run(
        "abmilx",
        out=tmp_path / "out",
        preset="paper",
        overrides={
            "data": f"lmdb:{packed / 'high'},{packed / 'low'}",
            "data.labels": str(packed / "labels.csv"),
            "patch_encoder": f"folder:{tmp_path / 'resnet'}",
            "patches.pixels": 32,
            "patches.instances": 4,
            "patches.chunk": 8,
            "training.epochs": 2,
            "training.ema": 0.5,
        },
    )
    model = assay.load(tmp_path / "out")
    assert model.module.encoder.out_dim == 8  # cut after the third stage
    assert [row["bag"] for row in rows_of(tmp_path / "out")] == ["case6", "case7"]
    assert model.predict_proba([torch.zeros(2, 3, 32, 32, dtype=torch.uint8)]).shape == (1, 2)


@pytest.fixture(scope="module")
def feature_table(tmp_path_factory):
    """Bags of features, of which one tells the label; with time and death."""
    rng = np.random.default_rng(0)
    rows = []
    for bag in range(24):
        for place in range(3 + bag % 3):
            values = rng.normal(size=6)
            values[0] += 6 * (bag % 2 and place == 0)
            outcome = {"time": 5.0 + bag % 7 if bag % 2 else 20.0 + bag, "died": int(bag % 3 > 0)}
            rows.append({"bag_id": bag, "bag_label": bag % 2, "features": values.tolist(), **outcome})
    path = tmp_path_factory.mktemp("features") / "rows.parquet"
    datasets.Dataset.from_list(rows).to_parquet(path)
    return f"parquet:{path}"


@pytest.mark.parametrize(
    "aggregator", ["abmil", "gated", "mean", "max", "mhla", "transmil", "clam-sb", "clam-mb", "dsmil"]
)
def test_every_aggregator_learns_bags_of_features(feature_table, tmp_path, aggregator):
    out = run(tmp_path, data=feature_table, aggregator=aggregator, training__epochs=20, **ONE_RATE)
    assert metrics_of(out)["metrics"]["train_accuracy"] > 0.8
    assert len(list((out / "model" / "heat_maps").glob("*.png"))) == len(rows_of(out))


def test_all_arms_run_on_the_users_bags(feature_table):
    counters = []
    for arm in RECIPE.arms:
        config = options.resolve(Train, QUICK, {"data": feature_table}, arm.settings)
        trial = Trial(seed=1000, arm=arm.name)
        metrics = train(config, trial)
        assert 0 <= metrics["accuracy"] <= 1
        counters.append(trial.counters)
    assert all(found == counters[0] for found in counters)
    assert counters[0]["candidates"] == 2


def test_survival_gives_risks_and_a_c_index(feature_table, tmp_path):
    out = run(tmp_path, "survival", data=feature_table, bins=3, training__epochs=20, **ONE_RATE)
    assert {"bag", "time", "died", "risk"} == set(rows_of(out)[0])
    assert 0 <= metrics_of(out)["metrics"]["c_index"] <= 1
    model = assay.load(out)
    assert model.predict([torch.randn(4, 6)]).shape == (1,)
    with pytest.raises(InputError, match=r"--bins 40: 40 intervals need"):
        run(tmp_path / "more", "survival", data=feature_table, bins=40, **ONE_RATE)
    with pytest.raises(ValueError, match="predicts survival"):
        model.predict_proba([torch.randn(4, 6)])


def test_survival_from_a_folder_with_a_csv(folder_of_bags, tmp_path):
    out = run(
        tmp_path,
        "survival",
        data=f"folder:{folder_of_bags / 'images'}",
        data__labels=str(folder_of_bags / "labels.csv"),
        bins=2,
        test=0.4,
        **ONE_RATE,
    )
    assert len(rows_of(out)) > 3


def test_a_damaged_model_is_refused(feature_table, tmp_path):
    out = run(tmp_path, data=feature_table, **ONE_RATE)
    (out / "model" / "tensors.safetensors").write_bytes(b"nothing")
    with pytest.raises(StorageError, match="damaged"):
        assay.load(out)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers__num_heads": 3}, "embed_dim=16 is not divisible by num_heads=3"),
        ({"patch_encoder": "folder:resnet"}, "--patch-encoder needs pictures"),
        ({"layers__norm": "batch", "training__batch_size": 1}, "--layers.norm batch needs"),
        ({"data__label": "bag"}, "no column 'bag'"),
        ({"data__bag": "m", "patch_encoder": "folder:resnet", "data__label": "bag_label"}, "names none"),
    ],
)
def test_options_that_do_not_fit_are_refused(feature_table, tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, data=feature_table, **given)


@pytest.mark.parametrize("data", [None, "bundled:digits"])
def test_low_magnification_needs_two(feature_table, tmp_path, data):
    with pytest.raises(InputError, match=r"--patches.low-share needs (a second magnification|bags)"):
        run(tmp_path, data=data or feature_table, patches__instances=4, patches__low_share=0.5)


def test_a_share_of_a_magnification_needs_a_number_of_instances():
    with pytest.raises(InputError, match=r"--patches.low-share is a share of --patches.instances"):
        options.resolve(Train, {"patches.low_share": 0.5})


# --- the check on drawn bags --------------------------------------------------------------------


@pytest.fixture(scope="module")
def pools():
    return read_pools(Table("bundled:digits"), "8", None)


def test_no_instance_of_the_search_is_in_a_train_or_test_bag(pools):
    search, others = pools.search.values.flatten(1), pools.others.values.flatten(1)
    assert len(search) + len(others) == 1797
    assert len(search) == pytest.approx(0.3 * 1797, abs=10)
    known = {row.numpy().tobytes() for row in search}
    assert sum(row.numpy().tobytes() in known for row in others) < 5  # but for digits that are the same
    cut = Trial(seed=1000).split(len(others), 0.25, stratify=pools.others.labels.tolist())
    assert not set(cut.train) & set(cut.test)


def small_search(pools, *rates):
    spec = ModelSpec(EncoderSpec((1, 8, 8)), "mean", len(NEEDLE.names), Layers(embed_dim=16))
    setup = TrainingSetup(spec, Learning(epochs=3, learning_rates=rates))
    return search_rates(Search(setup, NEEDLE, DrawnBags(train_bags=32, test_bags=40)), pools.search)


def test_the_search_gives_each_rate_the_same_bags_and_start(pools):
    found = small_search(pools, 3e-3, 3e-3, 1e-2)
    assert found.scores[0] == found.scores[1]
    assert found.rates == (3e-3, 3e-3, 1e-2)
    assert small_search(pools, 1e-2, 3e-3).scores == found.scores[:0:-1]


def test_a_rate_that_diverges_is_never_chosen(pools):
    found = small_search(pools, 1e30, 3e-3)
    assert math.isnan(found.scores[0])
    assert found.best() == 3e-3
    with pytest.raises(DivergedError, match="Training diverged at each"):
        RateScores((1e30,), (math.nan,)).best()


def test_instances_of_drawn_bags_are_sampled_in_search_and_training():
    seen = []

    def counted(module, given):
        if isinstance(module, PatchEncoder) and module.training:
            seen.append(len(given[0]))

    drawn = {"drawn.train_bags": 8, "drawn.test_bags": 8, "patches.instances": 5}
    handle = nn.modules.module.register_module_forward_pre_hook(counted)
    try:
        train(options.resolve(Train, QUICK, drawn), Trial(seed=1000))
    finally:
        handle.remove()
    assert set(seen) == {4 * 5}  # bags of a step, instances of a bag
