"""Own logs in the form that models here learn from: one row an answer, or one row a learner with lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assay.errors import InputError, nearest
from assay.papers.education.ednet.method.steps import ANSWER, Catalogue, Steps

if TYPE_CHECKING:
    import pandas as pd

ALIASES = {
    "user": (
        "user",
        "user_id",
        "uid",
        "student",
        "student_id",
        "learner",
        "learner_id",
        "subject_id",
        "group",
    ),
    "time": ("time", "timestamp", "start_time", "order_id", "order"),
    "item": ("item", "item_id", "question", "question_id", "problem", "problem_id", "exercise_id"),
    "correct": ("correct", "is_correct", "correctness", "answered_correctly", "label", "r"),
    "skill": ("skill", "skill_id", "skill_ids", "skills", "tags", "tag", "kc", "concept", "concept_id"),
    "elapsed": ("elapsed", "elapsed_time"),
}


@dataclass(frozen=True)
class Mapped:
    """The steps of an own log, and what was done to get them.

    `merged`: rows that repeated a question for another skill and became one step. `dropped`: rows without an
    answer or a learner. `out_of_order`: learners whose rows were sorted by time.
    """

    steps: Steps
    merged: int
    dropped: int
    out_of_order: int


@dataclass(frozen=True)
class KTSchema:
    """Which column is what. Unless given, columns are found by the usual names.

    Rows hold one answer each; or one learner each, with lists of the same length in `correct` and in `item`
    or `skill` (and `time`). Several skills of a question stand in a list, in a text parted by `;`, or in
    rows of their own that repeat learner, time, item and answer: such rows become one step, because a model
    that sees them as several reads the answer off the first (`expanded="keep"` leaves them as they are).
    Without a time, the skill of the first such row marks where the question was tried again.

        mapped = KTSchema(user="student", item="task", correct="right").map(frame)
    """

    user: str | None = None
    time: str | None = None
    item: str | None = None
    correct: str | None = None
    skill: str | None = None
    elapsed: str | None = None
    expanded: Literal["merge", "keep"] = "merge"

    def map(self, data: pa.Table | pd.DataFrame, catalogue: Catalogue | None = None) -> Mapped:
        """Return the steps of a table.

        Args:
            data: an Arrow table or a pandas frame.
            catalogue: of a trained model: names get its numbers, and what it does not know is 0.

        Raises:
            InputError: a column is missing, lists differ in length, or answers are not 0 and 1.
        """
        table = data if isinstance(data, pa.Table) else pa.Table.from_pandas(data, preserve_index=False)
        columns = self.columns_of(table)
        rows = _as_rows(table, columns)
        return _mapped(rows, columns, catalogue, merge=self.expanded == "merge")

    def columns_of(self, table: pa.Table) -> dict[str, str]:
        """Return the table's column of each role that it has.

        Raises:
            InputError: a column that was named is missing, or one that is needed cannot be found.
        """
        found: dict[str, str] = {}
        lower = {name.lower(): name for name in reversed(table.column_names)}
        for role in ALIASES:
            given = getattr(self, role)
            if given is not None and given not in table.column_names:
                raise _no_column(given, table)
            name = given or next((lower[alias] for alias in ALIASES[role] if alias in lower), None)
            if name is not None and (given or name not in found.values()):
                found[role] = name
        for role in ("user", "correct"):
            if role not in found:
                raise InputError(
                    f"No column says the {role}. Name one with --columns.{role}. The columns:"
                    f" {', '.join(table.column_names[:30])}."
                )
        if not {"item", "skill"} & set(found):
            raise InputError(
                "No column says the item or the skill. Name one with --columns.item or --columns.skill. The"
                f" columns: {', '.join(table.column_names[:30])}."
            )
        return found

    @classmethod
    def roles(cls) -> tuple[str, ...]:
        """The roles that a column may have."""
        return tuple(field.name for field in fields(cls) if field.name in ALIASES)


def _no_column(name: str, table: pa.Table) -> InputError:
    columns = table.column_names
    return InputError(
        f"There is no column {name!r}.{nearest(name, columns)} The columns: {', '.join(columns[:30])}."
    )


# --- lists into rows ----------------------------------------------------------------------------


def _is_list(column: pa.Array | pa.ChunkedArray) -> bool:
    return bool(
        pa.types.is_list(column.type)
        or pa.types.is_large_list(column.type)
        or pa.types.is_fixed_size_list(column.type)
    )


def _as_rows(table: pa.Table, columns: Mapping[str, str]) -> dict[str, pa.Array]:
    """Return one value a row for each role; a learner's lists become rows in their order."""
    found = {role: table[name].combine_chunks() for role, name in columns.items()}
    if not _is_list(table[columns["correct"]]):
        return found
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
    return rows


