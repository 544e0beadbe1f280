"""Speed and memory of reading EdNet's files: `python benchmarks/ednet.py [--students 3000] [--repeats 2]`.

The same files, of about as many rows as KT1 has for a student (121), are read by this reader and by a loop
over files with pandas; both mark the answers and write Parquet, each in a fresh process, the two taking
turns. Memory is the most that such a process held, interpreter and libraries included.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import shutil
import tempfile
from pathlib import Path

from assay.papers.education.ednet import baselines
from assay.papers.education.ednet.method import process
from assay.papers.education.ednet.method.process import ReadCost, ReadTask, read_in_process
from assay.papers.education.ednet.synthetic import synthesize

READERS = {"streaming": process.__name__, "pandas": baselines.__name__}

SESSIONS = 60
"""Bundles of a student, on average: some 110 answers."""
PUBLISHED = 131_441_538
"""Actions of the whole of EdNet."""


def written(folder: Path, students: int, forms: tuple[str, ...]) -> dict[str, Path]:
    """Write KT1 of a synthetic EdNet as a zip, a folder or both."""
    ednet = synthesize(students, seed=students, bundles=2000, sessions=SESSIONS)
    ednet.write_contents(folder / "contents")
    writers = {"zip": ednet.write_zip, "folder": ednet.write_folder}
    return {form: writers[form](folder / f"KT1-{students}{'.zip' * (form == 'zip')}", 1) for form in forms}


def read(root: Path, contents: Path, reader: str) -> ReadCost:
    """Read a log, and throw the result away."""
    out = contents.parent / "out"
    try:
        return read_in_process(ReadTask(root, contents, out, level=1), READERS[reader])
    finally:
        shutil.rmtree(out, ignore_errors=True)


def speed(root: Path, contents: Path, form: str, students: int, repeats: int) -> None:
    """Print the rows in a second of both readers."""
    best: dict[str, ReadCost] = {}
    for _ in range(repeats):
        for reader in ("streaming", "pandas"):
            took = read(root, contents, reader)
            if reader not in best or took.seconds < best[reader].seconds:
                best[reader] = took
    ours, theirs = best["streaming"], best["pandas"]
    assert ours.rows == theirs.rows
    rate = ours.rows / ours.seconds
    print(
        f"{form:6} {students:,} files, {ours.rows:,} rows: {rate:,.0f} rows/s, pandas"
        f" {theirs.rows / theirs.seconds:,.0f} rows/s: {theirs.seconds / ours.seconds:.1f} times as fast"
        f" ({theirs.cpu_seconds / ours.cpu_seconds:.1f} by CPU time);"
        f" {PUBLISHED / rate / 60:.1f} minutes for all of EdNet, pandas held {theirs.peak_memory:.0f} MB"
    )


def memory(students: int, folder: Path) -> None:
    """Print the most memory at two sizes."""
    for size in (students, 4 * students):
        part = folder / str(size)
        took = read(written(part, size, ("zip",))["zip"], part / "contents", "streaming")
        print(f"memory {size:,} files, {took.rows:,} rows: {took.peak_memory:.0f} MB")


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--students", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for form, root in written(folder, given.students, ("zip", "folder")).items():
            speed(root, folder / "contents", form, given.students, given.repeats)
        memory(given.students, folder)


if __name__ == "__main__":
    main()
