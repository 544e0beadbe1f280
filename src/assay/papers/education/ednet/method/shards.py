"""Parquet shards with an index and a manifest: written whole or not at all, and one student is one slice.

FOLDER/data/actions-00000-of-00002.parquet     rows of whole students, in the order in which they were read
FOLDER/meta/index.parquet                      uid, shard, offset, length
FOLDER/manifest.json                           counts, names of codes, hashes, the reader's version
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay import files
from assay.data import hash_file
from assay.errors import InputError

READER_VERSION = 1
ROW_GROUP = 131_072
"""Rows that are held before they are written, and the least that is read for one student."""
LICENCE = (
    "EdNet is licensed CC BY-NC 4.0: for research, not for commercial use. Do not try to find out who a"
    " student is, and do not join the logs with other data about persons."
)
RISING = ("uid", "timestamp", "solving_id", "elapsed_time", "cursor_time")
"""Columns of many values, stored by their differences; the others by a dictionary."""
Piece = tuple[pa.Table, np.ndarray, np.ndarray]
"""Rows of whole students, the students, and how many rows each has."""
MANIFEST = "manifest.json"
PROGRESS = "progress.json"
INDEX = pa.schema(
    [("uid", pa.int64()), ("shard", pa.int32()), ("offset", pa.int64()), ("length", pa.int64())]
)


class UserSet:
    """A set of student numbers in a bit each, by pages of 1024: small also where numbers lie far apart."""

    def __init__(self) -> None:
        self._pages: dict[int, int] = {}

    def __contains__(self, uid: int) -> bool:
        return bool(self._pages.get(uid >> 10, 0) >> (uid & 1023) & 1)

    def add(self, uid: int) -> bool:
        """Add a number; return whether it is new."""
        page, bit = self._pages.get(uid >> 10, 0), 1 << (uid & 1023)
        if page & bit:
            return False
        self._pages[uid >> 10] = page | bit
        return True


class ShardWriter:
    """Appends students and cuts shards. What was finished before an interruption is kept and not done again.

    `done`: the students of finished shards. `state`: what was given with the last of them.

    Args:
        folder: where the shards go; `finish` makes it whole.
        schema: of the rows.
        task: what is written (source, level, settings); a folder that was begun for another is refused.
        shard_rows: a shard is closed by the first student that brings it to so many rows.
    """

    def __init__(self, folder: Path, schema: pa.Schema, task: Mapping[str, Any], shard_rows: int) -> None:
        self.folder, self.schema, self.task, self.shard_rows = folder, schema, dict(task), shard_rows
        if (folder / MANIFEST).exists():
            raise InputError(f"{folder} holds a finished log already. Choose another folder or remove it.")
        self._writer: pq.ParquetWriter | None = None
        self._buffer: list[pa.Table] = []
        self._rows = 0
        self._index: list[np.ndarray] = []
        self.state: dict[str, Any] = {}
        self.shards: list[dict[str, Any]] = []
        self.done = UserSet()
        for part in ("data", "meta"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        if (folder / PROGRESS).exists():
            self._resume(files.read_json(folder / PROGRESS))
        for partial in (folder / "data").glob(".*.partial"):
            partial.unlink()

    def _resume(self, progress: dict[str, Any]) -> None:
        """Take over what an interrupted run has finished."""
        begun = progress.get("task") or {}
        changed = [
            f"{name}: {begun.get(name)!r}, now {new!r}"
            for name, new in self.task.items()
            if begun.get(name) != new
        ]
        if changed:
            raise InputError(
                f"{self.folder} was begun for something else ({'; '.join(changed)})."
                " Give the same options to continue, or another folder."
            )
        self.shards, self.state = progress["shards"], progress["state"]
        for number in range(len(self.shards)):
            for uid in pq.read_table(self._index_path(number), columns=["uid"])["uid"].to_pylist():
                self.done.add(uid)

    def write(
        self,
        pieces: Iterator[Piece],
        state: Callable[[], Mapping[str, Any]] = dict,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> tuple[int, int]:
        """Write the rows of whole students, and return how many students and rows there are in all.

        Args:
            pieces: rows, students and the length of each: they are not held together.
            state: returns what to remember with a finished shard.
            on_progress: called with the number of students and rows so far.
        """
        students = sum(shard["students"] for shard in self.shards)
        rows = sum(shard["rows"] for shard in self.shards)
        try:
            while (piece := next(pieces, None)) is not None:
                students, rows = students + len(piece[1]), rows + len(piece[0])
                self._append(*piece)
                del piece  # or the next would be read beside it
                if self._rows >= self.shard_rows:
                    self._close_shard(state())
                if on_progress is not None:
                    on_progress(students, rows)
        except BaseException:
            if self._writer is not None:
                self._writer.close()
                self._partial(len(self.shards)).unlink(missing_ok=True)
            raise
        self._close_shard(state())
        return students, rows

    def _append(self, table: pa.Table, uids: np.ndarray, lengths: np.ndarray) -> None:
        offsets = self._rows + np.cumsum(lengths) - lengths
        shard = np.full(len(uids), len(self.shards))
        self._index.append(np.stack([uids, shard, offsets, lengths], axis=1))
        self._buffer.append(table)
        self._rows += len(table)
        if sum(map(len, self._buffer)) >= ROW_GROUP:
            self._flush()

    def _close_shard(self, state: Mapping[str, Any]) -> None:
        """Make the open shard whole, and remember it together with `state`."""
        if not self._index:
            return
        self._flush()
        self._opened().close()
        self._writer = None
        number = len(self.shards)
        index = np.concatenate(self._index)
        pq.write_table(pa.table(list(index.T), schema=INDEX), self._index_path(number))
        self._partial(number).replace(self._shard(number))
        self.shards.append({"rows": int(self._rows), "students": len(index)})
        progress = {"task": self.task, "shards": self.shards, "state": dict(state)}
        files.write_json(self.folder / PROGRESS, progress)
        self._index, self._rows = [], 0

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Name the shards by their number, join their indices, and write the manifest: now it is whole."""
        total = len(self.shards)
        described = []
        for number, shard in enumerate(self.shards):
            name = f"actions-{number:05d}-of-{total:05d}.parquet"
            target = self.folder / "data" / name
            if self._shard(number).exists():
                self._shard(number).replace(target)
            described.append({"file": name, **shard, "sha256": hash_file(target)})
        partial, parts = self.folder / "meta" / ".index.partial", [self._index_path(n) for n in range(total)]
        with pq.ParquetWriter(partial, INDEX, compression="zstd") as writer:
            for part in parts:
                writer.write_table(pq.read_table(part))
        partial.replace(partial.with_name("index.parquet"))
        files.write_json(self.folder / MANIFEST, {**manifest, "shards": described})
        for part in parts:
            part.unlink()
        (self.folder / PROGRESS).unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._buffer:
            self._opened().write_table(pa.concat_tables(self._buffer), row_group_size=ROW_GROUP)
            self._buffer = []
            pa.default_memory_pool().release_unused()

    def _opened(self) -> pq.ParquetWriter:
        if self._writer is None:
            names = self.schema.names
            self._writer = pq.ParquetWriter(
                self._partial(len(self.shards)),
                self.schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=[name for name in names if name not in RISING],
                column_encoding={name: "DELTA_BINARY_PACKED" for name in names if name in RISING},
            )
        return self._writer

    def _partial(self, number: int) -> Path:
        return self.folder / "data" / f".{number:05d}.partial"

    def _shard(self, number: int) -> Path:
        return self.folder / "data" / f"actions-{number:05d}.parquet"

    def _index_path(self, number: int) -> Path:
        return self.folder / "meta" / f"index-{number:05d}.parquet"


