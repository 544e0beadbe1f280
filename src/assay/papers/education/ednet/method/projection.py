"""From a level of EdNet to a lower one: actions are left out, and bundles become answers.

How the authors derived KT1 is not documented. The rules here (section by section of `answers_of`) are ours;
on the released files the share of rows that agree should be reported, not assumed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assay.errors import InputError
from assay.papers.education.ednet.method.contents import Contents
from assay.papers.education.ednet.method.parsing import ACTIONS, KINDS, schema
from assay.papers.education.ednet.method.shards import LICENCE, READER_VERSION, EdNetLog, Piece, ShardWriter

ENTER, RESPOND, SUBMIT, QUIT = (ACTIONS.index(name) for name in ("enter", "respond", "submit", "quit"))
QUESTION, BUNDLE = KINDS.index("q"), KINDS.index("b")
KEPT = {3: ((ENTER, RESPOND, SUBMIT, QUIT), ("q", "b", "e", "l")), 2: ((ENTER, RESPOND, SUBMIT), ("q", "b"))}
"""The actions and the kinds of item of a level."""


@dataclass(frozen=True)
class Rules:
    """How bundles become answers.

    `divided`: give each question its share of the time on the bundle; otherwise each has all of it.
    `last_counts`: a changed answer replaces the earlier one. `unanswered`: questions of a submitted bundle
    that were not answered get a row without an answer (where the contents are known). `own_times`: each
    answer has the moment of its own response, as in EdNet's example of KT1; otherwise all have that of
    `enter`.
    """

    divided: bool = True
    last_counts: bool = True
    unanswered: bool = True
    own_times: bool = True


def project(
    table: pa.Table,
    from_level: int,
    to_level: int,
    contents: Contents | None = None,
    rules: Rules | None = None,
) -> pa.Table:
    """Return the rows of a lower level.

    Args:
        table: rows of whole students in order of time, as the reader gives them.
        from_level: their level, 1 to 4.
        to_level: the level wanted, at most `from_level`.
        contents: for level 1: marks answers, and knows which questions a bundle has.
        rules: how bundles become answers.

    Raises:
        InputError: the level wanted is higher, or there is none such.
    """
    if not 1 <= to_level <= from_level <= 4:
        raise InputError(f"Level {from_level} cannot be projected to {to_level}: levels go from 4 down to 1.")
    if to_level == from_level:
        return table
    if to_level == 1:
        return _answers(table, contents or Contents.none(), rules or Rules())
    actions, kinds = KEPT[to_level]
    kept = pc.and_(
        pc.is_in(table["action"], pa.array(actions, pa.int8())),
        pc.is_in(table["kind"], pa.array([KINDS.index(kind) for kind in kinds], pa.int8())),
    )
    return table.filter(kept).select(schema(to_level).names)


def project_log(
    log: EdNetLog,
    to_level: int,
    out: str | Path,
    contents: Contents | None = None,
    rules: Rules | None = None,
    shard_rows: int = 5_000_000,
) -> EdNetLog:
    """Project a log that was ingested, shard by shard, into a new folder.

    Raises:
        InputError: the level wanted is higher than the log's, or `out` is taken.
    """
    rules = rules or Rules()
    task = {"of": log.manifest["shards"], "level": to_level, "shard_rows": shard_rows, "rules": vars(rules)}
    writer = ShardWriter(Path(out).expanduser(), schema(min(to_level, log.level)), task, shard_rows)

    def pieces() -> Iterator[Piece]:
        for table, uids, _ in log.shards():
            new = np.array([writer.done.add(uid) for uid in uids.tolist()])
            if new.any():
                mine = table if new.all() else table.filter(pc.is_in(table["uid"], pa.array(uids[new])))
                projected = project(mine, log.level, to_level, contents, rules)
                counts = Counter(projected["uid"].to_pylist())
                yield projected, uids[new], np.array([counts[uid] for uid in uids[new].tolist()])

    students, rows = writer.write(pieces())
    writer.finish(
        {
            "reader_version": READER_VERSION,
            "level": to_level,
            "source": log.manifest["source"],
            "projected_from": log.level,
            "rules": vars(rules),
            "students": students,
            "rows": rows,
            "names": log.manifest["names"],
            "contents": dict(contents.hashes) if contents else {},
            "licence": LICENCE,
        }
    )
    return EdNetLog(out)


def answers_of(
    rows: Sequence[tuple[int, int, int, int, int]], bundles: Mapping[int, Sequence[int]], rules: Rules
) -> list[tuple[int, int, int, int, int]]:
    """Return the answers of one student.

    - `enter` opens a bundle and starts its time. Entering another one gives up the open one; entering the
      open one again restarts the time and keeps the answers.
    - `respond` keeps the answer to a question; a later one replaces it. Without an open bundle it opens one
      whose name is not known, from that moment on.
    - `submit` of the open bundle gives one row for each question: with the time of its answer and in that
      order, and then those that were not answered, with the time of `submit`. A `submit` of another bundle is
      skipped.

    Args:
        rows: timestamp, action, kind, item and answer, in order of time. Other actions are skipped.
        bundles: the questions of each bundle, as far as they are known.
        rules: see `Rules`.

    Returns:
        timestamp, solving_id (from 1, one for each submitted bundle), question, answer, elapsed_time.
    """
    found: list[tuple[int, int, int, int, int]] = []
    unknown = -2
    opened = -1
    since = solved = 0
    answers: dict[int, tuple[int, int]] = {}
    for time, action, kind, item, answer in rows:
        if action == RESPOND and kind == QUESTION:
            if opened == -1:
                opened, since, answers = unknown, time, {}
            if rules.last_counts or item not in answers:
                answers[item] = (time, answer)
        elif kind != BUNDLE:
            continue
        elif action == ENTER:
            if item != opened:
                answers = {}
            opened, since = item, time
        elif action == SUBMIT and opened in (item, unknown):
            if rules.unanswered:
                missing = (question for question in bundles.get(item, ()) if question not in answers)
                answers |= dict.fromkeys(missing, (time, -1))
            if answers:
                solved += 1
                elapsed = time - since
                if rules.divided:
                    elapsed //= len(answers)
                own = [
                    (when if rules.own_times else since, solved, question, given, elapsed)
                    for question, (when, given) in answers.items()
                ]
                found += sorted(own, key=lambda row: row[0])
            opened, answers = -1, {}
    return found


def _answers(table: pa.Table, contents: Contents, rules: Rules) -> pa.Table:
    """Project the rows of whole students to level 1."""
    bundles = contents.questions_of_bundle
    uids = table["uid"].to_numpy()
    columns = [table[name].to_numpy() for name in ("timestamp", "action", "kind", "item", "answer")]
    starts = np.flatnonzero(np.diff(uids, prepend=uids[:1] - 1)) if len(uids) else np.zeros(0, np.int64)
    owners: list[int] = []
    found: list[tuple[int, int, int, int, int]] = []
    for start, end in zip(starts, [*starts[1:], len(uids)], strict=True):
        mine = answers_of(
            list(zip(*(column[start:end].tolist() for column in columns), strict=True)), bundles, rules
        )
        found += mine
        owners += [int(uids[start])] * len(mine)
    names = ("timestamp", "solving_id", "item", "answer", "elapsed_time")
    values = dict(zip(names, np.array(found, np.int64).reshape(-1, 5).T, strict=True))
    values["correct"] = contents.correct(values["item"], values["answer"].astype(np.int8))
    values["uid"] = np.array(owners, np.int64)
    target = schema(1)
    return pa.table([pa.array(values[each.name]).cast(each.type) for each in target], schema=target)
