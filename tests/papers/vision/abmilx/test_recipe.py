"""The recipes on bags in all forms: what they write, measure and refuse; the card's script."""

import csv
import json
import math
import re

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
from assay.errors import DivergedError, InputError, StorageError
from assay.papers.vision.abmilx.building import EncoderSpec, ModelSpec, PatchEncoder, build_model
from assay.papers.vision.abmilx.config import Drawn, Layers, Learning, Needle, Survival, Train
from assay.papers.vision.abmilx.learning import (
    MovingAverage,
    Plan,
    Search,
    best_rate,
    evaluate,
    fresh_encoder,
    learn,
    search_rates,
    start_of,
)
from assay.papers.vision.abmilx.measures import area_under_curve, bootstrap, classification
from assay.papers.vision.abmilx.planning import split
from assay.papers.vision.abmilx.recipe import instances_kept, train
from assay.papers.vision.abmilx.saved import TrainedMIL
from assay.papers.vision.abmilx.sources import GRADE, NEEDLE, Bag, BagSet, Instances, draw_bags
from assay.trial import Trial

ENTRY = catalogue.entry("abmilx")
RECIPE = ENTRY.paper.recipes["train"]
QUICK = {
    "training.epochs": 2,
    "training.batch_size": 4,
    "layers.embed_dim": 16,
    "learning_rates": (3e-3, 1e-2),
}


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
        tmp_path, bags=f"folder:{folder_of_bags / 'images'}", bags__labels=str(folder_of_bags / "labels.csv")
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
    assert found["metrics"]["learning_rate"] in QUICK["learning_rates"]
    model = assay.load(out)
    assert isinstance(model, TrainedMIL)
    pictures = [
        torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
        for path in sorted((folder_of_bags / "images" / rows[0]["bag"]).glob("*.png"))
    ]
    chances = model.predict([torch.stack(pictures)])[0]
    assert chances[1].item() == pytest.approx(float(rows[0]["p(tumour)"]), abs=1e-5)
    assert model.attention(torch.stack(pictures)).sum().item() == pytest.approx(1)
    train = model.module.train()  # an ordinary module that learns on
    train(torch.stack(pictures)[None]).sum().backward()
    assert all(parameter.grad is not None for parameter in train.aggregator.parameters())


def test_patients_stay_together(folder_of_bags):
    from assay.data import Table
    from assay.papers.vision.abmilx.config import BagFiles, Slides
    from assay.papers.vision.abmilx.sources import read_bags

    files = BagFiles(f"folder:{folder_of_bags / 'images'}", str(folder_of_bags / "labels.csv"))
    bags = read_bags(Table("bundled:digits"), files, "bag_id", Slides(), None)
    parts = split(bags, Train(), Trial(seed=1000))
    patients = {name: {bag.group for bag in part} for name, part in parts.items()}
    assert sum(map(len, patients.values())) == len(set.union(*patients.values())) == 8
    assert min(len(part) for part in parts.values()) > 0


def test_whole_slides_at_two_magnifications_give_maps_of_the_slide(slides, tmp_path):
    out = run(
        tmp_path,
        bags=f"slides:{slides / 'slides'}",
        bags__labels=str(slides / "labels.csv"),
        slides__patch=32,
        slides__least_tissue=0.5,
        instances=8,
        low_share=0.25,
        learning_rates=(3e-3,),
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
            "bags": f"lmdb:{packed / 'high'},{packed / 'low'}",
            "bags.labels": str(packed / "labels.csv"),
            "patch_encoder": f"folder:{tmp_path / 'resnet'}",
            "patch_pixels": 32,
            "instances": 4,
            "checkpointing": True,
            "training.epochs": 2,
            "training.ema": 0.5,
            "compute.precision": "32-true",
        },
    )
    model = assay.load(tmp_path / "out")
    assert model.module.encoder.out_dim == 8  # cut after the third stage
    assert [row["bag"] for row in rows_of(tmp_path / "out")] == ["case6", "case7"]
    assert model.predict([torch.zeros(2, 3, 32, 32, dtype=torch.uint8)]).shape == (1, 2)


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


