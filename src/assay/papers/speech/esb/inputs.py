"""Speech as users have it on disk: manifests, AudioFolder, Kaldi, LibriSpeech, TED-LIUM, and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from assay.data import SOUNDS, LoadedTable, Table, files_in, read_records, read_sound, read_text
from assay.data.places import KINDS
from assay.errors import InputError
from assay.files import user_path
from assay.papers.speech.esb.method.datasets import SpeechDataset, Utterance
from assay.papers.speech.esb.method.fixups import KNOWN

_AUDIO_KEYS = ("audio", "file_name", "audio_filepath", "path")
_TEXT_KEYS = ("text", "transcription", "transcript", "sentence")
_MANIFESTS = ("metadata.csv", "metadata.jsonl", "manifest.jsonl", "manifest.csv")
LAYOUTS = (
    "a manifest (.jsonl or .csv with the columns audio and text, and optionally id, start, end, speaker; or"
    " NeMo's audio_filepath, offset and duration), a folder with metadata.csv or metadata.jsonl, a Kaldi"
    " folder (wav.scp and text), a LibriSpeech folder (*.trans.txt), or TED-LIUM's .stm"
)

# --- sets as they are written on the command line -----------------------------------------------


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
        return [_of_table(Table(place), name or rest.rstrip("/").rpartition("/")[2].partition(".")[0])]
    return [read_corpus(place, name or None)]


def _known(name: str, known: str) -> list[SpeechDataset]:
    """Load the test sets of a known set from the hub."""
    sources = KNOWN[known].hub
    if not sources:
        raise InputError(f"{known} is not on the hub ({KNOWN[known].licence}). Give it as {known}=FOLDER.")
    try:
        sets = [_of_table(Table(source), name, known) for source in sources]
    except InputError as error:
        gated = f" {known} is gated: accept its terms on the hub and log in." if KNOWN[known].gated else ""
        raise InputError(f"{error}{gated} Or give your own files: {known}=FOLDER.") from error
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


# --- corpora on disk ----------------------------------------------------------------------------


def read_corpus(path: str | Path, name: str | None = None, fixups: str | None = None) -> SpeechDataset:
    """Read a corpus; its layout is recognised from what is there.

    Args:
        path: a manifest (`.jsonl`, `.csv`), a file `.stm`, or a folder in the layout of AudioFolder, Kaldi,
            LibriSpeech or TED-LIUM.
        name: what the set is called; by default as the file or folder is.
        fixups: the known set whose transcripts are corrected; by default the one called `name`.

    Raises:
        InputError: there is no such path, its layout is unknown, a line lacks audio or text, is not UTF-8, or
            names a file that is not there.
    """
    place = user_path(path)
    if not place.exists():
        raise InputError(f"There is no {place}. Give {LAYOUTS}.")
    found = list(_read(place))
    missing = sorted({str(file) for _, file in found if not file.is_file()})
    if missing:
        raise InputError(
            f"{place} names {len(missing)} files that are not there: {', '.join(missing[:3])}"
            f"{' ...' if len(missing) > 3 else ''}. Add them, or take their lines out."
        )
    return SpeechDataset.of(name or place.stem, [utterance for utterance, _ in found], fixups)


def _read(place: Path) -> Iterator[tuple[Utterance, Path]]:
    """Yield each utterance with the file of its sound."""
    if place.is_file():
        if place.suffix == ".stm":
            return _stm(place)
        if place.suffix in (".jsonl", ".json", ".csv", ".tsv"):
            return _manifest(place)
        raise InputError(f"{place} has an unknown layout. Give {LAYOUTS}.")
    for name in _MANIFESTS:
        if (place / name).is_file():
            return _manifest(place / name)
    if (place / "wav.scp").is_file() and (place / "text").is_file():
        return _kaldi(place)
    for ending, reader in ((".trans.txt", _librispeech), (".stm", _stm)):
        files = [file for file in files_in(place) if file.name.endswith(ending)]
        if files:
            return (pair for file in files for pair in reader(file))
    raise InputError(f"The folder {place} has an unknown layout. Give {LAYOUTS}.")


def _manifest(path: Path) -> Iterator[tuple[Utterance, Path]]:
    for number, row in read_records(path):
        where = f"{path}, line {number}"
        audio, text = _value(row, _AUDIO_KEYS), _value(row, _TEXT_KEYS)
        if audio is None or text is None:
            raise InputError(
                f"{where} has no {'audio' if audio is None else 'transcript'}. Each line needs audio (a path"
                f" beside the manifest) and text; this one has {', '.join(map(str, row)) or 'nothing'}."
            )
        segment = _Segment.of(row, where)
        name = str(row.get("id") or f"{audio}{segment.suffix}")
        shared = row.get("recording") or row.get("speaker")
        recording = None if shared in (None, "") else str(shared)
        yield _utterance(name, str(text), path.parent / str(audio), segment, recording)


def _kaldi(folder: Path) -> Iterator[tuple[Utterance, Path]]:
    """Read wav.scp, text, and where they are there segments and utt2spk."""
    recordings = _pairs(folder / "wav.scp")
    piped = next((value for value in recordings.values() if value.endswith("|")), None)
    if piped:
        raise InputError(
            f"{folder}/wav.scp has a command ({piped[:60]!r}), which is not run. Write its files to disk."
        )
    speakers, segments = (
        _pairs(folder / name) if (folder / name).is_file() else {} for name in ("utt2spk", "segments")
    )
    for key, text in _pairs(folder / "text").items():
        recording, *times = segments[key].split() if key in segments else [key]
        if recording not in recordings or len(times) not in (0, 2):
            raise InputError(
                f"{folder}: the utterance {key!r} has no recording in wav.scp, or a bad segment."
            )
        row = dict(zip(("start", "end"), times, strict=False))
        shared = speakers.get(key, recording if key in segments else None)
        segment = _Segment.of(row, f"{folder}/segments")
        yield _utterance(key, text, folder / recordings[recording], segment, shared)


def _librispeech(transcripts: Path) -> Iterator[tuple[Utterance, Path]]:
    """Read one chapter: `SPEAKER-CHAPTER.trans.txt` beside the sounds."""
    for key, text in _pairs(transcripts).items():
        file = _sound_of(transcripts.parent, key)
        yield _utterance(key, text, file, _Segment(), key.split("-")[0])


def _stm(path: Path) -> Iterator[tuple[Utterance, Path]]:
    """Read `talk channel speaker start end <label> words`, with the sound beside it, in ../sph or ../wav."""
    for number, line in enumerate(_lines(path), 1):
        if not line.strip() or line.startswith(";;"):
            continue
        parts = line.split(maxsplit=6)
        if len(parts) < 5:
            raise InputError(f"{path}, line {number} is no line of an stm: {line[:60]!r}.")
        talk, _, speaker = parts[:3]
        segment = _Segment.of({"start": parts[3], "end": parts[4]}, f"{path}, line {number}")
        rest = parts[5:]
        text = " ".join(rest[1:] if rest and rest[0].startswith("<") and rest[0].endswith(">") else rest)
        folders = (path.parent, path.parent.parent / "sph", path.parent.parent / "wav")
        files = [_sound_of(folder, talk) for folder in folders]
        file = next((found for found in files if found.is_file()), files[0])
        yield _utterance(f"{talk}{segment.suffix}", text, file, segment, speaker)


# --- parts of them ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Segment:
    """The part of a recording that an utterance is, in seconds."""

    start: float = 0.0
    seconds: float | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any], where: str) -> _Segment:
        """Read start and end, or NeMo's offset and duration."""
        start = _seconds(row, "start", where) or _seconds(row, "offset", where) or 0.0
        end = _seconds(row, "end", where)
        return cls(start, _seconds(row, "duration", where) if end is None else end - start)

    @property
    def suffix(self) -> str:
        """What tells it from other segments of the recording."""
        return "" if self.seconds is None else f"-{self.start:g}-{self.start + self.seconds:g}"


def _utterance(
    name: str, text: str, file: Path, segment: _Segment, recording: str | None
) -> tuple[Utterance, Path]:
    def read() -> tuple[Any, float | int]:
        return read_sound(file, None, segment.start, segment.seconds, name)

    return Utterance(name, text, read, recording, segment.seconds), file


def _value(row: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _seconds(row: Mapping[str, Any], key: str, where: str) -> float | None:
    if row.get(key) in (None, ""):
        return None
    try:
        seconds = float(row[key])
    except (TypeError, ValueError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise InputError(f"{where}: {key} is {row[key]!r}; it must be a time in seconds from 0 on.")
    return seconds


def _lines(path: Path) -> list[str]:
    return read_text(path).replace("\r\n", "\n").split("\n")


def _pairs(path: Path) -> dict[str, str]:
    """Return the rest of each line under its first word."""
    split = (line.split(maxsplit=1) for line in _lines(path) if line.strip())
    return {key: rest[0].strip() if rest else "" for key, *rest in split}


def _sound_of(folder: Path, key: str) -> Path:
    candidates = [folder / f"{key}{suffix}" for suffix in (".flac", ".wav", *sorted(SOUNDS))]
    return next((file for file in candidates if file.is_file()), candidates[0])
