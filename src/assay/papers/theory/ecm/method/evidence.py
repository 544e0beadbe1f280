"""How well power goes with accuracy: over bins, as the paper has it, and over single items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats
from sklearn import metrics

from .circuit import Array, Numbers

FEWEST_BINS = 3
"""Bins below which no correlation is given."""


@dataclass(frozen=True)
class Binned:
    """Accuracy in bins of power.

    Args:
        power: the lower edge of each bin.
        accuracy: the share of correct items in it.
        items: how many it has.
        spearman: rank correlation of the two; None with fewer than three bins or where one is constant.
        r_squared: squared Pearson correlation; None likewise.
    """

    power: Array
    accuracy: Array
    items: np.ndarray
    spearman: float | None
    r_squared: float | None


@dataclass(frozen=True)
class Bins:
    """The paper's bins of power (section 3.6 of the authors' code): an item goes into bin int(P / width).

    Args:
        width: 30 watts; 40 for embedders, 20 without a chain of thought, 50 for hotpotqa, 1 for Blocksworld.
        limit: items above it are left out; 2000, 1750 between models, 3000 for the choice of demonstrations.
        fewest: bins with fewer items are left out.
    """

    width: float = 30.0
    limit: float = 2000.0
    fewest: int = 10

    def __post_init__(self) -> None:
        if self.width <= 0:
            raise ValueError(f"The width of a bin must be above 0, not {self.width}.")


@dataclass(frozen=True)
class _Placed:
    """Items in bins: which are kept, the bin of each, and the bins that have enough."""

    kept: np.ndarray
    place: np.ndarray
    edges: Array
    counts: np.ndarray
    full: np.ndarray

    @classmethod
    def of(cls, powers: Array, bins: Bins) -> _Placed:
        kept = powers <= bins.limit
        numbers, place, counts = np.unique(
            (powers[kept] / bins.width).astype(np.int64), return_inverse=True, return_counts=True
        )
        edges: Array = np.asarray(numbers * float(bins.width), dtype=np.float64)
        return cls(kept, place, edges, counts, counts >= bins.fewest)

    def means(self, answers: Array) -> Array:
        """Return the mean of the kept items' answers in each full bin."""
        sums = np.bincount(self.place, weights=answers, minlength=len(self.counts))
        return np.asarray((sums / np.maximum(self.counts, 1))[self.full])


def binned_accuracy(power: Numbers, correct: Numbers, bins: Bins | None = None) -> Binned:
    """Bin items by power as the paper does.

    Raises:
        ValueError: the arrays differ in length.
    """
    powers, answers = _pair(power, correct)
    placed = _Placed.of(powers, bins or Bins())
    edges, accuracy = placed.edges[placed.full], placed.means(answers[placed.kept])
    return Binned(edges, accuracy, placed.counts[placed.full], *_correlations(edges, accuracy))


def quantile_spearman(power: Numbers, correct: Numbers, groups: int = 10) -> float | None:
    """Return Spearman's correlation of power and accuracy over groups of equally many items.

    It does not depend on the scale of P and leaves no item out, unlike the paper's bins. None where items are
    fewer than groups or accuracy is constant.
    """
    powers, answers = _pair(power, correct)
    if len(powers) < groups:
        return None
    parts = np.array_split(np.argsort(powers, kind="stable"), groups)
    means = np.array([powers[part].mean() for part in parts])
    return _correlations(means, np.array([answers[part].mean() for part in parts]))[0]


def permutation_null(
    power: Numbers,
    correct: Numbers,
    bins: Bins | None = None,
    *,
    permutations: int = 1000,
    quantile: float = 0.95,
    seed: int = 0,
) -> float | None:
    """Return the quantile of |Spearman| over bins when answers are assigned to items at random.

    Bins average noise away: correlations that look large come up without any relation. None where the bins
    are too few.
    """
    powers, answers = _pair(power, correct)
    placed = _Placed.of(powers, bins or Bins())
    if placed.full.sum() < FEWEST_BINS:
        return None
    random, kept = np.random.default_rng(seed), answers[placed.kept]
    ranks = stats.rankdata(placed.edges[placed.full])
    found = np.zeros(permutations)
    for turn in range(permutations):
        other = stats.rankdata(placed.means(random.permutation(kept)))
        if np.ptp(other) > 0:
            found[turn] = abs(np.corrcoef(ranks, other)[0, 1])
    return float(np.quantile(found, quantile))


def auc(score: Numbers, correct: Numbers) -> float | None:
    """Return the chance that a correct item has a higher score than a wrong one, ties counting half.

    None where all items are correct, or none is.
    """
    scores, answers = _pair(score, correct)
    if np.ptp(answers) == 0:
        return None
    return float(metrics.roc_auc_score(answers, scores))


def log_loss(probability: Numbers, correct: Numbers) -> float:
    """Return -mean log p(what happened), in nats, with probabilities cut at 1e-6."""
    chances, answers = _pair(probability, correct)
    return float(metrics.log_loss(answers, np.clip(chances, 1e-6, 1 - 1e-6), labels=[0, 1]))


def pearson(score: Numbers, correct: Numbers) -> float | None:
    """Return the correlation of a score with correctness over items; None where one is constant."""
    scores, answers = _pair(score, correct)
    if np.ptp(scores) == 0 or np.ptp(answers) == 0:
        return None
    return float(np.corrcoef(scores, answers)[0, 1])


def _pair(score: Numbers, correct: Numbers) -> tuple[Array, Array]:
    scores, answers = np.asarray(score, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if scores.shape != answers.shape or scores.ndim != 1 or not len(scores):
        raise ValueError(
            f"Scores and answers must be two lists of one length, not {scores.shape}, {answers.shape}."
        )
    return scores, answers


def _correlations(edges: Array, accuracy: Array) -> tuple[float | None, float | None]:
    if len(edges) < FEWEST_BINS or np.ptp(accuracy) == 0:
        return None, None
    rank = float(stats.spearmanr(edges, accuracy).statistic)
    return rank, float(stats.pearsonr(edges, accuracy).statistic ** 2)
