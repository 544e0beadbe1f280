"""How ESB is run: any recogniser on any sets, and one for all sets against those tuned to one."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from assay.errors import InputError
from assay.paper import Value
from assay.papers.speech.esb import finetuning, sources
from assay.papers.speech.esb.config import Compare, Domains, Finetuning, Score, Training, Transcribe
from assay.papers.speech.esb.method import (
    Benchmark,
    BenchmarkResult,
    Recogniser,
    SpeechDataset,
    Utterance,
    load_system,
)
from assay.papers.speech.esb.recogniser import SmallRecogniser, train
from assay.papers.speech.esb.spoken import DOMAINS
from assay.trial import Trial


def domains(config: Domains, trial: Trial) -> dict[str, Value]:
    """Train one recogniser on all sets together, or one for each, and score them on all sets."""
    training, tests = training_and_tests(config, trial)
    if config.recogniser == "frozen":
        frozen = open_system(config.frozen, "--frozen", trial)
        tests = [replace(found, utterances=found.utterances[: config.frozen_utterances]) for found in tests]
        return measured(Benchmark(tests, sample=5).run(frozen, batch_seconds=config.batch_seconds), trial)
    if config.recogniser == "one":
        system = trained(pooled(training), "one system", options_of(config).steps, config, trial)
        trial.save("recogniser", system)
        result = Benchmark(tests).run(system, batch_seconds=config.batch_seconds, name="one system")
        return measured(result, trial)
    systems = one_for_each(training, config, trial)
    if config.recogniser == "exchanged":
        systems = [*systems[1:], systems[0]]
    # No tuned system may transcribe all sets, so each has a benchmark of one set.
    alone = [
        Benchmark([found]).run(system, batch_seconds=config.batch_seconds)
        for found, system in zip(tests, systems, strict=True)
    ]
    return measured(BenchmarkResult(config.recogniser, tuple(part.sets[0] for part in alone)), trial)


def transcribe(config: Transcribe, trial: Trial) -> dict[str, Value]:
    """Transcribe sets with a recogniser, score it, and compare it with another run where one is given."""
    system = open_system(config.system, "--system", trial, config.dtype, config.beams)
    other = None if config.against is None else BenchmarkResult.load(config.against)
    benchmark = Benchmark(
        test_sets(config, trial), trial.seed, chunk_seconds=config.chunk_seconds, sample=config.rerun
    )
    result = benchmark.run(
        system, batch_seconds=config.batch_seconds, name=config.system, progress=trial.progress
    )
    trial.save("results", result)
    if other is not None:
        trial.save("comparison", compared(result, other, "orthographic", 2000))
    return measured(result, None)


def score(config: Score, trial: Trial) -> dict[str, Value]:
    """Score the transcripts of an earlier run again: with this normaliser, or after corrections."""
    result = BenchmarkResult.load(required(config.results, "--results"))
    trial.save("results", result)
    return measured(result, None)


def compare(config: Compare, trial: Trial) -> dict[str, Value]:
    """Compare two runs on the same utterances by paired bootstrap."""
    first = BenchmarkResult.load(required(config.first, "--first"))
    second = BenchmarkResult.load(required(config.second, "--second"))
    found = compared(first, second, config.rendering, config.draws)
    trial.save("comparison", found)
    macro = found["macro"]
    return {"difference": macro["value"], "difference_low": macro["low"], "difference_high": macro["high"]}


# --- sets ---------------------------------------------------------------------------------------


def training_and_tests(config: Domains, trial: Trial) -> tuple[list[SpeechDataset], list[SpeechDataset]]:
    """Return training and test sets of the same names, at least two.

    Raises:
        InputError: there are fewer, or training sets lack.
    """
    if config.sets or config.training_sets:
        training, tests = (sources.open_sets(written) for written in (config.training_sets, config.sets))
    else:
        loaded = config.data.load()
        if "audio" not in loaded.rows.column_names:
            return sources.spoken_sets(loaded, config.spoken, trial)
        rows, held_out = loaded.rows, loaded.test
        if held_out is None:
            groups = "group" if "group" in rows.column_names else None
            split = trial.split(rows, test=config.test, stratify=groups)
            rows, held_out = split.train, split.test
        training, tests = (sources.recorded_sets(loaded, part, "all") for part in (rows, held_out))
    names = [found.name for found in training], [found.name for found in tests]
    if names[0] != names[1] or len(tests) < 2:
        raise InputError(
            f"Training sets {names[0]} and test sets {names[1]}: give two or more of the same names, with"
            " --data.group for the column that names the set, or --training-sets and --sets."
        )
    return training, tests


def test_sets(config: Transcribe, trial: Trial) -> list[SpeechDataset]:
    """Return the sets to transcribe: those that are named, else what the data holds."""
    named = [name for name in config.sets if name in DOMAINS]
    opened = sources.open_sets([name for name in config.sets if name not in DOMAINS])
    if opened and not named:
        return opened
    loaded = config.data.load()
    if "audio" in loaded.rows.column_names and not named:
        rows = loaded.rows if loaded.test is None else loaded.test
        return sources.recorded_sets(loaded, rows, "all")
    _, spoken = sources.spoken_sets(loaded, config.spoken, trial, named or DOMAINS, training=False)
    return [*spoken, *opened]


# --- systems ------------------------------------------------------------------------------------


def pooled(training: Sequence[SpeechDataset]) -> list[Utterance]:
    """Return the utterances of all sets."""
    return [utterance for found in training for utterance in found.utterances]


def one_for_each(training: Sequence[SpeechDataset], config: Domains, trial: Trial) -> list[Any]:
    """Train a recogniser for each set, all with the steps of the one system together.

    Those that are adapted go on, for half of the steps, from one that was trained on all sets for the other.
    """
    steps, start = options_of(config).steps, None
    if config.recogniser == "adapted":
        start = trained(pooled(training), "half trained", steps // 2, config, trial)
        steps -= steps // 2
    way = "adapted" if config.recogniser == "adapted" else "tuned"
    return [
        trained(found.utterances, f"{way} {found.name}", count, config, trial, start)
        for found, count in zip(training, shared(steps, len(training)), strict=True)
    ]


def trained(
    utterances: Sequence[Utterance], name: str, steps: int, config: Domains, trial: Trial, start: Any = None
) -> Any:
    """Train a recogniser on utterances, from the start or from another one."""
    encoder = config.fine_tuned.encoder.source
    trial.count("gradient_steps", steps)
    trial.count("utterances_seen", steps * options_of(config).batch_size)
    if encoder is not None:
        return finetuning.finetune(encoder, utterances, config.fine_tuned, steps, str(trial.device), start)
    audio = [utterance.audio() for utterance in utterances]
    texts = [utterance.text for utterance in utterances]
    known = None if start is None else start.plain()
    found = trial.once(name, train, audio, texts, config.small_ctc, steps, str(trial.device), known)
    return SmallRecogniser.build(found["weights"], found["characters"])


def options_of(config: Domains) -> Training | Finetuning:
    """Return how recognisers are trained: the small one, or a pretrained encoder where there is one."""
    return config.small_ctc if config.fine_tuned.encoder.source is None else config.fine_tuned


def shared(steps: int, parts: int) -> list[int]:
    """Share gradient steps out, as equally as whole numbers allow.

    Raises:
        InputError: there are fewer steps than parts.
    """
    if steps < parts:
        raise InputError(
            f"{steps} gradient steps cannot be shared by {parts} sets. Give more --small-ctc.steps."
        )
    return [steps // parts + (row < steps % parts) for row in range(parts)]


def open_system(
    named: str, option: str, trial: Trial, dtype: str | None = None, beams: int | None = None
) -> Recogniser:
    """Return the recogniser that the user named with an option.

    Raises:
        InputError: there is no such model, or no such attribute of a module.
    """
    module, colon, attribute = named.partition(":")
    if named == "pocketsphinx" or not colon or module in ("folder", "hub", "http", "https", "bundled"):
        return load_system(named, device=trial.device, dtype=dtype, beams=beams)
    try:
        found: Recogniser = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"{option} {named} cannot be imported: {error}. Write module:attribute for a function"
            " from a list of sounds to a list of texts, or folder:DIR, hub:NAME, pocketsphinx."
        ) from None
    return found


# --- what comes out -----------------------------------------------------------------------------


def measured(result: BenchmarkResult, trial: Trial | None) -> dict[str, Value]:
    """Return the metrics of a result, and keep it where there is a trial."""
    if trial is not None:
        trial.save("results", result)
    rates = {rendering: result.macro(rendering) for rendering in ("orthographic", "plain", "normalised")}
    shares = [found.breakdown.shares() for found in result.scores.values()]
    return {
        "wer": rates["orthographic"],
        "plain_wer": rates["plain"],
        "normalised_wer": rates["normalised"],
        "rendering_gap": rates["orthographic"] - rates["normalised"],
        "artefact_gap": rates["orthographic"] - rates["plain"],
        "lexical_share": float(np.mean([found["lexical"] for found in shares])),
        "worst_set_wer": max(found.orthographic for found in result.scores.values()),
        "rule_violations": len(result.violations),
    }


def compared(first: BenchmarkResult, second: BenchmarkResult, rendering: str, draws: int) -> dict[str, Any]:
    """Return a comparison as plain values."""
    found = first.compare(second, rendering, draws)
    return {
        "first": first.system,
        "second": second.system,
        "rendering": rendering,
        "draws": found.draws,
        "macro": vars(found.macro),
        "sets": {name: vars(difference) for name, difference in found.sets.items()},
        "table": found.table(),
    }


def required(given: str | None, option: str) -> str:
    """Return a folder that must be given.

    Raises:
        InputError: it is not.
    """
    if given is None:
        raise InputError(f"{option} is missing: give a folder that `assay run esb --out` has written.")
    return given
