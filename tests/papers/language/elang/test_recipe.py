"""The recipe: rows, pairs, scores, artefacts, and what it refuses."""

import dataclasses
import re

import pandas as pd
import pytest
import torch
from PIL import Image
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import assay
from assay import catalogue, options, records
from assay.data import Table
from assay.errors import InputError
from assay.models import ModelSource, OwnModel, load_text_function
from assay.papers.language.elang.artefact import RoutedPair
from assay.papers.language.elang.config import Finetuning, Pair, Route
from assay.papers.language.elang.method import EnergyRouter, RoutingPolicy, TextClassifier, free_energy
from assay.papers.language.elang.recipe import route
from assay.papers.language.elang.stages import align_labels
from assay.trial import Trial
from papers.language.elang.card_files import REVIEWS, write_reviews

ENTRY = catalogue.entry("elang")
RECIPE = ENTRY.paper.recipes["route"]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """A table of short reviews, each a little different."""
    return write_reviews(tmp_path_factory.mktemp("data"))


def on(path, **settings):
    return Route(data=Table(f"csv:{path}"), **settings)


def given(swift, super_, **settings):
    return {"swift": OwnModel(f"folder:{swift}"), "super": OwnModel(f"folder:{super_}"), **settings}


def run(config, tmp_path=None, seed=1000, stages=None):
    out = tmp_path / "out" if tmp_path else None
    trial = Trial(seed=seed, out=out, stages=stages)
    return route(config, trial), trial


# --- arms ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    """Metrics and counters of all arms of one seed on digits, with a short training."""
    stages = tmp_path_factory.mktemp("stages")
    found = {}
    for arm in RECIPE.arms:
        config = options.resolve(Route, {"pair.epochs": 8}, arm.settings)
        found[arm.name] = run(config, stages=stages)
    return found


def test_no_score_is_better_than_the_oracle_and_chance_is_the_mean(arms):
    areas = {name: metrics["area"] for name, (metrics, _) in arms.items() if "area" in metrics}
    assert max(areas, key=areas.get) == "oracle"
    alone = [arms[name][0]["accuracy"] for name in ("swift-only", "super-only")]
    assert areas["random"] == pytest.approx(sum(alone) / 2, abs=0.02)
    assert min(areas["energy"], areas["softmax"]) > areas["random"]


def test_costs_count_swift_on_every_row(arms):
    metrics = arms["energy"][0]
    swift = arms["swift-only"][0]["relative_flops"]
    assert metrics["relative_flops"] == pytest.approx(swift + metrics["super_share"])
    assert swift == pytest.approx((64 * 10 + 10 * 10) / (64 * 256 + 256 * 256 + 256 * 10))


def test_accuracy_at_the_papers_speedup_is_on_the_curve(arms):
    metrics = arms["energy"][0]
    points = [metrics[f"accuracy_at_{share}"] for share in (30, 40)]
    # a share of 1/3.2 minus Swift's 0.9 % of the cost is 30.4 %
    assert min(points) - 0.003 <= metrics["accuracy_at_speedup"] <= max(points) + 0.003
    assert arms["super-only"][0]["accuracy_at_speedup"] == arms["super-only"][0]["accuracy"]


def test_all_arms_are_given_the_same(arms):
    counters = {name: trial.counters for name, (_, trial) in arms.items()}
    assert len({counts["gradient_steps"] for counts in counters.values()}) == 1
    compared = [counters[name] for name in ("energy", "softmax", "entropy", "margin", "random")]
    assert all(counts == compared[0] for counts in compared)
    assert compared[0]["candidates"] == 1
    assert counters["energy-tempered"]["candidates"] == counters["softmax-tempered"]["candidates"] == 6


def test_metrics_are_declared_and_depend_on_the_seed_alone(arms):
    declared = {metric.name: metric.kind for metric in ENTRY.paper.metrics}
    again, _ = run(options.resolve(Route, {"pair.epochs": 8}, RECIPE.arm("energy").settings))
    assert set(again) <= set(declared)
    for name, value in arms["energy"][0].items():
        assert declared[name] == "timing" or again[name] == value


# --- rows ---------------------------------------------------------------------------------------


def test_pictures_are_read_as_grey_pixels(tmp_path):
    for label, shade in (("dark", 40), ("light", 220)):
        folder = tmp_path / "pictures" / label
        folder.mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (6, 6), (shade + number,) * 3).save(folder / f"{number}.png")
    config = Route(data=Table(f"images:{tmp_path / 'pictures'}"), pair=Pair(epochs=20, image_size=4))
    metrics, _ = run(config, tmp_path)
    assert metrics["accuracy"] == 1.0
    assert RoutedPair.load(tmp_path / "out" / "policy").swift.spec.inputs == 16


