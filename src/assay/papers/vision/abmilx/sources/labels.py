"""The CSV that says what is known of each bag, in our columns or in those of the authors' files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pandas

from assay.data.paths import existing_file
from assay.errors import InputError

BAG = ("bag", "bag_id", "slide", "wsi")
LABEL = ("label", "bag_label", "class")
GROUP = ("patient", "case", "group", "id")
PART = ("split", "fold")
PARTS = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "test": "test"}
PARTS |= {"validation": "validation"}


@dataclass(frozen=True)
class BagLabel:
    """What the CSV says of one bag."""

    bag_id: str
    label: str | None
    time: float
    died: bool
    group: str | None
    part: str | None


def read_labels(path: Path, survival: bool) -> list[BagLabel]:
    """Read the labels of bags.

    Columns, in capital or small letters: `bag` (or bag_id, slide, wsi), `label` (or bag_label, class),
    `patient` (or case, group, id) and `split` (or fold) with train, val and test. For survival `time` and
    `died` (or `event`, `status`); the authors' files have the time in `Event` and the death in `Status`.

    Raises:
        InputError: a column is missing, a bag has no label, is there twice or has a time that is no number.
    """
    table = pandas.read_csv(existing_file(path), dtype=str, keep_default_na=False, skipinitialspace=True)
    table.columns = [str(column).strip().lower() for column in table.columns]
    bag = _column(table, BAG, path)
    found: list[BagLabel] = []
    seen: set[str] = set()
    outcome = _survival_columns(table, path) if survival else (_column(table, LABEL, path), "")
    group, part = _optional(table, GROUP), _optional(table, PART)
    for number, cells in enumerate(table.to_dict("records"), start=2):
        row = {str(name): str(cell) for name, cell in cells.items()}
        name = row[bag].strip()
        where = f"{path}, line {number}"
        if not name:
            raise InputError(f"{where}: there is no bag.")
        if name in seen:
            raise InputError(f"{where}: the bag {name!r} has been there before.")
        seen.add(name)
        if not row[outcome[0]].strip():
            raise InputError(f"{where}: the bag {name!r} has no {'time' if survival else 'label'}.")
        time, died = _outcome(row, outcome, where) if survival else (float("nan"), False)
        label = None if survival else row[outcome[0]].strip()
        split = _part(row[part], where) if part else None
        found.append(BagLabel(name, label, time, died, row[group].strip() or None if group else None, split))
    if not found:
        raise InputError(f"{path} has no rows.")
    return found


def _survival_columns(table: pandas.DataFrame, path: Path) -> tuple[str, str]:
    if "status" in table.columns and "event" in table.columns:  # the authors' files
        return "event", "status"
    return _column(table, ("time", "months", "days"), path), _column(table, ("died", "event", "status"), path)


def _column(table: pandas.DataFrame, names: tuple[str, ...], path: Path) -> str:
    found = _optional(table, names)
    if found is None:
        raise InputError(
            f"{path} has no column {names[0]!r} (nor {', '.join(names[1:])}). It has:"
            f" {', '.join(table.columns)}."
        )
    return found


def _optional(table: pandas.DataFrame, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in table.columns), None)


def _part(text: str, where: str) -> str | None:
    if not text.strip():
        return None
    if text.strip().lower() not in PARTS:
        raise InputError(f"{where}: the split {text!r} is none of train, val and test.")
    return PARTS[text.strip().lower()]


def _outcome(row: dict[str, str], columns: tuple[str, str], where: str) -> tuple[float, bool]:
    try:
        time, died = float(row[columns[0]]), float(row[columns[1]])
    except ValueError:
        time, died = float("nan"), float("nan")
    if not (0 <= time < math.inf and died in (0.0, 1.0)):
        raise InputError(
            f"{where}: time {row[columns[0]]!r} and death {row[columns[1]]!r} must be a number from 0 up, and"
            " 0 or 1."
        )
    return time, died == 1
