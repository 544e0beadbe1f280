"""Reads a log in a process of its own, which has no torch in it, and says what time and memory that took."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assay.errors import InputError, StorageError
from assay.papers.education.ednet.method.contents import Contents
from assay.papers.education.ednet.method.members import LARGEST_MEMBER
from assay.papers.education.ednet.method.reader import EdNetReader


@dataclass(frozen=True)
class ReadTask:
    """What to read: a folder or zip of students' files, the folder of the contents tables, where shards go.

    `level`: 1 to 4, or read off the columns. `shard_rows`: rows of a shard. `largest_member`: bytes of one
    student's file.
    """

    root: Path
    contents: Path | None
    out: Path
    level: int | None = None
    shard_rows: int = 5_000_000
    largest_member: int = LARGEST_MEMBER


@dataclass(frozen=True)
class ReadCost:
    """What a reader took, its imports aside: `seconds`, `cpu_seconds`, `peak_memory` in MB, its `rows`."""

    seconds: float
    cpu_seconds: float
    peak_memory: float
    rows: int


def read_in_process(task: ReadTask, module: str = __name__) -> ReadCost:
    """Write a log as Parquet in a fresh process, which runs a module that calls `answer`.

    Raises:
        InputError: what was given cannot be read.
        StorageError: the process could not write, or ended without an answer.
    """
    ran = subprocess.run(
        [sys.executable, "-m", module, json.dumps(asdict(task), default=str)],
        capture_output=True,
        text=True,
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"},
        check=False,
    )
    try:
        found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        reason = ran.stderr.strip()[-300:] or ran.returncode
        raise StorageError(f"Reading {task.root} ended early: {reason}") from None
    if "error" in found:
        raise (InputError if found["kind"] == "input" else StorageError)(found["error"])
    return ReadCost(**found)


def answer(read: Callable[[ReadTask], int]) -> None:
    """Do what the parent process asks, and print one line of JSON."""
    plain: dict[str, Any] = json.loads(sys.argv[1])
    paths = {name: Path(plain[name]) if plain[name] else None for name in ("root", "contents", "out")}
    import pandas  # noqa: F401 (pyarrow imports it with its first array: no part of what is timed)

    start, cpu = time.perf_counter(), time.process_time()
    try:
        rows = read(ReadTask(**plain | paths))
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        print(json.dumps(asdict(ReadCost(seconds, cpu_seconds, peak_memory(), rows))))
    except (InputError, OSError) as error:
        kind = "input" if isinstance(error, InputError) else "storage"
        print(json.dumps({"error": str(error), "kind": kind}))


def peak_memory() -> float:
    """Return the most memory that this process has held since it began, in MB."""
    try:  # unlike getrusage, this does not count what the parent held
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _read(task: ReadTask) -> int:
    contents = Contents.none() if task.contents is None else Contents.load(task.contents)
    reader = EdNetReader(task.root, contents, task.level, largest_member=task.largest_member)
    return len(reader.to_parquet(task.out, task.shard_rows))


if __name__ == "__main__":
    answer(_read)
