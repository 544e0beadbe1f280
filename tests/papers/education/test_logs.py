"""Own logs: one row an answer, one row a learner, several skills of a question, and what is refused."""

import pandas as pd
import pyarrow as pa
import pytest

from assay.errors import InputError
from assay.papers.education.logs import KTSchema

ROWS = pd.DataFrame(
    {
        "student": ["b", "a", "b", "a", "a"],
        "when": [5, 2, 1, 1, 2],
        "task": ["x", "y", "z", "x", "z"],
        "right": [1, 0, 1, 1, 0],
        "topic": ["s1;s2", "s2", "s3", "s1;s2", "-1"],
    }
)
NAMED = KTSchema(user="student", time="when", item="task", correct="right", skill="topic")


def shown(steps):
    names = ("", *steps.catalogue.names)
    return [
        (steps.users[owner], names[item], int(right))
        for owner, item, right in zip(steps.owner, steps.item, steps.correct, strict=True)
    ]


def test_rows_are_put_in_order_learner_by_learner_and_ties_keep_theirs():
    mapped = NAMED.map(ROWS)
    assert shown(mapped.steps) == [("b", "z", 1), ("b", "x", 1), ("a", "x", 1), ("a", "y", 0), ("a", "z", 0)]
    assert (mapped.merged, mapped.dropped, mapped.out_of_order) == (0, 0, 2)
    book = mapped.steps.catalogue
    tags = {name: {book.skills[t] for t in book.tags[n] if t >= 0} for n, name in enumerate(book.names, 1)}
    assert tags == {"z": {"s3"}, "x": {"s1", "s2"}, "y": {"s2"}}


def test_lists_of_a_learner_are_the_same_as_rows():
    lists = pa.table(
        {
            "user_id": ["b", "a"],
            "skill_ids": [[3, 1], [1, 2, 3]],
            "correct": [[1, 1], [1, 0, 0]],
        }
    )
    rows = pa.table(
        {
            "user_id": list("bbaaa"),
            "skill_id": [3.0, 1.0, 1.0, 2.0, 3.0],
            "correct": [True, True, True, False, False],
        }
    )
    one, other = KTSchema().map(lists).steps, KTSchema().map(rows).steps
    assert (
        shown(one)
        == shown(other)
        == [("b", "3", 1), ("b", "1", 1), ("a", "1", 1), ("a", "2", 0), ("a", "3", 0)]
    )
    assert one.catalogue.skills == other.catalogue.skills == ("1", "2", "3")


def test_rows_of_one_question_for_several_skills_become_one_step():
    frame = pd.DataFrame(
        {
            "user": [1, 1, 1, 1, 1],
            "time": [1, 1, 2, 3, 3],
            "item": ["x", "x", "x", "y", "y"],
            "skill": ["a", "b", "a", "a", "a"],
            "correct": [1, 1, 0, 0, 1],
        }
    )
    merged = KTSchema().map(frame)
    assert merged.merged == 1  # the two answers to y differ: a second try, not a second skill
    assert shown(merged.steps) == [("1", "x", 1), ("1", "x", 0), ("1", "y", 0), ("1", "y", 1)]
    assert (merged.steps.catalogue.tags[1] >= 0).sum() == 2
    kept = KTSchema(expanded="keep").map(frame)
    assert (len(kept.steps), kept.merged) == (5, 0)


def table(**columns):
    return pd.DataFrame({"user": "u", **columns})


def test_skills_of_questions_that_share_a_time_may_come_in_turn():
    turns = table(time=5, item=["q1", "q2", "q1", "q2"], skill=["s1", "s1", "s2", "s2"], correct=[1, 0, 1, 0])
    for frame in (turns, turns.iloc[[0, 2, 1, 3]]):
        mapped = KTSchema().map(frame)
        assert shown(mapped.steps) == [("u", "q1", 1), ("u", "q2", 0)]
        assert (mapped.merged, mapped.out_of_order) == (2, 0)
    assert KTSchema().map(turns).rows.tolist() == [0, 1, 0, 1]
    again = pd.concat([turns, turns], ignore_index=True)  # both tried a second time, at the same time
    assert shown(KTSchema().map(again).steps) == [("u", "q1", 1), ("u", "q2", 0)] * 2


