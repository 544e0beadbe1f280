"""Reads a log in a process of its own, which has no torch in it, and says what time and memory that took."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.errors import InputError, StorageError
from assay.papers.education.ednet.method import LARGEST_MEMBER, Contents, EdNetReader


@dataclass(frozen=True)
class Took:
    """What a reader took, its imports aside: `seconds`, `cpu_seconds`, `peak_memory` in MB, its `rows`."""

    seconds: float
    cpu_seconds: float
    peak_memory: float
    rows: int


def read_apart(
    root: Path,
    contents: Path | None,
    out: Path,
    *,
    level: int | None = None,
    reader: str = "streaming",
    shard_rows: int = 5_000_000,
    largest_member: int = LARGEST_MEMBER,
) -> Took:
    """Write a log as Parquet in a fresh process.

    Args:
        root: folder or zip of students' files.
        contents: folder of the contents tables.
        out: a folder for shards; for `pandas` the folder of one Parquet file.
        level: 1 to 4.
        reader: `streaming`, or `pandas` file by file.
        shard_rows: rows of a shard.
        largest_member: bytes of one student's file.

    Raises:
        InputError: what was given cannot be read.
        StorageError: the process could not write, or ended without a word.
    """
    task = {
        "root": str(root),
        "contents": None if contents is None else str(contents),
        "out": str(out),
        "level": level,
        "reader": reader,
        "shard_rows": shard_rows,
        "largest_member": largest_member,
    }
    ran = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps(task)],
        capture_output=True,
        text=True,
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"},
        check=False,
    )
    try:
        answer = json.loads(ran.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise StorageError(
            f"Reading {root} ended early: {ran.stderr.strip()[-300:] or ran.returncode}"
        ) from None
    if "error" in answer:
        raise (InputError if answer["kind"] == "input" else StorageError)(answer["error"])
    return Took(**answer)


def pandas_loop(root: Path, contents: Path | None, out: Path) -> int:
    """Read file by file with pandas and join all: what one writes first. Returns the number of rows."""
    import pandas as pd

    frames = []
    if root.is_dir():
        for path in sorted(root.rglob("u*.csv")):
            frames.append(pd.read_csv(path).assign(uid=int(path.stem[1:])))
    else:
        with zipfile.ZipFile(root) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    frames.append(pd.read_csv(file).assign(uid=int(Path(name).stem[1:])))
    table = pd.concat(frames, ignore_index=True)
    if contents is not None:
        questions = pd.read_csv(contents / "questions.csv")[["question_id", "correct_answer"]]
        item = "question_id" if "question_id" in table else "item_id"
        table = table.merge(questions, left_on=item, right_on="question_id", how="left")
        table["correct"] = table["user_answer"] == table["correct_answer"]
    out.mkdir(parents=True, exist_ok=True)
    table.to_parquet(out / "all.parquet")
    return len(table)


def peak_memory() -> float:
    """Return the most memory that this process has held since it began, in MB."""
    try:  # unlike getrusage, this does not count what the parent held
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Do what the parent asks, and print one line of JSON."""
    task: dict[str, Any] = json.loads(sys.argv[1])
    root, out = Path(task["root"]), Path(task["out"])
    contents = None if task["contents"] is None else Path(task["contents"])
    import pandas  # noqa: F401 (pyarrow imports it with its first array: no part of what is timed)

    start, cpu = time.perf_counter(), time.process_time()
    answer: dict[str, Any]
    try:
        if task["reader"] == "pandas":
            rows = pandas_loop(root, contents, out)
        else:
            known = Contents.none() if contents is None else Contents.load(contents)
            reader = EdNetReader(root, known, task["level"], largest_member=task["largest_member"])
            rows = len(reader.to_parquet(out, task["shard_rows"]))
        answer = {
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu,
            "peak_memory": peak_memory(),
            "rows": rows,
        }
    except (InputError, OSError) as error:
        answer = {"error": str(error), "kind": "input" if isinstance(error, InputError) else "storage"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
