"""Learners from wherever they come: own tables, EdNet's files, a log that was ingested, or a simulation."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from assay.data.places import parse
from assay.errors import InputError
from assay.papers.education.ednet.config import Actions, Answers, Place, Train
from assay.papers.education.ednet.method.contents import Contents
from assay.papers.education.ednet.method.process import ReadTask, read_in_process
from assay.papers.education.ednet.method.shards import MANIFEST, EdNetLog
from assay.papers.education.ednet.method.steps import steps_of_log
from assay.papers.education.logs import KTSchema
from assay.papers.education.simulated import simulate
from assay.papers.education.steps import Steps
from assay.trial import Split, Trial


@dataclass(frozen=True)
class Learners:
    """Steps of learners, and what is known about them.

    `test`: steps of a published test split, in the same catalogue. `truth`: the true chance of each answer,
    of simulated learners. `fresh`: no other seed has these learners.
    """

    steps: Steps
    test: Steps | None = None
    truth: np.ndarray | None = None
    fresh: bool = False
    schema: KTSchema = KTSchema()  # noqa: RUF009 (it is frozen)

    def split(self, test: float, validation: float, trial: Trial) -> Split[np.ndarray]:
        """Return learners to train on, to choose with and to measure with: never the same one twice."""
        total = len(self.steps.users)
        if self.test is None:
            return trial.split(total, test=test, validation=validation, fresh=self.fresh)
        parts = trial.split(total, test=validation, fresh=True)
        return Split(parts.train, parts.test, np.zeros(0, np.int64))

    def measured(self, parts: Split[np.ndarray]) -> Steps:
        """Return the learners to measure with."""
        return self.steps.learners(parts.test) if self.test is None else self.test


def learners_of(config: Train, trial: Trial) -> Learners:
    """Return the learners that the options name.

    Raises:
        InputError: they cannot be read, or are too few.
    """
    if config.root.given:
        found = Learners(_root_steps(config.root, config.contents, actions=False))
    elif config.learners == "simulated":
        steps, truth = simulate(config.simulated, trial.numpy("learners"))
        return Learners(steps, truth=truth, fresh=True)
    elif (folder := ingested(config.data)) is not None:
        found = Learners(steps_of_log(EdNetLog(folder), _contents(config.contents)))
    else:
        found = _table_learners(config)
    found = replace(found, steps=found.steps.at_least(config.min_steps))
    return _assigned(found, config.max_learners, trial)


def acting_learners(config: Actions, trial: Trial) -> Learners:
    """Return learners with what they read and watched."""
    if not config.root.given:
        steps, truth = simulate(config.simulated, trial.numpy("learners"))
        return Learners(steps, truth=truth, fresh=True)
    found = Learners(_root_steps(config.root, config.contents, actions=True).at_least(3))
    return _assigned(found, config.max_learners, trial)


def ingested(data: Answers) -> Path | None:
    """Return the folder of a log that ingest wrote, if the source is one."""
    place = parse(data.source)
    return place.path if place.kind == "parquet" and (place.path / MANIFEST).is_file() else None


def own_table(data: Answers) -> tuple[pa.Table, pa.Table | None]:
    """Return the rows of a table under their own names, and those of its test split."""
    loaded = data.table().load(needs=())
    rows = loaded.rows.with_format("arrow")[:]
    return rows, None if loaded.test is None else loaded.test.with_format("arrow")[:]


def _table_learners(config: Train) -> Learners:
    schema = KTSchema(**vars(config.columns))
    rows, test = own_table(config.data)
    mapped = schema.map(rows).steps
    own = None if test is None else schema.map(test, mapped.catalogue).steps.at_least(config.min_steps)
    return Learners(mapped, test=own, schema=schema)


def _root_steps(root: Place, contents: Place, actions: bool) -> Steps:
    """Read EdNet's own files, or a folder that ingest wrote."""
    path, known = root.require("root"), _contents(contents)
    if (path / MANIFEST).is_file():
        return steps_of_log(EdNetLog(path), known, actions=actions)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        read_in_process(ReadTask(path, contents.require("contents"), log))
        return steps_of_log(EdNetLog(log), known, actions=actions)


def _contents(contents: Place) -> Contents:
    if not contents.given:
        raise InputError(
            "EdNet's answers are marked by its contents tables: give their folder, --contents DIR."
        )
    return Contents.load(contents.require("contents"))


def _assigned(found: Learners, most: int | None, trial: Trial) -> Learners:
    total = len(found.steps.users)
    if total < 10:
        raise InputError(
            f"There are {total} learners with enough answers; at least 10 are needed, to learn from"
            " some, choose with others and measure with the rest."
        )
    if most is None or most >= total:
        return found
    chosen, fresh = trial.deal(total, most)
    return replace(found, steps=found.steps.learners(chosen), fresh=fresh)
