"""Examples for language models: the user's own, or words with the visited states of an automaton."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assay.errors import InputError
from assay.papers.theory.cot_information.config import Finetune, Ideals
from assay.papers.theory.cot_information.method import ShuffleIdeals, Traced, balanced_words, base_rate
from assay.papers.theory.cot_information.records import Row, read_rows
from assay.trial import Trial

FILLER = "."
"""The token that stands for each step of a trace that says nothing."""


@dataclass(frozen=True)
class Examples:
    """Examples that train, choose the learning rate, and measure, and all texts for a tokenizer."""

    train: list[Traced]
    validation: list[Traced]
    test: list[Traced]
    texts: list[str]
    base_rate: float


def draw_examples(config: Finetune, trial: Trial) -> Examples:
    """Draw words, or deal out the rows of a table."""
    random = trial.numpy("examples")
    if config.traces.source is not None:
        return _own(config, trial)
    size = config.ideals
    counts = (config.examples, config.test_examples // 2, config.test_examples)
    words = _words(size, sum(counts), config.labels, random)
    texts = [f"{each.input} {each.trace} {each.answer} {FILLER}" for each in words]
    return _parts(words, counts, texts)


def _words(size: Ideals, count: int, labels: str, random: np.random.Generator) -> list[Traced]:
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


def _own(config: Finetune, trial: Trial) -> Examples:
    """Deal out a table's rows; a published test split stays what it is."""
    traces = config.traces
    assert traces.source is not None
    if config.labels == "independent":
        raise InputError("Traces of another program are for words; use --labels own or filler with --traces.")
    rows = read_rows(traces, traces.source)
    tests = read_rows(traces, traces.source, test=True)
    if len(rows) < 8:
        raise InputError(f"{traces.source} has {len(rows)} rows; give 8 or more.")
    numbers = trial.numpy("rows").permutation(len(rows))
    shuffled = [rows[number] for number in numbers]
    held = min(config.test_examples, len(rows) // 2) if not tests else 0
    held_out = tests[: config.test_examples] or shuffled[:held]
    rest = shuffled[held:]
    chosen = max(1, min(config.test_examples // 2, len(rest) // 4))
    train = rest[chosen : chosen + config.examples]
    if not tests:
        trial.resplit = max(trial.resplit, held / len(train))
    made = [_traced(row, config.labels) for row in (*train, *rest[:chosen], *held_out)]
    texts = [f"{each.input} {each.trace} {each.answer} {FILLER}" for each in made]
    return _parts(made, (len(train), chosen, len(held_out)), texts)


def _traced(row: Row, labels: str) -> Traced:
    steps = row.record.trace if isinstance(row.record.trace, tuple) else str(row.record.trace).split(" ")
    trace = " ".join(FILLER if labels == "filler" else str(step) for step in steps)
    return Traced(row.input, trace, str(row.record.answer))


def _parts(examples: list[Traced], counts: tuple[int, int, int], texts: list[str]) -> Examples:
    first, second = counts[0], counts[0] + counts[1]
    test = examples[second : second + counts[2]]
    rate = base_rate(np.array([example.answer for example in test]))
    return Examples(examples[:first], examples[first:second], test, texts, rate)