class EdNetLog:
    """A log that was ingested: students one by one, or shard by shard.

    Raises:
        InputError: the folder holds no finished log, or one of a newer reader.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        path = self.folder / MANIFEST
        if not path.is_file():
            begun = (self.folder / PROGRESS).exists()
            reason = (
                "the ingest was interrupted; start it again to continue" if begun else "ingest writes one"
            )
            raise InputError(f"{self.folder} holds no {MANIFEST}: {reason}.")
        self.manifest: dict[str, Any] = files.read_json(path)
        version = self.manifest.get("reader_version")
        if not isinstance(version, int) or version > READER_VERSION:
            raise InputError(f"{path} was written by reader {version}; this is reader {READER_VERSION}.")

    @classmethod
    def load(cls, folder: str | Path) -> EdNetLog:
        """Open a folder: what `assay.load` calls."""
        return cls(folder)

    def save(self, folder: Path) -> None:
        """Copy the log; files are linked where the disk allows it."""
        shutil.copytree(self.folder, folder, copy_function=_link, dirs_exist_ok=True)

    @property
    def level(self) -> int:
        """1 to 4."""
        return int(self.manifest["level"])

    def __len__(self) -> int:
        return int(self.manifest["rows"])

    @cached_property
    def index(self) -> pa.Table:
        """uid, shard, offset and length of every student."""
        return pq.read_table(self.folder / "meta" / "index.parquet")

    @property
    def users(self) -> np.ndarray:
        """The students, in stored order: int64."""
        uids: np.ndarray = self.index["uid"].to_numpy()
        return uids

    def names(self, column: str) -> list[str]:
        """Return the names behind the codes of `action`, `source` or `platform`."""
        return list(self.manifest["names"][column])

    def user(self, uid: int) -> pa.Table:
        """Return the rows of one student, reading only the row groups that hold them.

        Raises:
            InputError: there is no such student.
        """
        row = pc.index(self.index["uid"], uid).as_py()
        if row < 0:
            raise InputError(f"There is no student {uid} in {self.folder}.")
        _, shard, offset, length = (self.index[name][row].as_py() for name in INDEX.names)
        file = pq.ParquetFile(self._path(shard))
        ends = np.cumsum([file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)])
        first = int(np.searchsorted(ends, offset, side="right"))
        last = int(np.searchsorted(ends, max(offset + length - 1, offset), side="right"))
        groups = range(first, min(last + 1, file.num_row_groups))
        skipped = int(ends[first - 1]) if first else 0
        return file.read_row_groups(list(groups)).slice(offset - skipped, length)

    def shards(self) -> Iterator[Piece]:
        """Yield the rows, the students and their lengths, by pieces of a shard that hold whole students."""
        index = {name: self.index[name].to_numpy() for name in INDEX.names}
        for shard in range(len(self.manifest["shards"])):
            mine = index["shard"] == shard
            uids, lengths = index["uid"][mine], index["length"][mine]
            waiting: list[pa.Table] = []
            first = ready = 0
            ends = np.cumsum(lengths)
            for batch in pq.ParquetFile(self._path(shard)).iter_batches(ROW_GROUP):
                waiting.append(pa.Table.from_batches([batch]))
                ready += len(batch)
                start = int(ends[first - 1]) if first else 0
                last = int(np.searchsorted(ends, ready, side="right"))
                if last > first:
                    rows = pa.concat_tables(waiting)
                    length = int(ends[last - 1]) - start
                    yield rows.slice(0, length), uids[first:last], lengths[first:last]
                    waiting, first = [rows.slice(length)], last

    def table(self) -> pa.Table:
        """Return all rows at once; mind the memory."""
        return pa.concat_tables([rows for rows, _, _ in self.shards()]).combine_chunks()

    def verify(self) -> list[str]:
        """Return the shards whose content is not what the manifest says."""
        return [
            shard["file"]
            for shard in self.manifest["shards"]
            if hash_file(self.folder / "data" / shard["file"]) != shard["sha256"]
        ]

    def _path(self, shard: int) -> Path:
        return files.inside(self.folder / "data", self.manifest["shards"][shard]["file"])


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
