"""Consistent learners and their learning curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from .agreements import CHUNK_BYTES, Agreements, HypothesisClass, compare

Supervision = Literal["cot", "e2e", "mixed"]
Rule = Literal["worst", "mean", "first"]
TEST_INPUTS = 4000
"""Inputs on which a learning curve measures errors."""


def consistent_set(
    agreements: Agreements,
    sample: Int[ndarray, " m"],
    supervision: Supervision = "cot",
    traced: Bool[ndarray, " m"] | None = None,
) -> Bool[ndarray, " H"]:
    """Return which hypotheses are consistent with a sample.

    CoT-Cons: h(x_i) = (y_i, z_i) for all i. E2E-Cons: h_e2e(x_i) = y_i for all i. Mixed: the former where
    `traced`, the latter elsewhere.

    Args:
        agreements: of the class with the labels, on a pool of inputs.
        sample: numbers of inputs in the pool; none makes every hypothesis consistent.
        supervision: which labels the examples have.
        traced: for mixed supervision, which examples of the sample have a trace.
    """
    with_trace = traced_part(supervision, len(sample), traced)
    agree = agreements.unpack(agreements.both)[:, sample]
    agree_answers = agreements.unpack(agreements.answers)[:, sample]
    return np.asarray(np.where(with_trace, agree, agree_answers).all(1))


def erm_set(
    agreements: Agreements, sample: Int[ndarray, " m"], supervision: Literal["cot", "e2e"] = "cot"
) -> Bool[ndarray, " H"]:
    """Return the hypotheses with the least empirical risk: CoT-ERM or E2E-ERM, all ties."""
    packed = agreements.both if supervision == "cot" else agreements.answers
    hits = agreements.unpack(packed)[:, sample].sum(1)
    return np.asarray(hits == hits.max())


def traced_part(
    supervision: Supervision, samples: int, traced: Bool[ndarray, " m"] | None = None
) -> Bool[ndarray, " m"]:
    """Return which examples have a trace.

    Raises:
        ValueError: mixed supervision without saying which, or for another number of examples.
    """
    if supervision != "mixed":
        return np.full(samples, supervision == "cot")
    if traced is None or len(traced) != samples:
        raise ValueError(f"Mixed supervision needs to know which of the {samples} examples have a trace.")
    return traced


def eliminated_at(agreements: Agreements, traced: Bool[ndarray, " m"]) -> Int[ndarray, "H trials"]:
    """Return after how many examples each hypothesis is no longer consistent; m + 1 if it always is.

    The inputs of `agreements` are taken as trials of m examples each, one after the other. Everything about
    consistent learners on growing samples follows from these numbers.
    """
    length = len(traced)
    trials, rest = divmod(agreements.inputs, length)
    if rest or not trials:
        raise ValueError(f"{agreements.inputs} inputs are no whole number of samples of {length}.")
    found = np.empty((len(agreements), trials), dtype=np.int32)
    chunk = max(1, CHUNK_BYTES // (3 * agreements.inputs))
    for start in range(0, len(agreements), chunk):
        rows = slice(start, start + chunk)
        parts = (agreements.unpack(packed[rows]) for packed in (agreements.both, agreements.answers))
        agree, agree_answers = (part.reshape(-1, trials, length) for part in parts)
        differs = ~np.where(traced, agree, agree_answers)
        found[rows] = np.where(differs.any(2), differs.argmax(2) + 1, length + 1)
    return found


def risk_curve(
    eliminated: Int[ndarray, "H trials"], errors: Float[ndarray, " H"], samples: int, rule: Rule
) -> Float[ndarray, "trials steps"]:
    """Return the error of a consistent learner after 0, 1, ..., `samples` examples, in each trial.

    `worst` is the largest error in the consistent set, `mean` the average over it, `first` that of the
    consistent hypothesis with the lowest number.
    """
    count, trials = eliminated.shape
    shape = (trials, samples + 2)  # what goes out at 1, ..., samples + 1, and what stays
    cells = (np.arange(trials) * shape[1] + np.minimum(eliminated, samples + 1)).reshape(-1)
    spread = np.broadcast_to(errors[:, None], eliminated.shape).reshape(-1)
    if rule == "mean":
        sums = np.bincount(cells, spread, trials * shape[1]).reshape(shape)
        sizes = np.bincount(cells, minlength=trials * shape[1]).reshape(shape)
        return np.asarray(_from_the_end(np.cumsum, sums) / _from_the_end(np.cumsum, sizes))
    if rule == "worst":
        table = np.zeros(trials * shape[1])
        np.maximum.at(table, cells, spread)
        return np.asarray(_from_the_end(np.maximum.accumulate, table.reshape(shape)))
    numbers = np.broadcast_to(np.arange(count)[:, None], eliminated.shape).reshape(-1)
    lowest = np.full(trials * shape[1], count)
    np.minimum.at(lowest, cells, numbers)
    return np.asarray(errors[_from_the_end(np.minimum.accumulate, lowest.reshape(shape))])


def samples_needed(
    eliminated: Int[ndarray, "H trials"],
    errors: Float[ndarray, " H"],
    samples: int,
    eps: float,
    rule: Rule = "worst",
) -> Float[ndarray, " trials"]:
    """Return from how many examples on the error stays at most eps; inf where `samples` are not enough."""
    above = risk_curve(eliminated, errors, samples, rule) > eps
    last = samples - above[:, ::-1].argmax(1)
    needed = np.where(above.any(1), last + 1.0, 0.0)
    return np.where(above[:, -1], np.inf, needed)


@dataclass(frozen=True)
class Learner:
    """A consistent learner."""

    rule: Rule = "worst"
    """Which consistent hypothesis is taken."""
    supervision: Literal["cot", "e2e"] = "cot"
    """Whether its examples have traces."""


def learning_curve(
    hypotheses: HypothesisClass,
    reference: int,
    sampler: Callable[[int], Int[ndarray, "N n"]],
    ms: Sequence[int],
    learner: Learner,
    trials: int = 100,
) -> Float[ndarray, "trials ms"]:
    """Return the error after each number of examples, in each trial.

    Samples are nested: the first examples of a trial are the same for all numbers.

    Args:
        hypotheses: the class.
        reference: the number of h*.
        sampler: draws so many inputs.
        ms: numbers of examples.
        learner: which consistent hypothesis is taken, from which labels.
        trials: independent samples.
    """
    most = max(ms)
    errors = compare(hypotheses, reference, sampler(TEST_INPUTS)).errors()
    seen = compare(hypotheses, reference, sampler(trials * most))
    eliminated = eliminated_at(seen, traced_part(learner.supervision, most))
    return risk_curve(eliminated, errors, most, learner.rule)[:, list(ms)]


def _from_the_end(function: Callable[..., Any], table: ndarray) -> Any:
    """Accumulate what is eliminated later than m, for m = 0, 1, ...: from the last column to column m + 1."""
    return function(table[:, :0:-1], axis=1)[:, ::-1]
