"""Baselines without a network: means, item response theory, performance factors, Bayesian knowledge tracing.

Each has `fit(steps)` and `predict(steps) -> float64 [steps]`: the chance of each answer, from what came
before it. Steps that are no answers are skipped and get 0.5. The fitted values are fields, so that a model is
saved as a record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assay.papers.education.steps import Steps

GRID = np.linspace(-4, 4, 33)
"""Abilities over which IRT integrates."""
PRIOR = -(GRID**2) / 2


def _logistic(values: np.ndarray) -> np.ndarray:
    result: np.ndarray = 1 / (1 + np.exp(-np.clip(values, -30, 30)))
    return result


def _placed(steps: Steps, chances: np.ndarray) -> np.ndarray:
    """Return the chances of the answers in their places among all steps."""
    placed = np.full(len(steps), 0.5)
    placed[steps.answered] = chances
    return placed


@dataclass(eq=False)
class MeanModel:
    """The share of right answers to each question, drawn towards the overall share by `smoothing` answers."""

    smoothing: float = 10.0
    chance: np.ndarray = field(default_factory=lambda: np.full(1, 0.5))

    def fit(self, steps: Steps) -> MeanModel:
        """Count."""
        steps = steps.keep(steps.answered)
        size = len(steps.catalogue.names) + 1
        right = np.bincount(steps.item, weights=steps.correct, minlength=size)
        seen = np.bincount(steps.item, minlength=size)
        overall = steps.correct.mean()
        self.chance = (right + self.smoothing * overall) / (seen + self.smoothing)
        self.chance[0] = overall
        return self

    def predict(self, steps: Steps) -> np.ndarray:
        """Return the chance of each answer."""
        return _placed(steps, self.chance[steps.item[steps.answered]])


@dataclass(eq=False)
class IRT:
    """The Rasch model (1PL), with the ability read off a new learner's answers so far.

    P(correct) = sigmoid(ability - difficulty). Difficulties maximise the marginal likelihood over abilities
    from N(0, 1) by EM on a grid, under a N(0, `spread`) prior; the chance of an answer is the mean over the
    ability's distribution given the learner's earlier answers.
    """

    spread: float = 1.0
    rounds: int = 25
    difficulty: np.ndarray = field(default_factory=lambda: np.zeros(1))
    centre: float = 0.0

    def fit(self, steps: Steps) -> IRT:
        """Find the difficulties."""
        steps = steps.keep(steps.answered)
        size = len(steps.catalogue.names) + 1
        self.centre = float(-np.log(steps.correct.mean() / max(1 - steps.correct.mean(), 1e-9)))
        self.difficulty = np.full(size, self.centre)
        of_learner, of_item = _summing(steps.owner, len(steps.users)), _summing(steps.item, size)
        right = np.bincount(steps.item, weights=steps.correct, minlength=size)
        for _ in range(self.rounds):
            evidence = of_learner @ self._log_likelihood(steps.item, steps.correct)
            weights = _normalised(evidence + PRIOR)
            expected = of_item @ weights[steps.owner]
            chance = _logistic(GRID - self.difficulty[:, None])
            slope = (expected * chance).sum(1) - right - (self.difficulty - self.centre) / self.spread**2
            curve = (expected * chance * (1 - chance)).sum(1) + 1 / self.spread**2
            self.difficulty = self.difficulty + np.clip(slope / curve, -1, 1)
        self.difficulty[0] = self.difficulty[1:].mean() if size > 1 else self.centre
        return self

    def predict(self, steps: Steps) -> np.ndarray:
        """Return the chance of each answer."""
        answers = steps.keep(steps.answered)
        evidence = np.cumsum(self._log_likelihood(answers.item, answers.correct), axis=0)
        before = np.concatenate([np.zeros((1, len(GRID))), evidence])
        mine = before[:-1] - before[answers.starts[:-1]][answers.owner]
        weights = _normalised(mine + PRIOR)
        chance = _logistic(GRID - self.difficulty[answers.item][:, None])
        return _placed(steps, (weights * chance).sum(1))

    def _log_likelihood(self, item: np.ndarray, correct: np.ndarray) -> np.ndarray:
        logits = GRID - self.difficulty[:, None]
        either = -np.logaddexp(0, np.stack([logits, -logits], axis=1))  # of a wrong and of a right answer
        found: np.ndarray = either[item, correct]
        return found


def _summing(group: np.ndarray, groups: int) -> Any:
    """Return the sparse matrix that sums rows by their group: 1 where a row is of a group."""
    from scipy import sparse

    rows = np.arange(len(group))
    return sparse.csr_matrix((np.ones(len(group)), (group, rows)), shape=(groups, len(group)))


def _normalised(log_weights: np.ndarray) -> np.ndarray:
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    shared: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return shared


@dataclass(eq=False)
class PFA:
    """Performance factors: a logistic regression on what a learner got right and wrong of each skill.

    logit p = intercept of the question + sum over its skills of beta + gamma log(1 + successes)
    + rho log(1 + failures), with a ridge penalty of strength 1 / `ridge`. A question without a skill is its
    own.
    """

    ridge: float = 1.0
    weights: np.ndarray = field(default_factory=lambda: np.zeros(0))
    bias: float = 0.0

    def fit(self, steps: Steps) -> PFA:
        """Fit the regression."""
        from sklearn.linear_model import LogisticRegression

        answers = steps.keep(steps.answered)
        if len(np.unique(answers.correct)) < 2:
            self.weights = np.zeros(self._features(answers).shape[1])
            self.bias = 30.0 if answers.correct.all() else -30.0
            return self
        model = LogisticRegression(C=self.ridge, solver="lbfgs", max_iter=300)
        model.fit(self._features(answers), answers.correct)
        self.weights, self.bias = model.coef_[0], float(model.intercept_[0])
        return self

    def predict(self, steps: Steps) -> np.ndarray:
        """Return the chance of each answer."""
        answers = steps.keep(steps.answered)
        return _placed(steps, _logistic(self._features(answers) @ self.weights + self.bias))

    def _features(self, answers: Steps) -> Any:
        """Return one-hot questions, and for each skill presence, log successes and log failures."""
        from scipy import sparse

        items = len(answers.catalogue.names) + 1
        rows, skills = _opportunities(answers)
        size = _skill_count(answers)
        right, wrong = _earlier(answers, rows, skills)
        columns = [answers.item, items + skills, items + size + skills, items + 2 * size + skills]
        values = [np.ones(len(answers)), np.ones(len(rows)), np.log1p(right), np.log1p(wrong)]
        places = [np.arange(len(answers)), rows, rows, rows]
        return sparse.csr_matrix(
            (np.concatenate(values), (np.concatenate(places), np.concatenate(columns))),
            shape=(len(answers), items + 3 * size),
        )


def _skill_count(steps: Steps) -> int:
    """Return how many skills there are, with one for each question that has none."""
    return len(steps.catalogue.skills) + len(steps.catalogue.names) + 1


def _opportunities(steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """Return each pair of a step and a skill of its question, in order of steps."""
    tags = steps.catalogue.tags[steps.item].copy()
    bare = (tags < 0).all(1)
    tags[bare, 0] = len(steps.catalogue.skills) + steps.item[bare]
    rows, places = np.nonzero(tags >= 0)
    return rows, tags[rows, places]


def _earlier(steps: Steps, rows: np.ndarray, skills: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each opportunity how often this learner got this skill right and wrong before."""
    import pandas as pd

    correct = pd.Series(steps.correct[rows].astype(np.int64))
    sequences = correct.groupby([steps.owner[rows], skills])
    right = (sequences.cumsum() - correct).to_numpy()
    return right, sequences.cumcount().to_numpy() - right


