"""One protocol for any recogniser on any sets: transcribe them mixed, score them one by one."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assay.errors import InputError
from assay.papers.speech.audio import RATE, chunks
from assay.papers.speech.esb.method.datasets import SpeechDataset, Utterance
from assay.papers.speech.esb.method.guard import OneSystemGuard, Violation
from assay.papers.speech.esb.method.results import BenchmarkResult, SetTranscripts, Transcript, file_of
from assay.papers.speech.recognisers import Recogniser, as_system, transcribe_checked

POOL = 512
"""Utterances that are in memory at a time: shuffled over all sets, sorted by length among themselves."""


class Transcribing(UserWarning):
    """What a system does that counts against it but does not stop a run."""


@dataclass(frozen=True)
class Benchmark:
    """Sets on which systems are compared.

        result = Benchmark([librispeech, meetings]).run(my_recogniser)
        print(result.table(), result.macro())

    Args:
        sets: each with its own name.
        seed: of the order in which all utterances are mixed.
        chunk_seconds: longer sounds are cut at quiet places, transcribed in parts, and joined.
        sample: how many utterances are transcribed again, in other batches, to see whether the texts change.

    Raises:
        InputError: there is no set, or two have the same name.
    """

    sets: Sequence[SpeechDataset]
    seed: int = 0
    chunk_seconds: float | int = 30.0
    sample: int = 20

    def __post_init__(self) -> None:
        names = [dataset.name for dataset in self.sets]
        if not names or len({file_of(name) for name in names}) != len(names):
            raise InputError(f"A benchmark needs sets, each with its own name; these are {names}.")

    def run(
        self,
        system: Any,
        *,
        batch_seconds: float | int = 60.0,
        name: str | None = None,
        progress: Callable[[str], None] = lambda text: None,
    ) -> BenchmarkResult:
        """Transcribe all sets with one system, and score it.

        The system gets nothing but arrays: all utterances of all sets, shuffled, in batches of neighbours in
        length. Only its calls are timed.

        Args:
            system: a function from a list of float32 arrays at 16 kHz to a list of texts, a transformers
                pipeline, or one of the adapters here.
            batch_seconds: sound in a batch.
            name: what tables call the system.
            progress: is told how far it is.

        Raises:
            InputError: the system is none, a sound cannot be read, or the outputs are not one text each.

        Warns:
            Transcribing: the system returned None for a sound; it counts as no words.
        """
        recogniser = as_system(system)
        guard = OneSystemGuard(recogniser)
        listed = [(dataset.name, utterance) for dataset in self.sets for utterance in dataset.utterances]
        random = np.random.default_rng(self.seed)
        order = random.permutation(len(listed))
        again = {listed[row][1].id for row in random.permutation(len(listed))[: self.sample]}
        run = _Run(recogniser, self.chunk_seconds, batch_seconds, frozenset(again))
        for start in range(0, len(order), POOL):
            run.transcribe([listed[row] for row in order[start : start + POOL]])
            progress(f"{min(start + POOL, len(order))} of {len(order)} utterances")
        run.warn_of_none()
        violations = run.violations(guard)
        return BenchmarkResult(
            name or str(getattr(system, "__name__", type(system).__name__)),
            tuple(
                SetTranscripts(
                    dataset.name,
                    tuple(run.done[dataset.name, utterance.id] for utterance in dataset.utterances),
                    dataset.dropped,
                )
                for dataset in self.sets
            ),
            violations,
            guard.before,
        )


@dataclass
class _Run:
    """What one run has done so far."""

    system: Recogniser
    chunk_seconds: float | int
    batch_seconds: float | int
    sample: frozenset[str]
    done: dict[tuple[str, str], Transcript] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)
    kept: list[tuple[str, np.ndarray, str]] = field(default_factory=list)

    def transcribe(self, pool: list[tuple[str, Utterance]]) -> None:
        """Transcribe some utterances, in batches of neighbours in length."""
        sounds = [utterance.audio() for _, utterance in pool]
        parts = [
            (row, part) for row, sound in enumerate(sounds) for part in chunks(sound, self.chunk_seconds)
        ]
        texts = [""] * len(parts)
        seconds = [0.0] * len(pool)
        for batch in _batches([part for _, part in parts], self.batch_seconds):
            audio = [parts[number][1] for number in batch]
            ids = [pool[parts[number][0]][1].id for number in batch]
            start = time.perf_counter()
            outputs = transcribe_checked(self.system, audio, ids)
            per_sample = (time.perf_counter() - start) / max(sum(map(len, audio)), 1)
            for number, output, sound, name in zip(batch, outputs, audio, ids, strict=True):
                texts[number] = " ".join((output or "").split())
                seconds[parts[number][0]] += per_sample * len(sound)
                if output is None:
                    self.silent.append(name)
                if name in self.sample:
                    self.kept.append((name, sound, output or ""))
        joined: list[list[str]] = [[] for _ in pool]
        for (row, _), text in zip(parts, texts, strict=True):
            joined[row] += [text] if text else []
        for row, (dataset, utterance) in enumerate(pool):
            length = len(sounds[row]) / RATE
            self.done[dataset, utterance.id] = Transcript(
                utterance.id,
                length,
                seconds[row],
                utterance.text,
                " ".join(joined[row]),
                utterance.recording,
            )

    def warn_of_none(self) -> None:
        """Warn when the system returned None, which is no text."""
        if self.silent:
            warnings.warn(
                f"The system returned None for {len(self.silent)} sounds (first {self.silent[0]!r}). They"
                " count as no words: all their reference words are deletions. Return '' for silence.",
                Transcribing,
                stacklevel=3,
            )

    def violations(self, guard: OneSystemGuard) -> tuple[Violation, ...]:
        """Return how the rule of one system was broken."""
        found = [guard.unchanged()]
        if self.kept:
            names, audio, texts = zip(*self.kept, strict=True)
            found.append(guard.again(audio, texts, names))
        return tuple(violation for violation in found if violation)


def _batches(audio: list[np.ndarray], seconds: float | int) -> Iterator[list[int]]:
    """Yield the numbers of sounds in batches, from the shortest to the longest; padding counts."""
    batch: list[int] = []
    for number in sorted(range(len(audio)), key=lambda number: len(audio[number])):
        if batch and (len(batch) + 1) * len(audio[number]) > seconds * RATE:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
