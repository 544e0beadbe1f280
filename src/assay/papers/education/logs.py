"""Own logs as steps: tables with one row an answer, or one row a learner with lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assay.data import parse_dates
from assay.errors import InputError, nearest
from assay.papers.education.options import Columns
from assay.papers.education.steps import ANSWER, Catalogue, Steps

if TYPE_CHECKING:
    import pandas as pd

ALIASES = {
    "user": "user user_id uid student student_id learner learner_id subject_id group",
    "time": "time timestamp start_time order_id order",
    "item": "item item_id question question_id problem problem_id exercise_id",
    "correct": "correct is_correct correctness answered_correctly label r",
    "skill": "skill skill_id skill_ids skills tags tag kc concept concept_id",
    "elapsed": "elapsed elapsed_time",
}
"""The usual names of each role's column."""


@dataclass(frozen=True)
class Mapped:
    """The steps of an own log, and what was done to get them.

    `rows`: the step of each answer of the table, in the table's order; -1 where there is none. `parents`: the
    table's row of each answer. `merged`: rows that repeated a question for another skill and became one step.
    `dropped`: rows without an answer or a learner. `out_of_order`: learners whose rows were sorted by time.
    """

    steps: Steps
    rows: np.ndarray
    parents: np.ndarray
    merged: int
    dropped: int
    out_of_order: int


@dataclass(frozen=True)
class KTSchema(Columns):
    """Which column is what. Unless given, columns are found by the usual names.

    Rows hold one answer each; or one learner each, with lists of the same length in `correct` and in `item`
    or `skill` (and `time`). Several skills of a question stand in a list, in a text separated by `;`, or in
    rows of their own that repeat learner, time, item and answer: such rows become one step, because a model
    that sees them as several reads the answer off the first (`expanded="keep"` leaves them as they are).
    Rows of one time may come in any order. Without a time, they must be neighbours, and a skill that comes
    again marks where the question was tried again.

        mapped = KTSchema(user="student", item="task", correct="right").map(frame)
    """

    expanded: Literal["merge", "keep"] = "merge"

    def map(self, data: pa.Table | pd.DataFrame, catalogue: Catalogue | None = None) -> Mapped:
        """Return the steps of a table.

        Args:
            data: an Arrow table or a pandas frame.
            catalogue: of a trained model: names get its numbers, and what it does not know is 0.

        Raises:
            InputError: a column is missing, lists differ in length, or answers are not 0 and 1.
        """
        rows, columns, parents = self._read(data)
        answers = _answers(rows["correct"], columns["correct"])
        kept = np.flatnonzero((answers >= 0) & pc.is_valid(rows["user"]).to_numpy(zero_copy_only=False))
        if not len(kept):
            raise InputError(f"No row has both a learner and an answer ({columns['correct']!r}).")
        rows = {role: column.take(pa.array(kept)) for role, column in rows.items()}
        users, names = _codes(rows["user"])
        moments = _moments(rows, columns)
        order = np.lexsort((users,) if moments is None else (moments, users))
        back = 0 if moments is None else _out_of_order(users, moments)
        skills = _skill_lists(rows["skill"]) if "skill" in rows else [()] * len(kept)
        together = [";".join(own) for own in skills]
        labels = together
        if "item" in rows:
            labels = ["" if value is None else plain_name(value) for value in rows["item"].to_pylist()]
        first = np.ones(len(kept), bool)
        if self.expanded == "merge" and {"item", "skill"} <= set(rows):
            known = {"user": users, "question": labels, "correct": answers[kept], "skill": together}
            order, first = _attempts(order, known if moments is None else known | {"time": moments})
        numbers, book = _catalogued([labels[row] for row in order], [skills[row] for row in order], catalogue)
        elapsed = None
        if "elapsed" in rows:
            elapsed = np.clip(np.nan_to_num(_numbers(rows["elapsed"], columns["elapsed"]) / 1000), 0, 300)
        step_of = np.full(len(answers), -1)
        step_of[kept[order]] = np.cumsum(first) - 1
        chosen = order[first]
        steps = Steps(
            users=tuple(names),
            starts=np.concatenate([[0], np.cumsum(np.bincount(users[chosen], minlength=len(names)))]),
            item=numbers[first],
            correct=answers[kept][chosen].astype(np.int8),
            kind=np.full(len(chosen), ANSWER, np.int8),
            catalogue=book,
            time=None if moments is None else _stored(rows["time"], moments)[chosen],
            elapsed=None if elapsed is None else elapsed[chosen],
        )
        merged, dropped = len(order) - len(chosen), len(answers) - len(kept)
        return Mapped(steps, step_of, parents, merged, dropped, back)

    def columns_of(self, table: pa.Table) -> dict[str, str]:
        """Return the table's column of each role that it has.

        Raises:
            InputError: a column that was named is missing, or one that is needed cannot be found.
        """
        found: dict[str, str] = {}
        lower = {name.lower(): name for name in reversed(table.column_names)}
        listing = f"The columns: {', '.join(table.column_names[:30])}."
        for role, aliases in ALIASES.items():
            given = getattr(self, role)
            if given is not None and given not in table.column_names:
                hint = nearest(given, table.column_names)
                raise InputError(f"There is no column {given!r}.{hint} {listing}")
            name = given or next((lower[alias] for alias in aliases.split() if alias in lower), None)
            if name is not None and (given or name not in found.values()):
                found[role] = name
        for role in ("user", "correct"):
            if role not in found:
                raise InputError(f"No column says the {role}. Name one with --columns.{role}. {listing}")
        if not {"item", "skill"} & set(found):
            raise InputError(
                "No column says the item or the skill. Name one with --columns.item or --columns.skill."
                f" {listing}"
            )
        return found

    def codes(self, data: pa.Table | pd.DataFrame) -> dict[str, np.ndarray]:
        """Return `correct`, and codes of `user` and, where they are there, of `time`, `question` and `skill`.

        These are the rows with answers as they stand in the table, sorted by learner and time; nothing is
        merged.

        Raises:
            InputError: the columns cannot be found or read.
        """
        rows, columns, _ = self._read(data)
        correct = _answers(rows["correct"], columns["correct"])
        users, _ = _codes(rows["user"])
        found = {"user": users, "correct": correct}
        moments = _moments(rows, columns)
        if moments is not None:
            found["time"] = moments
        for role, name in (("item", "question"), ("skill", "skill")):
            if role in rows and not _is_list(rows[role]):
                found[name] = _codes(rows[role])[0]
        order = np.lexsort((users,) if moments is None else (moments, users))
        order = order[correct[order] >= 0]
        return {name: values[order] for name, values in found.items()}

    def _read(self, data: pa.Table | pd.DataFrame) -> tuple[dict[str, pa.Array], dict[str, str], np.ndarray]:
        """Return one value an answer for each role, the column of each role, and the row of each answer."""
        table = data if isinstance(data, pa.Table) else pa.Table.from_pandas(data, preserve_index=False)
        columns = self.columns_of(table)
        rows, parents = _as_rows(table, columns)
        return rows, columns, parents


