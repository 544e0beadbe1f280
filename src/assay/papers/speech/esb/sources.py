"""Sets by how they are written on the command line, and sets that are spoken here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from assay.data import LoadedTable, Table
from assay.data.source import KINDS
from assay.errors import InputError, unknown
from assay.papers.speech.esb.config import Spoken
from assay.papers.speech.esb.method import KNOWN, SpeechDataset, read_corpus
from assay.papers.speech.esb.spoken import DOMAINS, phrases, speak
from assay.trial import Trial

# --- sets as they are written -------------------------------------------------------------------


def open_sets(written: Sequence[str]) -> list[SpeechDataset]:
    """Open sets, each `NAME=PLACE`, a path, or a known set as `hub:NAME`.

    Raises:
        InputError: a place is not there, its layout is unknown, or a set's transcripts are missing.
    """
    return [dataset for text in written for dataset in _open(text)]


def _open(written: str) -> list[SpeechDataset]:
    name, equals, place = written.partition("=")
    if not equals:
        name, place = "", written
    kind, _, rest = place.partition(":")
    if kind == "hub" and rest in KNOWN:
        return _known(name or rest, rest)
    if kind in KINDS:
        return [_of_table(Table(place), name or _short(rest))]
    return [read_corpus(place, name or None)]


def _short(place: str) -> str:
    return place.rstrip("/").rpartition("/")[2].partition(".")[0]


def _known(name: str, known: str) -> list[SpeechDataset]:
    """Load the test sets of a known set from the hub."""
    sources = KNOWN[known].hub
    if not sources:
        raise InputError(f"{known} is not on the hub ({KNOWN[known].licence}). Give it as {known}=FOLDER.")
    try:
        sets = [_of_table(Table(source), name, known) for source in sources]
    except InputError as error:
        gated = f" {known} is gated: accept its terms on the hub and log in." if KNOWN[known].gated else ""
        raise InputError(f"{error}{gated} Or give files of your own: {known}=FOLDER.") from error
    if len(sets) == 1:
        return sets
    endings = (source.rpartition(".")[2] for source in sources)
    return [replace(found, name=f"{name}.{ending}") for found, ending in zip(sets, endings, strict=True)]


def _of_table(table: Table, name: str, fixups: str | None = None) -> SpeechDataset:
    """Read a table with sound and text; of one with a test split, that split."""
    loaded = table.load(("audio", "text"))
    return SpeechDataset.from_rows(name, loaded.rows if loaded.test is None else loaded.test, fixups)


def recorded_sets(loaded: LoadedTable, rows: Any, name: str) -> list[SpeechDataset]:
    """Return one set for each value of the group column, or one set of all rows."""
    if "text" not in rows.column_names:
        raise InputError(f"{loaded.source} has no transcripts. Name the column with --data.text.")
    if "group" not in rows.column_names:
        return [SpeechDataset.from_rows(name, rows)]
    groups = np.array([str(group) for group in rows["group"][:]])
    return [
        SpeechDataset.from_rows(group, rows.select(np.flatnonzero(groups == group)))
        for group in sorted(set(groups))
    ]


# --- sets that are spoken here ------------------------------------------------------------------


def spoken_sets(
    loaded: LoadedTable, spoken: Spoken, trial: Trial, names: Sequence[str] = DOMAINS, training: bool = True
) -> tuple[list[SpeechDataset], list[SpeechDataset]]:
    """Speak phrases of a table's texts, others in each set; return training and test sets.

    Raises:
        InputError: the texts have too few phrases of frequent words.
    """
    wrong = [name for name in names if name not in DOMAINS]
    if wrong:
        raise unknown("spoken set", wrong[0], DOMAINS)
    dealt = _deal_phrases(loaded, spoken, trial)
    chosen = {
        name: {"test": dealt["test"][name], "train": dealt["train"][name] if training else []}
        for name in names
    }
    said = trial.once("speech", speak_sets, chosen)
    parts = {
        part: [dataset_of(name, said[name][part]) for name in names if said[name][part]["texts"]]
        for part in ("train", "test")
    }
    return parts["train"], parts["test"]


def _deal_phrases(loaded: LoadedTable, spoken: Spoken, trial: Trial) -> dict[str, dict[str, list[str]]]:
    """Return phrases to train on and to test with for each set, none of them twice."""
    if "text" not in loaded.rows.column_names:
        raise InputError(
            f"{loaded.source} has neither sound nor text. Name a column with --data.audio or --data.text."
        )
    sizes = {"train": spoken.training_utterances, "test": spoken.test_utterances}
    known = phrases(loaded.rows["text"][:], spoken.vocabulary, spoken.least_words, spoken.most_words)
    needed = len(DOMAINS) * sum(sizes.values())
    if len(known) < needed:
        raise InputError(
            f"{loaded.source} has {len(known)} phrases of {spoken.least_words} to {spoken.most_words}"
            f" frequent words; {needed} are needed. Give more texts, a larger --spoken.vocabulary or fewer"
            " utterances (--spoken.training-utterances, --spoken.test-utterances)."
        )
    split = trial.split(len(known), test=len(DOMAINS) * sizes["test"] / len(known))
    random = trial.numpy("phrases")
    parts = {"train": random.permutation(split.train), "test": random.permutation(split.test)}
    return {
        part: {
            name: [known[row] for row in parts[part][number :: len(DOMAINS)][: sizes[part]]]
            for number, name in enumerate(DOMAINS)
        }
        for part in ("train", "test")
    }


def speak_sets(chosen: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Speak the phrases of each part of each set; return texts, samples in a row as int16, and their ends."""
    random = np.random.default_rng(torch.initial_seed())
    return {
        name: {part: _packed(name, texts, random) for part, texts in parts.items()}
        for name, parts in chosen.items()
    }


def _packed(name: str, texts: Sequence[str], random: np.random.Generator) -> dict[str, Any]:
    if not texts:
        return {"texts": [], "samples": np.zeros(0, np.int16), "ends": np.zeros(0, np.int64)}
    said = speak(name, texts, random)
    samples = np.concatenate(
        [np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16) for sound in said.audio]
    )
    return {"texts": said.texts, "samples": samples, "ends": np.cumsum([len(sound) for sound in said.audio])}


def dataset_of(name: str, packed: dict[str, Any]) -> SpeechDataset:
    """Return the set of what `speak_sets` gave."""
    audio = np.split(packed["samples"], packed["ends"][:-1])
    return SpeechDataset.from_arrays(name, audio, packed["texts"])
