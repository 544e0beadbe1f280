"""Speech corpora as they lie on disk: manifests, AudioFolder, Kaldi, LibriSpeech, TED-LIUM."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.papers.speech.esb.method.datasets import Sound, SpeechDataset, Utterance, read_sound

SOUNDS = (".flac", ".wav", ".sph", ".ogg", ".mp3", ".opus", ".aiff")
_AUDIO_KEYS = ("audio", "file_name", "audio_filepath", "path")
_TEXT_KEYS = ("text", "transcription", "transcript", "sentence")
LAYOUTS = (
    "a manifest (.jsonl or .csv with the columns audio and text, and optionally id, start, end, speaker), a"
    " folder with metadata.csv or metadata.jsonl, a Kaldi folder (wav.scp and text), a LibriSpeech folder"
    " (*.trans.txt), or TED-LIUM's .stm"
)


def read_corpus(path: str | Path, name: str | None = None, fixups: str | None = None) -> SpeechDataset:
    """Read a corpus whose layout is found out from what is there.

    Args:
        path: a manifest (`.jsonl`, `.csv`), a file `.stm`, or a folder in the layout of AudioFolder, Kaldi,
            LibriSpeech or TED-LIUM.
        name: what the set is called; by default as the file or folder is.
        fixups: the known set whose transcripts are mended; by default the one called `name`.

    Raises:
        InputError: there is no such path, its layout is unknown, a line lacks audio or text, is not UTF-8, or
            names a file that is not there.
    """
    place = Path(path).expanduser()
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
    for name in ("metadata.csv", "metadata.jsonl", "manifest.jsonl", "manifest.csv"):
        if (place / name).is_file():
            return _manifest(place / name)
    if (place / "wav.scp").is_file() and (place / "text").is_file():
        return _kaldi(place)
    transcripts = sorted(place.rglob("*.trans.txt"))
    if transcripts:
        return (pair for file in transcripts for pair in _librispeech(file))
    stms = sorted(place.rglob("*.stm"))
    if stms:
        return (pair for file in stms for pair in _stm(file))
    raise InputError(f"The folder {place} has an unknown layout. Give {LAYOUTS}.")


def lines(path: Path) -> list[str]:
    """Return the lines of a text file.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8, for instance with `iconv -t UTF-8`."
        ) from None


# --- manifests ----------------------------------------------------------------------------------


def _manifest(path: Path) -> Iterator[tuple[Utterance, Path]]:
    rows = _csv_rows(path) if path.suffix in (".csv", ".tsv") else _json_rows(path)
    for number, row in rows:
        where = f"{path}, line {number}"
        audio, text = _value(row, _AUDIO_KEYS), _value(row, _TEXT_KEYS)
        if audio is None or text is None:
            raise InputError(
                f"{where} has no {'audio' if audio is None else 'transcript'}. Each line needs audio (a path"
                f" beside the manifest) and text; this one has {', '.join(map(str, row)) or 'nothing'}."
            )
        file = path.parent / str(audio)
        start, end = _seconds(row, "start", where) or 0.0, _seconds(row, "end", where)
        name = str(row.get("id") or (audio if end is None else f"{audio}-{start:g}-{end:g}"))
        shared = row.get("recording") or row.get("speaker")
        length = None if end is None else end - start
        yield (
            Utterance(name, str(text), _from_file(file, name, start, end), _text(shared), length),
            file,
        )


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number} is no JSON: {error.msg}.") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number} is no JSON object but {type(row).__name__}.")
        yield number, row


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    text = io.StringIO("\n".join(lines(path)))
    yield from enumerate(csv.DictReader(text, delimiter="\t" if path.suffix == ".tsv" else ","), 2)