# --- lists into rows ----------------------------------------------------------------------------


def _is_list(column: pa.Array | pa.ChunkedArray) -> bool:
    return isinstance(column.type, pa.ListType | pa.LargeListType | pa.FixedSizeListType)


def _as_rows(table: pa.Table, columns: Mapping[str, str]) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Return one value an answer for each role, and its row; a learner's lists become rows in their order."""
    found = {role: table[name].combine_chunks() for role, name in columns.items()}
    if not _is_list(table[columns["correct"]]):
        return found, np.arange(len(table))
    filled = pc.is_valid(found["correct"])
    found = {role: column.filter(filled) for role, column in found.items()}
    lengths = pc.list_value_length(found["correct"])
    parents = pc.list_parent_indices(found["correct"])
    rows = {}
    for role, column in found.items():
        if not _is_list(column):
            rows[role] = column.take(parents)
            continue
        if not pc.list_value_length(column).equals(lengths):
            wrong = pc.index(pc.fill_null(pc.equal(pc.list_value_length(column), lengths), False), False)
            raise InputError(
                f"Row {wrong.as_py() + 1}: the lists {columns[role]!r} and {columns['correct']!r} differ in"
                " length."
            )
        rows[role] = pc.list_flatten(column)
    whole = np.flatnonzero(filled.to_numpy(zero_copy_only=False))
    return rows, whole[parents.to_numpy(zero_copy_only=False)]


# --- rows into steps ----------------------------------------------------------------------------


