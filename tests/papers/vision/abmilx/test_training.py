"""Encoders to start from, joint and frozen training, evaluation piece by piece, and the measures."""

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch.optim.swa_utils import AveragedModel

from assay.data import Table
from assay.errors import InputError
from assay.papers.vision.abmilx import evaluation
from assay.papers.vision.abmilx.config import Layers, Learning
from assay.papers.vision.abmilx.evaluation import area_under_curve, bootstrap, classification, evaluate
from assay.papers.vision.abmilx.inputs.bags import Bag, BagSet
from assay.papers.vision.abmilx.stages import read_pools, starting_encoder
from assay.papers.vision.abmilx.synthetic import GRADE, draw_bags
from assay.papers.vision.abmilx.training import (
    EncoderSpec,
    ModelSpec,
    PatchEncoder,
    TrainingSetup,
    build_model,
    fresh_encoder,
    train_model,
)

DIGIT = EncoderSpec((1, 8, 8))


@pytest.fixture(scope="module")
def pools():
    return read_pools(Table("bundled:digits"), "8", None)


def spec_of(outputs):
    return ModelSpec(DIGIT, "abmilx", outputs, Layers(embed_dim=16))


def test_the_encoder_follows_the_instances():
    kinds = [EncoderSpec(shape).kind for shape in ((5,), (1, 16, 16), (3, 17, 16))]
    assert kinds == ["none", "perceptron", "convolutional"]


def test_a_pretrained_encoder_has_learnt_the_other_classes(pools):
    instances = pools.search
    others = instances.labels != instances.key
    scores = {}
    for training in ("joint", "pretrained"):
        setup = TrainingSetup(spec_of(4), Learning(epochs=10), training)
        torch.manual_seed(0)
        encoder = PatchEncoder(DIGIT)
        encoder.load_state_dict(starting_encoder(setup, instances))
        with torch.no_grad():
            vectors = encoder(instances.values[others])
        centred = vectors - vectors.mean(dim=0)
        labels = instances.labels[others]
        within = torch.stack([centred[labels == k].var(dim=0).sum() for k in labels.unique()]).mean()
        scores[training] = (within / centred.var(dim=0).sum()).item()
    assert scores["pretrained"] < 0.8 * scores["joint"]


def test_a_frozen_encoder_stays_as_it_is(pools):
    bags = draw_bags(pools.others, GRADE, 8, np.random.default_rng(0), "train")
    start = fresh_encoder(DIGIT, pools.others.values).state_dict()
    targets = torch.from_numpy(bags.labels)
    for training in ("frozen", "pretrained"):
        setup = TrainingSetup(spec_of(4), Learning(epochs=1, batch_size=4), training)
        trained = train_model(setup, start, bags, targets, 1e-2, torch.Generator().manual_seed(0))
        state = trained.model.encoder.state_dict()
        assert all(torch.equal(tensor, start[name]) for name, tensor in state.items()) == (
            training == "frozen"
        )
        assert (trained.history.gradient_steps, trained.history.examples) == (2, 8)


def test_large_bags_are_encoded_piece_by_piece(pools, monkeypatch):
    values = pools.others.values
    bags = [Bag(f"b{n}", (values[n:].__getitem__,), (20 + n,), n) for n in range(2)]
    model = build_model(spec_of(2)).eval()
    whole = evaluate(model, bags)
    monkeypatch.setattr(evaluation, "TOGETHER", 7)
    pieces = evaluate(model, bags)
    torch.testing.assert_close(pieces.logits, whole.logits)
    assert [weights.shape for weights in pieces.attention] == [(4, 20), (4, 21)]


def test_the_moving_average_of_the_weights_is_kept(pools, monkeypatch):
    bags = draw_bags(pools.others, GRADE, 8, np.random.default_rng(0), "train")
    setup = TrainingSetup(spec_of(4), Learning(epochs=2, batch_size=4, ema=0.9))
    seen = []
    update = AveragedModel.update_parameters

    def recorded(average, model):
        seen.append(model.aggregator.proj.weight.detach().clone())
        update(average, model)

    monkeypatch.setattr(AveragedModel, "update_parameters", recorded)
    start, targets = fresh_encoder(DIGIT, pools.others.values).state_dict(), torch.from_numpy(bags.labels)
    trained = train_model(setup, start, bags, targets, 1e-2, torch.Generator().manual_seed(0))
    expected = seen[0]
    for weight in seen[1:]:
        expected = 0.9 * expected + 0.1 * weight
    assert len(seen) == 4
    torch.testing.assert_close(trained.model.aggregator.proj.weight.detach(), expected)


# --- measures -----------------------------------------------------------------------------------


def test_measures_agree_with_scikit_learn():
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
