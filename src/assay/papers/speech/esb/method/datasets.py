"""Sets of utterances with transcripts; the sound is read when it is needed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from assay.errors import InputError, MissingExtraError
from assay.papers.speech.esb.method.audio import RATE, as_speech
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
    """A named set of utterances. Make one with `of`, `read_corpus` or `from_rows`."""

    name: str
    utterances: tuple[Utterance, ...]
    dropped: int = 0
    """Segments without speech or without words, which are left out."""

    @classmethod
    def of(cls, name: str, utterances: Iterable[Utterance], fixups: str | None = None) -> SpeechDataset:
        """Mend the transcripts and leave out what is no speech.

        Args:
            name: what tables call the set.
            utterances: with transcripts as published.
            fixups: the known set whose transcripts are mended; by default the one called `name`, if any.

        Raises:
            InputError: there is no utterance, none with words, or two have the same id.
        """
        known = KNOWN.get(fixups or name)
        kept: list[Utterance] = []
        total = 0
        for utterance in utterances:
            total += 1
            text = mend(utterance.text, fixups or name)
            if text is not None:
                cut = known.cut_end if known else utterance.cut_end
                kept.append(
                    Utterance(
                        utterance.id, text, utterance.sound, utterance.recording, utterance.seconds, cut
                    )
                )
        if not kept:
            raise InputError(f"The set {name!r} has no utterance with words, of {total} in all.")
        ids = [utterance.id for utterance in kept]
        if len(set(ids)) != len(ids):
            twice = next(item for item in ids if ids.count(item) > 1)
            raise InputError(f"The set {name!r} has two utterances called {twice!r}. Give each its own id.")
        return cls(name, tuple(kept), total - len(kept))

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
        pairs = enumerate(zip(audio, texts, strict=True))
        return cls.of(
            name,
            [
                Utterance(f"{name}-{number:06d}", text, _held(sound, rate), None, _length(sound) / rate)
                for number, (sound, text) in pairs
            ],
        )

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
                listing = ", ".join(table.column_names)
                raise InputError(f"{name} has no column {column!r}. Its columns: {listing}.")
        texts = table["text"].to_pylist()
        missing = [number for number, text in enumerate(texts, 1) if text is None]
        if missing:
            raise InputError(
                f"{name}: {len(missing)} of {len(texts)} rows have no transcript (the first is row"
                f" {missing[0]}). Fill them in, or leave these rows out."
            )
        column = table["audio"]
        ids = _ids(table, name)
        shared = next(
            (key for key in ("recording", "speaker", "speaker_id") if key in table.column_names), None
        )
        groups = [None] * len(texts) if shared is None else [str(key) for key in table[shared].to_pylist()]
        return cls.of(
            name,
            [
                Utterance(ids[row], text, _from_struct(column, row, ids[row]), groups[row])
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


def read_sound(content: Path | io.BytesIO, name: str, start: float = 0.0, end: float | None = None) -> Any:
    """Return samples [n] or [n, channels] between two times in seconds, and their rate.

    Raises:
        InputError: it is no sound that libsndfile can decode, or the segment lies outside of it.
    """
    try:
        import soundfile
    except (ModuleNotFoundError, OSError):
        raise MissingExtraError("soundfile", "speech") from None
    try:
        with soundfile.SoundFile(content) as file:
            rate, length = file.samplerate, file.frames
            first, last = int(start * rate), length if end is None else round(end * rate)
            if not 0 <= first < last <= length + rate // 10 and (start or end):
                raise InputError(
                    f"{name}: the segment from {start:g} to {end} s lies outside of its recording of"
                    f" {length / rate:.1f} s."
                )
            file.seek(first)
            return file.read(max(0, min(last, length) - first), dtype="float32"), rate
    except (soundfile.LibsndfileError, TypeError) as error:
        raise InputError(
            f"{name} cannot be decoded ({str(error).rstrip('.')}). Give WAV, FLAC, OGG, MP3 or SPHERE."
        ) from None


def _held(sound: Any, rate: float | int) -> Sound:
    return lambda: (sound, rate)


def _length(sound: Any) -> int:
    return max(np.shape(sound), default=0)


def _ids(table: Any, name: str) -> list[str]:
    if "id" in table.column_names:
        return [str(key) for key in table["id"].to_pylist()]
    return [f"{name}-{row:06d}" for row in range(table.num_rows)]


def _from_struct(column: Any, row: int, name: str) -> Sound:
    def read() -> tuple[Any, float | int]:
        value = column[row].as_py()
        if isinstance(value, dict) and value.get("array") is not None:
            if not value.get("sampling_rate"):
                raise InputError(f"{name}: the sound is an array without a sampling_rate.")
            return np.asarray(value["array"], dtype=np.float32), float(value["sampling_rate"])
        content = value.get("bytes") if isinstance(value, dict) else value
        path = value.get("path") if isinstance(value, dict) else None
        if content is None and path is None:
            raise InputError(f"{name} has no sound: neither bytes, nor a path, nor an array.")
        found: tuple[Any, float | int] = read_sound(
            Path(str(path)) if content is None else io.BytesIO(content), name
        )
        return found

    return read
