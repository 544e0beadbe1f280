"""Learners' steps as flat arrays, which every model here learns from. One step is one question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from assay.errors import InputError
from assay.papers.education.ednet.method.contents import Contents
from assay.papers.education.ednet.method.parsing import ACTIONS, KINDS
from assay.papers.education.ednet.method.projection import Rules, project
from assay.papers.education.ednet.method.shards import EdNetLog

ANSWER, EXPLANATION, LECTURE = 0, 1, 2
"""What a step is: only answers are predicted."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """What steps refer to. Content 0 is any that is not known.

    `names`: of the contents 1, 2, ... `tags`: int64 [contents + 1, most tags], skills from 0, padded with -1.
    `skills`: their names.
    """

    names: tuple[str, ...]
    tags: np.ndarray
    skills: tuple[str, ...]

    @classmethod
    def of(cls, names: Sequence[str], tags: Sequence[Sequence[int]], skills: Sequence[str]) -> Catalogue:
        """Make a catalogue of each content's name and tags."""
        width = max([1, *map(len, tags)])
        matrix = np.full((len(names) + 1, width), -1, np.int64)
        for row, own in enumerate(tags, 1):
            matrix[row, : len(own)] = own
        return cls(tuple(names), matrix, tuple(skills))


@dataclass(frozen=True, eq=False)
class Steps:
    """The steps of many learners, one learner after the other, each in order of time.

    `users`: names of the learners. `starts`: int64 [learners + 1]. `item`: int64 [steps], a content of the
    catalogue. `correct`: int8 [steps], -1 where nothing was answered. `kind`: int8 [steps], an answer, an
    explanation or a lecture. `time`: int64 [steps] in ms, or None. `elapsed`: float64 [steps] in s, or None.
    """

    users: tuple[str, ...]
    starts: np.ndarray
    item: np.ndarray
    correct: np.ndarray
    kind: np.ndarray
    catalogue: Catalogue
    time: np.ndarray | None = None
    elapsed: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.item)

    @property
    def lengths(self) -> np.ndarray:
        """Steps of each learner."""
        return np.diff(self.starts)

    @property
    def owner(self) -> np.ndarray:
        """The learner of each step."""
        return np.repeat(np.arange(len(self.users)), self.lengths)

    @property
    def answered(self) -> np.ndarray:
        """Whether a step is an answer."""
        mask: np.ndarray = self.kind == ANSWER
        return mask

    @property
    def scored(self) -> np.ndarray:
        """Whether a step is predicted and counted: answers except the first of each learner."""
        position = np.cumsum(self.answered)
        before = np.concatenate([[0], position])[self.starts[:-1]]
        scored: np.ndarray = self.answered & (position - before[self.owner] > 1)
        return scored

    def learners(self, which: np.ndarray) -> Steps:
        """Return the steps of some learners, by their numbers."""
        rows = np.concatenate(
            [np.arange(self.starts[n], self.starts[n + 1]) for n in which] or [np.zeros(0, np.int64)]
        )
        kept = self.rows(rows)
        starts = np.concatenate([[0], np.cumsum(self.lengths[which])])
        return replace(kept, users=tuple(self.users[n] for n in which), starts=starts)

    def keep(self, mask: np.ndarray) -> Steps:
        """Return the steps of a mask; learners stay, also those who have none left."""
        counts = np.bincount(self.owner[mask], minlength=len(self.users))
        return replace(self.rows(np.flatnonzero(mask)), starts=np.concatenate([[0], np.cumsum(counts)]))

    def rows(self, rows: np.ndarray) -> Steps:
        """Return other rows under the same learners; `starts` is left to the caller."""
        return replace(
            self,
            item=self.item[rows],
            correct=self.correct[rows],
            kind=self.kind[rows],
            time=None if self.time is None else self.time[rows],
            elapsed=None if self.elapsed is None else self.elapsed[rows],
        )

    def at_least(self, steps: int) -> Steps:
        """Return the learners with so many answers."""
        answers = np.bincount(self.owner[self.answered], minlength=len(self.users))
        return self.learners(np.flatnonzero(answers >= steps))


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
    if actions:
        columns = _with_actions(columns, table)
    return _collected(columns, contents)


def _with_actions(columns: dict[str, np.ndarray], table: pa.Table) -> dict[str, np.ndarray]:
    """Add the explanations and lectures that were entered, in order of time; answers come first."""
    kinds, entered = table["kind"].to_numpy(), table["action"].to_numpy() == ACTIONS.index("enter")
    added = []
    for kind, letter in ((EXPLANATION, "e"), (LECTURE, "l")):
        rows = np.flatnonzero(entered & (kinds == KINDS.index(letter)))
        added.append(
            {
                **{name: table[name].to_numpy()[rows] for name in ("uid", "timestamp", "item")},
                "correct": np.full(len(rows), -1),
                "kind": np.full(len(rows), kind),
                "elapsed": np.zeros(len(rows)),
            }
        )
    joined = {name: np.concatenate([columns[name], *(part[name] for part in added)]) for name in columns}
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
    place = {tag: number for number, tag in enumerate(skills)}
    catalogue = Catalogue.of(names, [[place[tag] for tag in tags] for tags in own], [str(s) for s in skills])
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
