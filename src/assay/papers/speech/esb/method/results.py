"""What a benchmark found: transcripts, scores, tables; written, read and scored again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from assay import files
from assay.data import read_json_lines
from assay.errors import InputError
from assay.papers.speech.esb.method.comparison import Comparison, PairedCounts, paired_bootstrap
from assay.papers.speech.esb.method.guard import Violation
from assay.papers.speech.esb.method.normaliser import Kind, Normaliser, has_brackets
from assay.papers.speech.word_errors import (
    Breakdown,
    ErrorCounts,
    break_down,
    count_errors,
    edit_counts,
    mark_scores,
    plain_words,
)

RENDERINGS = ("orthographic", "plain", "normalised")
_NUMBER = (int, float)
_FIELDS: dict[str, Any] = {"id": str, "duration": _NUMBER, "time": _NUMBER, "text": str, "pred_text": str}


@dataclass(frozen=True)
class Transcript:
    """What a system made of one utterance."""

    id: str
    duration: float | int
    """Seconds of sound."""
    time: float | int
    """Seconds that the system took, its share of the batch by length."""
    text: str
    """The reference."""
    pred_text: str
    """What the system wrote."""
    recording: str | None = None


@dataclass(frozen=True)
class Scores:
    """One system on one set."""

    orthographic: float
    """Word error rate with case and punctuation as in the reference, a fraction."""
    plain: float
    """The same in lower case without punctuation."""
    normalised: float
    """The same after the normaliser."""
    counts: ErrorCounts
    breakdown: Breakdown
    marks: dict[str, float | None]
    utterances: int
    hours: float
    rtfx: float
    """Seconds of sound that are transcribed in a second."""

    @property
    def artefact_gap(self) -> float:
        """What case and punctuation cost: orthographic minus plain."""
        return self.orthographic - self.plain

    @property
    def normaliser_gap(self) -> float:
        """What numbers, spelling, contractions and fillers cost: plain minus normalised."""
        return self.plain - self.normalised


@dataclass(frozen=True)
class SetTranscripts:
    """The transcripts of one set."""

    name: str
    transcripts: tuple[Transcript, ...]
    dropped: int = 0

    def edits(
        self, rendering: str = "orthographic", normaliser: Normaliser | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return edits and reference words of each utterance; those without reference words have 0 edits."""
        references, hypotheses = self.rendered(rendering, normaliser)
        edits, words = edit_counts(references, hypotheses)
        return np.where(words > 0, edits, 0), words

    def rendered(self, rendering: str, normaliser: Normaliser | None = None) -> tuple[list[str], list[str]]:
        """Return references and hypotheses in one rendering, both sides alike."""
        renderings: dict[str, Callable[[str], str]] = {
            "orthographic": str,
            "plain": plain_words,
            "normalised": normaliser or Normaliser(),
        }
        render = renderings[rendering]
        return [render(row.text) for row in self.transcripts], [
            render(row.pred_text) for row in self.transcripts
        ]

    def rate(self, rendering: str, normaliser: Normaliser | None = None) -> float:
        """Return the word error rate, pooled over the set.

        Raises:
            InputError: no reference has a word in this rendering.
        """
        edits, words = self.edits(rendering, normaliser)
        if not words.sum():
            raise InputError(f"The references of the set {self.name!r} have no {rendering} words to score.")
        return float(edits.sum() / words.sum())

    def score(self, normaliser: Normaliser | None = None) -> Scores:
        """Score the set."""
        references, hypotheses = self.rendered("orthographic")
        spoken = [row for row, reference in enumerate(references) if reference.split()]
        references, hypotheses = ([side[row] for row in spoken] for side in (references, hypotheses))
        seconds = sum(row.duration for row in self.transcripts)
        spent = sum(row.time for row in self.transcripts)
        rates = {rendering: self.rate(rendering, normaliser) for rendering in RENDERINGS}
        return Scores(
            **rates,
            counts=count_errors(references, hypotheses),
            breakdown=break_down(references, hypotheses),
            marks=mark_scores(references, hypotheses),
            utterances=len(self.transcripts),
            hours=seconds / 3600,
            rtfx=seconds / max(spent, 1e-9),
        )


