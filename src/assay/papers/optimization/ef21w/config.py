"""The options of EF21-W's recipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.bounds import NonNegativeFloat, NonNegativeInt, PositiveInt, ShareBelowOne
from assay.data import Table


@dataclass(frozen=True)
class Words:
    """How a table with text but without numbers becomes features: counts of words."""

    min_documents: PositiveInt = 30
    """Leave out words that fewer texts have."""
    max_share: float = 0.01
    """Leave out words that a larger share of the texts has."""


@dataclass(frozen=True)
class Train:
    """Logistic regression over clients that send compressed gradients."""

    data: Table = Table("bundled:breast_cancer")
    """Rows with numbers (or text) and a label."""
    positive: str = ""
    """Name of the class to tell from all others. Unless given, the second of two classes, or the
    most frequent of more."""
    words: Words = Words()
    """What counts as a feature of a text."""
    standardize: bool = True
    """Whether to bring every feature to mean 0 and deviation 1 over the training rows. Without it, tables
    with mostly zeros are computed with as sparse ones."""
    test_fraction: ShareBelowOne = 0.1
    """Share of the rows held out for the accuracy, drawn for each seed. 0 trains on all rows, as does a table
    that brings test rows."""
    clients: PositiveInt = 20
    """Number of clients; each gets the same number of rows, the last rows left over are dropped."""
    partition: Literal["sorted", "max-variance", "random"] = "sorted"
    """Which rows a client gets: neighbours by norm, those that make the variance of the smoothness constants
    large (greedily), or random ones."""
    even: bool = False
    """Whether to assign the rows evenly by norm instead, so that all clients are alike."""
    penalty: Literal["nonconvex", "l2"] = "nonconvex"
    """Regulariser: strength times the sum of x^2/(1+x^2), or strength/2 times the sum of x^2."""
    strength: NonNegativeFloat = 1e-3
    """Strength of the regulariser. Features only count as rare at 0."""
    algorithm: Literal["ef21w", "ef21", "gd"] = "ef21w"
    """EF21-W (clients weighted by smoothness), EF21 (all alike), or gradient descent without compression."""
    rule: Literal["new", "old", "rare", "rare-paper", "rare-safe", "rare-old"] = "new"
    """Step size: of this paper (arithmetic mean), of the older theory (quadratic mean), or one of those that
    use that features are rare (the tightest, this paper's, a safer one, the older one)."""
    tuned: bool = False
    """Whether to try the rule's step times 1, 2, 4, ... 8192 and keep the fastest, as no theory allows."""
    compressor: Literal["top-k", "rand-k", "sign", "quantizer", "threshold", "fixed-grid"] = "top-k"
    """What a client sends: the k largest coordinates, k random ones, signs, a random rounding to levels, what
    is above a threshold, or a rounding to a fixed grid of 4 bits."""
    k: PositiveInt = 1
    """Coordinates that top-k and rand-k send."""
    levels: PositiveInt = 4
    """Levels of the quantizer."""
    spacing: float = 0.05
    """Distance of the fixed grid's points; also the threshold."""
    participation: float = 1.0
    """Probability with which a client takes part in a round."""
    minibatch: NonNegativeInt = 0
    """Rows that a client draws for each gradient; 0 is all of them."""
    start: NonNegativeFloat = 0.01
    """Standard deviation of the first iterate's coordinates; 0 starts at zero."""
    rounds: PositiveInt = 20_000
    """Rounds at most."""
    tolerance: ShareBelowOne = 1e-2
    """Stop when the squared norm of the gradient is this share of its start; 0 runs all rounds."""
    log_every: PositiveInt = 10
    """Rounds from one logged point to the next."""
    compared_rounds: NonNegativeInt = 200
    """Rounds in which the other weighting runs beside at the same step, to see whether weights matter."""
