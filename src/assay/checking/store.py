"""Where finished trials are kept: one JSON file a trial, written whole, named by what determines it.

<store>/trials/<slug>/<key>.json      a finished trial, or the error it ended with
<store>/stages/<key>/                 a stage that the arms of a seed share
<store>/locks/<key>                   held while such a stage is computed
<store>/results/<name>.json           what a check found
<store>/running/<name>                what a worker says it is doing
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay import files
from assay.paper import Items, Rate, Value

DEFAULT = Path(".assay")


@dataclass(frozen=True)
class Unit:
    """The work of one worker call: arms of a recipe, mostly all, with one seed on one data source."""

    slug: str
    recipe: str
    data: str
    seed: int
    configs: Mapping[str, Mapping[str, Any]]
    keys: Mapping[str, str]
    store: str
    code: str
    device: str
    precision: str
    fresh: bool


@dataclass(frozen=True)
class TrialRecord:
    """A finished trial as it is stored.

    `resplit` is the ratio of test to training rows where seeds re-split one data set, else 0. `error` says
    how it ended if it failed; `refused` marks an error in what the user gave.
    """

    slug: str
    recipe: str
    arm: str
    seed: int
    metrics: dict[str, Value] = field(default_factory=dict)
    counters: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    pictures: list[dict[str, str]] = field(default_factory=list)
    resplit: float = 0.0
    cost: dict[str, float] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    refused: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        plain = dict(vars(self))  # a deep copy of a long curve would cost more than some trials
        plain["metrics"] = {name: encode(value) for name, value in self.metrics.items()}
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> TrialRecord:
        """Build a record from plain values.

        Raises:
            TypeError, KeyError, ValueError: a field is missing or unknown, or a metric is not one.
        """
        metrics = {name: decode(value) for name, value in plain["metrics"].items()}
        return cls(**(plain | {"metrics": metrics}))


class Store:
    """A folder of finished trials that many processes may use at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def stages(self) -> Path:
        """The folder for stages that arms share."""
        return self.folder / "stages"

    @property
    def results(self) -> Path:
        """The folder for what checks found."""
        return self.folder / "results"

    def check_writable(self) -> None:
        """Fail early, with one line, where nothing could be stored.

        Raises:
            StorageError: the folder cannot be written or the disk is full.
        """
        probe = self.folder / f".probe-{os.getpid()}"
        files.write_atomic(probe, b"\0" * 65536)
        probe.unlink(missing_ok=True)

    def path(self, slug: str, key: str) -> Path:
        """Return where the trial with this key is, or will be."""
        return self.folder / "trials" / slug / f"{key}.json"

    def read(self, slug: str, key: str) -> TrialRecord | None:
        """Return a finished trial, or `None` where there is none or its file is damaged."""
        with contextlib.suppress(OSError, TypeError, KeyError, ValueError, AttributeError):
            return TrialRecord.from_json(files.read_json(self.path(slug, key)))
        return None

    def write(self, key: str, record: TrialRecord) -> None:
        """Keep a finished trial.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        files.write_json(self.path(record.slug, key), record.to_json(), indent=None)

    def result(self, name: str) -> Path:
        """Return where what a check found is kept."""
        return self.results / f"{name}.json"

    def say(self, name: str, text: str) -> None:
        """Leave a line about what is going on, for whoever shows progress."""
        path = self.folder / "running" / name
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def hush(self, name: str) -> None:
        """Take the line away."""
        with contextlib.suppress(OSError):
            (self.folder / "running" / name).unlink(missing_ok=True)

    def said(self) -> list[str]:
        """Return the lines that are there now."""
        lines = []
        for path in sorted((self.folder / "running").glob("*")):
            with contextlib.suppress(OSError):
                lines.append(path.read_text(encoding="utf-8"))
        return lines


def encode(value: Value) -> Any:
    """Turn a metric's value into plain values."""
    if isinstance(value, Rate):
        return {"successes": value.successes, "trials": value.trials}
    if isinstance(value, Items):
        return {
            "ids": list(value.ids),
            "values": list(value.values),
            "clusters": None if value.clusters is None else list(value.clusters),
        }
    return value


def decode(plain: Any) -> Value:
    """Turn plain values back into a metric's value.

    Raises:
        TypeError, ValueError: they are not what `encode` makes.
    """
    if isinstance(plain, dict):
        return Rate(**plain) if "successes" in plain else Items(**plain)
    if not isinstance(plain, int | float | None):
        raise TypeError(f"a metric cannot be a {type(plain).__name__}")
    return plain
