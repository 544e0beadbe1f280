"""Compares what was read and projected with what the small EdNet stands for, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from assay.papers.education.ednet.method import EdNetLog
from assay.papers.education.ednet.method.parsing import COLUMNS, KINDS
from assay.papers.education.ednet.mini import MiniEdNet

if TYPE_CHECKING:
    import pyarrow as pa

Row = tuple[object, ...]


def wrong_rows(mini: MiniEdNet, log: EdNetLog, level: int) -> int:
    """Return how many rows of a log are not those of the truth, student by student and place by place."""
    wrong = 0
    found: set[int] = set()
    for table, uids, lengths in log.shards():
        shown, start = _shown(table, log, level), 0
        for uid, length in zip(uids.tolist(), lengths.tolist(), strict=True):
            wrong += _differences(shown[start : start + length], list(_true(mini, uid, level)))
            start += length
            found.add(uid)
    missing = (list(_true(mini, uid, level)) for uid in mini.streams if uid not in found)
    return wrong + sum(map(len, missing))


def _differences(found: Sequence[Row], true: Sequence[Row]) -> int:
    same = sum(one == other for one, other in zip(found, true, strict=False))
    return max(len(found), len(true)) - same


def _true(mini: MiniEdNet, uid: int, level: int) -> Iterable[Row]:
    """Yield what a student's file says, with each answer marked."""

    def mark(question: int, answer: str) -> int:
        return -1 if not answer else int(mini.right[question] == answer)

    if level == 1:
        for time, solving, question, answer, elapsed in mini.answers[uid]:
            yield time, solving, question, answer, elapsed, mark(question, answer)
        return
    for row in mini.streams[uid]:
        least, time, action, item, cursor, source, answer, platform = row
        if least <= level:
            marked = mark(int(item[1:]), answer) if action == "respond" else -1
            shown = (int(cursor) if cursor else None,) if level == 4 else ()
            yield time, action, item, *shown, source, answer, platform, marked


def _shown(table: pa.Table, log: EdNetLog, level: int) -> list[Row]:
    """Return rows of a log in the words of the files."""
    columns = {name: table[name].to_pylist() for name in table.column_names}
    names = {"answer": ["a", "b", "c", "d", ""]}
    if level > 1:
        names |= {column: [*log.names(column), ""] for column in ("action", "source", "platform")}
        columns["item"] = [
            f"{KINDS[kind]}{item}" for kind, item in zip(columns["kind"], columns["item"], strict=True)
        ]
    for column, words in names.items():
        columns[column] = [words[code] for code in columns[column]]
    return list(zip(*(columns[name] for name in (*COLUMNS[level], "correct")), strict=True))