@pytest.mark.parametrize("aggregator", ["abmil", "gated", "mean", "max", "mhla"])
def test_every_aggregator_learns_bags_of_features(feature_table, tmp_path, aggregator):
    more = {"training__epochs": 30, "learning_rates": (1e-2,)}
    out = run(tmp_path, data=feature_table, aggregator=aggregator, **more)
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
    out = run(tmp_path, "survival", data=feature_table, bins=3, training__epochs=20)
    assert {"bag", "time", "died", "risk"} == set(rows_of(out)[0])
    assert 0 <= metrics_of(out)["metrics"]["c_index"] <= 1
    model = assay.load(out)
    assert model.predict([torch.randn(4, 6)]).shape == (1,)
    with pytest.raises(InputError, match=r"--bins 40: 40 intervals need"):
        run(tmp_path / "more", "survival", data=feature_table, bins=40)


def test_survival_from_a_folder_with_a_csv(folder_of_bags, tmp_path):
    out = run(
        tmp_path,
        "survival",
        bags=f"folder:{folder_of_bags / 'images'}",
        bags__labels=str(folder_of_bags / "labels.csv"),
        bins=2,
        test=0.4,
    )
    assert len(rows_of(out)) > 3


def test_a_damaged_model_is_refused(feature_table, tmp_path):
    out = run(tmp_path, data=feature_table, learning_rates=(1e-2,))
    (out / "model" / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(StorageError, match="no whole model"):
        assay.load(out)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers__num_heads": 3}, "embed_dim=16 is not divisible by num_heads=3"),
        ({"layers__network": "convolutional"}, "needs pictures; these bags hold features"),
        ({"patch_encoder": "folder:resnet"}, "--patch-encoder needs pictures"),
        ({"layers__norm": "batch", "training__batch_size": 1}, "--layers.norm batch needs"),
        ({"data__label": "bag"}, "no column 'bag'"),
        ({"validation": 0.0}, "--validation 0.0 leaves no bags"),
        ({"bag": "molecule", "patch_encoder": "folder:resnet", "data__label": "bag_label"}, "names none"),
    ],
)
def test_options_that_do_not_fit_are_refused(feature_table, tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, data=feature_table, **given)


@pytest.mark.parametrize("data", [None, "bundled:digits"])
def test_low_magnification_needs_two(feature_table, tmp_path, data):
    with pytest.raises(InputError, match="--low-share needs a second magnification"):
        run(tmp_path, data=data or feature_table, instances=4, low_share=0.5)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("drawn.size", 0, "--drawn.size: got 0; .* greater than 0"),
        ("drawn.train_bags", -4, "--drawn.train-bags: got -4; .* greater than 0"),
        ("drawn.search_share", 1.0, "--drawn.search-share: got 1.0; .* less than 1"),
        ("layers.embed_dim", 0, "--layers.embed-dim: got 0"),
        ("layers.dropout", 1.0, "--layers.dropout: got 1.0; .* less than 1"),
        ("training.epochs", 0, "--training.epochs: got 0"),
        ("training.batch_size", 0, "--training.batch-size: got 0"),
        ("training.smallest_crop", 0.0, "--training.smallest-crop: got 0.0; .* greater than 0"),
        ("training.ema", 1.5, "--training.ema: got 1.5; .* less than 1"),
        ("slides.most_patches", 0, "--slides.most-patches: got 0"),
        ("slides.downsamples", (1.0, 0.0), "--slides.downsamples: got 0.0; .* greater than 0"),
        ("test", 1.0, "--test: got 1.0; .* less than 1"),
        ("learning_rates", (), r"--learning-rates: got \(\); .* at least 1 item"),
        ("learning_rates", (1e-3, float("nan")), "--learning-rates: got nan"),
        ("instances", 0, "--instances: got 0"),
        ("low_share", 0.5, "--low-share is a share of --instances"),
        ("heat_maps", -1, "--heat-maps: got -1; .* greater than or equal to 0"),
    ],
)
def test_numbers_with_which_nothing_can_be_learnt_are_refused(option, value, message):
    with pytest.raises(InputError, match=message):
        options.resolve(Train, {option: value})


