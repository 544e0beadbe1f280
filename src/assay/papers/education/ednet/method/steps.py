"""EdNet's logs as learners' steps: the answered questions and, on demand, what was read or watched."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from assay.errors import InputError
from assay.papers.education.ednet.method.contents import Contents
from assay.papers.education.ednet.method.parsing import ACTIONS, KINDS
from assay.papers.education.ednet.method.projection import Rules, project
from assay.papers.education.ednet.method.shards import EdNetLog
from assay.papers.education.steps import ANSWER, EXPLANATION, LECTURE, Catalogue, Steps


def steps_of_log(
    log: EdNetLog | pa.Table,
    contents: Contents,
    level: int | None = None,
    *,
    actions: bool = False,
    rules: Rules | None = None,
) -> Steps:
    """Return the answered questions of an EdNet log, and on demand what was read and watched in between.

    Answers that were left empty and questions that the contents do not know are dropped.

    Args:
        log: an ingested log, or rows of whole students.
        contents: tags and right answers.
        level: of the rows; that of the log unless given.
        actions: keep explanations and lectures as steps that are not predicted; needs level 3 or 4.
        rules: how bundles become answers, above level 1.

    Raises:
        InputError: there is no answer that could be marked.
    """
    level = level or (log.level if isinstance(log, EdNetLog) else None)
    if level is None or (actions and level < 3):
        raise InputError(f"Level {level} has no explanations and lectures: they need level 3 or 4.")
    table = log.table() if isinstance(log, EdNetLog) else log
    answers = project(table, level, 1, contents, rules)
    answers = answers.filter(pa.array(answers["correct"].to_numpy() >= 0))
    if not len(answers):
        raise InputError("No answer could be marked: the questions table does not know these questions.")
    columns = {name: answers[name].to_numpy() for name in ("uid", "timestamp", "item", "correct")}
    columns["kind"] = np.full(len(answers), ANSWER)
    columns["elapsed"] = np.clip(answers["elapsed_time"].fill_null(0).to_numpy(), 0, 300_000) / 1000
    return _collected(_with_actions(columns, table) if actions else columns, contents)


def _with_actions(columns: dict[str, np.ndarray], table: pa.Table) -> dict[str, np.ndarray]:
    """Add the explanations and lectures that were entered, in order of time; answers come first."""
    kinds, entered = table["kind"].to_numpy(), table["action"].to_numpy() == ACTIONS.index("enter")
    joined = columns
    for kind, letter in ((EXPLANATION, "e"), (LECTURE, "l")):
        rows = np.flatnonzero(entered & (kinds == KINDS.index(letter)))
        added = {name: table[name].to_numpy()[rows] for name in ("uid", "timestamp", "item")}
        added |= {"correct": np.full(len(rows), -1), "kind": np.full(len(rows), kind)}
        added["elapsed"] = np.zeros(len(rows))
        joined = {name: np.concatenate([joined[name], added[name]]) for name in joined}
    first = {uid: place for place, uid in enumerate(dict.fromkeys(columns["uid"].tolist()))}
    present = np.array([uid in first for uid in joined["uid"].tolist()])
    joined = {name: values[present] for name, values in joined.items()}
    owner = np.array([first[uid] for uid in joined["uid"].tolist()])
    order = np.lexsort((joined["kind"] != ANSWER, joined["timestamp"], owner))
    return {name: values[order] for name, values in joined.items()}


def _collected(columns: dict[str, np.ndarray], contents: Contents) -> Steps:
    uids = columns["uid"]
    starts = np.flatnonzero(np.diff(uids, prepend=uids[:1] - 1))
    letters = np.array(["q", "e", "l"])[columns["kind"]]
    keys = columns["kind"].astype(np.int64) << 40 | columns["item"].astype(np.int64)
    _, first, codes = np.unique(keys, return_index=True, return_inverse=True)
    names = [f"{letters[row]}{columns['item'][row]}" for row in first]
    bundles = contents.questions_of_bundle
    own = [_tags(name, contents, bundles) for name in names]
    skills = sorted({tag for tags in own for tag in tags})
    catalogue = Catalogue.of(
        names, [[skills.index(tag) for tag in tags] for tags in own], [*map(str, skills)]
    )
    return Steps(
        users=tuple(f"u{uid}" for uid in uids[starts].tolist()),
        starts=np.concatenate([starts, [len(uids)]]),
        item=codes.reshape(-1) + 1,
        correct=columns["correct"].astype(np.int8),
        kind=columns["kind"].astype(np.int8),
        catalogue=catalogue,
        time=columns["timestamp"].astype(np.int64),
        elapsed=columns["elapsed"].astype(np.float64),
    )


def _tags(name: str, contents: Contents, bundles: dict[int, list[int]]) -> list[int]:
    """Return the tags of a question, of an explanation's questions together, or of a lecture."""
    number = int(name[1:])
    if name[0] == "l":
        known = number < len(contents.lecture_tags) and contents.lecture_tags[number] >= 0
        return [int(contents.lecture_tags[number])] if known else []
    questions = [number] if name[0] == "q" else bundles.get(number, [])
    found = {int(tag) for question in questions for tag in contents.tags[question] if tag >= 0}
    return sorted(found)
