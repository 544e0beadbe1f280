"""From a level to a lower one: the README's example, a synthetic EdNet, and the rules one by one."""

import numpy as np
import pyarrow as pa
import pytest

from assay.errors import InputError
from assay.papers.education.ednet.evaluation import wrong_rows
from assay.papers.education.ednet.method import Contents, EdNetReader, Rules, project, project_log
from assay.papers.education.ednet.method.parsing import ACTIONS, KINDS
from assay.papers.education.ednet.method.projection import answers_of
from assay.papers.education.ednet.method.steps import steps_of_log

README = """timestamp,action_type,item_id,source,user_answer,platform
1358114668713,enter,b4957,diagnosis,,mobile
1358114691713,respond,q6425,diagnosis,c,mobile
1358114701104,respond,q6425,diagnosis,d,mobile
1358114712364,submit,b4957,diagnosis,,mobile
1358114729868,enter,b5180,diagnosis,,mobile
1358114745592,respond,q6815,diagnosis,c,mobile
1358114748023,respond,q6816,diagnosis,a,mobile
1358114748781,respond,q6814,diagnosis,a,mobile
1358114751032,submit,b5180,diagnosis,,mobile
"""


@pytest.mark.parametrize(("divided", "elapsed"), [(False, (43651, 21164)), (True, (43651, 7054))])
def test_the_readme_example(few, tmp_path, divided, elapsed):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "u1.csv").write_text(README)
    table = EdNetReader(tmp_path / "in", few, 2).to_parquet(tmp_path / "out").table()
    answers = project(table, 2, 1, few, Rules(divided=divided)).to_pydict()
    assert answers["item"] == [6425, 6815, 6816, 6814]
    assert answers["answer"] == [3, 2, 0, 0]
    assert answers["correct"] == [1, 1, 1, 0]
    assert answers["solving_id"] == [1, 2, 2, 2]
    assert answers["timestamp"] == [1358114701104, 1358114745592, 1358114748023, 1358114748781]
    assert answers["elapsed_time"] == [elapsed[0]] + [elapsed[1]] * 3
    entered = project(table, 2, 1, few, Rules(own_times=False)).to_pydict()
    assert entered["timestamp"] == [1358114668713] + [1358114729868] * 3


# --- the rules ----------------------------------------------------------------------------------

BOOK = {7: [71, 72], 8: [81]}


def stream(*rows):
    """Rows as (time, action, item, answer)."""
    return [
        (time, ACTIONS.index(action), KINDS.index(item[0]), int(item[1:]), "abcd".find(answer or "-"))
        for time, action, item, answer in rows
    ]


def found(*rows, **rules):
    return answers_of(stream(*rows), BOOK, Rules(divided=False, **rules))


def test_the_last_answer_counts_and_the_missing_one_is_shown():
    rows = (
        (10, "enter", "b7", ""),
        (11, "respond", "q72", "a"),
        (12, "respond", "q72", "b"),
        (20, "submit", "b7", ""),
    )
    assert found(*rows) == [(12, 1, 72, 1, 10), (20, 1, 71, -1, 10)]
    assert found(*rows, unanswered=False) == [(12, 1, 72, 1, 10)]
    assert found(*rows, last_counts=False)[0] == (11, 1, 72, 0, 10)
    assert found(*rows, own_times=False) == [(10, 1, 72, 1, 10), (10, 1, 71, -1, 10)]


def test_answers_that_were_changed_come_in_the_order_of_their_last_time():
    rows = (
        (1, "enter", "b7", ""),
        (2, "respond", "q71", "a"),
        (3, "respond", "q72", "b"),
        (4, "respond", "q71", "c"),
        (7, "submit", "b7", ""),
    )
    assert found(*rows) == [(3, 1, 72, 1, 6), (4, 1, 71, 2, 6)]


def test_entering_again_restarts_the_time_and_keeps_the_answers():
    rows = (
        (1, "enter", "b8", ""),
        (2, "respond", "q81", "c"),
        (5, "enter", "b8", ""),
        (9, "submit", "b8", ""),
    )
    assert found(*rows) == [(2, 1, 81, 2, 4)]


def test_another_bundle_gives_up_the_open_one_and_its_submit_is_skipped():
    rows = (
        (1, "enter", "b7", ""),
        (2, "respond", "q71", "a"),
        (3, "enter", "b8", ""),
        (4, "submit", "b7", ""),
        (5, "respond", "q81", "d"),
        (6, "submit", "b8", ""),
        (7, "submit", "b8", ""),
    )
    assert found(*rows) == [(5, 1, 81, 3, 3)]