def _value(row: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _text(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


def _seconds(row: dict[str, Any], key: str, where: str) -> float | None:
    if row.get(key) in (None, ""):
        return None
    try:
        seconds = float(row[key])
    except (TypeError, ValueError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise InputError(f"{where}: {key} is {row[key]!r}; it must be a time in seconds from 0 on.")
    return seconds


# --- layouts of known corpora -------------------------------------------------------------------


def _kaldi(folder: Path) -> Iterator[tuple[Utterance, Path]]:
    """Read wav.scp, text, and where they are there segments and utt2spk."""
    recordings = _pairs(folder / "wav.scp")
    piped = next((value for value in recordings.values() if value.endswith("|")), None)
    if piped:
        raise InputError(
            f"{folder}/wav.scp has a command ({piped[:60]!r}), which is not run. Write its files to disk."
        )
    speakers = _pairs(folder / "utt2spk") if (folder / "utt2spk").is_file() else {}
    segments = _pairs(folder / "segments") if (folder / "segments").is_file() else {}
    for key, text in _pairs(folder / "text").items():
        parts = segments[key].split() if key in segments else [key]
        recording = parts[0]
        if recording not in recordings or len(parts) not in (1, 3):
            raise InputError(
                f"{folder}: the utterance {key!r} has no recording in wav.scp, or a bad segment."
            )
        times = {"start": parts[1], "end": parts[2]} if len(parts) == 3 else {}
        start = _seconds(times, "start", f"{folder}/segments") or 0.0
        end = _seconds(times, "end", f"{folder}/segments")
        given = Path(recordings[recording])
        file = given if given.is_absolute() else folder / given
        shared = speakers.get(key, recording if key in segments else None)
        yield Utterance(key, text, _from_file(file, key, start, end), shared), file


def _pairs(path: Path) -> dict[str, str]:
    """Return the rest of each line under its first word."""
    split = (line.split(maxsplit=1) for line in lines(path) if line.strip())
    return {key: rest[0].strip() if rest else "" for key, *rest in split}


def _librispeech(transcripts: Path) -> Iterator[tuple[Utterance, Path]]:
    """Read one chapter: `SPEAKER-CHAPTER.trans.txt` beside the sounds."""
    for key, text in _pairs(transcripts).items():
        file = _sound_of(transcripts.parent, key)
        yield Utterance(key, text, _from_file(file, key), key.split("-")[0]), file


def _stm(path: Path) -> Iterator[tuple[Utterance, Path]]:
    """Read `talk channel speaker start end <label> words`, with the sound beside it, in ../sph or ../wav."""
    for number, line in enumerate(lines(path), 1):
        if not line.strip() or line.startswith(";;"):
            continue
        parts = line.split(maxsplit=6)
        if len(parts) < 5:
            raise InputError(f"{path}, line {number} is no line of an stm: {line[:60]!r}.")
        talk, _, speaker = parts[:3]
        times = {"start": parts[3], "end": parts[4]}
        start = _seconds(times, "start", f"{path}, line {number}") or 0.0
        end = _seconds(times, "end", f"{path}, line {number}")
        rest = parts[5:]
        text = " ".join(rest[1:] if rest and rest[0].startswith("<") and rest[0].endswith(">") else rest)
        folders = (path.parent, path.parent.parent / "sph", path.parent.parent / "wav")
        file = next((found for folder in folders if (found := _sound_of(folder, talk)).is_file()), None)
        name = f"{talk}-{start:g}-{end:g}"
        chosen = file or _sound_of(path.parent, talk)
        yield Utterance(name, text, _from_file(chosen, name, start, end), speaker), chosen


def _sound_of(folder: Path, key: str) -> Path:
    candidates = [folder / f"{key}{suffix}" for suffix in SOUNDS]
    return next((file for file in candidates if file.is_file()), candidates[0])


def _from_file(file: Path, name: str, start: float = 0.0, end: float | None = None) -> Sound:
    def read() -> tuple[Any, float | int]:
        found: tuple[Any, float | int] = read_sound(file, name, start, end)
        return found

    return read
