"""What a worker does: it runs the arms of one seed, and keeps each trial at once.

Torch is imported when the first arm runs: the process that plans a check never loads it.
"""

from __future__ import annotations

import importlib
import traceback
from pathlib import Path

from assay import catalogue
from assay.checking.store import Store, TrialRecord, Unit
from assay.errors import StorageError
from assay.paper import ALL_ARMS

GOLDEN = (5**0.5 - 1) / 2
"""A seed starts with the arm at this multiple of it, as a share of all arms. So no arm is always first, on a
cold cache, and seeds that run at once start far apart: they seldom wait for stages that all seeds share."""


def prepare() -> None:
    """Load torch, while the parent plans."""
    importlib.import_module("assay.checking.trials")


def run_unit(unit: Unit) -> list[TrialRecord]:
    """Run all arms of one seed that are not finished yet, keep each at once, and return them all."""
    from assay.checking import trials

    store = Store(Path(unit.store))
    entry = catalogue.entry(unit.slug)
    records: dict[str, TrialRecord] = {}
    arms = list(unit.configs)
    turn = int(unit.seed * GOLDEN % 1 * len(arms))
    for arm in arms[turn:] + arms[:turn]:
        record = None if unit.fresh else _sound(store, unit, arm)
        if record is None:
            record = trials.run_arm(entry, unit, arm, store)
            store.write(unit.keys[arm], record)
        records[arm] = record
    if ALL_ARMS in unit.keys:
        records[ALL_ARMS] = trials.run_across(entry, unit, records)
        store.write(unit.keys[ALL_ARMS], records[ALL_ARMS])
    return list(records.values())


def _sound(store: Store, unit: Unit, arm: str) -> TrialRecord | None:
    """Return a finished trial that did not fail: a failed one is run again."""
    record = store.read(unit.slug, unit.keys[arm])
    return record if record is not None and record.error is None else None


def finished(store: Store, unit: Unit) -> dict[str, TrialRecord] | None:
    """Return the trials of a unit if the store has all of them."""
    records = {arm: _sound(store, unit, arm) for arm in unit.keys}
    if any(record is None for record in records.values()):
        return None
    return {arm: record for arm, record in records.items() if record is not None}


def lost(unit: Unit, arm: str, error: BaseException) -> TrialRecord:
    """Return the trial of a unit that could not be run to its end."""
    if isinstance(error, StorageError):
        raise error
    text = "".join(traceback.format_exception_only(error))
    return TrialRecord(unit.slug, unit.recipe, arm, unit.seed, error=text)