@dataclass(frozen=True)
class BenchmarkResult:
    """One system on all sets."""

    system: str
    sets: tuple[SetTranscripts, ...]
    violations: tuple[Violation, ...] = ()
    fingerprint: str = ""
    """A hash of the system."""
    normaliser: Kind = "whisper"
    """Which normaliser makes the normalised rendering."""

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """The scores of each set."""
        return {found.name: found.score(Normaliser(self.normaliser)) for found in self.sets}

    def macro(self, rendering: str = "orthographic") -> float:
        """Return the mean of the word error rates of the sets, each counting alike: the ESB score."""
        return macro_average([getattr(found, rendering) for found in self.scores.values()])

    @property
    def rtfx(self) -> float:
        """All seconds of sound over all seconds of transcribing."""
        rows = [row for found in self.sets for row in found.transcripts]
        return sum(row.duration for row in rows) / max(sum(row.time for row in rows), 1e-9)

    def compare(
        self, other: BenchmarkResult, rendering: str = "orthographic", draws: int = 2000, seed: int = 0
    ) -> Comparison:
        """Compare with another system on the same utterances by paired bootstrap: self minus other.

        Raises:
            InputError: the two were not run on the same utterances with the same references.
        """
        if [found.name for found in self.sets] != [found.name for found in other.sets]:
            ours, theirs = ([found.name for found in result.sets] for result in (self, other))
            raise InputError(f"The two runs have different sets: {ours} and {theirs}. Run both on the same.")
        pairs = {}
        for mine, yours in zip(self.sets, other.sets, strict=True):
            if [(row.id, row.text) for row in mine.transcripts] != [
                (row.id, row.text) for row in yours.transcripts
            ]:
                raise InputError(
                    f"The two runs have different utterances or references in the set {mine.name!r}."
                )
            normaliser = Normaliser(self.normaliser)
            (first, words), (second, _) = (found.edits(rendering, normaliser) for found in (mine, yours))
            pairs[mine.name] = PairedCounts(first, second, words, [row.recording for row in mine.transcripts])
        found = paired_bootstrap(pairs, draws, seed)
        return replace(found, first=self.system, second=other.system, rendering=rendering)

    # --- tables ---------------------------------------------------------------------------------

    def table(self) -> str:
        """Return the scores of all sets as Markdown: error rates in percent."""
        head = (
            "| set | utterances | WER | plain WER | normalised WER | case | punctuation | both | lexical"
            " | deleted | inserted | RTFx |"
        )
        rows = [head, "|---" + "|---:" * 11 + "|"]
        for name, found in self.scores.items():
            shares = found.breakdown.shares().values()
            cells = [found.orthographic, found.plain, found.normalised, *shares]
            rows.append(
                f"| {name} | {found.utterances} | {' | '.join(map(_percent, cells))} | {found.rtfx:.1f} |"
            )
        means = [self.macro(rendering) for rendering in RENDERINGS]
        kinds = zip(*(found.breakdown.shares().values() for found in self.scores.values()), strict=True)
        means += [float(np.mean(kind)) for kind in kinds]
        rows.append(f"| macro average | | {' | '.join(map(_percent, means))} | {self.rtfx:.1f} |")
        return "\n".join(rows) + "\n"

    def report(self) -> str:
        """Return the tables, with the notes that belong to them, as Markdown."""
        marks = sorted({mark for found in self.scores.values() for mark in found.marks})
        page = [f"# {self.system}", "", self.table()]
        page += ["F1 of each mark on aligned words:", "", f"| set | {' | '.join(marks)} |"]
        page += ["|---" + "|---:" * len(marks) + "|"]
        for name, found in self.scores.items():
            cells = ("-" if (value := found.marks[mark]) is None else f"{value:.2f}" for mark in marks)
            page.append(f"| {name} | {' | '.join(cells)} |")
        page += ["", f"Normaliser: {Normaliser(self.normaliser).version}.", ""]
        page += [f"- {note}" for note in self.notes()]
        return "\n".join(page).rstrip() + "\n"

    def notes(self) -> list[str]:
        """Return violations of the rule of one system, and what else a reader of the numbers should know."""
        found = [f"VIOLATION of {violation.rule}: {violation.found}" for violation in self.violations]
        dropped = {item.name: item.dropped for item in self.sets if item.dropped}
        found += [f"{name}: {count} segments without speech were left out" for name, count in dropped.items()]
        bracketed = sum(has_brackets(row.pred_text) for item in self.sets for row in item.transcripts)
        if bracketed:
            found.append(f"{bracketed} hypotheses have words in brackets, which the normaliser deletes")
        return found

    # --- on disk --------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write `results.json`, `table.md` and one `.jsonl` a set, with normalised texts in it."""
        place = Path(folder)
        normalise = Normaliser(self.normaliser)
        for found in self.sets:
            lines = []
            for row in found.transcripts:
                normalised = {"norm_text": normalise(row.text), "norm_pred": normalise(row.pred_text)}
                known = {key: value for key, value in asdict(row).items() if value is not None}
                lines.append(json.dumps(known | normalised, ensure_ascii=False) + "\n")
            files.write_atomic(place / file_of(found.name), "".join(lines))
        files.write_atomic(place / "table.md", self.report())
        files.write_json(place / "results.json", self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return all but the transcripts as plain values."""
        return {
            "system": self.system,
            "fingerprint": self.fingerprint,
            "normaliser": Normaliser(self.normaliser).version,
            "macro": {rendering: self.macro(rendering) for rendering in RENDERINGS},
            "rtfx": self.rtfx,
            "violations": [asdict(violation) for violation in self.violations],
            "notes": self.notes(),
            "sets": {
                found.name: {"file": file_of(found.name), "dropped": found.dropped}
                | asdict(self.scores[found.name])
                for found in self.sets
            },
        }

    @classmethod
    def load(cls, folder: str | Path, normaliser: Kind = "whisper") -> BenchmarkResult:
        """Read what `save` wrote, or the same inside of a folder of `assay run`; scores are computed again.

        Raises:
            InputError: the folder holds no results, or a file of transcripts is missing or damaged.
        """
        place = Path(folder)
        inside = sorted(place.glob("*/results.json"))
        summary = next((file.parent for file in (place / "results.json", *inside) if file.is_file()), None)
        if summary is None:
            raise InputError(
                f"{place} has no results.json: give a folder that `assay run esb --out` has written."
            )
        found = files.read_json(summary / "results.json")
        try:
            sets = tuple(
                SetTranscripts(
                    name, _read_transcripts(files.inside(summary, entry["file"])), entry["dropped"]
                )
                for name, entry in found["sets"].items()
            )
            violations = tuple(Violation(**entry) for entry in found["violations"])
            return cls(found["system"], sets, violations, found["fingerprint"], normaliser)
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{summary}/results.json is damaged or not from `assay run esb`: {error}."
            ) from None


def macro_average(rates: Sequence[float]) -> float:
    """Return the unweighted mean of the sets' error rates."""
    return float(np.mean(rates))


def file_of(name: str) -> str:
    """Return the name of the file of a set's transcripts."""
    return re.sub(r"[^\w.-]+", "-", name) + ".jsonl"


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f}"


def _read_transcripts(path: Path) -> tuple[Transcript, ...]:
    rows = []
    for number, row in read_json_lines(path):
        wrong = [key for key, kind in _FIELDS.items() if not isinstance(row.get(key), kind)]
        if wrong:
            raise InputError(
                f"{path}, line {number} is damaged: {wrong[0]} is {row.get(wrong[0])!r:.60}. Run the system"
                " again."
            )
        rows.append(Transcript(**{key: row[key] for key in _FIELDS}, recording=row.get("recording")))
    return tuple(rows)