@pytest.mark.parametrize(
    ("config", "changes"), [(Needle, {"test": 0.0}), (Survival, {"bins": 0}), (Survival, {"chunk": 0})]
)
def test_the_other_recipes_refuse_them_too(config, changes):
    with pytest.raises(InputError, match=": got 0"):
        options.resolve(config, changes)


# --- the check on drawn bags --------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept():
    from assay.data import Table

    return instances_kept(Table("bundled:digits"), Drawn(), None)


def test_no_instance_of_the_search_is_in_a_train_or_test_bag(kept):
    pool, others = kept["pool"]["values"].flatten(1), kept["others"]["values"].flatten(1)
    assert len(pool) + len(others) == 1797
    assert len(pool) == pytest.approx(0.3 * 1797, abs=10)
    known = {row.numpy().tobytes() for row in pool}
    assert sum(row.numpy().tobytes() in known for row in others) < 5  # but for digits that are the same
    cut = Trial(seed=1000).split(len(others), 0.25, stratify=kept["others"]["labels"].tolist())
    assert not set(cut.train) & set(cut.test)


def small_search(kept, rates, aggregator="mean", task=NEEDLE, repeats=1):
    spec = ModelSpec(EncoderSpec("perceptron", (1, 8, 8)), aggregator, len(task.names), Layers(embed_dim=16))
    drawn = Drawn(train_bags=32, test_bags=40, repeats=repeats)
    search = Search(Plan(spec, Learning(epochs=3)), task, drawn, rates, False)
    return search_rates(search, kept["pool"]["values"], kept["pool"]["labels"], kept["key"])


def test_the_search_gives_each_rate_the_same_bags_and_start(kept):
    found = small_search(kept, (3e-3, 3e-3, 1e-2))
    assert found["scores"][0] == found["scores"][1]
    assert found["rates"] == [3e-3, 3e-3, 1e-2]
    again = small_search(kept, (1e-2, 3e-3))
    assert again["scores"] == found["scores"][:0:-1]


def test_a_rate_that_diverges_is_never_chosen(kept):
    found = small_search(kept, (1e30, 3e-3))
    assert math.isnan(found["scores"][0])
    assert best_rate(found) == 3e-3
    with pytest.raises(DivergedError, match="Training diverged at each of --learning-rates"):
        best_rate({"rates": [1e30], "scores": [math.nan]})


def test_instances_of_drawn_bags_are_sampled_in_search_and_training(tmp_path):
    seen = []

    def counted(module, given):
        seen.append(len(given[0])) if module.training else None

    drawn = {"drawn.train_bags": 8, "drawn.test_bags": 8, "drawn.repeats": 1}
    config = options.resolve(Train, QUICK, drawn, {"instances": 5})
    handle = nn.modules.module.register_module_forward_pre_hook(
        lambda module, given: counted(module, given) if isinstance(module, PatchEncoder) else None
    )
    try:
        train(config, Trial(seed=1000))
    finally:
        handle.remove()
    assert set(seen) == {4 * 5}  # bags a step, instances a bag


def test_a_pretrained_encoder_has_learnt_the_other_classes(kept):
    instances = Instances(**kept["pool"], key=kept["key"])
    spec = EncoderSpec("perceptron", (1, 8, 8))
    others = instances.labels != instances.key
    scores = {}
    for pretrained in (False, True):
        torch.manual_seed(0)
        encoder = PatchEncoder(spec)
        encoder.load_state_dict(start_of(spec, instances, Learning(epochs=10), pretrained))
        with torch.no_grad():
            vectors = encoder(instances.values[others])
        centred = vectors - vectors.mean(dim=0)
        labels = instances.labels[others]
        within = torch.stack([centred[labels == k].var(dim=0).sum() for k in labels.unique()]).mean()
        scores[pretrained] = (within / centred.var(dim=0).sum()).item()
    assert scores[True] < 0.8 * scores[False]


