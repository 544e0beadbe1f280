"""The verbs: logs in, Parquet and models out; what the options mean and refuse."""

import shutil

import numpy as np
import pandas as pd
import pytest

from assay import catalogue, options
from assay.errors import InputError
from assay.papers.education.ednet.baselines import shuffle_actions
from assay.papers.education.ednet.config import (
    Actions,
    Answers,
    Detect,
    Ingest,
    Leak,
    Place,
    Project,
    Stats,
    Train,
)
from assay.papers.education.ednet.method import EdNetLog, KnowledgeTracer
from assay.papers.education.ednet.recipe import across, actions, detect, ingest, leak, project, stats, train
from assay.papers.education.options import Columns, Simulated
from assay.papers.education.simulated import GUESS, SLIP, simulate
from assay.trial import Trial
from papers.education.ednet.card_files import QUICK, write_answers, write_ednet

ENTRY = catalogue.entry("ednet")
FEW = Simulated(learners=40, skills=4, questions=24, shortest=6, longest=10, explanation=1.0)


def quick(config, **settings):
    return options.resolve(config, QUICK, settings)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """KT1 and KT3 of a small EdNet, with its contents."""
    return write_ednet(tmp_path_factory.mktemp("ednet"))


@pytest.fixture(scope="module")
def ingested(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    trial = Trial(seed=0, out=folder)
    metrics = ingest(
        Ingest(root=Place(str(files / "KT3.zip")), contents=Place(str(files / "contents"))), trial
    )
    return folder / "ednet", metrics


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return write_answers(tmp_path_factory.mktemp("own"))


NAMED = Columns(user="student", time="when", item="task", skill="topic", correct="right")


# --- logs ---------------------------------------------------------------------------------------


def test_ingest_writes_a_log_and_prints_the_licence(ingested, capsys, files, tmp_path):
    folder, metrics = ingested
    log = EdNetLog(folder)
    assert metrics["rows"] == len(log) > 0
    assert metrics["level"] == 3
    assert metrics["peak_memory"] < 300
    kept = tmp_path / "kept"
    again = Ingest(
        root=Place(str(files / "KT3.zip")),
        contents=Place(str(files / "contents")),
        resume_in=Place(str(kept)),
    )
    ingest(again, Trial(seed=0, out=tmp_path / "out"))
    assert "CC BY-NC 4.0" in capsys.readouterr().err
    assert not kept.exists()
    assert EdNetLog.load(tmp_path / "out" / "ednet").table().equals(log.table())


def test_stats_and_projection(ingested, files, tmp_path):
    folder, metrics = ingested
    counted = stats(Stats(root=Place(str(folder))), Trial(seed=0, out=tmp_path / "stats"))
    assert counted["rows"] == metrics["rows"]
    assert counted["action submit"] == metrics["action submit"] > 0
    down = Project(root=Place(str(folder)), contents=Place(str(files / "contents")), to=1)
    projected = project(down, Trial(seed=0, out=tmp_path / "kt1"))
    assert projected["level"] == 1
    assert projected["students"] == metrics["students"]
    with pytest.raises(InputError, match="--contents DIR"):
        project(Project(root=Place(str(folder)), to=1), Trial(seed=0))
    with pytest.raises(InputError, match="levels go from 4 down to 1"):
        project(Project(root=Place(str(folder)), to=4), Trial(seed=0))


def test_stats_refuses_a_changed_log(ingested, tmp_path):
    changed = shutil.copytree(ingested[0], tmp_path / "changed")
    shard = next((changed / "data").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes() + b" ")
    with pytest.raises(InputError, match="is not what the manifest says"):
        stats(Stats(root=Place(str(changed))), Trial(seed=0))


def test_paths_that_are_missing_are_named(tmp_path):
    with pytest.raises(InputError, match="--root is missing"):
        ingest(Ingest(), Trial(seed=0))
    with pytest.raises(InputError, match="--contents is missing"):
        ingest(Ingest(root=Place(str(tmp_path))), Trial(seed=0))
    with pytest.raises(InputError, match="--root: there is no file or folder"):
        stats(Stats(root=Place(str(tmp_path / "nothing"))), Trial(seed=0))
    with pytest.raises(InputError, match="ingest writes one"):
        stats(Stats(root=Place(str(tmp_path))), Trial(seed=0))


# --- learners from everywhere -------------------------------------------------------------------


@pytest.mark.parametrize("model", ["mean", "irt", "pfa", "bkt", "dkt", "dkvmn", "sakt", "saint"])
def test_a_model_of_own_answers_loads_again_and_predicts(model, answers, tmp_path):
    config = quick(Train, model=model, data=f"csv:{answers}", columns=NAMED)
    trial = Trial(seed=1000, out=tmp_path)
    metrics = train(config, trial)
    assert 0 < metrics["auc"] < 1
    tracer = KnowledgeTracer.load(tmp_path / "tracer")
    frame = pd.read_csv(answers)
    chances = tracer.predict(frame)
    assert len(chances) == len(frame)
    assert ((chances > 0) & (chances < 1)).all()
    joined = frame.join(tracer.trace(frame.iloc[::-1]))
    assert (joined["item"] == joined["task"]).all()
    assert (joined["correct"] == joined["right"]).all()
    assert joined["chance"].to_numpy() == pytest.approx(chances, abs=1e-5)
    following = tracer.next([("t1", 1), ("t2", 0)], ["t1", "t3"])
    assert set(following) == {"t1", "t3"}
    with pytest.raises(InputError, match="does not know the question 't99'"):
        tracer.next([], ["t99"])


def test_a_prediction_stands_beside_its_row(tmp_path):
    """Rows in any order, with whole numbers as names, some of which the model cannot say anything about."""
    random = np.random.default_rng(0)
    rows = [
        (learner, place, int(random.integers(5)), skill, right)
        for learner in range(30)
        for place, right in enumerate(random.integers(0, 2, 6).tolist())
        for skill in (1, 2)
    ]
    frame = pd.DataFrame(rows, columns=["user", "time", "item", "skill", "correct"])
    frame["item"] = (frame["time"] * 7 + frame["user"]) % 5
    frame.to_csv(tmp_path / "rows.csv", index=False)
    train(quick(Train, model="bkt", data=f"csv:{tmp_path / 'rows.csv'}"), Trial(seed=1000, out=tmp_path))
    tracer = KnowledgeTracer.load(tmp_path / "tracer")
    chances = tracer.predict(frame)
    shuffled = frame.sample(frac=1, random_state=1)
    assert tracer.predict(shuffled) == pytest.approx(chances[shuffled.index])
    assert (chances[::2] == chances[1::2]).all()  # two skills of one question are one step
    holes = frame.astype({"item": "Int64", "user": "Int64", "correct": "Int64"})
    holes.loc[3, "correct"], holes.loc[7, "user"] = pd.NA, pd.NA
    holes.loc[len(frame) - 2 :, "item"] = 99
    found = tracer.predict(holes)
    assert np.flatnonzero(np.isnan(found)).tolist() == [3, 7, len(frame) - 2, len(frame) - 1]
    joined = holes.join(tracer.trace(holes)[["step", "chance"]])
    assert (joined["step"].dropna() == joined["time"][joined["step"].notna()]).all()
    assert tracer.next([(1, 1)], [2, "2"]) == pytest.approx(
        {2: tracer.next([("1", 1)], ["2"])["2"], "2": tracer.next([(np.int64(1), 1)], ["2"])["2"]}
    )


def test_lists_of_learners_with_a_published_test_split(tmp_path):
    random = np.random.default_rng(1)
    for split, learners in (("train", 30), ("test", 10)):
        lists = [
            (f"{split}-{n}", random.integers(1, 5, 9).tolist(), random.integers(0, 2, 9).tolist())
            for n in range(learners)
        ]
        frame = pd.DataFrame(lists, columns=["user_id", "skill_ids", "correct"])
        frame.to_parquet(tmp_path / f"{split}.parquet")
    trial = Trial(seed=1000)
    metrics = train(quick(Train, model="pfa", data=f"parquet:{tmp_path}"), trial)
    assert 0 < metrics["auc"] < 1
    assert trial.counters["test_answers"] == 10 * 8
    assert trial.resplit == 0


def test_ednet_itself_and_what_ingest_wrote_give_the_same(ingested, files):
    contents = str(files / "contents")
    ways = (
        {"root": str(files / "KT3.zip")},
        {"root": str(ingested[0])},
        {"data": f"parquet:{ingested[0]}"},
        {"root": str(files / "KT1")},
    )
    found = []
    for way in ways:
        trial = Trial(seed=1000)
        found.append(train(quick(Train, model="irt", contents=contents, **way), trial)["auc"])
        assert trial.counters["test_answers"] > 20
    assert found[0] == found[1] == found[2]
    with pytest.raises(InputError, match="--contents DIR"):
        train(quick(Train, data=f"parquet:{ingested[0]}"), Trial(seed=1000))


def test_learners_are_assigned_to_seeds_and_too_few_are_refused(answers, tmp_path):
    settings = {"model": "mean", "data": f"csv:{answers}", "columns": NAMED}
    trial = Trial(seed=3)
    train(quick(Train, max_learners=12, **settings), trial)
    assert trial.counters["test_answers"] <= 5 * 11
    assert trial.resplit > 0  # 40 learners make hands for the seeds 0 to 2 alone
    with pytest.raises(InputError, match="There are 0 learners with enough answers"):
        train(quick(Train, min_steps=99, **settings), Trial(seed=3))
    with pytest.raises(InputError, match="no column 'pupil'"):
        train(quick(Train, **settings | {"columns": Columns(user="pupil")}), Trial(seed=3))


def test_shares_are_nested_and_all_models_get_the_same_budget(monkeypatch):
    seen = []
    original = KnowledgeTracer.__init__
    monkeypatch.setattr(KnowledgeTracer, "__init__", lambda self, *a: seen.append(a[0]) or original(self, *a))
    counters = {}
    for model in ("mean", "pfa", "dkt"):
        trial = Trial(seed=1000)
        config = quick(
            Train, learners="simulated", simulated=FEW, model=model, shares=(0.25, 1.0), candidates=2
        )
        metrics = train(config, trial)
        assert metrics["auc_5_percent"] is None
        assert 0 < metrics["auc_25_percent"] < 1
        counters[model] = (trial.counters["candidates"], trial.counters["test_answers"])
    assert seen == ["mean", "pfa", "dkt"]
    assert len(set(counters.values())) == 1
    assert counters["dkt"][0] == 4


def test_the_oracle_is_known_for_simulated_learners_alone(answers):
    config = quick(Train, learners="simulated", simulated=FEW, model="oracle")
    assert train(config, Trial(seed=1000))["auc"] > 0.6
    own = quick(Train, data=f"csv:{answers}", columns=NAMED, model="oracle")
    assert train(own, Trial(seed=1000))["auc"] is None


def test_the_gap_is_over_the_best_simple_model():
    simple = {"mean": (0.6, 0.61), "irt": (0.7, 0.71), "pfa": (0.72, 0.73), "bkt": (0.65, 0.66)}
    arms = {name: {"auc_5_percent": few, "auc": all_} for name, (few, all_) in simple.items()}
    found = across(arms | {"dkt": {"auc_5_percent": 0.69, "auc": 0.76}})
    assert found == pytest.approx({"gap_5_percent": -0.03, "gap": 0.03, "gap_growth": 0.06})
    assert across(arms | {"dkt": {"auc": 0.76, "auc_5_percent": None}})["gap_growth"] is None


# --- explanations, leaks ------------------------------------------------------------------------


def test_simulated_explanations_help_and_come_after_wrong_answers():
    steps, chance = simulate(FEW, np.random.default_rng(0))
    reads = np.flatnonzero(~steps.answered)
    assert len(reads) > 20
    assert (steps.correct[reads - 1] == 0).all()
    names = ("", *steps.catalogue.names)
    assert all(names[steps.item[row]][1:] == names[steps.item[row - 1]][1:] for row in reads)
    assert ((chance[steps.answered] >= GUESS) & (chance[steps.answered] <= 1 - SLIP)).all()


def test_shuffled_explanations_keep_everything_but_whom_they_helped():
    steps, _ = simulate(FEW, np.random.default_rng(0))
    shuffled = shuffle_actions(steps, np.random.default_rng(1))
    assert len(shuffled) == len(steps)
    assert shuffled.item[shuffled.answered].tolist() == steps.item[steps.answered].tolist()
    assert shuffled.correct[shuffled.answered].tolist() == steps.correct[steps.answered].tolist()
    reads = np.flatnonzero(~shuffled.answered)
    assert (shuffled.correct[reads - 1] == 0).all()
    names = ("", *steps.catalogue.names)
    assert all(names[shuffled.item[row]][1:] == names[shuffled.item[row - 1]][1:] for row in reads)
    assert (np.diff(shuffled.time)[np.diff(shuffled.owner) == 0] >= 0).all()
    assert set(zip(shuffled.owner[reads], reads, strict=True)) != set(
        zip(steps.owner[~steps.answered], np.flatnonzero(~steps.answered), strict=True)
    )


def test_real_actions_are_read_from_a_log(ingested, files, tmp_path):
    common = {"root": str(ingested[0]), "contents": str(files / "contents")}
    for reading in ("seen", "dropped", "shuffled"):
        metrics = actions(quick(Actions, reading=reading, **common), Trial(seed=1000, out=tmp_path / reading))
        assert metrics["actions_per_answer"] > 0.3


def test_a_log_without_actions_is_refused(ingested, files, tmp_path):
    project(Project(root=Place(str(ingested[0])), to=2), Trial(seed=0, out=tmp_path))
    config = quick(Actions, root=str(tmp_path / "ednet"), contents=str(files / "contents"))
    with pytest.raises(InputError, match="level 3 or 4"):
        actions(config, Trial(seed=1000))


@pytest.mark.parametrize(
    ("form", "data", "model"), [("questions", 0, 0), ("expanded", 1, 1), ("masked", 1, 0)]
)
def test_the_detector_in_the_recipe(form, data, model):
    few = Simulated(learners=40, skills=4, questions=24, second_skill=0.9, shortest=6, longest=8)
    metrics = leak(quick(Leak, form=form, simulated=few), Trial(seed=1000))
    assert (metrics["leak_in_data"], metrics["leak_in_model"]) == (data, model)


def test_detect_on_an_own_table(answers, tmp_path, capsys):
    frame = pd.read_csv(answers)
    frame.loc[frame.index.repeat(2)].assign(topic=["k1", "k2"] * len(frame)).to_csv(
        tmp_path / "expanded.csv", index=False
    )
    for path, visible in ((answers, 0), (tmp_path / "expanded.csv", 1)):
        config = Detect(data=Answers(f"csv:{path}"), columns=NAMED)
        metrics = detect(config, Trial(seed=0, out=tmp_path / f"out{visible}"))
        assert metrics["visible"] == visible
    assert "Merge them into one step" in capsys.readouterr().err
