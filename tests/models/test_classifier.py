"""Classifiers of any kind of row: what they give, how they are trained and kept, and which rows they take."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn

from assay.errors import InputError
from assay.models import Classifier, ClassifierSpec, Standardise, Training, train_classifier
from assay.models.bodies import cifar_resnet

SPECS = {
    "mlp": ClassifierSpec("mlp", 4, hidden=(6,), dropout=0.5),
    "words": ClassifierSpec("words", buckets=32, width=5, hidden=(7,), dropout=0.5),
    "bag": ClassifierSpec("words", buckets=32, width=5),
    "conv": ClassifierSpec("conv", 3, width=4, depth=2),
    "resnet": ClassifierSpec("resnet", 3, depth=11),
}
ROWS = {
    "numbers": torch.randn(5, 4),
    "texts": ["a dull plot", "great", "", "a plot", "dull, dull!"],
    "pictures": torch.rand(5, 3, 8, 8),
}
LINEAR = ClassifierSpec("mlp", 2, columns=("a", "b"))


@pytest.mark.parametrize("name", SPECS)
def test_logits_are_the_head_of_the_features_and_a_saved_one_gives_the_same(name, tmp_path):
    spec = SPECS[name]
    classifier, rows = Classifier(spec, 3).eval(), ROWS[spec.reads]
    logits = classifier(rows)
    assert logits.shape == (5, 3)
    torch.testing.assert_close(classifier.head(classifier.features(rows)), logits)
    torch.testing.assert_close(classifier(classifier.prepare(rows)), logits)
    classifier.save(tmp_path)
    assert torch.equal(Classifier.load(tmp_path)(rows), logits)
    assert repr(classifier).count("\n") == 0


def test_a_sentence_classifier_is_kept_without_its_frozen_encoder(tmp_path):
    classifier = Classifier(ClassifierSpec("sentences", source="bundled:minilm"), 2).eval()
    logits = classifier(ROWS["texts"])
    assert [name for name, value in classifier.named_parameters() if value.requires_grad] == [
        "head.weight",
        "head.bias",
    ]
    classifier.save(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 20_000
    assert torch.equal(Classifier.load(tmp_path)(ROWS["texts"]), logits)


def test_training_reaches_what_logistic_regression_does():
    digits = load_digits()
    rows, labels = torch.tensor(digits.data, dtype=torch.float32), torch.tensor(digits.target)
    torch.manual_seed(0)
    classifier = Classifier(ClassifierSpec("mlp", 64, hidden=(16,)), 10).standardise(rows[:1200])
    order = torch.Generator().manual_seed(0)
    history = train_classifier(
        classifier, (rows[:1200], labels[:1200]), Training(epochs=20, learning_rate=1e-2, cosine=True), order
    )
    assert history.gradient_steps == 20 * 38
    assert not classifier.training
    ours = (classifier.logits(rows[1200:]).argmax(1) == labels[1200:]).float().mean()
    theirs = LogisticRegression(max_iter=2000).fit(rows[:1200] / 16, labels[:1200])
    assert ours > theirs.score(rows[1200:] / 16, labels[1200:]) - 0.02


def test_sgd_trains_a_network_of_others_and_spares_batch_norm_a_single_row():
    network = nn.Sequential(nn.Conv2d(3, 2, 8), nn.BatchNorm2d(2), nn.Flatten())
    data = (torch.rand(9, 3, 8, 8), torch.arange(9) % 2)
    training = Training(epochs=3, batch_size=4, momentum=0.9, learning_rate=0.1, clip=1.0)
    assert train_classifier(network, data, training, torch.Generator()).gradient_steps == 6


def test_standardised_training_rows_have_mean_0_and_deviation_1():
    rows = torch.randn(50, 3) * 7 + 100
    rows[:, 2] = 4.0
    layer = Standardise(3).fit(rows, constant=1.0)
    torch.testing.assert_close(layer(rows).mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(layer(rows).std(0, correction=0), torch.tensor([1.0, 1, 0]), atol=1e-5, rtol=0)
    assert torch.equal(Standardise(1, 127.5, 127.5)(torch.tensor([0.0, 255.0])), torch.tensor([-1.0, 1.0]))


def test_cifar_resnets_have_their_depth_and_give_256_numbers():
    for depth in (92, 56):
        body = cifar_resnet(3, depth)
        layers = [module for module in body.modules() if isinstance(module, nn.Conv2d)]
        projections = 3  # 1x1 convolutions on shortcuts, which are not counted as layers
        assert len(layers) - projections + 1 == depth  # and the last linear layer
    assert cifar_resnet(3, 11)(torch.rand(2, 3, 32, 32)).shape == (2, 256)
    with pytest.raises(InputError, match="9 n \\+ 2 layers"):
        cifar_resnet(3, 50)


# --- rows of users ------------------------------------------------------------------------------


def test_numbers_come_as_tables_arrays_tensors_or_lists_in_their_order():
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    classifier = Classifier(LINEAR, 2)
    frame = pd.DataFrame({"b": [2, 4], "label": ["x", "y"], "a": [1, 3]}, index=[7, 3])
    for rows in (values, values.tolist(), torch.tensor(values), frame):
        assert classifier.check_rows(rows).tolist() == values.tolist()


def test_texts_come_as_lists_or_as_the_column_of_a_table():
    classifier = Classifier(SPECS["bag"], 2)
    table = pd.DataFrame({"review": ["one", "two"], "stars": [1, 5]})
    for rows in (["one", "two"], np.array(["one", "two"]), table["review"], table):
        assert classifier.check_rows(rows) == ["one", "two"]
    assert classifier.check_rows("one") == ["one"]


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("numbers", [[1.0, 2.0, 3.0]], r"reads \[n, 2\] numbers; got shape \(1, 3\)"),
        ("numbers", [1.0, 2.0], r"got shape \(2,\)"),
        ("numbers", ["a", "b"], "got list of <U1"),
        ("numbers", [["1", "2"]], "got list of <U1"),
        ("numbers", [[1.0], [1.0, 2.0]], "got list of object"),
        ("numbers", [[1.0, 2.0], [1.0, float("nan")]], "Row 1 has no finite number in column 1"),
        ("numbers", pd.DataFrame({"a": [1.0], "c": [2.0]}), "'b' is missing"),
        ("texts", [[1.0, 2.0]], "reads texts"),
        ("texts", {"text": ["a"]}, "reads texts"),
        ("texts", [], "reads texts"),
        ("texts", pd.DataFrame({"a": ["x"], "b": ["y"]}), "has 2 columns of them"),
        ("pictures", np.zeros((1, 3, 8, 8), dtype=np.uint8), "got ndarray of uint8"),
        ("pictures", np.full((1, 3, 8, 8), 128.0), "some values lie outside"),
        ("pictures", np.zeros((1, 8, 8, 3)), r"got shape \(1, 8, 8, 3\)"),
    ],
)
def test_rows_of_another_kind_are_refused(name, rows, message):
    spec = {"numbers": LINEAR, "texts": SPECS["bag"], "pictures": SPECS["conv"]}[name]
    with pytest.raises(ValueError, match=message):
        Classifier(spec, 2).check_rows(rows)
