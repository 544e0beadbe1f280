"""Learners' steps as flat arrays, which models of learners read. One step is one question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

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