@dataclass(frozen=True, eq=False)
class _Sequences:
    """The opportunities of each learner and skill in a row of equal length, padded where `mask` is False.

    `rows`: the step of each opportunity. `order`: of the opportunities, by sequence. `skill`: of each
    sequence. `correct`: int8 [sequences, longest].
    """

    rows: np.ndarray
    order: np.ndarray
    skill: np.ndarray
    correct: np.ndarray
    mask: np.ndarray

    @classmethod
    def of(cls, answers: Steps) -> _Sequences:
        """Put the opportunities of a learner and a skill together."""
        rows, skills = _opportunities(answers)
        key = answers.owner[rows] * _skill_count(answers) + skills
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        lengths = np.diff([*starts, len(rows)])
        mask = np.arange(lengths.max(initial=1)) < lengths[:, None]
        correct = np.zeros(mask.shape, np.int8)
        correct[mask] = answers.correct[rows][order]
        return cls(rows, order, skills[order[starts]], correct, mask)


@dataclass(eq=False)
class BKT:
    """Bayesian knowledge tracing, four chances a skill by EM over all learners.

    A skill is known or not. P(right | known) = 1 - slip, P(right | not known) = guess. After an answer
    P(known | answer) follows by Bayes' rule, and then P(known) <- P(known | answer) + (1 - P(known | answer))
    learn. A question of several skills has the mean of their chances, and its answer counts for each.

    Args:
        start: P(known at first), learn, slip and guess where EM begins.
        prior: pseudo-answers that hold each chance near where EM began.
        rounds: of EM.
    """

    start: tuple[float, float, float, float] = (0.4, 0.1, 0.1, 0.25)
    prior: float = 2.0
    rounds: int = 20
    known: np.ndarray = field(default_factory=lambda: np.zeros(0))
    learn: np.ndarray = field(default_factory=lambda: np.zeros(0))
    slip: np.ndarray = field(default_factory=lambda: np.zeros(0))
    guess: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def set(self, skills: int, known: float, learn: float, slip: float, guess: float) -> BKT:
        """Give every skill the same chances."""
        self.known, self.learn, self.slip, self.guess = (
            np.full(skills, value) for value in (known, learn, slip, guess)
        )
        return self

    def fit(self, steps: Steps) -> BKT:
        """Find the chances of each skill."""
        answers = steps.keep(steps.answered)
        sequences = _Sequences.of(answers)
        self.set(_skill_count(answers), *self.start)
        for _ in range(self.rounds):
            self._improve(sequences.correct, sequences.mask, sequences.skill)
        return self

    def predict(self, steps: Steps) -> np.ndarray:
        """Return the chance of each answer."""
        answers = steps.keep(steps.answered)
        found = _Sequences.of(answers)
        chances = np.empty(found.correct.shape)
        known, learn = self.known[found.skill], self.learn[found.skill]
        slip, guess = self.slip[found.skill], self.guess[found.skill]
        for place in range(found.correct.shape[1]):
            chances[:, place] = known * (1 - slip) + (1 - known) * guess
            known = self.step(known, found.correct[:, place], learn, slip, guess)
        each = np.empty(len(found.rows))
        each[found.order] = chances[found.mask]
        total = np.bincount(found.rows, weights=each, minlength=len(answers))
        return _placed(steps, total / np.bincount(found.rows, minlength=len(answers)))

    @staticmethod
    def step(
        known: np.ndarray, correct: np.ndarray, learn: np.ndarray, slip: np.ndarray, guess: np.ndarray
    ) -> np.ndarray:
        """Return P(known) after an answer and the chance to learn that follows it."""
        if_known = known * np.where(correct == 1, 1 - slip, slip)
        if_new = (1 - known) * np.where(correct == 1, guess, 1 - guess)
        posterior = if_known / (if_known + if_new)
        after: np.ndarray = posterior + (1 - posterior) * learn
        return after

    def _improve(self, correct: np.ndarray, mask: np.ndarray, owners: np.ndarray) -> None:
        """One round of EM: the forward and backward passes of a two-state chain that never forgets."""
        learn = self.learn[owners]
        rows, length = correct.shape
        right_known = np.where(correct == 1, 1 - self.slip[owners, None], self.slip[owners, None])
        right_new = np.where(correct == 1, self.guess[owners, None], 1 - self.guess[owners, None])
        emit = np.stack([right_new, right_known], axis=2)
        emit[~mask] = 1.0
        forward = np.empty((rows, length, 2))
        state = np.stack([1 - self.known[owners], self.known[owners]], axis=1)
        for place in range(length):
            state = state * emit[:, place]
            state /= state.sum(1, keepdims=True)
            forward[:, place] = state
            state = np.stack([state[:, 0] * (1 - learn), state[:, 1] + state[:, 0] * learn], axis=1)
        gamma, moved = np.empty((rows, length)), np.zeros((rows, length))
        backward = np.ones((rows, 2))
        for place in range(length - 1, -1, -1):
            both = forward[:, place] * backward
            both /= both.sum(1, keepdims=True)
            gamma[:, place] = both[:, 1]
            if place:
                ahead = emit[:, place] * backward
                stay, move = (1 - learn) * ahead[:, 0], learn * ahead[:, 1]
                before = forward[:, place - 1]
                weight = before[:, 0] * move
                moved[:, place] = weight / (before[:, 0] * (stay + move) + before[:, 1] * ahead[:, 1])
                backward = np.stack([stay + move, ahead[:, 1]], axis=1)
                backward /= backward.sum(1, keepdims=True)
        self._update(gamma, moved, correct, mask, owners)

    def _update(
        self, gamma: np.ndarray, moved: np.ndarray, correct: np.ndarray, mask: np.ndarray, owners: np.ndarray
    ) -> None:
        size = len(self.known)

        def share(part: np.ndarray, whole: np.ndarray, start: float) -> np.ndarray:
            top = np.bincount(owners, weights=part, minlength=size) + self.prior * start
            bottom = np.bincount(owners, weights=whole, minlength=size) + self.prior
            found: np.ndarray = np.clip(top / np.maximum(bottom, 1e-9), 1e-3, 1 - 1e-3)
            return found

        later = mask.copy()
        later[:, 0] = False
        new_before = np.where(later, np.pad(1 - gamma, ((0, 0), (1, 0)))[:, :-1], 0.0)
        known, new = gamma * mask, (1 - gamma) * mask
        self.known = share(gamma[:, 0], np.ones(len(gamma)), self.start[0])
        self.learn = share((moved * later).sum(1), new_before.sum(1), self.start[1])
        slip = share((known * (correct == 0)).sum(1), known.sum(1), self.start[2])
        guess = share((new * (correct == 1)).sum(1), new.sum(1), self.start[3])
        # a skill that is known must not do worse than one that is not
        self.slip, self.guess = np.minimum(slip, 0.45), np.minimum(guess, 0.45)