def test_one_skill_at_one_time_is_not_taken_for_several():
    """Times of whole days: the same question comes again, and nothing says that it was asked once."""
    days = table(time=1, item=["q1", "q2", "q1"], skill=["s1", "s2", "s1"], correct=1)
    assert shown(KTSchema().map(days).steps) == [("u", "q1", 1), ("u", "q2", 1), ("u", "q1", 1)]
    twice = table(time=1, item="q1", skill="s1", correct=[1, 1])  # a row that was written twice
    assert KTSchema().map(twice).merged == 1


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        ([0.9, 0.1, 0.5, 0.3], None),
        (["2024-01-02T10:00:00.00090", "2024-01-02T10:00:00.0001", "2024-01-02T10:00:00.0005",
          "2024-01-02T10:00:00.0003"], "ms"),
        (["2024-01-02T10:00:09Z", "2024-01-02T10:00:01Z", "2024-01-02T11:00:05+01:00", "2024-01-02 10:00:03"],
         "ms"),
        (pd.to_datetime([9, 1, 5, 3], unit="us", utc=True), "ms"),
    ],
)  # fmt: skip
def test_answers_are_ordered_by_fractions_microseconds_and_zones(times, unit):
    mapped = KTSchema().map(table(time=times, item=list("abcd"), correct=[1, 0, 1, 0]))
    assert [item for _, item, _ in shown(mapped.steps)] == ["b", "d", "c", "a"]
    assert mapped.out_of_order == 1
    assert mapped.rows.tolist() == [3, 0, 2, 1]
    assert (mapped.steps.time.dtype == "int64") == (unit == "ms")
    assert (mapped.steps.time.tolist() == [0.1, 0.3, 0.5, 0.9]) == (unit is None)


def test_the_step_of_each_row_is_known():
    frame = table(time=[3, 1, 2], item=["a", "b", "c"], correct=[1, None, 0])
    assert KTSchema().map(frame).rows.tolist() == [1, -1, 0]
    lists = pa.table({"user": ["b", "a"], "item": [["x", "y"], ["z"]], "correct": [[1, 0], [1]]})
    mapped = KTSchema().map(lists)
    assert (mapped.rows.tolist(), mapped.parents.tolist()) == ([0, 1, 2], [0, 0, 1])


def test_without_a_time_a_question_tried_again_stays_two_steps():
    frame = pd.DataFrame(
        {
            "user": [1] * 7,
            "item": ["x", "x", "y", "y", "y", "y", "y"],
            "skill": ["a", "a", "a", "b", "a", "b", "b"],
            "correct": [1, 1, 0, 0, 0, 0, 1],
        }
    )
    mapped = KTSchema().map(frame)
    assert mapped.merged == 2
    assert shown(mapped.steps) == [("1", "x", 1)] * 2 + [("1", "y", 0)] * 2 + [("1", "y", 1)]


def test_moments_in_words_and_empty_answers():
    frame = pd.DataFrame(
        {
            "user": ["u", "u", None],
            "timestamp": ["2024-01-02 10:00:00", "2024-01-01 10:00:00", "2024-01-01 10:00:00"],
            "question": ["x", "y", "x"],
            "correct": [1.0, None, 1.0],
            "elapsed_time": [12_000, 1, 1],
        }
    )
    mapped = KTSchema().map(frame)
    assert (len(mapped.steps), mapped.dropped) == (1, 2)
    assert mapped.steps.time[0] == pd.Timestamp("2024-01-02 10:00:00").value // 10**6
    assert mapped.steps.elapsed.tolist() == [12.0]


def test_a_trained_catalogue_knows_only_its_own_questions():
    book = NAMED.map(ROWS).steps.catalogue
    other = ROWS.assign(task=["x", "new", "z", "x", "z"])
    assert NAMED.map(other, book).steps.item.tolist() == [1, 2, 2, 0, 1]


def test_the_hub_copy_of_kt1_is_understood():
    table = pa.table(
        {
            "timestamp": [2, 1],
            "solving_id": [1, 1],
            "question_id": ["q2", "q1"],
            "user_answer": ["a", "b"],
            "elapsed_time": [1000, 2000],
            "subject_id": ["u5", "u5"],
            "correct_answer": ["a", "c"],
            "is_correct": [True, False],
        }
    )
    steps = KTSchema().map(table).steps
    assert shown(steps) == [("u5", "q1", 0), ("u5", "q2", 1)]
    assert steps.elapsed.tolist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("columns", "schema", "message"),
    [
        ({"correct": [1], "item": [1]}, {}, "No column says the user"),
        ({"user": [1], "item": [1]}, {}, "No column says the correct"),
        ({"user": [1], "correct": [1]}, {}, "the item or the skill"),
        (
            {"user": [1], "correct": [1], "item": [1]},
            {"item": "itme"},
            "no column 'itme'. Did you mean 'item'",
        ),
        ({"user": [1], "correct": [0.5], "item": [1]}, {}, "holds 0.5; answers are 0"),
        ({"user": [1], "correct": ["yes"], "item": [1]}, {}, "must hold numbers"),
        ({"user": [1], "correct": [None], "item": [1]}, {}, "No row has both"),
        ({"user": [1], "correct": [1], "item": [1], "time": ["noon"]}, {}, "no date in an ISO form"),
        ({"user": [1, 1], "correct": [1, 1], "item": [1, 1], "time": [1, None]}, {}, "1 empty cells"),
        ({"user": [1, 2], "correct": [[1], [1, 0]], "skills": [[1], [1]]}, {}, "Row 2: the lists"),
    ],
)
def test_what_cannot_be_mapped_is_refused(columns, schema, message):
    with pytest.raises(InputError, match=message):
        KTSchema(**schema).map(pa.table(columns))
