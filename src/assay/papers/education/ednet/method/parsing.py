"""From the bytes of many students' files to one Arrow table, in one pass of the csv parser.

Files with the same header are joined and parsed together, because the parser takes longer to start than to
read a small file. Whatever is not plain (a damaged row, a number that is none) sends the files of the batch
through a second, careful pass, one by one.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from assay.errors import InputError
from assay.papers.education.ednet.method.contents import Contents

KINDS = ("q", "b", "e", "l", "p", "c")
"""Questions, bundles, explanations, lectures, payment items, coupons: an item's code is its place here."""
ACTIONS = (
    "enter", "respond", "submit", "quit", "erase_choice", "undo_erase_choice", "play_audio", "pause_audio",
    "play_video", "pause_video", "pay", "refund", "enroll_coupon"
)  # fmt: skip
SOURCES = (
    "diagnosis", "sprint", "review_quiz", "tutor", "adaptive_offer", "in_review", "after_sprint",
    "after_review", "my_note", "archive", "todays_recommendation::sprint",
    "todays_recommendation::review_quiz", "todays_recommendation::lecture"
)  # fmt: skip
PLATFORMS = ("mobile", "web")
ACTION_ALIASES = {
    "text_enter": "enter",
    "eliminate_choice": "erase_choice",
    "undo_eliminate_choice": "undo_erase_choice",
}
LONGEST_ELAPSED = 300_000
"""Milliseconds above which the time on a bundle is counted as huge; the value itself is kept."""

COLUMN_ALIASES = {
    "timestamp": ("timestamp", "time"),
    "action": ("action_type", "action"),
    "item": ("item_id", "question_id", "item"),
    "source": ("source",),
    "answer": ("user_answer", "answer"),
    "platform": ("platform",),
    "cursor_time": ("cursor_time", "cursor"),
    "solving_id": ("solving_id",),
    "elapsed_time": ("elapsed_time", "elapsed"),
}
COLUMNS = {
    1: ("timestamp", "solving_id", "item", "answer", "elapsed_time"),
    2: ("timestamp", "action", "item", "source", "answer", "platform"),
    4: ("timestamp", "action", "item", "cursor_time", "source", "answer", "platform"),
}
COLUMNS[3] = COLUMNS[2]
NEEDED = {1: ("timestamp", "item", "answer"), 2: ("timestamp", "action", "item", "answer")}

BOM = b"\xef\xbb\xbf"
_INTEGERS = {
    "timestamp": pa.int64(),
    "cursor_time": pa.int64(),
    "solving_id": pa.int32(),
    "elapsed_time": pa.int64(),
}


def schema(level: int) -> pa.Schema:
    """Return the columns of a level, as they are stored."""
    types = {"item": pa.int32(), "answer": pa.int8(), "action": pa.int8(), "source": pa.int8()}
    types |= {"platform": pa.int8(), **_INTEGERS}
    fields = [pa.field("uid", pa.int64()), *(pa.field(name, types[name]) for name in COLUMNS[level])]
    if level > 1:
        fields.append(pa.field("kind", pa.int8()))
    return pa.schema([*fields, pa.field("correct", pa.int8())])


@dataclass
class Vocabulary:
    """Names and their codes; a name that is not known yet gets the next code."""

    names: list[str]
    aliases: dict[str, str] = field(default_factory=dict)

    def encode(self, texts: pa.ChunkedArray) -> np.ndarray:
        """Return int8 codes, -1 for nothing.

        Raises:
            InputError: there are more than 127 names.
        """
        known = [*self.names, *self.aliases]
        own = range(len(self.names))
        codes = np.array([*own, *(self.names.index(name) for name in self.aliases.values()), -1])
        found = pc.index_in(texts, value_set=pa.array(known, pa.string()))
        if found.null_count != texts.null_count:
            new = pc.unique(texts.filter(pc.is_null(found))).drop_null().to_pylist()
            self.names += sorted(new)
            if len(self.names) > 127:
                raise InputError(
                    f"A column that should hold few names holds {len(self.names)}: {new[:3]} ..."
                )
            return self.encode(texts)
        encoded: np.ndarray = codes[pc.fill_null(found, -1).to_numpy()].astype(np.int8)
        return encoded