def test_a_frozen_encoder_stays_as_it_is(kept):
    instances = Instances(**kept["others"], key=kept["key"])
    bags = draw_bags(instances, GRADE, 8, 32, np.random.default_rng(0), "train")
    spec = ModelSpec(EncoderSpec("perceptron", (1, 8, 8)), "abmilx", 4, Layers(embed_dim=16))
    start = fresh_encoder(spec.encoder, instances.values)
    targets = torch.from_numpy(bags.labels)
    for frozen in (True, False):
        plan = Plan(spec, Learning(epochs=1, batch_size=4), frozen)
        learnt = learn(plan, start, bags, targets, 1e-2, torch.Generator().manual_seed(0))
        same = all(
            torch.equal(tensor, start[name]) for name, tensor in learnt.model.encoder.state_dict().items()
        )
        assert same == frozen
        assert (learnt.gradient_steps, learnt.bags_seen) == (2, 8)


def test_large_bags_are_encoded_piece_by_piece(kept, monkeypatch):
    from assay.papers.vision.abmilx import learning

    values = kept["others"]["values"]
    bags = [Bag(f"b{n}", (values[n:].__getitem__,), (20 + n,), n) for n in range(2)]
    spec = ModelSpec(EncoderSpec("perceptron", (1, 8, 8)), "abmilx", 2, Layers(embed_dim=16))
    model = build_model(spec).eval()
    whole = evaluate(model, bags)
    monkeypatch.setattr(learning, "TOGETHER", 7)
    pieces = evaluate(model, bags)
    torch.testing.assert_close(pieces.logits, whole.logits)
    assert [weights.shape for weights in pieces.attention] == [(4, 20), (4, 21)]


def test_the_moving_average_follows_the_weights():
    model = nn.Linear(1, 1, bias=False)
    average = MovingAverage(model, 0.9)
    expected = None
    for step in range(4):
        nn.init.constant_(model.weight, float(step))
        average(step, torch.zeros(()))
        expected = float(step) if expected is None else 0.9 * expected + 0.1 * step
    average.apply()
    assert model.weight.item() == pytest.approx(expected)


# --- measures -----------------------------------------------------------------------------------


def test_measures_agree_with_scikit_learn():
    from sklearn import metrics

    rng = np.random.default_rng(0)
    labels, chances = rng.integers(0, 3, 60), rng.dirichlet(np.ones(3), 60)
    chances[np.arange(60), labels] += 0.3
    chances /= chances.sum(axis=1, keepdims=True)
    predicted, found = chances.argmax(axis=1), classification(labels, chances)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(labels, predicted))
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(labels, chances, multi_class="ovr"))


def test_what_is_not_defined_is_none():
    assert area_under_curve(np.array([True, True]), np.array([0.1, 0.2])) is None
    found = classification(np.array([1, 1]), np.array([[0.1, 0.9], [0.2, 0.8]]))
    assert found["auc"] is None
    assert found["kappa"] is None
    assert found["accuracy"] == 1


def test_bootstrap_intervals_cover_what_they_should():
    values = np.random.default_rng(0).normal(size=400)
    found = bootstrap(lambda rows: {"mean": float(values[rows].mean())}, 400, np.random.default_rng(1))
    low, high = found["mean"]
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)


def test_a_set_of_bags_without_instances_is_refused():
    with pytest.raises(InputError, match="'a' has no instances"):
        BagSet((Bag("a", (torch.zeros(0, 2).__getitem__,), (0,)),), ("x",), "here")


# --- the card -----------------------------------------------------------------------------------


def test_the_cards_script_runs(feature_table, tmp_path, monkeypatch):
    run(tmp_path, data=feature_table, learning_rates=(1e-2,))
    (tmp_path / "out").rename(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    for script in re.findall(r"```python\n(.*?)```", ENTRY.card.read_text(), re.DOTALL):
        exec(compile(script, "card", "exec"), {})