def _attempts(order: np.ndarray, columns: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Put the rows of each attempt at a question next to each other; return the order and the first rows.

    Rows of one attempt agree in learner, time, question and answer, and their skills differ. A row that
    repeats the row before it at the same time is the same attempt, too.
    """
    import pandas as pd

    rows = pd.DataFrame(columns).take(order).reset_index(drop=True)
    timed = "time" in rows
    changing = rows[["user", "time"] if timed else ["user", "question", "correct"]]
    block = changing.ne(changing.shift()).any(axis=1).cumsum()
    group = rows.groupby([block, "question", "correct"]).ngroup()
    pair = rows.groupby([group, "skill"]).ngroup()
    new = pair.ne(pair.shift()) if timed else pair.notna()
    place = rows.index.to_series().groupby([group, new.groupby(pair).cumsum()]).transform("first").to_numpy()
    together = np.argsort(place, kind="stable")
    return order[together], np.diff(place[together], prepend=-1) > 0


def _out_of_order(users: np.ndarray, moments: np.ndarray) -> int:
    """Return how many learners' rows are not in order of time."""
    order = np.argsort(users, kind="stable")
    falling = (np.diff(moments[order]) < 0) & (np.diff(users[order]) == 0)
    return len(np.unique(users[order][1:][falling]))


def _answers(column: pa.Array, name: str) -> np.ndarray:
    """Return 1, 0, and -1 where there is nothing."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    values = _numbers(column, name)
    wrong = values[~np.isin(values, (0, 1)) & ~np.isnan(values)]
    if len(wrong):
        raise InputError(
            f"Column {name!r} holds {wrong[0]:g}; answers are 0 (wrong) or 1 (right). Round or drop part"
            " credit."
        )
    return np.where(np.isnan(values), -1, values).astype(np.int64)


def _numbers(column: pa.Array, name: str) -> np.ndarray:
    try:
        values: np.ndarray = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"Column {name!r} must hold numbers: {str(error).splitlines()[0]}.") from None
    return values.astype(np.float64)


def _is_moment(column: pa.Array) -> bool:
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_timestamp, pa.types.is_date)
    return any(kind(column.type) for kind in kinds)


def _moments(rows: dict[str, pa.Array], columns: Mapping[str, str]) -> np.ndarray | None:
    """Return what orders the rows: dates and times in microseconds, numbers as they are."""
    if "time" not in rows:
        return None
    column, name = rows["time"], columns["time"]
    empty = column.null_count
    if pa.types.is_floating(column.type):
        empty = pc.sum(pc.is_null(column, nan_is_null=True)).as_py() or 0
    if empty:
        raise InputError(
            f"Column {name!r} has {empty} empty cells: the order of those answers is not known. Fill or drop"
            " them."
        )
    if _is_moment(column):
        return _microseconds(column, name)
    if pa.types.is_integer(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)
    values = _numbers(column, name)
    return values.astype(np.int64) if (values == np.floor(values)).all() else values


def _microseconds(column: pa.Array, name: str) -> np.ndarray:
    for zone in (None, "UTC"):  # without and with a zone; what is mixed or no ISO form is read one by one
        try:
            times = column if zone is None else column.cast(pa.timestamp("us", zone))
            return np.asarray(times.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).to_numpy())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    return parse_dates(column.to_pylist(), f"Column {name!r}", "us").astype(np.int64)


def _stored(column: pa.Array, moments: np.ndarray) -> np.ndarray:
    """Return times as steps keep them: dates and times in ms, numbers as they are."""
    return moments // 1000 if _is_moment(column) else moments


def _codes(column: pa.Array) -> tuple[np.ndarray, list[str]]:
    """Return a code for each value, in order of first appearance, and their names."""
    encoded = column.dictionary_encode()
    names = [plain_name(name) for name in encoded.dictionary.to_pylist()]
    codes: np.ndarray = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    return codes.astype(np.int64), names


def _skill_lists(column: pa.Array) -> list[tuple[str, ...]]:
    """Return the skills of each row; -1 and nothing mean none."""
    values = column.to_pylist()
    if _is_list(column):
        return [_skills(value or []) for value in values]
    parsed = {text: _skills([] if text is None else plain_name(text).split(";")) for text in set(values)}
    return [parsed[text] for text in values]


def _skills(parts: Sequence[Any]) -> tuple[str, ...]:
    words = dict.fromkeys(plain_name(part) for part in parts)
    return tuple(word for word in words if word not in ("", "-1", "nan", "None"))


def plain_name(value: Any) -> str:
    """Return a name; 12 and 12.0, as tables with gaps have it, are "12"."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _catalogued(
    labels: list[str], skills: list[tuple[str, ...]], catalogue: Catalogue | None
) -> tuple[np.ndarray, Catalogue]:
    """Number the questions, each with all skills it has anywhere; a given catalogue keeps its numbers."""
    if catalogue is None:
        tags: dict[str, dict[str, None]] = {}
        for label, own in zip(labels, skills, strict=True):
            tags.setdefault(label, {}).update(dict.fromkeys(own))
        tags.pop("", None)
        words = {skill: n for n, skill in enumerate(sorted({s for own in tags.values() for s in own}))}
        own_numbers = [[words[skill] for skill in own] for own in tags.values()]
        catalogue = Catalogue.of(list(tags), own_numbers, list(words))
    number = {name: place for place, name in enumerate(catalogue.names, 1)}
    return np.array([number.get(label, 0) for label in labels], np.int64), catalogue
