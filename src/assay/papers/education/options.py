"""Options that several entries put into their configs. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass

from assay.bounds import PositiveInt, Share


@dataclass(frozen=True)
class Simulated:
    """Simulated learners, with prerequisites and forgetting."""

    learners: PositiveInt = 1000
    """How many."""
    skills: PositiveInt = 16
    """Skills; each but the first builds on one or two earlier ones."""
    questions: PositiveInt = 160
    """Questions."""
    second_skill: Share = 0.4
    """Chance that a question also needs a given prerequisite of its skill."""
    shortest: PositiveInt = 20
    """Answers of a learner, at least."""
    longest: PositiveInt = 60
    """Answers of a learner, at most."""
    explanation: float = 0.0
    """Strength that reading an explanation adds at once, in logits; 0: none are read."""


@dataclass(frozen=True)
class Columns:
    """Which column of the data is what. Unless given, they are found by their usual names."""

    user: str | None = None
    """The learner."""
    time: str | None = None
    """When, as a date with a time or a number that rises."""
    item: str | None = None
    """The question."""
    correct: str | None = None
    """1 right, 0 wrong; a list of them where a row is a learner."""
    skill: str | None = None
    """The skill, a list of skills, or several separated by `;`; a list of these where a row is a learner."""
    elapsed: str | None = None
    """Milliseconds spent on the question."""
