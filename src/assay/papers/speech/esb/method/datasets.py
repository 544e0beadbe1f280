"""Sets of utterances with transcripts; the sound is read when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from assay.data import missing_column, read_sound
from assay.errors import InputError
from assay.papers.speech.audio import RATE, as_speech
from assay.papers.speech.esb.method.fixups import KNOWN, mend

Sound = Callable[[], tuple[Any, float | int]]
"""Reads samples and their rate."""


@dataclass(frozen=True)
class Utterance:
    """One segment of speech."""

    id: str
    """Its name, unique in its set."""
    text: str
    """The transcript as it is scored."""
    sound: Sound = field(repr=False, compare=False)
    """Reads samples and their rate."""
    recording: str | None = None
    """What it shares with others (a recording, a speaker): the bootstrap draws these."""
    seconds: float | int | None = None
    """Its length, where it is known without reading it."""
    cut_end: float = 0.0
    """Seconds that are cut from its end."""

    def audio(self) -> np.ndarray:
        """Return float32 samples at 16 kHz.

        Raises:
            InputError: it cannot be read.
        """
        samples, rate = self.sound()
        speech = as_speech(samples, rate, self.id)
        return speech[: max(0, len(speech) - int(self.cut_end * RATE))]


@dataclass(frozen=True)
class SpeechDataset:
    """A named set of utterances. Make one with `of`, `read_corpus`, `from_rows` or `from_arrays`."""

    name: str
    utterances: tuple[Utterance, ...]
    dropped: int = 0
    """Segments without speech or without words, which are left out."""

    @classmethod
    def of(cls, name: str, utterances: Iterable[Utterance], fixups: str | None = None) -> SpeechDataset:
        """Correct the transcripts and leave out what is no speech.

        Args:
            name: what tables call the set.
            utterances: with transcripts as published.
            fixups: the known set whose transcripts are corrected; by default the one called `name`, if any.

        Raises:
            InputError: there is no utterance, none with words, or two have the same id.
        """
        known = KNOWN.get(fixups or name)
        kept: dict[str, Utterance] = {}
        total = 0
        for total, given in enumerate(utterances, 1):  # noqa: B007  # counted for the message
            text = mend(given.text, fixups or name)
            if text is None:
                continue
            if given.id in kept:
                raise InputError(
                    f"The set {name!r} has two utterances called {given.id!r}. Give each its own id."
                )
            cut = known.cut_end if known else given.cut_end
            kept[given.id] = replace(given, text=text, cut_end=cut)
        if not kept:
            raise InputError(f"The set {name!r} has no utterance with words, of {total} in all.")
        return cls(name, tuple(kept.values()), total - len(kept))

    @classmethod
    def from_arrays(
        cls, name: str, audio: Sequence[Any], texts: Sequence[str], rate: float | int = RATE
    ) -> SpeechDataset:
        """Make a set of arrays in memory.

        Raises:
            InputError: there are not as many texts as arrays.
        """
        if len(audio) != len(texts):
            raise InputError(
                f"There are {len(texts)} transcripts for {len(audio)} sounds. Give one for each."
            )

        def utterance(number: int) -> Utterance:
            sound = audio[number]
            seconds = max(np.shape(sound), default=0) / rate
            return Utterance(f"{name}-{number:06d}", texts[number], lambda: (sound, rate), seconds=seconds)

        return cls.of(name, map(utterance, range(len(texts))))

    @classmethod
    def from_rows(cls, name: str, rows: Any, fixups: str | None = None) -> SpeechDataset:
        """Make a set of a `datasets.Dataset` with the columns audio and text.

        Sound is a struct of bytes (and a path), or of an array and its sampling_rate. An `id` column names
        the utterances, and one of `recording`, `speaker` and `speaker_id` says what they share.

        Raises:
            InputError: a column is missing or a transcript is.
        """
        table = rows.with_format("arrow")[:]
        for column in ("audio", "text"):
            if column not in table.column_names:
                raise missing_column(name, column, table.column_names)
        texts = table["text"].to_pylist()
        missing = [number for number, text in enumerate(texts, 1) if text is None]
        if missing:
            raise InputError(
                f"{name}: {len(missing)} of {len(texts)} rows have no transcript (the first is row"
                f" {missing[0]}). Fill them in, or leave these rows out."
            )
        ids = [f"{name}-{row:06d}" for row in range(len(texts))]
        if "id" in table.column_names:
            ids = [str(key) for key in table["id"].to_pylist()]
        shared = [key for key in ("recording", "speaker", "speaker_id") if key in table.column_names]
        groups = [str(key) for key in table[shared[0]].to_pylist()] if shared else [None] * len(texts)
        sounds = table["audio"]
        return cls.of(
            name,
            [
                Utterance(ids[row], text, _from_struct(sounds, row, ids[row]), groups[row])
                for row, text in enumerate(texts)
            ],
            fixups,
        )

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def texts(self) -> list[str]:
        """The transcripts."""
        return [utterance.text for utterance in self.utterances]


def _from_struct(column: Any, row: int, name: str) -> Sound:
    def read() -> tuple[Any, float | int]:
        value = column[row].as_py()
        if not isinstance(value, dict):
            value = {"bytes": value}
        if value.get("array") is not None:
            if not value.get("sampling_rate"):
                raise InputError(f"{name}: the sound is an array without a sampling_rate.")
            return np.asarray(value["array"], dtype=np.float32), float(value["sampling_rate"])
        content = value.get("path") if value.get("bytes") is None else value["bytes"]
        if content is None:
            raise InputError(f"{name} has no sound: neither bytes, nor a path, nor an array.")
        return read_sound(content, name=name)

    return read
