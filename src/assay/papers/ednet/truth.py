"""Compares what was read and projected with what the small EdNet stands for, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from assay.papers.ednet.method import EdNetLog
from assay.papers.ednet.method.parsing import KINDS
from assay.papers.ednet.mini import MiniEdNet

Row = tuple[object, ...]


def wrong_rows(mini: MiniEdNet, log: EdNetLog, level: int) -> int:
    """Return how many rows of a log are not those of the truth, student by student and place by place."""
    wrong = 0
    found: set[int] = set()
    for table, uids, lengths in log.shards():
        columns = {name: table[name].to_pylist() for name in table.column_names}
        start = 0
        for uid, length in zip(uids.tolist(), lengths.tolist(), strict=True):
            rows = [{name: values[start + n] for name, values in columns.items()} for n in range(length)]
            start += length
            found.add(uid)
            wrong += _differences(_shown(rows, log, level), list(_true(mini, uid, level)))
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


def _shown(rows: Sequence[dict[str, int]], log: EdNetLog, level: int) -> list[Row]:
    """Return rows of a log in the words of the files."""
    letters = ("a", "b", "c", "d", "")
    if level == 1:
        return [
            (
                r["timestamp"],
                r["solving_id"],
                r["item"],
                letters[r["answer"]],
                r["elapsed_time"],
                r["correct"],
            )
            for r in rows
        ]
    actions, sources, platforms = ([*log.names(column), ""] for column in ("action", "source", "platform"))
    return [
        (
            r["timestamp"],
            actions[r["action"]],
            f"{KINDS[r['kind']]}{r['item']}",
            *((r["cursor_time"],) if level == 4 else ()),
            sources[r["source"]],
            letters[r["answer"]],
            platforms[r["platform"]],
            r["correct"],
        )
        for r in rows
    ]
