"""The contents tables of EdNet: questions with their right answers, lectures, payment items, coupons."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from assay.errors import InputError

TABLES = ("questions", "lectures", "payments", "coupons")
LARGEST_ID = 10_000_000
"""Ids above this are taken for damage: arrays are indexed by them."""


@dataclass(frozen=True, eq=False)
class Contents:
    """What the logs refer to, as arrays indexed by the number in an id (`q12` is 12).

    `answer`: int8, a to d as 0 to 3, -1 where there is no such question. `part`: int8, 1 to 7, 0 unknown.
    `bundle`: int32, 0 unknown. `tags`: int32 [ids, most tags], padded with -1. `lecture_tags`: int32, -1
    unknown. `hashes`: SHA-256 of every table that was read.
    """

    answer: np.ndarray
    part: np.ndarray
    bundle: np.ndarray
    tags: np.ndarray
    lecture_tags: np.ndarray
    hashes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: str | Path) -> Contents:
        """Read `questions.csv` and, where they are there, the other tables of a contents folder.

        Raises:
            InputError: there is no such folder, no questions table, or a table cannot be read.
        """
        folder = Path(folder).expanduser()
        found = {name: path for name in TABLES if (path := _table(folder, name)) is not None}
        if "questions" not in found:
            raise InputError(
                f"{folder} has no questions.csv: answers cannot be marked without it. Give the folder of"
                " EdNet's contents tables (questions.csv, lectures.csv, payments.csv, coupons.csv)."
            )
        questions = _read(found["questions"], ("question_id", "correct_answer"))
        ids = _numbers(questions, "question_id", found["questions"])
        size = int(ids.max(initial=0)) + 1
        answers = pc.index_in(questions["correct_answer"], pa.array(["a", "b", "c", "d"]))
        bundles = np.zeros(len(ids), np.int64)
        if "bundle_id" in questions.column_names:
            bundles = _numbers(questions, "bundle_id", found["questions"])
        tags = _tag_rows(questions)
        matrix = np.full((size, max([1, *map(len, tags)])), -1, np.int32)
        for number, row in zip(ids.tolist(), tags, strict=True):
            matrix[number, : len(row)] = row
        lectures = np.full(1, -1, np.int32)
        if "lectures" in found:
            table = _read(found["lectures"], ("lecture_id",))
            numbers = _numbers(table, "lecture_id", found["lectures"])
            lectures = _placed(int(numbers.max(initial=0)) + 1, numbers, _integers(table, "tags", -1), -1)
        return cls(
            answer=_placed(size, ids, pc.fill_null(answers, -1).to_numpy(), -1).astype(np.int8),
            part=_placed(size, ids, _integers(questions, "part", 0), 0).astype(np.int8),
            bundle=_placed(size, ids, bundles, 0),
            tags=matrix,
            lecture_tags=lectures,
            hashes={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found.values()},
        )

    @classmethod
    def none(cls) -> Contents:
        """Return contents that know no question: every label is then unknown."""
        nothing, zero = np.full(1, -1, np.int8), np.zeros(1, np.int8)
        return cls(nothing, zero, zero, nothing[:, None], nothing)

    @property
    def questions_of_bundle(self) -> dict[int, list[int]]:
        """The questions of each bundle, in order of their ids."""
        bundles: dict[int, list[int]] = {}
        for question, bundle in enumerate(self.bundle.tolist()):
            if bundle and self.answer[question] >= 0:
                bundles.setdefault(bundle, []).append(question)
        return bundles

    def correct(self, questions: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """Return int8: 1 right, 0 wrong, -1 where the question is unknown or nothing was answered."""
        known = questions < len(self.answer)
        right = np.where(known, self.answer[np.where(known, questions, 0)], np.int8(-1))
        marked: np.ndarray = np.where((right < 0) | (answers < 0), -1, answers == right).astype(np.int8)
        return marked


def _table(folder: Path, name: str) -> Path | None:
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; give the folder of EdNet's contents tables.")
    places = (folder / f"{name}.csv", folder / "contents" / f"{name}.csv")
    return next((path for path in places if path.is_file()), None)


def _read(path: Path, needed: tuple[str, ...]) -> pa.Table:
    try:
        table = pacsv.read_csv(
            pa.BufferReader(path.read_bytes().removeprefix(b"\xef\xbb\xbf")),
            convert_options=pacsv.ConvertOptions(
                column_types={name: pa.string() for name in ("tags", "part", *needed, "bundle_id")}
            ),
        )
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    for name in needed:
        if name not in table.column_names:
            raise InputError(f"{path} has no column {name!r}. Its columns: {', '.join(table.column_names)}.")
    return table


def _numbers(table: pa.Table, column: str, path: Path) -> np.ndarray:
    try:
        ids = pc.cast(pc.utf8_slice_codeunits(table[column], 1), pa.int64()).to_numpy()
        if ids.min(initial=0) < 0 or ids.max(initial=0) > LARGEST_ID:
            raise ValueError
    except (pa.ArrowInvalid, ValueError):
        raise InputError(
            f"{path}: column {column!r} must hold a letter and a number up to {LARGEST_ID}, such as q12."
        ) from None
    return np.asarray(ids, np.int64)


def _integers(table: pa.Table, column: str, missing: int) -> np.ndarray:
    if column not in table.column_names:
        return np.full(len(table), missing, np.int64)
    texts = table[column].cast(pa.string())
    sound = pc.match_substring_regex(texts, r"^-?\d{1,9}$")
    values = pc.cast(pc.if_else(sound, texts, None), pa.int64())
    return np.asarray(pc.fill_null(values, missing).to_numpy(), np.int64)


def _tag_rows(questions: pa.Table) -> list[list[int]]:
    """Return the tags of each question; "-1" and nothing mean none."""
    if "tags" not in questions.column_names:
        return [[] for _ in range(len(questions))]
    rows = (text or "" for text in questions["tags"].to_pylist())
    return [[int(tag) for tag in row.split(";") if tag.strip().isdigit()] for row in rows]


def _placed(size: int, ids: np.ndarray, values: np.ndarray, missing: int) -> np.ndarray:
    placed = np.full(size, missing, np.int32)
    placed[ids] = values
    return placed