def test_without_enter_the_first_answer_starts_the_time():
    rows = ((3, "respond", "q81", "d"), (6, "submit", "b8", ""), (8, "respond", "q81", "a"))
    assert found(*rows) == [(3, 1, 81, 3, 3)]


def test_a_bundle_that_is_not_known_and_not_answered_gives_nothing():
    assert found((1, "enter", "b9", ""), (2, "submit", "b9", "")) == []


# --- levels -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def levels(mini, mini_contents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("levels")
    log = EdNetReader(mini.write_zip(folder / "KT4.zip", 4), mini_contents, 4)
    return log.to_parquet(folder / "out", shard_rows=400)


def test_levels_are_those_of_the_truth_and_ways_down_agree(levels, mini, mini_contents, tmp_path):
    three = project_log(levels, 3, tmp_path / "3", shard_rows=300)
    two = project_log(three, 2, tmp_path / "2")
    straight = project_log(levels, 2, tmp_path / "4-2")
    assert wrong_rows(mini, three, 3) == wrong_rows(mini, two, 2) == 0
    assert straight.table().equals(two.table())
    ones = [
        project_log(log, 1, tmp_path / f"{n}-1", mini_contents) for n, log in enumerate([levels, three, two])
    ]
    assert all(wrong_rows(mini, one, 1) == 0 for one in ones)
    assert ones[0].table().equals(ones[2].table())
    assert ones[0].manifest["projected_from"] == 4
    assert len(ones[0].users) == len(mini.streams)


def test_a_wrong_rule_is_found_out(levels, mini, mini_contents, tmp_path):
    wrong = project_log(levels, 1, tmp_path / "1", mini_contents, Rules(last_counts=False))
    assert wrong_rows(mini, wrong, 1) > 0


def test_projection_is_idempotent_and_does_not_mind_the_order_of_students(levels, mini_contents):
    table = levels.table()
    once = project(table, 4, 2)
    assert project(once, 2, 2).equals(once)
    uids = table["uid"].to_numpy()
    turned = pa.concat_tables(
        [table.filter(pa.array(uids == uid)) for uid in reversed(list(dict.fromkeys(uids.tolist())))]
    )
    one, other = (
        project(rows, 4, 1, mini_contents).sort_by(
            [("uid", "ascending"), ("solving_id", "ascending"), ("item", "ascending")]
        )
        for rows in (table, turned)
    )
    assert one.equals(other)


@pytest.mark.parametrize(("low", "high"), [(1, 2), (4, 5), (0, 0)])
def test_there_is_no_way_up(levels, low, high):
    with pytest.raises(InputError, match="levels go from 4 down to 1"):
        project(levels.table(), low, high)


# --- steps --------------------------------------------------------------------------------------


def test_steps_are_the_answers_with_what_was_read_between(levels, mini, mini_contents):
    steps = steps_of_log(levels, mini_contents, actions=True)
    answers = steps_of_log(levels, mini_contents)
    assert steps.keep(steps.answered).correct.tolist() == answers.correct.tolist()
    uid = steps.users[0]
    rows = mini.answers[int(uid[1:])]
    mine = answers.learners(np.array([0]))
    assert mine.correct.tolist() == [int(mini.right[q] == a) for _, _, q, a, _ in rows if a]
    names = ("", *steps.catalogue.names)
    kinds = {0: "q", 1: "e", 2: "l"}
    assert all(names[item][0] == kinds[kind] for item, kind in zip(steps.item, steps.kind, strict=True))
    question = next(name for name in answers.catalogue.names)
    place = answers.catalogue.names.index(question) + 1
    tags = {int(answers.catalogue.skills[tag]) for tag in answers.catalogue.tags[place] if tag >= 0}
    assert tags == set(mini.tags[int(question[1:])])
    first = steps.learners(np.array([0]))
    assert (np.diff(first.time) >= 0).all()


def test_actions_need_a_level_that_has_them(levels, mini_contents):
    with pytest.raises(InputError, match="level 3 or 4"):
        steps_of_log(project(levels.table(), 4, 2), mini_contents, 2, actions=True)
    with pytest.raises(InputError, match="No answer could be marked"):
        steps_of_log(levels, Contents.none())
