"""How ESB is run: any recogniser on any sets, and one for all sets against those tuned to one."""

from __future__ import annotations

from dataclasses import replace

from assay.errors import InputError
from assay.own import import_own
from assay.paper import Value
from assay.papers.speech.esb.config import Compare, Domains, Score, Transcribe
from assay.papers.speech.esb.inputs import open_sets, recorded_sets
from assay.papers.speech.esb.method import (
    Benchmark,
    BenchmarkResult,
    Recogniser,
    SpeechDataset,
    load_system,
    macro_average,
)
from assay.papers.speech.esb.method.results import RENDERINGS
from assay.papers.speech.esb.stages import speak_sets
from assay.papers.speech.esb.synthetic import DOMAINS, Phrases, choose_phrases
from assay.papers.speech.esb.training import train_for_all, train_for_each
from assay.trial import Trial


def domains(config: Domains, trial: Trial) -> dict[str, Value]:
    """Train one recogniser on all sets together, or one for each, and score them on all sets."""
    training, tests = training_and_tests(config, trial)
    if config.recogniser == "frozen":
        system = open_system(config.frozen, "--frozen", trial)
        tests = [replace(found, utterances=found.utterances[: config.frozen_utterances]) for found in tests]
        result = Benchmark(tests, sample=5).run(system, batch_seconds=config.batch_seconds)
    elif config.recogniser == "one":
        system = train_for_all(training, config, trial)
        trial.save("recogniser", system)
        result = Benchmark(tests).run(system, batch_seconds=config.batch_seconds, name="one system")
    else:
        systems = train_for_each(training, config, trial)
        if config.recogniser == "exchanged":
            systems = [*systems[1:], systems[0]]
        # No tuned system may transcribe all sets, so each has a benchmark of one set.
        alone = [
            Benchmark([found]).run(system, batch_seconds=config.batch_seconds)
            for found, system in zip(tests, systems, strict=True)
        ]
        result = BenchmarkResult(config.recogniser, tuple(part.sets[0] for part in alone))
    trial.save("results", result)
    return metrics_of(result)


def transcribe(config: Transcribe, trial: Trial) -> dict[str, Value]:
    """Transcribe sets with a recogniser, score it, and compare it with another run where one is given."""
    recorded, phrases = test_sets(config, trial)
    other = None if config.against is None else BenchmarkResult.load(config.against, config.normaliser)
    system = open_system(config.system, "--system", trial, config.dtype, config.beams)
    sets = [*spoken_sets(phrases, trial)[1], *recorded] if phrases else recorded
    benchmark = Benchmark(sets, trial.seed, chunk_seconds=config.chunk_seconds, sample=config.rerun)
    result = benchmark.run(
        system, batch_seconds=config.batch_seconds, name=config.system, progress=trial.progress
    )
    result = replace(result, normaliser=config.normaliser)
    trial.save("results", result)
    if other is not None:
        trial.save("comparison", result.compare(other))
    return metrics_of(result)


def score(config: Score, trial: Trial) -> dict[str, Value]:
    """Score the transcripts of an earlier run again: with this normaliser, or after corrections."""
    result = BenchmarkResult.load(required(config.results, "--results"), config.normaliser)
    trial.save("results", result)
    return metrics_of(result)


def compare(config: Compare, trial: Trial) -> dict[str, Value]:
    """Compare two runs on the same utterances by paired bootstrap."""
    first = BenchmarkResult.load(required(config.first, "--first"), config.normaliser)
    second = BenchmarkResult.load(required(config.second, "--second"), config.normaliser)
    found = first.compare(second, config.rendering, config.draws)
    trial.save("comparison", found)
    macro = found.macro
    return {"difference": macro.value, "difference_low": macro.low, "difference_high": macro.high}


# --- sets ---------------------------------------------------------------------------------------


def training_and_tests(config: Domains, trial: Trial) -> tuple[list[SpeechDataset], list[SpeechDataset]]:
    """Return training and test sets of the same names, at least two.

    Raises:
        InputError: there are fewer, or training sets lack.
    """
    if config.sets or config.training_sets:
        training, tests = (open_sets(written) for written in (config.training_sets, config.sets))
    else:
        loaded = config.data.load()
        if "audio" not in loaded.rows.column_names:
            return spoken_sets(choose_phrases(loaded, config.spoken, trial), trial)
        rows, held_out = loaded.rows, loaded.test
        if held_out is None:
            groups = "group" if "group" in rows.column_names else None
            split = trial.split(rows, test=config.test, stratify=groups)
            rows, held_out = split.train, split.test
        training, tests = (recorded_sets(loaded, part, "all") for part in (rows, held_out))
    names = [found.name for found in training], [found.name for found in tests]
    if names[0] != names[1] or len(tests) < 2:
        raise InputError(
            f"Training sets {names[0]} and test sets {names[1]}: give two or more of the same names, with"
            " --data.group for the column that names the set, or --training-sets and --sets."
        )
    return training, tests


def test_sets(config: Transcribe, trial: Trial) -> tuple[list[SpeechDataset], Phrases]:
    """Return the sets to transcribe, those that are named or what the data holds, and phrases to speak."""
    named = [name for name in config.sets if name in DOMAINS]
    opened = open_sets([name for name in config.sets if name not in DOMAINS])
    if opened and not named:
        return opened, {}
    loaded = config.data.load()
    if "audio" in loaded.rows.column_names and not named:
        rows = loaded.rows if loaded.test is None else loaded.test
        return recorded_sets(loaded, rows, "all"), {}
    return opened, choose_phrases(loaded, config.spoken, trial, named or DOMAINS, training=False)


def spoken_sets(chosen: Phrases, trial: Trial) -> tuple[list[SpeechDataset], list[SpeechDataset]]:
    """Speak phrases; return training and test sets."""
    said = trial.once("speech", speak_sets, chosen)
    training, tests = (
        [
            SpeechDataset.from_arrays(name, parts[part].audio, parts[part].texts)
            for name, parts in said.items()
            if parts[part].texts
        ]
        for part in ("train", "test")
    )
    return training, tests


# --- results and what the user names ------------------------------------------------------------------------


def metrics_of(result: BenchmarkResult) -> dict[str, Value]:
    """Return the metrics of a result."""
    wer, plain, normalised = map(result.macro, RENDERINGS)
    scores = result.scores.values()
    return {
        "wer": wer,
        "plain_wer": plain,
        "normalised_wer": normalised,
        "rendering_gap": wer - normalised,
        "artefact_gap": wer - plain,
        "lexical_share": macro_average([found.breakdown.shares()["lexical"] for found in scores]),
        "worst_set_wer": max(found.orthographic for found in scores),
        "rule_violations": len(result.violations),
    }


def open_system(
    named: str, option: str, trial: Trial, dtype: str | None = None, beams: int | None = None
) -> Recogniser:
    """Return the recogniser that the user named with an option.

    Raises:
        InputError: there is no such model, or no such attribute of a module.
    """
    module, colon, _ = named.partition(":")
    if named == "pocketsphinx" or not colon or module in ("folder", "hub", "http", "https", "bundled"):
        return load_system(named, device=trial.device, dtype=dtype, beams=beams)
    found: Recogniser = import_own(named, option)
    return found


def required(given: str | None, option: str) -> str:
    """Return a folder that must be given.

    Raises:
        InputError: it is not.
    """
    if given is None:
        raise InputError(f"{option} is missing: give a folder that `assay run esb --out` has written.")
    return given
