"""Classes of hypotheses by their sizes, programs and words drawn from them, and words with their traces."""

from __future__ import annotations

import numpy as np

from assay.errors import InputError
from assay.papers.theory.cot_information.config import Autoregressive, Ideals, RandomAutomata, Size
from assay.papers.theory.cot_information.method import (
    Automata,
    ExactAgreement,
    HypothesisClass,
    LinearAutoregressive,
    ShuffleIdeals,
    Traced,
    acceptance,
    balanced_words,
    enumerate_words,
    enumerated_agreement,
    exact_agreement,
    random_automata,
    uniform_words,
)

FILLER = "."
"""The token that stands for each step of a trace that says nothing."""


def build(size: Size, random: np.random.Generator) -> HypothesisClass:
    """Return the class."""
    if isinstance(size, Ideals):
        return ShuffleIdeals(size.alphabet, size.pattern)
    if isinstance(size, RandomAutomata):
        return random_automata(size.states, size.alphabet, size.count, random)
    return LinearAutoregressive(size.window, size.steps)


def draw_words(
    size: Size,
    hypotheses: HypothesisClass,
    reference: int,
    count: int,
    balance: bool,
    random: np.random.Generator,
) -> np.ndarray:
    """Draw words [count, length] of a class's inputs.

    Raises:
        InputError: words are to be balanced that cannot be.
    """
    if isinstance(size, Autoregressive):
        if balance:
            raise InputError("--balance needs a class of automata: ideals or automata.")
        return uniform_words(count, size.window, 2, random)
    if balance:
        return balanced_words(automata_of(hypotheses), reference, count, size.length, random)
    return uniform_words(count, size.length, size.alphabet, random)


def solve(size: Size, hypotheses: HypothesisClass, reference: int, balance: bool) -> ExactAgreement:
    """Return the exact agreement: by enumeration where a word has few bits, else by chains."""
    if isinstance(size, Autoregressive):
        if balance:
            raise InputError("--balance needs a class of automata: ideals or automata.")
        return enumerated_agreement(hypotheses, reference, enumerate_words(size.window, 2))
    return exact_agreement(automata_of(hypotheses), reference, size.length, balanced=balance)


def draw_program(size: Size, hypotheses: HypothesisClass, balance: bool, random: np.random.Generator) -> int:
    """Draw h*, one with both answers where words are to be balanced.

    Raises:
        InputError: words are to be balanced, and a hundred programs have one answer each.
    """
    for _ in range(100):
        reference = int(random.integers(len(hypotheses)))
        if not balance or isinstance(size, Autoregressive):
            return reference
        if 0 < acceptance(automata_of(hypotheses), reference, size.length) < 1:
            return reference
    raise InputError("Of 100 programs each gives one answer to all words: words cannot be balanced.")


def words_with_traces(size: Ideals, count: int, labels: str, random: np.random.Generator) -> list[Traced]:
    """Draw distinct words with both answers equally likely, and their traces."""
    ideals = ShuffleIdeals(size.alphabet, size.pattern)
    reference, other = random.choice(len(ideals), 2, replace=False)
    drawn = balanced_words(ideals.automata, int(reference), 3 * count, size.length, random)
    words = drawn[np.sort(np.unique(drawn, axis=0, return_index=True)[1])][:count]
    if len(words) < count:
        raise InputError(f"There are too few words of {size.length} symbols for {count} different ones.")
    answers, traces = ideals.evaluate(np.array([reference]), words)
    if labels == "independent":
        traces = ideals.evaluate(np.array([other]), words)[1]
    return [
        Traced(
            " ".join(chr(ord("a") + symbol) for symbol in word),
            " ".join(FILLER if labels == "filler" else str(state) for state in trace),
            "yes" if answer else "no",
        )
        for word, trace, answer in zip(words, traces[0], answers[0], strict=True)
    ]


def automata_of(hypotheses: HypothesisClass) -> Automata:
    automata: Automata | None = getattr(hypotheses, "automata", None)
    if automata is None:
        raise InputError("This needs a class of automata: ideals or automata.")
    return automata
