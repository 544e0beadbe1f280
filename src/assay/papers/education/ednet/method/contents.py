"""The contents tables of EdNet: questions with their right answers, lectures, payment items, coupons."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from assay.data import TextRows, hash_file, read_rows
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
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}; give the folder of EdNet's contents tables.")
        places = {name: (folder / f"{name}.csv", folder / "contents" / f"{name}.csv") for name in TABLES}
        found = {name: path for name, pair in places.items() for path in pair[::-1] if path.is_file()}
        if "questions" not in found:
            raise InputError(
                f"{folder} has no questions.csv: answers cannot be marked without it. Give the folder of"
                " EdNet's contents tables (questions.csv, lectures.csv, payments.csv, coupons.csv)."
            )
        questions = read_rows(found["questions"], "utf-8-sig")
        questions.require("question_id", "correct_answer")
        ids = _numbers(questions, "question_id")
        tags = [
            [int(tag) for tag in text.split(";") if tag.strip().isdigit()]
            for text in _texts(questions, "tags")
        ]
        matrix = np.full((max(ids, default=0) + 1, max([1, *map(len, tags)])), -1, np.int32)
        for number, row in zip(ids, tags, strict=True):
            matrix[number, : len(row)] = row
        bundles = _numbers(questions, "bundle_id") if "bundle_id" in questions.columns else [0] * len(ids)
        lectures = np.full(1, -1, np.int32)
        if "lectures" in found:
            table = read_rows(found["lectures"], "utf-8-sig")
            table.require("lecture_id")
            lectures = _placed(_numbers(table, "lecture_id"), _integers(table, "tags", -1), -1)
        letters = dict(zip("abcd", range(4), strict=True))
        answers = [letters.get(text, -1) for text in _texts(questions, "correct_answer")]
        return cls(
            answer=_placed(ids, answers, -1).astype(np.int8),
            part=_placed(ids, _integers(questions, "part", 0), 0).astype(np.int8),
            bundle=_placed(ids, bundles, 0),
            tags=matrix,
            lecture_tags=lectures,
            hashes={path.name: hash_file(path) for path in found.values()},
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


def _texts(table: TextRows, column: str) -> list[str]:
    if column not in table.columns:
        return [""] * len(table)
    place = table.columns.index(column)
    return [record[place] for record in table.records]


def _numbers(table: TextRows, column: str) -> list[int]:
    """Return the numbers of ids such as q12."""
    found = [re.fullmatch(r".(\d{1,9})", text, re.ASCII) for text in _texts(table, column)]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) < len(found) or max(numbers, default=0) > LARGEST_ID:
        raise InputError(
            f"{table.name}: column {column!r} must hold a letter and a number up to {LARGEST_ID},"
            " such as q12."
        )
    return numbers


def _integers(table: TextRows, column: str, missing: int) -> list[int]:
    return [int(text) if re.fullmatch(r"-?\d{1,9}", text) else missing for text in _texts(table, column)]


def _placed(ids: list[int], values: list[int], missing: int) -> np.ndarray:
    """Return the values in an array that is indexed by id."""
    placed = np.full(max(ids, default=0) + 1, missing, np.int32)
    placed[ids] = values
    return placed
