"""Simulated learners: prerequisites, forgetting and explanations, and none of the models that are compared.

A learner's strength in a skill is a real number. Practice raises it, the less so the weaker the skill's
prerequisites are; time without practice lets it sink back. A question is answered by its weakest skill, with
guesses and slips. An explanation that is read lifts the skills of its question at once. There is no
two-state mastery (BKT), no log-count (PFA), no fixed ability (IRT), no hidden layer (DKT).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assay.papers.education.options import Simulated
from assay.papers.education.steps import ANSWER, EXPLANATION, Catalogue, Steps

MOST_SKILLS = 3
"""Skills of a question, at most."""
LEARNING = 0.25
"""Strength that an answer adds, in logits before prerequisites and saturation."""
FORGETTING = 0.02
"""Share of the strength gained that is lost in an hour without practice."""
ABILITY = 0.5
"""Standard deviation of what a learner brings to all skills, in logits."""
GUESS, SLIP = 0.15, 0.05
"""Chances to be right without knowing, and wrong in spite of knowing."""
HOUR = 3_600_000


@dataclass(frozen=True)
class Curriculum:
    """Skills with prerequisites, and questions: `of_skill[s, :per_skill[s]]` are those of a skill."""

    parents: list[np.ndarray]
    tags: list[np.ndarray]
    matrix: np.ndarray
    difficulty: np.ndarray
    of_skill: np.ndarray
    per_skill: np.ndarray


def simulate(config: Simulated, random: np.random.Generator) -> tuple[Steps, np.ndarray]:
    """Return learners' steps, and the true chance of each answer (0.5 where nothing was answered)."""
    curriculum = _curriculum(config, random)
    total, longest = config.learners, config.longest
    strength = _start(curriculum, config, random)
    floor = strength.copy()
    pace = random.lognormal(np.log(LEARNING), 0.4, total)
    ability = random.normal(0, ABILITY, total)
    reads = random.beta(2, 2, total)
    topic = np.zeros(total, np.int64)
    clock = np.zeros(total)
    last = np.zeros((total, config.skills))
    columns = {
        name: np.zeros((total, longest), np.float64) for name in ("item", "correct", "read", "time", "chance")
    }
    for step in range(longest):
        pause = random.random(total) < 0.08
        clock += np.where(pause, random.exponential(48, total), random.exponential(0.02, total))
        topic = _next_topic(topic, pause, config, random)
        item = curriculum.of_skill[topic, random.integers(0, curriculum.per_skill[topic])]
        mine = curriculum.matrix[item]
        faded = floor + (strength - floor) * np.exp(-FORGETTING * (clock[:, None] - last))
        weakest = np.where(mine, faded, np.inf).min(axis=1)
        sure = 1 / (1 + np.exp(-1.7 * (weakest + ability - curriculum.difficulty[item])))
        chance = GUESS + (1 - GUESS - SLIP) * sure
        correct = random.random(total) < chance
        read = ~correct & (random.random(total) < reads) & (config.explanation > 0)
        gate = _gate(faded, curriculum)
        gain = pace[:, None] * gate * (1.2 - 0.4 * np.clip(faded, -1, 2)) + config.explanation * read[:, None]
        strength = np.where(mine, faded + gain, strength)
        last = np.where(mine, clock[:, None], last)
        values = (item + 1, correct, read, clock * HOUR, chance)
        for name, value in zip(columns, values, strict=True):
            columns[name][:, step] = value
    lengths = random.integers(config.shortest, longest + 1, total)
    return _steps(columns, lengths, curriculum, config)


def _curriculum(config: Simulated, random: np.random.Generator) -> Curriculum:
    skills = config.skills
    parents = [
        random.choice(skill, size=min(skill, int(random.integers(1, 3))), replace=False)
        if skill
        else np.zeros(0, np.int64)
        for skill in range(skills)
    ]
    tags = []
    for question in range(config.questions):
        first = question % skills
        more = [parent for parent in parents[first].tolist() if random.random() < config.second_skill]
        tags.append(np.array([first, *more[: MOST_SKILLS - 1]]))
    matrix = np.zeros((config.questions, skills), bool)
    for question, own in enumerate(tags):
        matrix[question, own] = True
    # question q is of skill q % skills
    of_skill = np.arange(skills)[:, None] + skills * np.arange(-(-config.questions // skills))
    per_skill = (of_skill < config.questions).sum(1)
    return Curriculum(parents, tags, matrix, random.normal(0, 0.8, config.questions), of_skill, per_skill)


def _start(curriculum: Curriculum, config: Simulated, random: np.random.Generator) -> np.ndarray:
    """Return first strengths: those who know little of a prerequisite know little of what builds on it."""
    strength = random.normal(-0.6, 0.8, (config.learners, config.skills))
    for skill, parents in enumerate(curriculum.parents):
        if len(parents):
            strength[:, skill] = 0.6 * strength[:, parents].min(axis=1) + 0.8 * strength[:, skill] - 0.2
    return strength


def _gate(strength: np.ndarray, curriculum: Curriculum) -> np.ndarray:
    """Return the share of practice that takes: that of the weakest prerequisite."""
    gate = np.ones_like(strength)
    for skill, parents in enumerate(curriculum.parents):
        if len(parents):
            gate[:, skill] = 1 / (1 + np.exp(-2.5 * strength[:, parents].min(axis=1)))
    return gate


def _next_topic(
    topic: np.ndarray, pause: np.ndarray, config: Simulated, random: np.random.Generator
) -> np.ndarray:
    """Stay with a topic, go on to the next, or go back to review an earlier one."""
    draw = random.random(len(topic))
    onward = np.minimum(topic + 1, config.skills - 1)
    review = (random.random(len(topic)) * (topic + 1)).astype(np.int64)
    moved = np.where(draw < 0.75, topic, np.where(draw < 0.9, onward, review))
    return np.where(pause, review, moved)


def _steps(
    columns: dict[str, np.ndarray], lengths: np.ndarray, curriculum: Curriculum, config: Simulated
) -> tuple[Steps, np.ndarray]:
    """Put answers and what was read after them in a row."""
    there = np.arange(config.longest) < lengths[:, None]
    slots = np.stack([there, there & (columns["read"] > 0)], axis=2)
    item = np.stack([columns["item"], columns["item"] + config.questions], axis=2)
    kind = np.broadcast_to(np.array([ANSWER, EXPLANATION]), slots.shape)
    correct = np.stack([columns["correct"], np.full(there.shape, -1)], axis=2)
    time = np.stack([columns["time"], columns["time"] + 1000], axis=2)
    names = [f"{letter}{number}" for letter in "qe" for number in range(1, config.questions + 1)]
    tags = [own.tolist() for own in curriculum.tags]
    steps = Steps(
        users=tuple(f"u{number}" for number in range(config.learners)),
        starts=np.concatenate([[0], np.cumsum(slots.sum((1, 2)))]),
        item=item[slots].astype(np.int64),
        correct=correct[slots].astype(np.int8),
        kind=kind[slots].astype(np.int8),
        catalogue=Catalogue.of(names, tags + tags, [f"s{number}" for number in range(config.skills)]),
        time=time[slots].astype(np.int64),
    )
    chance = np.stack([columns["chance"], np.full(there.shape, 0.5)], axis=2)[slots]
    return steps, chance
