"""How well power goes with accuracy: over bins, as the paper has it, and over single items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

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


def binned_accuracy(
    power: Numbers, correct: Numbers, width: float = 30.0, limit: float = 2000.0, fewest: int = 10
) -> Binned:
    """Bin items by power as the paper does (section 3.6 of the authors' code).

    An item goes into bin int(P / width); items above the limit and bins with fewer than so many items are
    left out. The width is 30, 40 for embedders, 20 without a chain of thought, 50 for hotpotqa, 1 for
    Blocksworld; the limit 2000, 1750 between models, 3000 for the choice of demonstrations.

    Raises:
        ValueError: the arrays differ in length, or the width is not above 0.
    """
    powers, answers = _pair(power, correct)
    if width <= 0:
        raise ValueError(f"The width of a bin must be above 0, not {width}.")
    kept = powers <= limit
    bins = (powers[kept] / width).astype(np.int64)
    numbers, place, counts = np.unique(bins, return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=answers[kept], minlength=len(numbers)) / np.maximum(counts, 1)
    full = counts >= fewest
    edges = np.asarray(numbers[full] * float(width), dtype=np.float64)
    accuracy = np.asarray(means[full], dtype=np.float64)
    return Binned(edges, accuracy, counts[full], *_correlations(edges, accuracy))


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
    width: float = 30.0,
    limit: float = 2000.0,
    fewest: int = 10,
    *,
    permutations: int = 1000,
    quantile: float = 0.95,
    seed: int = 0,
) -> float | None:
    """Return the quantile of |Spearman| over bins when answers are dealt to items at random.

    Bins average noise away: correlations that look large come up without any relation. None where the bins
    are too few.
    """
    powers, answers = _pair(power, correct)
    kept = powers <= limit
    bins = (powers[kept] / width).astype(np.int64)
    numbers, place, counts = np.unique(bins, return_inverse=True, return_counts=True)
    full = counts >= fewest
    if full.sum() < FEWEST_BINS:
        return None
    random = np.random.default_rng(seed)
    ranks = stats.rankdata(numbers[full])
    found = np.zeros(permutations)
    for turn in range(permutations):
        shuffled = random.permutation(answers[kept])
        means = np.bincount(place, weights=shuffled, minlength=len(numbers)) / counts
        other = stats.rankdata(means[full])
        if np.ptp(other) > 0:
            found[turn] = abs(np.corrcoef(ranks, other)[0, 1])
    return float(np.quantile(found, quantile))


def auc(score: Numbers, correct: Numbers) -> float | None:
    """Return the chance that a correct item has a higher score than a wrong one, ties counting half.

    None where all items are correct, or none is.
    """
    scores, answers = _pair(score, correct)
    right = answers > 0
    if right.all() or not right.any():
        return None
    ranks = stats.rankdata(scores)
    wins = ranks[right].sum() - right.sum() * (right.sum() + 1) / 2
    return float(wins / (right.sum() * (~right).sum()))


def log_loss(probability: Numbers, correct: Numbers) -> float:
    """Return -mean log p(what happened), in nats, with probabilities cut at 1e-6."""
    chances, answers = _pair(probability, correct)
    chances = np.clip(chances, 1e-6, 1 - 1e-6)
    return float(-np.mean(answers * np.log(chances) + (1 - answers) * np.log1p(-chances)))


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
