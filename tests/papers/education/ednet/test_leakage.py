"""The leak: what it gives, that it is found in data and in models, and that masking ends it."""

import numpy as np
import pandas as pd
import pytest
import torch

from assay.papers.education.ednet.method import (
    DKT,
    KTDataset,
    KTSchema,
    MaskedDKT,
    NetworkSize,
    detect_leak,
    detect_model_leak,
    expand_tags,
    questions_of,
)
from assay.papers.education.ednet.method.leakage import attempt_starts, fuse
from assay.papers.education.ednet.method.tracer import NeuralTracer, auc

PAIRS = tuple((n, n + 1) for n in range(40))


@pytest.fixture
def expanded(random_steps):
    """Two skills a question, random answers, one step a skill."""
    return expand_tags(random_steps(learners=60, length=20, tags=PAIRS))


def network(steps, masked=False, seed=0):
    torch.manual_seed(seed)
    tags, size = torch.from_numpy(steps.catalogue.tags), NetworkSize(width=8, seq_len=60, dropout=0.0)
    if masked:
        return MaskedDKT(tags, len(steps.catalogue.skills), size, questions_of(steps.catalogue)).eval()
    return DKT(tags, len(steps.catalogue.skills), size).eval()


def batch_of(steps):
    data = KTDataset(steps, 60)
    return data.batch(np.arange(len(data)))


def test_expansion_makes_a_step_a_skill(make_steps):
    steps = make_steps([(1, 1), (3, 0), (3, 1)])
    found = expand_tags(steps)
    names = ("", *found.catalogue.names)
    assert [names[item] for item in found.item] == ["q1#s0", "q3#s0", "q3#s1", "q3#s0", "q3#s1"]
    assert found.correct.tolist() == [1, 0, 0, 1, 1]
    assert found.starts.tolist() == [0, 5]
    assert found.catalogue.tags[found.item].reshape(-1).tolist() == [0, 0, 1, 0, 1]


def test_reading_the_answer_off_the_row_before_is_worth_seven_eighths(expanded):
    report = detect_leak(expanded)
    assert report.visible
    assert report.share == pytest.approx(0.5, abs=0.02)
    assert report.optimistic_auc == pytest.approx(0.875, abs=0.01)
    chance = np.where(np.arange(len(expanded)) % 2, np.roll(expanded.correct, 1), 0.5)
    assert auc(chance, expanded.correct) == pytest.approx(0.875, abs=0.01)
    fused, correct, _ = fuse(np.full(len(expanded), 0.5), expanded)
    assert auc(fused, correct) == 0.5


def test_steps_of_questions_show_nothing(random_steps):
    report = detect_leak(random_steps(learners=60, length=20, tags=PAIRS))
    assert not report.visible
    assert "None" not in report.reason


def frame(seed=0, questions=400, named=True, timed=True):
    random = np.random.default_rng(seed)
    rows = []
    for place in range(questions):
        right = int(random.random() < 0.5)
        for skill in random.choice(9, size=2, replace=False):
            rows.append(
                (f"u{place // 20}", place, f"q{random.integers(50)}" if not rows else "", skill, right)
            )
    table = pd.DataFrame(rows, columns=["user", "time", "item", "skill", "correct"])
    table["item"] = "q" + (table["time"] * 7 % 50).astype(str)
    return table.drop(columns=[] if named else ["item"]).drop(columns=[] if timed else ["time"])


@pytest.mark.parametrize(("named", "timed"), [(True, True), (True, False), (False, True)])
def test_expanded_tables_are_found_by_question_or_by_time(named, timed):
    report = detect_leak(frame(named=named, timed=timed))
    assert report.visible
    assert report.optimistic_auc > 0.8
    assert "the answers of the same question are visible" in report.reason
    if named:
        merged = KTSchema().map(frame(named=named, timed=timed)).steps
        assert not detect_leak(merged).visible


def test_two_questions_that_share_a_time_do_not_hide_a_leak():
    table = frame().assign(time=lambda rows: rows["time"] // 2)
    turns = table.iloc[[4 * n + place for n in range(len(table) // 4) for place in (0, 2, 1, 3)]]
    assert (turns["item"].to_numpy()[1::4] != turns["item"].to_numpy()[::4]).all()
    assert detect_leak(turns).visible
    assert detect_leak(turns).repeated == detect_leak(table).repeated
    assert not detect_leak(KTSchema().map(turns).steps).visible


def test_tables_of_one_row_a_question_are_not_accused():
    table = frame().drop_duplicates(["user", "time"])
    assert not detect_leak(table).visible
    retries = table.assign(item="q1", skill=0)
    assert not detect_leak(retries.assign(time=range(len(table)))).visible
    assert not detect_leak(retries.drop(columns="time")).visible
    lists = retries.groupby("user").agg({"skill": list, "correct": list}).reset_index()
    report = detect_leak(lists)
    assert not report.visible
    assert "cannot be told" in report.reason


def test_a_model_on_expanded_steps_is_found_out_and_a_masked_one_is_not(expanded):
    few = expanded.learners(np.arange(6))
    batch, questions = batch_of(few), questions_of(few.catalogue)
    leaky = detect_model_leak(network(few), batch, questions)
    assert leaky.visible
    assert leaky.repeated == leaky.rows // 2  # the second skill of every question
    masked = detect_model_leak(network(few, masked=True), batch, questions)
    assert (masked.visible, masked.repeated) == (False, 0)


def test_a_model_that_sees_the_answer_itself_is_found_out(random_steps):
    steps = random_steps(learners=5)
    batch = batch_of(steps)
    assert not detect_model_leak(network(steps), batch, questions_of(steps.catalogue)).visible
    report = detect_model_leak(lambda seen: seen.correct.float() * 0.9, batch, questions_of(steps.catalogue))
    assert report.share == 1.0
    assert "the model sees them" in report.reason


def test_a_question_tried_twice_in_a_row_is_two_attempts(make_steps):
    steps = make_steps([(3, 1), (3, 0), (1, 1)])
    assert attempt_starts(torch.from_numpy(steps.item)[None], torch.arange(4)).tolist() == [[0, 1, 2]]
    found = expand_tags(steps)
    starts = attempt_starts(torch.from_numpy(found.item)[None], questions_of(found.catalogue))
    assert starts.tolist() == [[0, 0, 2, 2, 4]]
    mean, correct, counts = fuse(np.array([0.2, 0.4, 0.6, 0.8, 0.5]), found)
    assert mean == pytest.approx([0.3, 0.7, 0.5])
    assert correct.tolist() == [1, 0, 1]
    assert counts.tolist() == [False, True, True]


def test_learners_next_to_each_other_are_kept_apart(make_steps):
    steps = expand_tags(make_steps([(1, 1)], [(3, 0)], [(3, 1), (1, 0)]))
    mean, correct, counts = fuse(np.array([0.1, 0.2, 0.4, 0.6, 0.8, 0.9]), steps)
    assert mean == pytest.approx([0.1, 0.3, 0.7, 0.9])
    assert correct.tolist() == [1, 0, 1, 0]
    assert counts.tolist() == [False, False, False, True]


def test_the_masked_model_predicts_a_question_from_the_state_before_it(expanded):
    few = expanded.learners(np.arange(3))
    model = network(few, masked=True)
    plain, batch = network(few), batch_of(few)
    assert torch.allclose(model(batch)[:, ::2], plain(batch)[:, ::2], atol=1e-6)
    assert not torch.allclose(model(batch)[:, 1::2], plain(batch)[:, 1::2])
    assert NeuralTracer(model).predict(few).shape == (len(few),)
