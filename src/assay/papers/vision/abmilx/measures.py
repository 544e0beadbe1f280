"""How good predictions are, with bootstrap intervals over bags."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

RESAMPLES = 1000


def classification(
    labels: Int[np.ndarray, " bags"], probabilities: Float[np.ndarray, "bags classes"]
) -> dict[str, float | None]:
    """Return accuracy, mean recall, macro AUC, macro F1 and Cohen's kappa; None where one is undefined.

    Classes that none of the bags has do not count.
    """
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    table = np.zeros((classes, classes))
    np.add.at(table, (labels, predicted), 1)
    hits, there, said = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    present = there > 0
    agreement, chance = hits.sum() / len(labels), (there * said).sum() / len(labels) ** 2
    areas = [area_under_curve(labels == k, probabilities[:, k]) for k in range(classes)]
    known = [area for area in areas if area is not None]
    return {
        "accuracy": float(agreement),
        "balanced_accuracy": float((hits[present] / there[present]).mean()),
        "auc": float(np.mean(known)) if known else None,
        "macro_f1": float((2 * hits[present] / (there + said)[present]).mean()),
        "kappa": float((agreement - chance) / (1 - chance)) if chance < 1 else None,
    }


def area_under_curve(positive: np.ndarray, score: np.ndarray) -> float | None:
    """Return the share of pairs of a positive and a negative that the score orders; ties count half."""
    pairs = int(positive.sum()) * int((~positive).sum())
    if not pairs:
        return None
    ranks = rankdata(score)[positive].sum()
    count = int(positive.sum())
    return float((ranks - count * (count + 1) / 2) / pairs)


def bootstrap(
    measure: Callable[[np.ndarray], dict[str, float | None]], bags: int, generator: np.random.Generator
) -> dict[str, list[float] | None]:
    """Return the 95 % percentile interval of each measure over resamples of the bags."""
    found = [measure(generator.integers(bags, size=bags)) for _ in range(RESAMPLES)]
    intervals: dict[str, list[float] | None] = {}
    for name in found[0]:
        values = [sample[name] for sample in found]
        known = np.array([value for value in values if value is not None])
        intervals[name] = np.quantile(known, [0.025, 0.975]).tolist() if len(known) else None
    return intervals
