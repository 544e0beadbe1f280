"""Reads EdNet as it is published, a file a student, into Parquet in bounded memory, without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from assay.errors import InputError
from assay.papers.education.ednet.method.contents import Contents
from assay.papers.education.ednet.method.members import LARGEST_MEMBER, Skipped, ZipMembers, open_members
from assay.papers.education.ednet.method.parsing import Parser, Student, columns_of, schema, split_file
from assay.papers.education.ednet.method.shards import (
    LICENCE,
    READER_VERSION,
    EdNetLog,
    Piece,
    ShardWriter,
    UserSet,
)

BATCH_FILES = 1000
BATCH_BYTES = 4 << 20
"""A batch of files is parsed together when it holds so many files or bytes."""


class EdNetReader:
    """Students' files of one level, from a folder or a zip.

        reader = EdNetReader("KT3.zip", Contents.load("contents"), level=3)
        log = reader.to_parquet("ednet")

    Args:
        root: the folder, however deep its files lie, or the zip.
        contents: marks the answers.
        level: 1 to 4. Unless given it is read off the columns and the actions.
        largest_member: bytes that one student's file may hold.
        on_progress: called with the number of students and rows so far.

    Raises:
        InputError: there is nothing at `root`, or nothing that could be read.
    """

    def __init__(
        self,
        root: str | Path,
        contents: Contents,
        level: int | None = None,
        *,
        largest_member: int = LARGEST_MEMBER,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        if level not in (None, 1, 2, 3, 4):
            raise InputError(f"There is no level {level}: EdNet has the levels 1 to 4.")
        self.root = Path(root).expanduser()
        self.members = open_members(self.root, largest_member)
        self.contents, self.given_level, self.on_progress = contents, level, on_progress
        self.level = level or self._detected()

    def iter_users(self) -> Iterator[tuple[int, pa.Table]]:
        """Yield each student and the rows of that student."""
        parser, skipped = Parser(self.level, self.contents), Skipped()
        for batch in _ahead(self._batches(parser, skipped, UserSet())):
            table, lengths = parser.parse(batch)
            start = 0
            for student, length in zip(batch, lengths.tolist(), strict=True):
                yield student.uid, table.slice(start, length)
                start += length

    def to_parquet(self, out: str | Path, shard_rows: int = 5_000_000) -> EdNetLog:
        """Write all students as Parquet shards; an interrupted call goes on where it was.

        Args:
            out: the folder; it holds a manifest only when everything is written.
            shard_rows: about how many rows a shard has. What is lost in an interruption is one shard.

        Raises:
            InputError: no student's file was found, or `out` was begun with other options.
            StorageError: `out` cannot be written.
        """
        parser, skipped = Parser(self.level, self.contents), Skipped()
        task = self._task(shard_rows)
        writer = ShardWriter(Path(out).expanduser(), schema(self.level), task, shard_rows)
        parser.restore(writer.state)
        pieces = self._pieces(parser, self._batches(parser, skipped, writer.done))
        students, rows = writer.write(pieces, parser.state, self.on_progress)
        if not students:
            raise InputError(
                f"{self.root} holds no student's file of level {self.level} (u1.csv, u2.csv, ...)."
                f" Skipped: {dict(skipped.counts) or 'nothing'}."
            )
        writer.finish(self._manifest(parser, skipped, students, rows))
        return EdNetLog(out)

    def _pieces(self, parser: Parser, batches: Iterator[list[Student]]) -> Iterator[Piece]:
        for batch in _ahead(batches):
            table, lengths = parser.parse(batch)
            uids = np.array([student.uid for student in batch], np.int64)
            del batch  # or the next would be read beside it
            yield table, uids, lengths
            del table

    def _batches(self, parser: Parser, skipped: Skipped, done: UserSet) -> Iterator[list[Student]]:
        """Yield students' files with the same header, many at a time."""
        seen = UserSet()
        batch: list[Student] = []
        size = 0
        for uid, name, entry in self.members.walk(skipped):
            if not seen.add(uid):
                skipped.add("student seen before", name)
                continue
            if uid in done:
                continue  # in a shard of an interrupted run
            student = split_file(uid, name, self.members.read(name, entry))  # type: ignore[arg-type]
            if columns_of(student.header, parser.level) is None:
                skipped.add(f"not of level {parser.level}" if student.header else "empty", name)
                continue
            if batch and student.header != batch[0].header:
                yield batch
                batch, size = [], 0
            batch.append(student)
            size += len(student.body)
            if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
                del student  # it may be large, and the next one is read now
        if batch:
            yield batch

    def _detected(self) -> int:
        """Return the level by the columns of the first student's file; 3 also stands for 2."""
        for _, name, entry in self.members.walk():
            header = split_file(0, name, self.members.read(name, entry)).header  # type: ignore[arg-type]
            if b"cursor_time" in header:
                return 4
            for level in (3, 1):
                if columns_of(header, level) is not None:
                    return level
        raise InputError(
            f"{self.root} holds no student's file (u1.csv, u2.csv, ...) with the columns of EdNet. Give the"
            " unpacked folder of KT1 to KT4, or its zip."
        )

    def _task(self, shard_rows: int) -> dict[str, Any]:
        archive = isinstance(self.members, ZipMembers)
        return {
            "source": self.root.name,
            "bytes": self.root.stat().st_size if archive else None,
            "level": self.level,
            "shard_rows": shard_rows,
            "contents": dict(self.contents.hashes),
            "reader_version": READER_VERSION,
        }

    def _manifest(self, parser: Parser, skipped: Skipped, students: int, rows: int) -> dict[str, Any]:
        level, tally = self.level, parser.tally
        if self.given_level is None and level == 3 and not tally.kinds["e"] + tally.kinds["l"]:
            level = 2
        return {
            "reader_version": READER_VERSION,
            "level": level,
            "source": self.root.name,
            "students": students,
            "rows": rows,
            "first_timestamp": tally.first,
            "last_timestamp": tally.last,
            "actions": dict(tally.actions),
            "items": dict(tally.kinds),
            "names": parser.names,
            "noticed": dict(tally.counts),
            "skipped": {"files": dict(skipped.counts), "names": skipped.names},
            "contents": dict(self.contents.hashes),
            "licence": LICENCE,
        }


def _ahead(batches: Iterator[list[Student]]) -> Iterator[list[Student]]:
    """Yield batches, each of which was read and unpacked while the one before was parsed and written.

    Nothing is read ahead of an unusually large batch: memory would hold both.
    """
    with ThreadPoolExecutor(1) as pool:
        batch = next(batches, None)
        while batch is not None:
            small = sum(len(student.body) for student in batch) < 2 * BATCH_BYTES
            coming = pool.submit(next, batches, None) if small else None
            yield batch
            del batch
            batch = coming.result() if coming else next(batches, None)
