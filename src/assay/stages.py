"""Stages that arms share: one process computes a stage, keeps it on disk, and all load that copy."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import filelock

from assay import files, records
from assay.randomness import derive_seed, random_state

Value = TypeVar("Value")

COST = "cost.json"
PATIENCE = 3.0
"""Seconds to wait for a lock before it is said who holds it."""


@dataclass(frozen=True)
class Stage(Generic[Value]):
    """What to compute: `function(*arguments)` under the random stream `name` of `seed`."""

    name: str
    seed: int
    function: Callable[..., Value]
    arguments: tuple[Any, ...]

    def compute(self, folder: Path) -> None:
        """Compute the stage and save it to `folder`, which appears whole."""
        with files.atomic_folder(folder, marker=records.RECORD) as written:
            start = time.perf_counter()
            with random_state(derive_seed(self.seed, f"stage/{self.name}")):
                result = self.function(*self.arguments)
            records.save(written, result)
            files.write_json(written / COST, {"seconds": time.perf_counter() - start, "stage": self.name})

    def load(self, folder: Path) -> Value:
        """Load what was saved."""
        loaded: Value = records.load(folder, (self.function.__module__.split(".")[0],))
        return loaded

    def alone(self) -> Value:
        """Compute the stage and keep nothing; the result goes through a file all the same."""
        with tempfile.TemporaryDirectory() as folder:
            self.compute(Path(folder) / "stage")
            return self.load(Path(folder) / "stage")


@dataclass(frozen=True)
class Stages:
    """A folder of finished stages that many processes use at once.

    Args:
        folder: where they are.
        since: stages that are older are computed again, in seconds since the epoch.
        report: where it goes that another process is waited for.
    """

    folder: Path
    since: float = 0.0
    report: Callable[[str], None] = lambda text: None

    def get(self, key: str, stage: Stage[Value]) -> tuple[Value, float, bool]:
        """Return a stage's result, the seconds that it took, and whether it was computed just now.

        A stage that is damaged or incomplete is computed again.
        """
        found = self._find(key, stage)
        if found is not None:
            return *found, False
        with self._lock(key, stage.name):
            found = self._find(key, stage)  # another process may have computed it meanwhile
            if found is not None:
                return *found, False
            for remnant in (self.folder / key, *self.folder.glob(f".{key}.*")):
                shutil.rmtree(remnant, ignore_errors=True)
            stage.compute(self.folder / key)
        return *self._load(key, stage), True

    def _find(self, key: str, stage: Stage[Value]) -> tuple[Value, float] | None:
        """Load a finished stage, or return `None` where there is none, or it is damaged or too old."""
        folder = self.folder / key
        try:
            if (folder / records.RECORD).stat().st_mtime < self.since:
                return None
            return self._load(key, stage)
        except (OSError, KeyError, TypeError, ValueError):  # AssayErrors of reading are among these
            return None

    def _load(self, key: str, stage: Stage[Value]) -> tuple[Value, float]:
        return stage.load(self.folder / key), float(files.read_json(self.folder / key / COST)["seconds"])

    @contextlib.contextmanager
    def _lock(self, key: str, name: str) -> Iterator[None]:
        """Let one process compute a stage while others wait; where there are no locks, each computes."""
        locks = self.folder.parent / "locks"
        lock = filelock.FileLock(locks / key)
        holder = locks / f"{key}.holder"
        try:
            locks.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=PATIENCE)
            except filelock.Timeout:
                with contextlib.suppress(OSError):
                    self.report(f"waiting for {name!r}, which {holder.read_text()} computes")
                lock.acquire()
        except (OSError, NotImplementedError):
            yield
            return
        try:
            with contextlib.suppress(OSError):
                holder.write_text(f"process {os.getpid()} on {platform.node()}")
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()
