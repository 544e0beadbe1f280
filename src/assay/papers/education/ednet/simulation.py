"""Simulated learners: prerequisites, forgetting and explanations, and none of the models that are compared.

A learner's strength in a skill is a real number. Practice raises it, the less so the weaker the skill's
prerequisites are; time without practice lets it sink back. A question is answered by its weakest skill, with
guesses and slips. An explanation that is read lifts the skills of its question at once. There is no
two-state mastery (BKT), no log-count (PFA), no fixed ability (IRT), no hidden layer (DKT).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from assay.papers.education.ednet.config import Simulated
from assay.papers.education.ednet.method import Catalogue, Steps
from assay.papers.education.ednet.method.steps import ANSWER, EXPLANATION

HOUR = 3_600_000


@dataclass(frozen=True)
class World:
    """Skills with prerequisites, and questions: `of_skill[s, :per_skill[s]]` are those of a skill."""

    parents: list[np.ndarray]
    tags: list[np.ndarray]
    matrix: np.ndarray
    difficulty: np.ndarray
    of_skill: np.ndarray
    per_skill: np.ndarray


def simulate(config: Simulated, random: np.random.Generator) -> tuple[Steps, np.ndarray]:
    """Return learners' steps, and the true chance of each answer (0.5 where nothing was answered)."""
    world = _world(config, random)
    total, longest = config.learners, config.longest
    strength = _start(world, config, random)
    floor = strength.copy()
    pace = random.lognormal(np.log(config.learning), 0.4, total)
    ability = random.normal(0, config.ability, total)
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
        item = world.of_skill[topic, random.integers(0, world.per_skill[topic])]
        mine = world.matrix[item]
        faded = floor + (strength - floor) * np.exp(-config.forgetting * (clock[:, None] - last))
        weakest = np.where(mine, faded, np.inf).min(axis=1)
        sure = 1 / (1 + np.exp(-1.7 * (weakest + ability - world.difficulty[item])))
        chance = config.guess + (1 - config.guess - config.slip) * sure
        correct = random.random(total) < chance
        read = ~correct & (random.random(total) < reads) & (config.explanation > 0)
        gate = _gate(faded, world)
        gain = pace[:, None] * gate * (1.2 - 0.4 * np.clip(faded, -1, 2)) + config.explanation * read[:, None]
        strength = np.where(mine, faded + gain, strength)
        last = np.where(mine, clock[:, None], last)
        values = (item + 1, correct, read, clock * HOUR, chance)
        for name, value in zip(columns, values, strict=True):
            columns[name][:, step] = value
    lengths = random.integers(config.shortest, longest + 1, total)
    return _steps(columns, lengths, world, config)


def _world(config: Simulated, random: np.random.Generator) -> World:
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
        tags.append(np.array([first, *more[: config.most_skills - 1]]))
    matrix = np.zeros((config.questions, skills), bool)
    for question, own in enumerate(tags):
        matrix[question, own] = True
    # question q is of skill q % skills
    of_skill = np.arange(skills)[:, None] + skills * np.arange(-(-config.questions // skills))
    per_skill = (of_skill < config.questions).sum(1)
    return World(parents, tags, matrix, random.normal(0, 0.8, config.questions), of_skill, per_skill)


def _start(world: World, config: Simulated, random: np.random.Generator) -> np.ndarray:
    """Return first strengths: those who know little of a prerequisite know little of what builds on it."""
    strength = random.normal(-0.6, 0.8, (config.learners, config.skills))
    for skill, parents in enumerate(world.parents):
        if len(parents):
            strength[:, skill] = 0.6 * strength[:, parents].min(axis=1) + 0.8 * strength[:, skill] - 0.2
    return strength


def _gate(strength: np.ndarray, world: World) -> np.ndarray:
    """Return the share of practice that takes: that of the weakest prerequisite."""
    gate = np.ones_like(strength)
    for skill, parents in enumerate(world.parents):
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
    columns: dict[str, np.ndarray], lengths: np.ndarray, world: World, config: Simulated
) -> tuple[Steps, np.ndarray]:
    """Put answers and what was read after them in a row."""
    there = np.arange(config.longest) < lengths[:, None]
    slots = np.stack([there, there & (columns["read"] > 0)], axis=2)
    item = np.stack([columns["item"], columns["item"] + config.questions], axis=2)
    kind = np.broadcast_to(np.array([ANSWER, EXPLANATION]), slots.shape)
    correct = np.stack([columns["correct"], np.full(there.shape, -1)], axis=2)
    time = np.stack([columns["time"], columns["time"] + 1000], axis=2)
    names = [f"{letter}{number}" for letter in "qe" for number in range(1, config.questions + 1)]
    tags = [own.tolist() for own in world.tags]
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


def shuffle_actions(steps: Steps, random: np.random.Generator) -> Steps:
    """Deal out anew, among answers of one correctness, which were followed by explanations and lectures.

    As many follow as many right and wrong answers, and an explanation that is that of the question before it
    (content q7, e7) becomes that of the question it now follows: only whom it helped is by lot.
    """
    answers = np.flatnonzero(steps.answered)
    ends = np.append(answers[1:], len(steps))
    follow = np.minimum(ends, steps.starts[1:][steps.owner[answers]]) - answers - 1
    donor = np.arange(len(answers))
    for outcome in (0, 1):
        mine = np.flatnonzero(steps.correct[answers] == outcome)
        donor[mine] = random.permutation(mine)
    repeats = 1 + follow[donor]
    place = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    rows = np.where(place == 0, np.repeat(answers, repeats), np.repeat(answers[donor], repeats) + place)
    receiver = np.repeat(answers, repeats)
    moved = steps.rows(rows)
    explained = _explanations(steps)
    own = (place > 0) & (explained[steps.item[np.repeat(answers[donor], repeats)]] == moved.item)
    counts = np.bincount(steps.owner[receiver], minlength=len(steps.users))
    time = steps.time
    return replace(
        moved,
        starts=np.concatenate([[0], np.cumsum(counts)]),
        item=np.where(
            own & (explained[steps.item[receiver]] > 0), explained[steps.item[receiver]], moved.item
        ),
        time=None if time is None else time[receiver] + np.where(place > 0, 1000, 0),
    )


def _explanations(steps: Steps) -> np.ndarray:
    """Return the explanation of each question: content e7 for q7; -1 where there is none of that name."""
    number = {name: place for place, name in enumerate(steps.catalogue.names, 1)}
    found = [number.get(f"e{name[1:]}", -1) if name[:1] == "q" else -1 for name in steps.catalogue.names]
    return np.array([-1, *found])
