"""What the arms of a seed share: programs h*, samples for each, and when every hypothesis is ruled out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assay.papers.theory.cot_information.config import Size
from assay.papers.theory.cot_information.method import (
    Automata,
    ConstantTraces,
    ExactAgreement,
    HypothesisClass,
    Labels,
    ProductClass,
    compare,
    eliminated_at,
    erm_set,
    traced_part,
)
from assay.papers.theory.cot_information.synthetic import (
    automata_of,
    build,
    draw_program,
    draw_words,
    solve,
)


@dataclass(frozen=True)
class Design:
    """What is simulated: a class, its traces, and how many programs and samples are drawn."""

    size: Size
    balance: bool
    labels: str
    decoys: int
    references: int
    repeats: int
    examples: int
    trace_share: float


@dataclass(frozen=True)
class Program:
    """One program h*: what is known of it exactly, and what samples of it showed.

    `cot`, `e2e` and `mixed` hold, for each kind of supervision, after how many examples each hypothesis is
    ruled out: int16 [hypotheses, repeats].
    """

    exact: ExactAgreement
    errors: np.ndarray
    """End-to-end error of each hypothesis of the class as its traces were changed: float64 [hypotheses]."""
    cot: np.ndarray
    e2e: np.ndarray
    mixed: np.ndarray

    def ruled_out(self, supervision: str) -> np.ndarray:
        """Return what samples with this kind of supervision showed."""
        found: np.ndarray = {"cot": self.cot, "e2e": self.e2e, "mixed": self.mixed}[supervision]
        return found


def simulate(design: Design, seed: int) -> list[Program]:
    """Draw programs and samples, and find after how many examples each hypothesis is ruled out.

    The same words are seen with traces (`cot`), without (`e2e`), and with traces on a share (`mixed`).
    """
    random, decoys = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    hypotheses = build(design.size, random)
    found = []
    for _ in range(design.references):
        reference = draw_program(design.size, hypotheses, design.balance, random)
        exact = solve(design.size, hypotheses, reference, design.balance)
        words = draw_words(
            design.size, hypotheses, reference, design.repeats * design.examples, design.balance, random
        )
        labelled, row, errors = _label(design, hypotheses, reference, exact.errors, decoys)
        agreements = compare(labelled, row, words)
        ruled_out = {
            kind: eliminated_at(agreements, traced).astype(np.int16)
            for kind, traced in _traced(design).items()
        }
        found.append(Program(exact, errors, **ruled_out))
    return found


def wrong_traces(design: Design, seed: int, samples: int) -> float:
    """Return the mean error of CoT-ERM where one step of every trace is a state that no hypothesis has.

    Every hypothesis then has the empirical CoT risk 1, and the rule may return any.
    """
    random = np.random.default_rng(seed)
    hypotheses = build(design.size, random)
    risks = []
    for _ in range(design.references):
        reference = draw_program(design.size, hypotheses, design.balance, random)
        exact = solve(design.size, hypotheses, reference, design.balance)
        for _ in range(design.repeats):
            words = draw_words(design.size, hypotheses, reference, samples, design.balance, random)
            answers, traces = (part[0] for part in hypotheses.evaluate(np.array([reference]), words))
            step = random.integers(0, traces.shape[1], samples)
            traces[np.arange(samples), step] = -1
            found = compare(hypotheses, Labels(answers, traces), words, agnostic=True)
            kept = erm_set(found, np.arange(samples), "cot")
            risks.append(exact.errors[kept].mean())
    return float(np.mean(risks))


def _label(
    design: Design,
    hypotheses: HypothesisClass,
    reference: int,
    errors: np.ndarray,
    random: np.random.Generator,
) -> tuple[HypothesisClass, int, np.ndarray]:
    """Return the class with the traces that the design gives it, the number of h* in it, and its errors."""
    if design.labels == "constant":
        return ConstantTraces(hypotheses), reference, errors
    if design.labels == "independent":
        others = _subset(hypotheses, random.choice(len(hypotheses), design.decoys, replace=False))
        product = ProductClass(others, hypotheses)
        return product, reference, np.tile(errors, design.decoys)
    return hypotheses, reference, errors


def _subset(hypotheses: HypothesisClass, rows: np.ndarray) -> Automata:
    automata = automata_of(hypotheses)
    return Automata(automata.transitions[rows], automata.accepting[rows])


def _traced(design: Design) -> dict[str, np.ndarray]:
    """Return which examples have a trace, for each kind of supervision: at a share of 1/4, each fourth."""
    steps = np.floor(np.arange(design.examples + 1) * design.trace_share)
    return {
        "cot": traced_part("cot", design.examples),
        "e2e": traced_part("e2e", design.examples),
        "mixed": steps[1:] > steps[:-1],
    }