@dataclass
class Tally:
    """What was counted while reading; all of it plain, so that an interrupted reading can go on."""

    counts: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    first: int | None = None
    last: int | None = None

    def add(self, name: str, amount: int) -> None:
        """Count what is worth a look; nothing is not."""
        if amount:
            self.counts[name] += int(amount)

    def times(self, timestamps: np.ndarray) -> None:
        """Widen the span of time."""
        if len(timestamps):
            low, high = int(timestamps.min()), int(timestamps.max())
            self.first = low if self.first is None else min(self.first, low)
            self.last = high if self.last is None else max(self.last, high)


class Student(NamedTuple):
    """One student's file: lines of text in `body`, without the header and whole."""

    uid: int
    name: str
    header: bytes
    body: bytes
    repairs: tuple[str, ...] = ()

    @property
    def lines(self) -> int:
        """How many there are."""
        return self.body.count(b"\n")

    def without_empty_lines(self) -> Student:
        """Return the same file without lines that hold nothing."""
        return self._replace(body=b"".join(line for line in self.body.splitlines(True) if line.strip()))


def split_file(uid: int, name: str, content: bytes) -> Student:
    """Take a file apart, without byte order mark, carriage returns and NUL bytes."""
    faults = {"a byte order mark": content[:3] == BOM, "carriage returns": b"\r" in content}
    faults["NUL bytes"] = b"\0" in content
    repairs = tuple(f"files with {fault}" for fault, there in faults.items() if there)
    if repairs:
        content = content.removeprefix(BOM).replace(b"\0", b"")
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    header, _, body = content.partition(b"\n")
    if body and body[-1:] != b"\n":
        body += b"\n"
    return Student(uid, name, _trimmed(header), body, repairs)


@functools.lru_cache(maxsize=64)
def _trimmed(header: bytes) -> bytes:
    """Return a header without spaces around its names."""
    return b",".join(column.strip() for column in header.split(b","))


@functools.lru_cache(maxsize=64)
def columns_of(header: bytes, level: int) -> dict[str, str] | None:
    """Return the file's name of each column by ours, or `None` when one that the level needs is missing."""
    given = [name.strip('"') for name in header.decode("utf-8", "replace").split(",")]
    found = {
        ours: next((alias for alias in COLUMN_ALIASES[ours] if alias in given), "") for ours in COLUMNS[level]
    }
    if not all(found[name] for name in NEEDED[min(level, 2)]):
        return None
    return {ours: theirs for ours, theirs in found.items() if theirs}


