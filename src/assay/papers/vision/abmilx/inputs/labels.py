"""The CSV that says what is known of each bag, in our columns or in those of the authors' files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from assay.data import TextRows, read_rows
from assay.errors import InputError

BAG = ("bag", "bag_id")
SLIDES = ("slide", "wsi")
LABEL = ("label", "bag_label", "class")
GROUP = ("patient", "case", "group", "id")
PART = ("split", "fold")
PARTS = {"train": "train", "training": "train", "test": "test"}
PARTS |= dict.fromkeys(("val", "valid", "validation"), "validation")


@dataclass(frozen=True)
class BagLabel:
    """What the CSV says of one bag."""

    bag_id: str
    slides: tuple[str, ...]
    """Its slides; none: those whose names contain its own."""
    label: str | None
    time: float
    died: bool
    group: str | None
    part: str | None
    copies: int = 1
    """How many rows say the same: the authors repeat rows of rare classes."""


def read_labels(path: Path, survival: bool) -> list[BagLabel]:
    """Read the labels of bags.

    Columns, in capital or small letters: `bag` (or bag_id) or `slide` (or wsi), `label` (or bag_label,
    class), `patient` (or case, group, id) and `split` (or fold) with train, val and test. For survival `time`
    (or months, days) and `died` (or event, status); the authors' files have the time in `Event` and the
    death in `Status`.

    Without a column `bag`, the bag of a survival file is the patient, with all slides of the patient's rows.
    A row may list several slides, joined by `;`. A row that is there more than once counts as often in
    training.

    Raises:
        InputError: a column is missing, a bag has no label or several, or a time is no number.
    """
    rows = read_rows(path)
    columns = _Columns(rows, survival)
    found: dict[str, BagLabel] = {}
    for line, cells in rows:
        where = f"{path}, line {line}"
        row = columns.label(cells, where)
        known = found.setdefault(row.bag_id, row)
        if known is row:
            continue
        if replace(known, slides=row.slides, copies=1) != row:
            raise InputError(f"{where}: an earlier line says something else of the bag {row.bag_id!r}.")
        repeated = set(row.slides) <= set(known.slides)  # else one row for each slide of a case
        more = {"copies": known.copies + 1} if repeated else {"slides": known.slides + row.slides}
        found[row.bag_id] = replace(known, **more)
    return list(found.values())


class _Columns:
    """Which column says what."""

    def __init__(self, rows: TextRows, survival: bool) -> None:
        self.rows, self.survival = rows, survival
        self.names = {column.lower(): column for column in rows.columns}
        self.bag, self.slides = self._optional(BAG), self._optional(SLIDES)
        self.group, self.part = self._optional(GROUP), self._optional(PART)
        if survival and self.group and not self.bag:
            self.bag = self.group
        if self.bag is None and self.slides is None:
            self._needed((*BAG, *SLIDES))
        if not survival:
            self.outcome = (self._needed(LABEL), "")
        elif {"status", "event"} <= set(self.names):  # the authors' files
            self.outcome = (self.names["event"], self.names["status"])
        else:
            self.outcome = (
                self._needed(("time", "months", "days")),
                self._needed(("died", "event", "status")),
            )

    def label(self, cells: dict[str, str], where: str) -> BagLabel:
        cells = {column: cell.strip() for column, cell in cells.items()}
        slides = tuple(filter(None, cells[self.slides].split(";"))) if self.slides else ()
        bag = cells[self.bag] if self.bag else "+".join(slides)
        if not bag:
            raise InputError(f"{where}: there is no bag.")
        if not cells[self.outcome[0]]:
            raise InputError(f"{where}: the bag {bag!r} has no {'time' if self.survival else 'label'}.")
        time, died = self._survived(cells, where) if self.survival else (0.0, False)
        if not slides and self.bag != self.group:
            slides = (bag,)
        label = None if self.survival else cells[self.outcome[0]]
        group = (cells[self.group] or None) if self.group else None
        return BagLabel(bag, slides, label, time, died, group, self._part(cells, where))

    def _part(self, cells: dict[str, str], where: str) -> str | None:
        text = cells[self.part] if self.part else ""
        if text and text.lower() not in PARTS:
            raise InputError(f"{where}: the split {text!r} is none of train, val and test.")
        return PARTS.get(text.lower())

    def _survived(self, cells: dict[str, str], where: str) -> tuple[float, bool]:
        written = [cells[column] for column in self.outcome]
        try:
            time, died = map(float, written)
        except ValueError:
            time, died = math.nan, math.nan
        if not (0 <= time < math.inf and died in (0.0, 1.0)):
            raise InputError(
                f"{where}: time {written[0]!r} and death {written[1]!r} must be a number from 0 up, and 0 or"
                " 1."
            )
        return time, died == 1

    def _optional(self, names: Sequence[str]) -> str | None:
        return next((self.names[name] for name in names if name in self.names), None)

    def _needed(self, names: Sequence[str]) -> str:
        found = self._optional(names)
        if found is None:
            raise InputError(
                f"{self.rows.name} has no column {names[0]!r} (nor {', '.join(names[1:])}). It has:"
                f" {', '.join(self.rows.columns)}."
            )
        return found
