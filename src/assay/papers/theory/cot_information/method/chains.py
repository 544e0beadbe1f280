"""Exact agreement by enumeration and by Markov chains over the states of two automata."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from .agreements import HypothesisClass, check_member, compare
from .automata import Automata

CHUNK_CELLS = 2**22
"""Cells of the product chain that are held at a time."""


@dataclass(frozen=True)
class ExactAgreement:
    """What is known of each hypothesis without sampling."""

    agree: Float[ndarray, " H"]
    """P[h(x) = h*(x)], answer and trace."""
    errors: Float[ndarray, " H"]
    """R_e2e(h) = P[h_e2e(x) != h*_e2e(x)]."""
    base_rate: float
    """P of the reference's most frequent answer."""


def enumerate_words(length: int, alphabet: int) -> Int[ndarray, "words n"]:
    """Return all words of a length; there are alphabet^length of them.

    Raises:
        ValueError: more than 2^22 words.
    """
    if alphabet**length > 2**22:
        raise ValueError(f"{alphabet}^{length} words are too many to enumerate; use a sample or a chain.")
    return np.array(list(itertools.product(range(alphabet), repeat=length)), dtype=np.int8)


def enumerated_agreement(
    hypotheses: HypothesisClass,
    reference: int,
    words: Int[ndarray, "words n"],
    probabilities: Float[ndarray, " words"] | None = None,
) -> ExactAgreement:
    """Return the exact agreement over all inputs there are, by default equally likely."""
    found = compare(hypotheses, reference, words, weights=probabilities)
    rate = found.base_rate
    if probabilities is not None:
        answers = hypotheses.evaluate(np.array([reference]), words)[0][0]
        rate = float(max(probabilities[answers == answer].sum() for answer in np.unique(answers)))
    return ExactAgreement(found.agree(), found.errors(), rate)


def exact_agreement(
    automata: Automata,
    reference: int,
    length: int,
    probabilities: Float[ndarray, " A"] | None = None,
    balanced: bool = False,
) -> ExactAgreement:
    """Return the exact agreement of all automata with one of them on words of independent symbols.

    Traces agree iff both automata visit the same states, so a chain on the common state suffices, with an
    absorbing state "diverged" that is left out:

        p_{t+1}(s') = sum over a with delta(s, a) = delta*(s, a) = s' of p_t(s) P(a).

    The error needs the full product chain over pairs of states.

    Args:
        automata: the class.
        reference: the number of h*.
        length: n.
        probabilities: of each symbol, uniform by default.
        balanced: words are drawn so that both answers of h* are equally likely.

    Raises:
        ValueError: the reference is not in the class, or `balanced` though h* has one answer only.
    """
    check_member(automata, reference)
    symbol = np.full(automata.alphabet, 1 / automata.alphabet) if probabilities is None else probabilities
    accepting = automata.accepting[reference]
    states = np.zeros(automata.states)
    states[0] = 1.0
    for _ in range(length):
        states = _step(states, automata.transitions[reference], symbol)
    accepted = float(states[accepting].sum())
    weight = np.ones(automata.states)
    if balanced:
        if not 0 < accepted < 1:
            raise ValueError(f"The reference {reference} gives one answer to all words of {length} symbols.")
        weight = np.where(accepting, 0.5 / accepted, 0.5 / (1 - accepted))
    agree = _common_chain(automata, reference, length, symbol, weight)
    errors = _product_chain(automata, reference, length, symbol, weight)
    return ExactAgreement(agree, errors, 0.5 if balanced else max(accepted, 1 - accepted))


def _step(
    states: Float[ndarray, " Q"], table: Int[ndarray, "Q A"], symbol: Float[ndarray, " A"]
) -> Float[ndarray, " Q"]:
    """Advance the distribution over the states of one automaton by one symbol."""
    return np.bincount(
        table.reshape(-1).astype(np.int64), (states[:, None] * symbol).reshape(-1), minlength=len(states)
    )


def _common_chain(
    automata: Automata,
    reference: int,
    length: int,
    symbol: Float[ndarray, " A"],
    weight: Float[ndarray, " Q"],
) -> Float[ndarray, " H"]:
    """Return P[h(x) = h*(x)]: no divergence, and the last state accepts in both or in neither."""
    own = automata.transitions[reference]
    kept = (automata.transitions == own) * symbol
    # one matrix a hypothesis: from a common state to the next
    matrices = np.zeros((len(automata), automata.states, automata.states))
    for state, letter in itertools.product(range(automata.states), range(automata.alphabet)):
        matrices[:, state, own[state, letter]] += kept[:, state, letter]
    common = np.zeros((len(automata), 1, automata.states))
    common[:, 0, 0] = 1.0
    for _ in range(length):
        common = common @ matrices
    same = (automata.accepting == automata.accepting[reference]) * weight
    return np.asarray((common[:, 0] * same).sum(1))


def _product_chain(
    automata: Automata,
    reference: int,
    length: int,
    symbol: Float[ndarray, " A"],
    weight: Float[ndarray, " Q"],
) -> Float[ndarray, " H"]:
    """Return P[h_e2e(x) != h*_e2e(x)] over pairs of states, a chunk of automata at a time."""
    own, accepting = automata.transitions[reference].astype(np.int64), automata.accepting[reference]
    q = automata.states
    errors = []
    chunk = max(1, CHUNK_CELLS // (q * q))
    for start in range(0, len(automata), chunk):
        tables = automata.transitions[start : start + chunk].astype(np.int64)
        count = len(tables)
        offsets = np.arange(count)[:, None, None] * (q * q)
        following = [
            (offsets + tables[:, :, None, letter] * q + own[None, None, :, letter]).reshape(-1)
            for letter in range(automata.alphabet)
        ]
        pairs = np.zeros(count * q * q)
        pairs[:: q * q] = 1.0
        for _ in range(length):
            pairs = np.sum(
                [
                    np.bincount(cells, pairs * chance, minlength=len(pairs))
                    for cells, chance in zip(following, symbol, strict=True)
                ],
                axis=0,
            )
        differ = automata.accepting[start : start + chunk, :, None] != accepting
        errors.append((pairs.reshape(count, q, q) * differ * weight).sum((1, 2)))
    return np.concatenate(errors)
