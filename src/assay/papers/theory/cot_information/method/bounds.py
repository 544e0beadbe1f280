"""How many examples suffice, and how many are not enough: the paper's five results, in natural logs."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta is a probability of failure, between 0 and 1, not {delta}.")


def sufficient_samples(information: float, hypotheses: int, delta: float = 0.05) -> float:
    """Return m = (log|H| + log(1/delta)) / I, rounded up and at least 1 (result 1); inf where I is 0.

    With so many examples every consistent hypothesis has an error of at most eps, with probability
    1 - delta: one bad hypothesis survives m examples with probability exp(-m I), and there are |H|.
    """
    _check_delta(delta)
    if information <= 0:
        return math.inf
    return float(max(1, math.ceil((math.log(hypotheses) + math.log(1 / delta)) / information)))


def mixed_sufficient_samples(
    information: float, e2e_information: float, hypotheses: int, share: float, delta: float = 0.05
) -> float:
    """Return m for which share m examples with traces and (1 - share) m without suffice.

    m (share I + (1 - share) I_e2e) >= log|H| + log(1/delta), by the proof of result 1. The rule is inferred,
    not read in the paper.

    Raises:
        ValueError: the share is no fraction.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"The share of examples with traces is between 0 and 1, not {share}.")
    parts = [(share, information), (1 - share, e2e_information)]
    mixed = sum(part * value for part, value in parts if part)  # 0 * inf would be nan
    return sufficient_samples(mixed, hypotheses, delta)


def indistinguishable_samples(information: float, delta: float = 0.05) -> float:
    """Return log(1/delta) / I (result 4).

    With fewer examples, with probability delta at least, some hypothesis that errs on more than eps agrees
    with the reference on the whole sample.
    """
    _check_delta(delta)
    return math.inf if information <= 0 else math.log(1 / delta) / information


def largest_confused_sample(information: float, delta: float = 0.05) -> int:
    """Return the largest whole m below log(1/delta) / I; 0 says that the bound is empty."""
    bound = indistinguishable_samples(information, delta)
    if math.isinf(bound):
        raise ValueError("With an information of 0 no number of examples tells the hypotheses apart.")
    return max(0, math.ceil(bound) - 1)


def minimax_error(samples: int, eps: Float[ndarray, " eps"], information: Float[ndarray, " eps"]) -> float:
    """Return 1/2 sup_eps eps exp(-m I(eps)): no learner has a smaller worst expected error (result 4)."""
    return float(0.5 * np.max(eps * np.exp(-samples * information), initial=0.0))


def infinite_class_samples(
    information: float, vc: float, delta: float = 0.05, constant: float = 1.0
) -> float:
    """Return constant (1/I + 1) (VC log(1/I + 1) + log(1/delta)) (result 2). The paper gives no constant.

    VC is the dimension of the losses L_cot(H) = {(x, y, z) -> 1[h(x) != (y, z)]}.
    """
    _check_delta(delta)
    if information <= 0:
        return math.inf
    inverse = 1 / information + 1
    return constant * inverse * (vc * math.log(inverse) + math.log(1 / delta))


def agnostic_samples(information: float, vc: float, delta: float = 0.05, constant: float = 1.0) -> float:
    """Return constant (VC + log(1/delta)) / I_ag(eps)^2 (result 3); inf where I_ag is 0: traces may hurt."""
    _check_delta(delta)
    return math.inf if information <= 0 else constant * (vc + math.log(1 / delta)) / information**2


def fano_samples(packing: int, capacity: float, mean_information: float) -> float:
    """Return log M / (2 (C_Q sup E[I] + log 2)) (result 5, experimental).

    With fewer examples through a noisy channel Q, some reference is missed by eps/2 with probability 1/2. The
    grouping of log 2 is as the text was read; it may belong elsewhere.

    Args:
        packing: M, hypotheses that err on more than eps from one another.
        capacity: C_Q = max KL(Q(.|a) || Q(.|b)).
        mean_information: sup over distributions on the packing of E I(h1, h2).
    """
    return math.log(packing) / (2 * (capacity * mean_information + math.log(2)))