class Parser:
    """Turns students' files into tables of one level, 1 to 4, with answers marked by the contents."""

    def __init__(self, level: int, contents: Contents) -> None:
        self.level, self.contents = level, contents
        self.tally = Tally()
        self.vocabularies = {
            "action": Vocabulary(list(ACTIONS), dict(ACTION_ALIASES)),
            "source": Vocabulary(list(SOURCES)),
            "platform": Vocabulary(list(PLATFORMS)),
        }

    @property
    def names(self) -> dict[str, list[str]]:
        """The names behind the codes of each column."""
        return {column: list(words.names) for column, words in self.vocabularies.items()}

    def state(self) -> dict[str, Any]:
        """Return what an interrupted reading needs to go on, as JSON has it."""
        return {"tally": vars(self.tally), "names": self.names}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned, if anything."""
        if state:
            counts = {name: Counter(state["tally"][name]) for name in ("counts", "actions", "kinds")}
            self.tally = Tally(**state["tally"] | counts)
            for column, words in state["names"].items():
                self.vocabularies[column].names = words

    def parse(self, students: Sequence[Student]) -> tuple[pa.Table, np.ndarray]:
        """Return the rows of students whose headers agree, and how many rows each has: int64 [students]."""
        columns = columns_of(students[0].header, self.level)
        assert columns is not None
        for student in students:
            self.tally.counts.update(student.repairs)
        read = self._read(students, columns)
        if read is None:
            students = [student.without_empty_lines() for student in students]
            read = self._read(students, columns)
        lengths = np.array([student.lines for student in students])
        if read is None:
            parts = [self._read_carefully(student, columns) for student in students]
            lengths = np.array([len(part) for part in parts])
            read = pa.concat_tables(parts)
        return self._finish(read, columns, students, lengths), lengths

    def _read(self, students: Sequence[Student], columns: dict[str, str]) -> pa.Table | None:
        """Read files together, or return `None` when a line is no row or a row has no time."""
        joined = b"".join([students[0].header, b"\n", *(student.body for student in students)])
        types = {theirs: _INTEGERS.get(ours, pa.string()) for ours, theirs in columns.items()}
        try:
            read = pacsv.read_csv(
                pa.py_buffer(joined),
                read_options=pacsv.ReadOptions(use_threads=False, block_size=max(len(joined), 1024)),
                parse_options=pacsv.ParseOptions(quote_char='"' if b'"' in joined else False),
                convert_options=pacsv.ConvertOptions(
                    column_types=types, include_columns=list(columns.values()), strings_can_be_null=True
                ),
            )
        except pa.ArrowInvalid:
            return None
        lines = sum(student.lines for student in students)
        whole = len(read) == lines and not read[columns["timestamp"]].null_count
        return read if whole else None

    def _read_carefully(self, student: Student, columns: dict[str, str]) -> pa.Table:
        """Read one file as text, and leave out the rows that have no time or the wrong number of fields."""
        lost = 0

        def skip(row: pacsv.InvalidRow) -> str:
            nonlocal lost
            lost += 1
            return "skip"

        table = pacsv.read_csv(
            pa.py_buffer(b"\n".join([student.header, student.body])),
            read_options=pacsv.ReadOptions(use_threads=False, encoding="latin-1"),
            parse_options=pacsv.ParseOptions(invalid_row_handler=skip),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(columns.values(), pa.string()),
                include_columns=list(columns.values()),
                strings_can_be_null=True,
            ),
        )
        for ours, theirs in columns.items():
            if ours in _INTEGERS:
                place = table.column_names.index(theirs)
                table = table.set_column(place, theirs, _as_integers(table[theirs], _INTEGERS[ours]))
        timed = table.filter(pc.is_valid(table[columns["timestamp"]]))
        self.tally.add("unreadable rows", lost + len(table) - len(timed))
        return timed

    def _finish(
        self, read: pa.Table, columns: dict[str, str], students: Sequence[Student], lengths: np.ndarray
    ) -> pa.Table:
        owner = np.repeat(np.arange(len(students)), lengths)
        uids = np.array([student.uid for student in students], np.int64)
        values: dict[str, np.ndarray | pa.ChunkedArray] = {"uid": uids[owner]}
        kinds, numbers = self._items(read[columns["item"]])
        for ours in COLUMNS[self.level]:
            theirs = columns.get(ours)
            if ours == "item":
                values[ours] = numbers
            elif theirs is None:
                values[ours] = pa.nulls(len(read), schema(self.level).field(ours).type)
            elif ours == "answer":
                values[ours] = self._answers(read[theirs])
            elif ours in self.vocabularies:
                values[ours] = self.vocabularies[ours].encode(read[theirs])
            else:
                values[ours] = read[theirs]
        if self.level > 1:
            values["kind"] = kinds
        values["correct"] = self._marks(values, kinds, numbers)
        table = pa.table([values[name] for name in schema(self.level).names], schema=schema(self.level))
        table = self._in_order(table, owner)
        self._count(table, kinds)
        return table

    def _items(self, texts: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """Return the kind and the number of each item, -1 where there is none."""
        digits = pc.utf8_slice_codeunits(texts, 1)
        try:
            numbers = pc.cast(digits, pa.int32())
        except pa.ArrowInvalid:
            numbers = _as_integers(digits, pa.int32())
        self.tally.add("rows without an item", numbers.null_count)
        return _first_letters(texts), pc.fill_null(numbers, -1).to_numpy()

    def _answers(self, texts: pa.ChunkedArray) -> np.ndarray:
        """Return a to d as 0 to 3, and -1 where nothing or nothing known was answered."""
        codes = pc.index_in(texts, value_set=pa.array(["a", "b", "c", "d"]))
        self.tally.add("unknown answers", codes.null_count - texts.null_count)
        filled: np.ndarray = pc.fill_null(codes, -1).to_numpy().astype(np.int8)
        return filled

    def _marks(self, values: dict[str, np.ndarray], kinds: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Return 1 right, 0 wrong, -1 where there is nothing to mark."""
        answers = values["answer"]
        asked = (kinds == 0) & (numbers >= 0)
        if self.level > 1:
            asked &= values["action"] == ACTIONS.index("respond")
        questions = np.where(asked, numbers, len(self.contents.answer))
        correct = self.contents.correct(questions, answers)
        known = asked & (numbers < len(self.contents.answer))
        known[known] = self.contents.answer[numbers[known]] >= 0
        self.tally.add("answers to unknown questions", int((asked & ~known).sum()))
        self.tally.add("questions left unanswered", int((asked & (answers < 0)).sum()))
        in_part_2 = known.copy()
        in_part_2[known] = self.contents.part[numbers[known]] == 2
        self.tally.add("answers d in part 2", int((in_part_2 & (answers == 3)).sum()))
        return correct

    def _in_order(self, table: pa.Table, owner: np.ndarray) -> pa.Table:
        """Sort the rows of each student by time where they are not; equal times keep the file's order."""
        times = table["timestamp"].to_numpy()
        pause, own = np.diff(times), owner[1:] == owner[:-1]
        back, same = (pause < 0) & own, (pause == 0) & own
        self.tally.add("files out of order", len(np.unique(owner[1:][back])))
        self.tally.add("rows at the time of the row before", int(same.sum()))
        return table.take(np.lexsort((times, owner))) if back.any() else table

    def _count(self, table: pa.Table, kinds: np.ndarray) -> None:
        tally = self.tally
        tally.times(table["timestamp"].to_numpy())
        _count_codes(tally.kinds, KINDS, kinds)
        if self.level > 1:
            _count_codes(tally.actions, self.vocabularies["action"].names, table["action"].to_numpy())
        else:
            tally.actions["answer"] += len(table)
            elapsed = table["elapsed_time"]
            tally.add("negative elapsed times", pc.sum(pc.less(elapsed, 0)).as_py() or 0)
            tally.add("elapsed times over 300 s", pc.sum(pc.greater(elapsed, LONGEST_ELAPSED)).as_py() or 0)


