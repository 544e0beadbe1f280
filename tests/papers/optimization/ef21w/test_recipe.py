"""The recipe on tables of the user's, its artefact, and the card's examples."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import dump_svmlight_file, load_breast_cancer

import assay.papers.optimization.ef21w
from assay import options
from assay.cli import running
from assay.errors import InputError
from assay.papers.optimization.ef21w.artefact import LinearClassifier
from assay.papers.optimization.ef21w.config import Train
from assay.papers.optimization.ef21w.method import EF21, SmoothnessProfile, TopK
from assay.papers.optimization.ef21w.recipe import across, train
from assay.trial import Trial

QUICK = {"rounds": 60, "compared_rounds": 3, "tolerance": 0.5, "clients": 10}


def run(seed=1000, **settings):
    return train(options.resolve(Train, QUICK | settings), Trial(seed=seed))


@pytest.fixture(scope="module")
def svmlight(tmp_path_factory):
    """A sparse table with labels 1 and 2, the first far more often zero."""
    random = np.random.default_rng(0)
    features = random.random((120, 15)) * (random.random((120, 15)) < 0.1)
    features[:, 0] = random.normal(size=120)
    path = tmp_path_factory.mktemp("tables") / "table.txt"
    dump_svmlight_file(features, np.where(features[:, 0] > 0, 2, 1), str(path), zero_based=False)
    return path


def test_a_run_on_a_users_table_leaves_what_is_needed_to_go_on(svmlight, tmp_path):
    out = tmp_path / "out"
    ran = running.run(
        "ef21w",
        out=out,
        overrides={"data": f"svmlight:{svmlight}", "clients": 6, "tolerance": 0.05, "standardize": False},
    )
    model = assay.load(out)
    assert isinstance(model, LinearClassifier)
    assert model.labels == ("1", "2")
    assert len(model.profile.L_i) == 6
    assert ran.metrics["rounds"] == model.history["round"].iloc[-1]
    assert ran.metrics["accuracy"] > 0.8
    rows = np.zeros((2, 15))
    rows[:, 0] = [-1.0, 1.0]
    assert model.predict(rows) == ["1", "2"]
    assert model.stepsize.rule == "1 / (L + L_AM ξ(α))"
    terms = model.stepsize.terms
    assert model.stepsize.value == pytest.approx(1 / (terms["L"] + terms["L_AM"] * terms["xi"]))
    model.save(tmp_path / "again")
    again = LinearClassifier.load(tmp_path / "again")
    np.testing.assert_array_equal(again.weights, model.weights)
    pd.testing.assert_frame_equal(again.history, model.history)
    assert torch.equal(again.profile.L_i, model.profile.L_i)


def test_sparse_and_dense_tables_give_the_same_run(svmlight, monkeypatch):
    settings = {"data": f"svmlight:{svmlight}", "standardize": False}
    sparse = run(**settings)
    monkeypatch.setattr("assay.papers.optimization.ef21w.inputs.MOST_FILLED", 0.0)
    dense = run(**settings)
    assert sparse.keys() == dense.keys()
    for name in sparse:
        assert sparse[name] == pytest.approx(dense[name], rel=1e-9, abs=1e-12), name


def test_the_run_is_that_of_the_simulator_on_the_same_rows():
    """Rebuild one trial by hand: split, scaling by the training rows, sorting, step, rounds."""
    features, classes = load_breast_cancer(return_X_y=True)
    trial = Trial(seed=1000)
    kept = trial.split(len(classes), test=0.1).train
    rows, labels = features[kept], np.where(classes[kept] == 1, 1.0, -1.0)
    rows = (rows - rows.mean(0)) / rows.std(0)
    order = np.argsort((rows[:510] ** 2).sum(1), kind="stable").reshape(10, 51)  # 512 rows, 2 are dropped
    profile = SmoothnessProfile(
        np.linalg.norm(rows[order.ravel()], 2) ** 2 / (4 * 510) + 2e-3,
        torch.tensor([np.linalg.norm(rows[part], 2) ** 2 / (4 * 51) + 2e-3 for part in order]),
    )
    found = run()
    assert found["heterogeneity"] == pytest.approx(profile.qm / profile.am)
    xi = (1 + np.sqrt(29 / 30)) * 30 - 1
    assert found["stepsize"] == pytest.approx(1 / (profile.L + profile.am * xi))
    assert found["roughest_client"] == pytest.approx(float(profile.L_i.max() / profile.L_i.median()))
    assert labels.sum() != 0


@pytest.mark.parametrize(
    ("settings", "gap"),
    [({}, False), ({"compressor": "rand-k", "k": 3}, False), ({"compressor": "fixed-grid"}, True)],
)
def test_the_weights_matter_only_without_homogeneity(settings, gap):
    assert (run(compared_rounds=30, **settings)["weighting_gap"] > 1e-6) == gap


def test_dealing_rows_makes_clients_alike():
    assert run(even=True)["heterogeneity"] < 1.1 < run(partition="random")["heterogeneity"] + 0.1
    assert run()["heterogeneity"] > 1.3
    assert run(partition="max-variance")["heterogeneity"] > 1.3


def test_tuning_finds_a_faster_multiple_and_books_its_candidates():
    trial = Trial(seed=1000)
    found = train(options.resolve(Train, QUICK | {"tuned": True}), trial)
    assert found["step_multiple"] > 1
    assert found["rounds"] < run()["rounds"]
    assert trial.counters["candidates"] == 14
    assert run()["step_multiple"] == 1


def test_arms_of_a_seed_share_rows_and_start_and_seeds_do_not():
    first, again = run(algorithm="ef21"), run(algorithm="ef21w")
    assert first["heterogeneity"] == again["heterogeneity"]
    assert first["rounds"] == again["rounds"]
    assert first["heterogeneity"] != run(seed=1001)["heterogeneity"]


def test_bits_are_rounds_times_the_message():
    found = run()
    assert found["bits"] == found["rounds"] * (64 + 5)


def test_a_tolerance_that_is_never_reached_gives_no_rounds():
    found = run(rounds=2)
    assert found["rounds"] is None
    assert found["bits"] is None


def test_all_rows_train_where_none_are_held_out():
    trial = Trial(seed=1000)
    found = train(options.resolve(Train, QUICK | {"test_fraction": 0.0}), trial)
    assert found["accuracy"] is None
    assert trial.counters["rows"] == 560
    assert trial.resplit == 0


def test_across_arms_by_hand():
    arms = {
        "ef21": {"rounds": 150, "stepsize": 0.1},
        "ef21w": {"rounds": 100, "stepsize": 0.16},
        "ef21-new-step": {"rounds": 101, "stepsize": 0.16},
    }
    found = across(arms)
    assert found["rounds_apart"] == 1
    assert found["prediction_error"] == pytest.approx(abs(np.log(1.5 / 1.6)))
    arms["ef21"]["rounds"] = None
    assert across(arms) == {"rounds_apart": None, "prediction_error": None}


def test_more_classes_become_the_commonest_against_all_others(tmp_path):
    table = pd.DataFrame({"a": np.arange(60.0), "b": 1.0, "label": ["x"] * 30 + ["y"] * 20 + ["z"] * 10})
    table.to_csv(tmp_path / "three.csv", index=False)
    for settings, labels in [({}, ("not x", "x")), ({"positive": "z"}, ("not z", "z"))]:
        overrides = QUICK | {"data": f"csv:{tmp_path}/three.csv", "clients": 4} | settings
        running.run("ef21w", out=tmp_path / "out", overrides=overrides, overwrite=True)
        assert assay.load(tmp_path / "out").labels == labels


def test_texts_become_counts_of_words(tmp_path):
    texts = ["good film", "bad film", "good plot", "bad plot"] * 10
    table = pd.DataFrame({"text": texts, "label": ["p", "n", "p", "n"] * 10})
    table.to_csv(tmp_path / "reviews.csv", index=False)
    overrides = {"data": f"csv:{tmp_path}/reviews.csv", "words.min_documents": 2, "words.max_share": 1.0}
    running.run("ef21w", out=tmp_path / "out", overrides=QUICK | overrides | {"clients": 4})
    model = assay.load(tmp_path / "out")
    assert model.features == ("bad", "film", "good", "plot")
    counts = np.array([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    assert model.predict(counts) == ["p", "n"]
    assert model.predict(["A good film", "bad film"]) == model.predict(counts)
    assert model.predict(pd.DataFrame({"review": ["a bad film", "good film"]})) == ["n", "p"]
    with pytest.raises(ValueError, match="shape"):
        model.predict(np.zeros((2, 3)))


def test_test_rows_of_the_table_measure_the_accuracy(tmp_path):
    column = np.linspace(-1, 1, 40)
    for name, labels in (("train", column > 0), ("test", column > 2)):
        pd.DataFrame({"a": column, "label": np.where(labels, "high", "low")}).to_csv(
            tmp_path / f"{name}.csv", index=False
        )
    with pytest.raises(InputError):
        run(data=f"csv:{tmp_path}/test.csv")
    pd.DataFrame({"a": column, "label": np.where(column > 0, "low", "high")}).to_csv(
        tmp_path / "test.csv", index=False
    )
    data = {"data": f"csv:{tmp_path}/train.csv", "data.test": f"csv:{tmp_path}/test.csv"}
    assert run(**data, clients=4)["accuracy"] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clients": 600}, "cannot be divided among 600 clients"),
        ({"k": 31}, "k is 31"),
        ({"participation": 0.0}, "participation"),
        ({"positive": "maligant"}, "Did you mean 'malignant'"),
        ({"rule": "rare", "compressor": "sign"}, "use one of"),
        ({"rule": "rare", "strength": 0.0, "participation": 0.5}, "no rule for participation and rare"),
        ({"data": "bundled:docstrings", "words.min_documents": 5000}, "words"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(settings, message):
    with pytest.raises(InputError, match=message):
        run(**settings)


def test_the_classifier_refuses_rows_of_another_width(tmp_path):
    running.run("ef21w", out=tmp_path / "out", overrides=QUICK)
    model = assay.load(tmp_path / "out")
    with pytest.raises(ValueError, match=r"expected \(rows, 30\)"):
        model.predict(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="could not convert"):
        model.predict(["a text", "another"])


def test_the_classifier_finds_columns_by_name_and_gives_probabilities(tmp_path):
    running.run("ef21w", out=tmp_path / "out", overrides=QUICK)
    model = assay.load(tmp_path / "out")
    features, classes = load_breast_cancer(return_X_y=True)
    frame = pd.DataFrame(features, columns=list(model.features), index=range(9, 578))
    predicted = model.predict(features)
    assert np.mean(np.array(predicted) == np.array(model.labels)[classes]) > 0.85
    assert model.predict(frame.iloc[:, ::-1]) == model.predict(features.tolist()) == predicted
    chances = model.predict_proba(frame)
    assert chances.sum(1) == pytest.approx(1.0)
    assert [model.labels[place] for place in chances.argmax(1)] == predicted
    with pytest.raises(ValueError, match=r"no column 'mean radius', .* Did you mean 'radius'"):
        model.predict(frame.rename(columns={"mean radius": "radius"}))


def test_the_package_hands_out_the_method():
    assert assay.papers.optimization.ef21w.EF21 is EF21
    assert assay.papers.optimization.ef21w.TopK is TopK
    assert assay.papers.optimization.ef21w.LinearClassifier is LinearClassifier