# --- rows into steps ----------------------------------------------------------------------------


def _mapped(
    rows: dict[str, pa.Array], columns: Mapping[str, str], catalogue: Catalogue | None, merge: bool
) -> Mapped:
    correct = _answers(rows["correct"], columns["correct"])
    kept = (correct >= 0) & pc.is_valid(rows["user"]).to_numpy(zero_copy_only=False)
    dropped = int((~kept).sum())
    if not kept.any():
        raise InputError(f"No row has both a learner and an answer ({columns['correct']!r}).")
    rows = {role: column.filter(pa.array(kept)) for role, column in rows.items()}
    users, names = _codes(rows["user"])
    time = _times(rows, columns)
    order = np.lexsort((users,) if time is None else (time, users))
    back = 0 if time is None else _out_of_order(users, time)
    users, correct = users[order], correct[kept][order]
    time = None if time is None else time[order]
    rows = {role: column.take(pa.array(order)) for role, column in rows.items() if role != "user"}
    skills: list[tuple[str, ...]] = [()] * len(users)
    if "skill" in rows:
        skills = _skill_lists(rows["skill"])
    labels = _item_names(rows, skills)
    first = np.ones(len(users), bool)
    if merge and "item" in rows and "skill" in rows:
        codes, _ = _codes(pa.array(labels))
        first[1:] = ~_repeats(users, time, codes, correct)
        if time is None:
            first |= _tried_again(first, skills)
    items, book = _catalogued(labels, skills, catalogue)
    elapsed = None
    if "elapsed" in rows:
        elapsed = np.clip(np.nan_to_num(_numbers(rows["elapsed"], columns["elapsed"]) / 1000), 0, 300)
    counts = np.bincount(users[first], minlength=len(names))
    steps = Steps(
        users=tuple(names),
        starts=np.concatenate([[0], np.cumsum(counts)]),
        item=items[first],
        correct=correct[first].astype(np.int8),
        kind=np.full(int(first.sum()), ANSWER, np.int8),
        catalogue=book,
        time=None if time is None else time[first],
        elapsed=None if elapsed is None else elapsed[first],
    )
    return Mapped(steps, merged=int((~first).sum()), dropped=dropped, out_of_order=back)


def rows_of_table(data: pa.Table | pd.DataFrame, schema: KTSchema) -> dict[str, np.ndarray]:
    """Return codes of `user`, and as far as they are there of `time`, `question` and `skill`, and `correct`.

    Rows are as they stand in the table, learner by learner in order of time; nothing is merged.
    """
    table = data if isinstance(data, pa.Table) else pa.Table.from_pandas(data, preserve_index=False)
    columns = schema.columns_of(table)
    rows = _as_rows(table, columns)
    correct = _answers(rows["correct"], columns["correct"])
    users, _ = _codes(rows["user"])
    found = {"user": users, "correct": correct}
    time = _times(rows, columns)
    if time is not None:
        found["time"] = time
    for role, name in (("item", "question"), ("skill", "skill")):
        if role in rows and not _is_list(rows[role]):
            found[name] = _codes(rows[role])[0]
    order = np.lexsort((users,) if time is None else (time, users))
    order = order[correct[order] >= 0]
    return {name: values[order] for name, values in found.items()}


def _out_of_order(users: np.ndarray, time: np.ndarray) -> int:
    """Return how many learners' rows are not in order of time."""
    order = np.argsort(users, kind="stable")
    falling = (np.diff(time[order]) < 0) & (np.diff(users[order]) == 0)
    return len(np.unique(users[order][1:][falling]))