def _first_letters(items: pa.ChunkedArray) -> np.ndarray:
    """Return the place of each item's first letter in `KINDS`: int8, -1 where there is none."""
    codes = np.full(256, -1, np.int8)
    codes[[ord(kind) for kind in KINDS]] = range(len(KINDS))
    parts = [np.zeros(0, np.int8)]
    for chunk in items.chunks:
        _, offsets, letters = chunk.buffers()
        ends = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        filled = ends[:-1] < ends[1:]
        first = np.full(len(chunk), -1, np.int8)
        if filled.any():
            first[filled] = codes[np.frombuffer(letters, np.uint8)[ends[:-1][filled]]]
        parts.append(first)
    return np.concatenate(parts)


def _count_codes(counts: Counter[str], names: Sequence[str], codes: np.ndarray) -> None:
    """Add to each name how often its code is there; -1 is `?`."""
    for name, count in zip(("?", *names), np.bincount(codes + 1).tolist(), strict=False):
        if count:
            counts[name] += count


def _as_integers(texts: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Return whole numbers, and nothing where a text is none or does not fit."""
    longest = 9 if kind == pa.int32() else 18
    sound = pc.match_substring_regex(texts, rf"^-?\d{{1,{longest}}}(\.0*)?$")
    whole = pc.replace_substring_regex(pc.if_else(sound, texts, None), r"\.0*$", "")
    return pc.cast(whole, kind)
