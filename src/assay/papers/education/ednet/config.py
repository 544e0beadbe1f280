"""The options of EdNet's recipes."""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from assay import files
from assay.bounds import OpenShare, PositiveInt, ShareBelowOne
from assay.data import Table, hash_file
from assay.errors import InputError
from assay.papers.education.options import Columns, Simulated

Model = Literal["mean", "irt", "pfa", "bkt", "dkt", "dkvmn", "sakt", "saint", "oracle"]


@dataclass(frozen=True)
class Answers:
    """Own answers. `--data SOURCE` is short for `--data.source SOURCE`."""

    source: str = "hub:mgor/EDNet/kt1"
    """One row an answer or one row a learner with lists: csv:FILE, json:FILE, parquet:FILE or FOLDER,
    hub:NAME[/CONFIG]; or parquet:FOLDER that ingest wrote."""
    test: str | None = None
    """Source of the test learners' answers. Unless given, the published test split, if any."""

    def __post_init__(self) -> None:
        self.table()  # which refuses what is no source

    def table(self) -> Table:
        """Return the table that is meant."""
        return Table(self.source, test=self.test)

    def fingerprint(self) -> str:
        """Identify the content."""
        return self.table().fingerprint()


@dataclass(frozen=True)
class Place:
    """A file or folder of the user's, or none. `--root PATH` is short for `--root.source PATH`."""

    source: str | None = None
    """The path; none: not given."""

    @property
    def given(self) -> bool:
        """Whether there is a path."""
        return self.source is not None

    def require(self, option: str) -> Path:
        """Return the path.

        Raises:
            InputError: none was given, or there is nothing.
        """
        if self.source is None:
            raise InputError(f"--{option} is missing: give its path.")
        path = files.user_path(self.source)
        if not path.exists():
            raise InputError(f"--{option}: there is no file or folder {path}.")
        return path

    def fingerprint(self) -> str:
        """Identify what is there by names, sizes and times: EdNet's files are too many to be read for it."""
        if self.source is None:
            return "none"
        path = self.require("root")
        if (path / "manifest.json").is_file():
            return hash_file(path / "manifest.json")
        found = [path] if path.is_file() else heapq.nsmallest(1000, path.rglob("*.csv"))
        listing = [(each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in found]
        return hashlib.sha256(repr(listing).encode()).hexdigest()


@dataclass(frozen=True)
class Architecture:
    """Size of a network."""

    width: PositiveInt = 32
    """Numbers of an embedding and a state."""
    layers: PositiveInt = 1
    """Attention blocks of SAKT, and of SAINT's encoder and decoder each."""
    heads: PositiveInt = 4
    """Attention heads of SAKT and SAINT."""
    slots: PositiveInt = 20
    """Slots of DKVMN's memory."""
    seq_len: PositiveInt = 100
    """Steps that a network sees at once; longer histories go through overlapping windows."""
    times: bool = False
    """SAINT also sees elapsed and lag times (SAINT+)."""


@dataclass(frozen=True)
class Optimisation:
    """How a network is trained."""

    epochs: PositiveInt = 30
    """Passes over the training learners, at most."""
    patience: PositiveInt = 3
    """Passes without a better validation AUC before training stops."""
    batch_size: PositiveInt = 32
    """Windows a gradient step."""


@dataclass(frozen=True)
class Train:
    """Options of `train`."""

    data: Answers = Answers()
    """Own answers, or a folder that ingest wrote."""
    columns: Columns = Columns()
    """Which column is what."""
    root: Place = Place()
    """EdNet as published, a folder or a zip of students' files, in place of the data."""
    contents: Place = Place()
    """EdNet's contents tables, for the root or for a log that ingest wrote."""
    learners: Literal["data", "simulated"] = "data"
    """Where learners come from, unless there is a root."""
    simulated: Simulated = Simulated()
    """The learners that are simulated."""
    model: Model = "dkt"
    """What is trained; oracle: the true chances of simulated learners."""
    blind: bool = False
    """Hide all answers from the network, which then knows which questions came and no more."""
    shares: tuple[float, ...] = (1.0,)
    """Shares of the training learners. A model is trained on each; the last one is kept."""
    test: OpenShare = 0.2
    """Share of the learners to measure with, unless the data has a test split of its own."""
    validation: ShareBelowOne = 0.1
    """Share of the learners to choose settings and end training with."""
    max_learners: PositiveInt | None = None
    """Learners assigned to each seed from a larger table. All by default."""
    min_steps: PositiveInt = 3
    """Learners with fewer answers are left out."""
    candidates: PositiveInt = 3
    """Settings tried for each model and each share; the best on validation learners is kept."""
    architecture: Architecture = Architecture()
    """Size of a network."""
    optimisation: Optimisation = Optimisation()
    """Training of a network."""


@dataclass(frozen=True)
class Actions:
    """Options of `actions`."""

    root: Place = Place()
    """A folder that ingest wrote, of level 3 or 4. Unless given, learners who read are simulated."""
    contents: Place = Place()
    """EdNet's contents tables, for the root."""
    simulated: Simulated = Simulated(learners=800, explanation=1.2)
    """The learners that are simulated."""
    reading: Literal["seen", "dropped", "shuffled"] = "seen"
    """What the network is given of explanations and lectures."""
    test: OpenShare = 0.25
    """Share of the learners to measure with."""
    validation: ShareBelowOne = 0.1
    """Share of the learners to choose settings and end training with."""
    max_learners: PositiveInt | None = None
    """Learners assigned to each seed from a larger log. All by default."""
    candidates: PositiveInt = 2
    """Settings tried; the best on validation learners is kept."""
    architecture: Architecture = Architecture()
    """Size of the network."""
    optimisation: Optimisation = Optimisation()
    """Training of the network."""


@dataclass(frozen=True)
class Leak:
    """Options of `leak`."""

    simulated: Simulated = Simulated(learners=400, second_skill=0.7, longest=40)
    """The learners that are simulated; most questions have several skills."""
    form: Literal["questions", "expanded", "masked"] = "questions"
    """One step a question; one step a skill; or one step a skill, predicted before the question began."""
    test: OpenShare = 0.25
    """Share of the learners to measure with."""
    validation: ShareBelowOne = 0.1
    """Share of the learners to choose settings and end training with."""
    candidates: PositiveInt = 2
    """Settings tried; the best on validation learners is kept."""
    architecture: Architecture = Architecture()
    """Size of the network."""
    optimisation: Optimisation = Optimisation()
    """Training of the network."""


@dataclass(frozen=True)
class Roundtrip:
    """Options of `roundtrip`."""

    students: PositiveInt = 2000
    """Students of the synthetic EdNet whose files are read and projected."""
    more_students: PositiveInt = 6000
    """Students of the second, larger log on which memory is measured again."""
    reader: Literal["streaming", "pandas"] = "streaming"
    """What reads the files: this reader, or pandas file by file."""
    last_counts: bool = True
    """A changed answer replaces the earlier one, as EdNet's authors say."""


@dataclass(frozen=True)
class Ingest:
    """Options of `ingest`."""

    root: Place = Place()
    """KT1 to KT4 as published: a folder or a zip of u1.csv, u2.csv, ..."""
    contents: Place = Place()
    """Folder of the contents tables: questions.csv and, where there are, lectures.csv and others."""
    level: int | None = None
    """1 to 4. Unless given, read off the columns."""
    shard_rows: PositiveInt = 5_000_000
    """Rows of a Parquet file, about."""
    largest_member: PositiveInt = 24_000_000
    """Bytes that one student's file may hold, unpacked."""
    resume_in: Place = Place()
    """Folder that keeps finished shards, so that the same command goes on after an interruption."""


@dataclass(frozen=True)
class Stats:
    """Options of `stats`."""

    root: Place = Place()
    """A folder that ingest or project wrote."""


@dataclass(frozen=True)
class Project:
    """Options of `project`."""

    root: Place = Place()
    """A folder that ingest wrote."""
    contents: Place = Place()
    """Folder of the contents tables, which mark the answers of level 1."""
    to: int = 1
    """The level wanted, at most that of the log."""
    divided: bool = True
    """Give each question of a bundle its share of the time, instead of all of it."""
    own_times: bool = True
    """Give each answer the moment of its last response, instead of that at which its bundle was entered."""


@dataclass(frozen=True)
class Detect:
    """Options of `detect`."""

    data: Answers = Answers()
    """Own answers, one row an answer or one row a learner with lists."""
    columns: Columns = Columns()
    """Which column is what."""