def _repeats(
    users: np.ndarray, time: np.ndarray | None, items: np.ndarray, correct: np.ndarray
) -> np.ndarray:
    """Whether each row but the first repeats the row before it: learner, time, item and answer."""
    columns = [users, items, correct] if time is None else [users, time, items, correct]
    same: np.ndarray = np.logical_and.reduce([column[1:] == column[:-1] for column in columns])
    return same


def _tried_again(first: np.ndarray, skills: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Whether each row has the skills of the first row of its run of repeats."""
    known: dict[tuple[str, ...], int] = {}
    codes = np.array([known.setdefault(own, len(known)) for own in skills])
    again: np.ndarray = codes == codes[np.flatnonzero(first)[np.cumsum(first) - 1]]
    return again


def _answers(column: pa.Array, name: str) -> np.ndarray:
    """Return 1, 0, and -1 where there is nothing."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    values = _numbers(column, name)
    known = values[~np.isnan(values)]
    wrong = known[(known != 0) & (known != 1)]
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
        raise InputError(f"Column {name!r} holds what is no number: {str(error).splitlines()[0]}.") from None
    return values.astype(np.float64)


def _times(rows: dict[str, pa.Array], columns: Mapping[str, str]) -> np.ndarray | None:
    """Return times as int64: moments in ms, numbers as they are."""
    if "time" not in rows:
        return None
    column = rows["time"]
    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = column.cast(pa.timestamp("ms"))
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            column = column.cast(pa.timestamp("ms")).cast(pa.int64())
        if column.null_count:
            raise InputError(
                f"Column {columns['time']!r} has {column.null_count} empty cells: the order of those answers"
                " is not known. Fill or drop them."
            )
        return np.asarray(column.cast(pa.int64(), safe=False).to_numpy(zero_copy_only=False), np.int64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        message = str(error).splitlines()[0]
        raise InputError(f"Column {columns['time']!r} holds what is no time: {message}.") from None


def _codes(column: pa.Array) -> tuple[np.ndarray, list[str]]:
    """Return a code for each value, in order of first appearance, and their names."""
    encoded = column.dictionary_encode()
    names = [str(name) for name in encoded.dictionary.to_pylist()]
    codes: np.ndarray = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    return codes.astype(np.int64), names


def _skill_lists(column: pa.Array) -> list[tuple[str, ...]]:
    """Return the skills of each row; -1 and nothing mean none."""
    cache: dict[Any, tuple[str, ...]] = {}

    def parse(value: Any) -> tuple[str, ...]:
        parts = value if isinstance(value, list) else _plain(value).split(";") if value is not None else []
        words = (_plain(part) for part in parts)
        return tuple(dict.fromkeys(word for word in words if word not in ("", "-1", "nan", "None")))

    if isinstance(column.type, pa.ListType | pa.LargeListType):
        return [parse(value) for value in column.to_pylist()]
    found = []
    for value in column.to_pylist():
        if value not in cache:
            cache[value] = parse(value)
        found.append(cache[value])
    return found


def _plain(value: Any) -> str:
    """Return a name; 12.0, as tables with gaps have it, is 12."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _item_names(rows: dict[str, pa.Array], skills: list[tuple[str, ...]]) -> list[str]:
    """Return the name of each row's question: its skills where there is no item."""
    if "item" in rows:
        return ["" if value is None else _plain(value) for value in rows["item"].to_pylist()]
    return [";".join(own) for own in skills]


def _catalogued(
    labels: list[str], skills: list[tuple[str, ...]], catalogue: Catalogue | None
) -> tuple[np.ndarray, Catalogue]:
    """Number the questions, each with all skills it has anywhere; a given catalogue keeps its numbers."""
    if catalogue is not None:
        known = {name: number for number, name in enumerate(catalogue.names, 1)}
        return np.array([known.get(label, 0) for label in labels], np.int64), catalogue
    tags: dict[str, dict[str, None]] = {}
    for label, own in zip(labels, skills, strict=True):
        tags.setdefault(label, {}).update(dict.fromkeys(own))
    tags.pop("", None)
    words = {skill: number for number, skill in enumerate(sorted({s for own in tags.values() for s in own}))}
    number = {label: place for place, label in enumerate(tags, 1)}
    book = Catalogue.of(list(tags), [[words[skill] for skill in own] for own in tags.values()], list(words))
    return np.array([number.get(label, 0) for label in labels], np.int64), book
