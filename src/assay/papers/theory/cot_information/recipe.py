"""How CoT information is run: estimated for a class or a pool, and checked with consistent learners."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from assay.errors import InputError, refusals
from assay.paper import Rate, Value
from assay.papers.theory.cot_information.config import Estimate, Finetune, Learn
from assay.papers.theory.cot_information.inputs import Examples, own_examples, read_pool
from assay.papers.theory.cot_information.method import (
    CoTInformation,
    Rule,
    cot_information,
    exact_information,
    information_of,
    largest_confused_sample,
    mixed_sufficient_samples,
    risk_curve,
    samples_needed,
)
from assay.papers.theory.cot_information.stages import Design, Program, simulate, wrong_traces
from assay.papers.theory.cot_information.synthetic import (
    build,
    draw_program,
    draw_words,
    solve,
    words_with_traces,
)
from assay.trial import Trial

# --- estimate -----------------------------------------------------------------------------------


def estimate(config: Estimate, trial: Trial) -> dict[str, Value]:
    """Estimate the curve for your candidates, or for a class by name, and predict sample sizes."""
    with refusals():
        curve = of_candidates(config, trial) if config.traces.source else of_class(config, trial)
        point = curve.at(config.eps)
        sizes = {kind: curve.sample_size(config.eps, config.delta, kind) for kind in ("cot", "e2e")}
    trial.progress(curve.describe(config.eps))
    trial.save("information", curve)
    usable, usable_e2e = point.usable("cot"), point.usable("e2e")
    return {
        "information": _finite(point.info),
        "information_lower": _finite(point.lower),
        "value_ratio": _finite(usable / config.eps) if config.eps else None,
        "information_gain": _finite(usable / usable_e2e) if 0 < usable_e2e < math.inf else None,
        "predicted_cot": _finite(sizes["cot"]),
        "predicted_e2e": _finite(sizes["e2e"]),
        "base_rate": curve.base_rate,
    }


def of_candidates(config: Estimate, trial: Trial) -> CoTInformation:
    """Compare candidates with your examples, or with one of themselves."""
    pool, labels, about = read_pool(config, trial)
    reference = config.reference_name or labels
    try:
        agreements = pool.agreements(reference, agnostic=config.agnostic)
    except ValueError as error:
        if "in the class" not in str(error):
            raise
        raise InputError(
            f"{error} Add it to --candidate-folder, take a candidate as the reference with --reference-name,"
            " or go on without one with --agnostic."
        ) from None
    curve = information_of(
        agreements.shuffled(trial.numpy("split")),
        thresholds(config),
        split=config.split,
        confidence=config.confidence,
        agnostic=config.agnostic,
        names=pool.names,
    )
    return _about(curve, about | {"reference": config.reference_name or config.traces.source})


def of_class(config: Estimate, trial: Trial) -> CoTInformation:
    """Compute or estimate the curve of a class that is known by name."""
    if config.candidate_folder or config.reference_name:
        raise InputError("--candidate-folder and --reference-name need --traces: the inputs to compare on.")
    random, eps = trial.numpy("class"), thresholds(config)
    size = getattr(config, config.class_name)
    hypotheses = build(size, random)
    row = config.reference_row
    if row == -1:
        row = draw_program(size, hypotheses, config.balance, random)
    about = {"class": config.class_name, "reference": row, "balanced": config.balance}
    if config.exact:
        return _about(exact_information(solve(size, hypotheses, row, config.balance), eps), about)
    words = draw_words(size, hypotheses, row, config.word_count, config.balance, random)
    curve = cot_information(hypotheses, row, words, eps, split=config.split, confidence=config.confidence)
    return _about(curve, about)


def thresholds(config: Estimate) -> tuple[float, ...] | None:
    """Return the errors at which the curve is read, that of the summary among them; None for all."""
    return (*config.eps_grid, config.eps) if config.eps_grid else None


# --- learn --------------------------------------------------------------------------------------


def learn(config: Learn, trial: Trial) -> dict[str, Value]:
    """Count how many examples a consistent learner needs, and hold the bounds against it."""
    check_learn(config)
    design = Design(
        size=getattr(config, config.family),
        balance=config.balance,
        labels=config.labels if config.labels != "wrong" else "own",
        decoys=config.decoys,
        references=config.references,
        repeats=config.repeats,
        examples=config.most_examples,
        trace_share=config.trace_share,
    )
    seed = int(trial.numpy("world").integers(2**62))
    trial.count("words", config.references * config.repeats * config.most_examples)
    if config.labels == "wrong":
        return {"erm_error": trial.once("wrong traces", wrong_traces, design, seed, config.erm_examples)}
    programs = trial.once("world", simulate, design, seed)
    needed: dict[Rule, list[np.ndarray]] = {"worst": [], "mean": [], "first": []}
    found: dict[str, list[Any]] = {name: [] for name in ("violated", "confused", "floor", "erm")}
    for program in programs:
        out, errors = program.ruled_out(config.supervision), program.errors
        for rule, counts in needed.items():
            counts.append(samples_needed(out, errors, config.most_examples, config.eps, rule))
        enough, few = bounds_of(config, program)
        bad = errors > config.eps
        found["violated"].append((out[bad] > enough).any(0))
        found["confused"].append((out[bad] > few).any(0))
        found["floor"].append(few)
        found["erm"].append(risk_curve(out, errors, config.most_examples, "mean")[:, config.erm_examples])
    _log_curve(config, programs, trial)
    trial.save("information", curve_of(programs[0]))
    return {
        **{f"samples_{rule}": _geometric(np.concatenate(counts)) for rule, counts in needed.items()},
        "violations": _rate(found["violated"]),
        "confusions": _rate(found["confused"]),
        "floor_samples": float(np.mean(found["floor"])),
        "erm_error": float(np.mean(found["erm"])),
        "base_rate": float(np.mean([program.exact.base_rate for program in programs])),
        **information_metrics(config, programs),
    }


def check_learn(config: Learn) -> None:
    """Refuse options that are out of their range.

    Raises:
        InputError: names the option and what it may be.
    """
    ranges: dict[str, tuple[float, bool, str]] = {
        "most-examples": (config.most_examples, 1 <= config.most_examples < 2**15 - 1, "1 to 32766"),
        "erm-examples": (
            config.erm_examples,
            1 <= config.erm_examples <= config.most_examples,
            f"1 to --most-examples ({config.most_examples})",
        ),
    }
    for name, (given, fits, expected) in ranges.items():
        if not fits:
            raise InputError(f"--{name} is {given:g}; it must be {expected}.")


def curve_of(program: Program) -> CoTInformation:
    """Return the exact curve around one program."""
    return exact_information(program.exact)


def bounds_of(config: Learn, program: Program) -> tuple[int, int]:
    """Return how many examples suffice by result 1, and how many do not by result 4."""
    point, count = curve_of(program).at(config.eps), len(program.errors)
    informative = config.labels == "own" and config.supervision != "e2e"
    share = {"cot": 1.0, "e2e": 0.0, "mixed": config.trace_share}[config.supervision] if informative else 0.0
    enough = mixed_sufficient_samples(point.info, point.e2e_info, count, share, config.delta)
    if enough > config.most_examples:
        raise InputError(
            f"Result 1 asks for {enough:.0f} examples; raise --most-examples above {config.most_examples}."
        )
    if config.supervision == "mixed":  # result 4 is about samples of one kind
        return math.ceil(math.ceil(enough * share) / share), 0  # so many that the share is met in full
    return int(enough), largest_confused_sample(point.info if informative else point.e2e_info, config.delta)


def information_metrics(config: Learn, programs: list[Program]) -> dict[str, Value]:
    """Return the information at eps, what a trace is worth, and how far I(eps) stays above eps."""
    curves = [curve_of(program) for program in programs]
    points = [curve.at(config.eps) for curve in curves]
    if any(math.isinf(point.info) for point in points):  # nobody is bad, or no bad hypothesis ever agrees
        return dict.fromkeys(("information", "value_ratio", "information_gain", "information_slack"))
    slack = [np.min((curve.info - curve.eps)[curve.witness >= 0]) for curve in curves]
    gains = [point.info / point.e2e_info for point in points]
    return {
        "information": float(np.mean([point.info for point in points])),
        "value_ratio": float(np.mean([point.info for point in points]) / config.eps),
        "information_gain": float(np.exp(np.mean(np.log(gains)))),
        "information_slack": float(min(slack)),
    }


def across(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, Value]:
    """Compare the measured ratio of sample sizes with that of the informations, on each class of ideals."""
    apart = []
    for where in ("-balanced", "-short", "-binary"):
        e2e, cot = arms[f"e2e{where}"], arms[f"cot{where}"]
        if None in (e2e["samples_worst"], cot["samples_worst"], cot["information_gain"]):
            return {"prediction_error": None}
        apart.append(math.log(e2e["samples_worst"] / cot["samples_worst"] / cot["information_gain"]))
    return {"prediction_error": float(np.mean(np.abs(apart)))}


def _log_curve(config: Learn, programs: list[Program], trial: Trial) -> None:
    rules: tuple[Rule, ...] = ("worst", "mean")
    curves = [
        risk_curve(program.ruled_out(config.supervision), program.errors, config.most_examples, rule).mean(0)
        for rule in rules
        for program in programs
    ]
    worst, mean = np.array(curves).reshape(2, len(programs), -1).mean(1)
    for power in range(int(math.log2(config.most_examples)) + 1):
        trial.log(2**power, worst=float(worst[2**power]), mean=float(mean[2**power]))


# --- finetune -----------------------------------------------------------------------------------


def finetune(config: Finetune, trial: Trial) -> dict[str, Value]:
    """Train a language model to write traces and answers, or answers alone, and let it answer by itself."""
    from assay.papers.theory.cot_information.training import train_writer  # it imports transformers

    with refusals():
        parts = examples_of(config, trial)
    trial.count("training_examples", len(parts.train))
    trial.count("gradient_steps", config.steps)
    tuned = trial.tune(
        config.learning_rates,
        fit=lambda rate: train_writer(config, parts, rate, trial),
        metric=lambda writer: writer.score(parts.validation),
    )
    writer = tuned.fitted
    trial.save("writer", writer)
    return {
        "exact_match": writer.score(parts.test),
        "training_match": writer.score(parts.train[: len(parts.test)]),
        "base_rate": parts.base_rate,
    }


def examples_of(config: Finetune, trial: Trial) -> Examples:
    """Return your examples, or words with the visited states of an automaton."""
    if config.traces.source is not None:
        return own_examples(config, trial)
    counts = (config.examples, config.test_examples // 2, config.test_examples)
    words = words_with_traces(config.ideals, sum(counts), config.labels, trial.numpy("examples"))
    return Examples.of(words, counts)


# --- small things -------------------------------------------------------------------------------


def _about(curve: CoTInformation, about: dict[str, Any]) -> CoTInformation:
    return dataclasses.replace(curve, about=about)


def _geometric(counts: np.ndarray) -> float | None:
    """Return the geometric mean of numbers of examples, of which one at least is always looked at."""
    return None if np.isinf(counts).any() else float(np.exp(np.log(np.maximum(counts, 1)).mean()))


def _rate(outcomes: list[np.ndarray]) -> Rate:
    every = np.concatenate(outcomes)
    return Rate(int(every.sum()), len(every))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