def test_groups_stay_together_and_texts_are_dealt(reviews, monkeypatch):
    parts = {}
    split = Trial.split

    def watched(self, rows, *arguments, **options):
        parts["found"] = split(self, rows, *arguments, **options)
        return parts["found"]

    monkeypatch.setattr(Trial, "split", watched)
    config = Route(data=Table("bundled:docstrings"), max_texts=120, pair=Pair(epochs=1))
    _, trial = run(config, seed=3)
    groups = [set(rows["group"]) for rows in vars(parts["found"]).values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert sum(map(len, vars(parts["found"]).values())) == 120
    assert trial.resplit == 0  # the hands of the first seeds do not overlap
    _, trial = run(config, seed=1000)
    assert trial.resplit > 0  # all rows were dealt several times by then
    _, trial = run(on(reviews, max_texts=40, pair=Pair(epochs=1)))
    assert trial.resplit > 0  # 60 rows give one hand of 40: seeds share most of their rows


# --- artefacts ----------------------------------------------------------------------------------


def test_the_kept_pair_answers_and_routes_as_measured(tmp_path):
    config = Route(pair=Pair(epochs=8), target="share", share=0.2)
    metrics, _ = run(config, tmp_path)
    pair = RoutedPair.load(tmp_path / "out" / "policy")
    assert pair.policy.held_out.quality == metrics["accuracy"]
    assert pair.policy.calibration.super_share == pytest.approx(0.2, abs=0.003)
    table = Table("bundled:digits").load()
    inputs = torch.from_numpy(table.matrix()).float()
    output = pair.answer(inputs)
    assert torch.equal(output.route, pair.route(pair.swift(inputs)))
    assert (output.prediction.numpy() == table.labels()).mean() > 0.9
    assert pair.predict(table.matrix()[:3]) == [str(number) for number in output.prediction[:3].tolist()]
    torch.testing.assert_close(pair.predict_proba(inputs)[:3], output.logits[:3].softmax(1))
    other = dataclasses.replace(pair, swift=pair.super_)
    with pytest.raises(ValueError, match="another Swift"):
        other.predict(inputs)


def test_a_text_pair_is_kept_without_the_encoders_weights(reviews, tmp_path):
    metrics, _ = run(on(reviews, pair=Pair(epochs=20)), tmp_path)
    folder = tmp_path / "out" / "policy"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1e6
    pair = RoutedPair.load(folder)
    assert pair.predict([text for text, _ in REVIEWS]) == [label for _, label in REVIEWS]
    table = pd.DataFrame(REVIEWS, columns=["text", "label"])
    assert pair.predict(table) == table["label"].tolist()
    with pytest.raises(ValueError, match="reads texts"):
        pair.predict([[1.0, 2.0]])
    assert metrics["accuracy"] > 0.9


# --- given models -------------------------------------------------------------------------------


def test_own_classifiers_give_a_policy_for_them(reviews, tiny_bert, tmp_path):
    folders = [tiny_bert(8), tiny_bert(32, seed=1)]
    config = on(reviews, **given(*folders), target="share", share=0.5)
    run(config, tmp_path)
    policy = RoutingPolicy.load(tmp_path / "out" / "policy")
    assert policy.label_names == ("negative", "positive")
    assert policy.calibration.rows == 42  # all that is not held out: nothing is trained
    assert policy.held_out.rows == 18
    assert policy.costs.super_ > policy.costs.swift
    models = [
        TextClassifier(
            AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        ).eval()
        for folder in folders
    ]
    texts = [text for text, _ in REVIEWS]
    output = EnergyRouter(*models, policy=policy).predict(texts)
    assert torch.equal(output.route, policy.route(models[0](texts)))
    with pytest.raises(ValueError, match="another"):
        EnergyRouter(*reversed(models), policy=policy)


def test_the_models_order_of_labels_counts_not_the_tables(reviews, tiny_bert):
    labels = ("positive", "negative")  # the table has them the other way round
    forward, backward = (
        run(on(reviews, **given(*(tiny_bert(width, labels=names) for width in (8, 16))), answers="super"))[0]
        for names in (labels[::-1], labels)
    )
    assert forward["accuracy"] == pytest.approx(1 - backward["accuracy"])  # the same weights, read inversely


def test_generators_answer_with_the_names_of_classes(reviews, tiny_t5, tmp_path):
    config = on(
        reviews,
        **given(tiny_t5(8), tiny_t5(16, seed=1), prompt="{source} {text}", max_new_tokens=2),
    )
    metrics, _ = run(config, tmp_path)
    assert metrics["accuracy"] == 0.0  # untrained, it never says "positive"
    policy = RoutingPolicy.load(tmp_path / "out" / "policy")
    assert policy.num_classes is None
    assert policy.read_from == "swift"


def test_the_energy_can_be_read_from_the_encoder(reviews, tiny_t5, tmp_path):
    folders = [tiny_t5(8), tiny_t5(16, seed=1)]
    config = on(reviews, **given(*folders, read_from="encoder", max_new_tokens=2))
    run(config, tmp_path)
    policy = RoutingPolicy.load(tmp_path / "out" / "policy")
    assert policy.read_from == "encoder"
    assert policy.num_classes == 2
    assert policy.costs.head > 0
    swift, super_ = (
        load_text_function(ModelSource(f"folder:{folder}"), max_new_tokens=2) for folder in folders
    )
    router = EnergyRouter(swift, super_, policy=policy)  # with the head that lies beside the policy
    output = router.predict([text for text, _ in REVIEWS])
    encoded = swift.encode([text for text, _ in REVIEWS])
    torch.testing.assert_close(output.score, -free_energy(policy.head(encoded.hidden, encoded.mask)))


def test_finetuning_teaches_both_models_and_keeps_them(reviews, tiny_bert, tmp_path):
    config = on(
        reviews,
        **given(tiny_bert(16, labels=("x", "y", "z")), tiny_bert(32, seed=1)),
        finetuning=Finetuning(epochs=8, learning_rate=1e-2, batch_size=8),
    )
    metrics, trial = run(config, tmp_path)
    assert trial.counters["gradient_steps"] == 2 * 8 * 4  # two models, eight passes, 30 rows by eights
    assert metrics["accuracy"] > 0.9
    pair = RoutedPair.load(tmp_path / "out" / "policy")
    texts = [text for text, _ in REVIEWS]
    assert pair.predict(texts) == [label for _, label in REVIEWS]
    assert torch.equal(pair.answer(texts).route, pair.route(pair.swift(texts)))
    run(dataclasses.replace(config, finetuning=Finetuning(epochs=1, keep=False)), tmp_path / "alone")
    assert isinstance(records.load(tmp_path / "alone" / "out" / "policy"), RoutingPolicy)


def test_labels_are_aligned_by_name():
    labels = torch.tensor([0, 1, 2, 0])
    names = ["a", "b", "c"]
    assert align_labels(labels, names, ("C", "A", "B")).tolist() == [1, 2, 0, 1]
    assert align_labels(labels, names, None).tolist() == labels.tolist()
    with pytest.raises(InputError, match="the table has c"):
        align_labels(labels, names, ("a", "b", "d"))


# --- refused ------------------------------------------------------------------------------------


def test_what_cannot_be_routed_is_refused(reviews, tiny_bert, tiny_t5):
    bert, t5 = tiny_bert(8), tiny_t5(8)
    refused = {
        "--super is missing": {"swift": OwnModel(f"folder:{bert}")},
        "need models": {"read_from": "encoder"},
        "one model is a classifier": given(bert, t5),
        "needs an encoder-decoder": given(bert, bert, read_from="encoder"),
        "cannot be filled in": given(bert, bert, prompt="{review}"),
        "table has 2 classes, the models have [3]": given(*[tiny_bert(8, labels=("x", "y", "z"))] * 2)
        | {"data": Table(f"csv:{reviews}")},
        "another order": given(bert, tiny_bert(8, labels=("positive", "negative"))),
    }
    refused["table has negative, positive"] = refused.pop("table has 2 classes, the models have [3]")
    for message, settings in refused.items():
        config = dataclasses.replace(on(reviews), **settings)
        with pytest.raises(InputError, match=re.compile(re.escape(message), re.IGNORECASE)):
            run(config)


def test_features_have_no_length_and_no_use_for_text_models(tiny_bert):
    with pytest.raises(InputError, match="needs texts"):
        run(Route(score="length", pair=Pair(epochs=1)))
    with pytest.raises(InputError, match="has no text"):
        run(Route(**given(tiny_bert(8), tiny_bert(8))))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "budget", "budget": 0.001}, "less than Swift alone costs, 0.00876"),
        ({"target": "share", "share": 1.5}, "between 0 and 1"),
        ({"tolerance": -1.0}, "at least 0"),
    ],
)
def test_targets_that_cannot_be_met_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        run(Route(pair=Pair(epochs=1), **settings))


def test_models_are_named_by_source():
    with pytest.raises(InputError, match="folder:"):
        OwnModel("tinybert")
    assert OwnModel().fingerprint() == "made here"


def test_the_default_run_loads_as_something_that_routes(tmp_path):
    assay.run("elang", out=tmp_path / "pair", preset="tiny")
    pair = assay.load(tmp_path / "pair")
    assert pair.route(torch.randn(3, 10) * 5).dtype == torch.bool
    assert len(pair.predict(torch.zeros(2, 64))) == 2
