"""One seed's experiment: programs h*, samples for each, and when every hypothesis is ruled out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.errors import InputError
from assay.papers.theory.cot_information.config import Autoregressive, Ideals, RandomAutomata
from assay.papers.theory.cot_information.method import (
    Automata,
    ConstantTraces,
    ExactAgreement,
    HypothesisClass,
    Labels,
    LinearAutoregressive,
    ProductClass,
    ShuffleIdeals,
    acceptance,
    balanced_words,
    compare,
    eliminated_at,
    enumerate_words,
    enumerated_agreement,
    erm_set,
    exact_agreement,
    random_automata,
    traced_part,
    uniform_words,
)

Size = Ideals | RandomAutomata | Autoregressive


@dataclass(frozen=True)
class World:
    """What the arms of one class share."""

    size: Size
    balance: bool
    labels: str
    decoys: int
    references: int
    repeats: int
    examples: int
    trace_share: float


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
        return balanced_words(_automata(hypotheses), reference, count, size.length, random)
    return uniform_words(count, size.length, size.alphabet, random)


def solve(size: Size, hypotheses: HypothesisClass, reference: int, balance: bool) -> ExactAgreement:
    """Return the exact agreement: by enumeration where a word has few bits, else by chains."""
    if isinstance(size, Autoregressive):
        if balance:
            raise InputError("--balance needs a class of automata: ideals or automata.")
        return enumerated_agreement(hypotheses, reference, enumerate_words(size.window, 2))
    return exact_agreement(_automata(hypotheses), reference, size.length, balanced=balance)


def draw_program(size: Size, hypotheses: HypothesisClass, balance: bool, random: np.random.Generator) -> int:
    """Draw h*, one with both answers where words are to be balanced.

    Raises:
        InputError: words are to be balanced, and a hundred programs have one answer each.
    """
    for _ in range(100):
        reference = int(random.integers(len(hypotheses)))
        if not balance or isinstance(size, Autoregressive):
            return reference
        if 0 < acceptance(_automata(hypotheses), reference, size.length) < 1:
            return reference
    raise InputError("Of 100 programs each gives one answer to all words: words cannot be balanced.")


def simulate(world: World, seed: int) -> list[dict[str, Any]]:
    """Return for each program: after how many examples each hypothesis is ruled out, and who is bad.

    The same words are seen with traces (`cot`), without (`e2e`), and with traces on a share (`mixed`).
    """
    random, decoys = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    hypotheses = build(world.size, random)
    found = []
    for _ in range(world.references):
        reference = draw_program(world.size, hypotheses, world.balance, random)
        exact = solve(world.size, hypotheses, reference, world.balance)
        words = draw_words(
            world.size, hypotheses, reference, world.repeats * world.examples, world.balance, random
        )
        labelled, row, errors = _label(world, hypotheses, reference, exact.errors, decoys)
        agreements = compare(labelled, row, words)
        found.append(
            {
                "agree": exact.agree,
                "errors": errors,
                "class_errors": exact.errors,
                "base_rate": exact.base_rate,
                **{
                    kind: eliminated_at(agreements, traced).astype(np.int16)
                    for kind, traced in _traced(world).items()
                },
            }
        )
    return found


def wrong_traces(world: World, seed: int, samples: int) -> float:
    """Return the mean error of CoT-ERM where one step of every trace is a state that no hypothesis has.

    Every hypothesis then has the empirical CoT risk 1, and the rule may return any.
    """
    random = np.random.default_rng(seed)
    hypotheses = build(world.size, random)
    risks = []
    for _ in range(world.references):
        reference = draw_program(world.size, hypotheses, world.balance, random)
        exact = solve(world.size, hypotheses, reference, world.balance)
        for _ in range(world.repeats):
            words = draw_words(world.size, hypotheses, reference, samples, world.balance, random)
            answers, traces = (part[0] for part in hypotheses.evaluate(np.array([reference]), words))
            step = random.integers(0, traces.shape[1], samples)
            traces[np.arange(samples), step] = -1
            found = compare(hypotheses, Labels(answers, traces), words, agnostic=True)
            kept = erm_set(found, np.arange(samples), "cot")
            risks.append(exact.errors[kept].mean())
    return float(np.mean(risks))


def _label(
    world: World,
    hypotheses: HypothesisClass,
    reference: int,
    errors: np.ndarray,
    random: np.random.Generator,
) -> tuple[HypothesisClass, int, np.ndarray]:
    """Return the class with the traces that the world gives it, the number of h* in it, and its errors."""
    if world.labels == "constant":
        return ConstantTraces(hypotheses), reference, errors
    if world.labels == "independent":
        others = _subset(hypotheses, random.choice(len(hypotheses), world.decoys, replace=False))
        product = ProductClass(others, hypotheses)
        return product, reference, np.tile(errors, world.decoys)
    return hypotheses, reference, errors


def _subset(hypotheses: HypothesisClass, rows: np.ndarray) -> Automata:
    automata = _automata(hypotheses)
    return Automata(automata.transitions[rows], automata.accepting[rows])


def _automata(hypotheses: HypothesisClass) -> Automata:
    automata: Automata | None = getattr(hypotheses, "automata", None)
    if automata is None:
        raise InputError("This needs a class of automata: ideals or automata.")
    return automata


def _traced(world: World) -> dict[str, np.ndarray]:
    """Return which examples have a trace, for each kind of supervision: at a share of 1/4, each fourth."""
    steps = np.floor(np.arange(world.examples + 1) * world.trace_share)
    return {
        "cot": traced_part("cot", world.examples),
        "e2e": traced_part("e2e", world.examples),
        "mixed": steps[1:] > steps[:-1],
    }
