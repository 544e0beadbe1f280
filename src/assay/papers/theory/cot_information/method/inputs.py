"""Distributions of words."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from .agreements import check_member
from .automata import Automata


def uniform_words(
    count: int, length: int, alphabet: int, generator: np.random.Generator
) -> Int[ndarray, "N n"]:
    """Draw words of independent, equally likely symbols."""
    return generator.integers(0, alphabet, (count, length), dtype=np.int8)


def balanced_words(
    automata: Automata, reference: int, count: int, length: int, generator: np.random.Generator
) -> Int[ndarray, "N n"]:
    """Draw words of which the reference accepts each with probability 1/2, uniform among those of one answer.

    With b_t(s) the chance to get the wanted answer from state s at time t, the symbol a is drawn with
    probability proportional to b_{t+1}(delta(s, a)).

    Raises:
        ValueError: the reference is not in the class, or gives one answer to all words of this length.
    """
    check_member(automata, reference)
    table = automata.transitions[reference]
    chances = _chances(automata, reference, length)
    if not 0 < chances[0][0] < 1:
        raise ValueError(f"The reference {reference} gives one answer to all words of {length} symbols.")
    wanted = generator.random(count) < 0.5
    words = np.empty((count, length), dtype=np.int8)
    state = np.zeros(count, dtype=np.int64)
    for step in range(length):
        weights = chances[step + 1][table]  # chance of acceptance after each state and symbol
        both = np.stack([1 - weights, weights])
        totals = both.sum(2, keepdims=True)
        cumulative = np.cumsum(both / np.where(totals > 0, totals, 1), axis=2)
        drawn = generator.random(count)[:, None]
        rows = cumulative[wanted.astype(int), state]
        rows[:, -1] = 1.0  # against rounding
        words[:, step] = (drawn >= rows).sum(1)
        state = table[state, words[:, step]].astype(np.int64)
    return words


def acceptance(automata: Automata, reference: int, length: int) -> float:
    """Return the share of all words of a length that one automaton accepts."""
    return float(_chances(automata, reference, length)[0][0])


def _chances(automata: Automata, reference: int, length: int) -> list[Float[ndarray, " Q"]]:
    """Return the chance of acceptance from each state at each time 0..n."""
    chances = [automata.accepting[reference].astype(float)]
    for _ in range(length):
        chances.append(chances[-1][automata.transitions[reference]].mean(1))
    return chances[::-1]
