"""A synthetic EdNet in the published format: all levels from one stream of actions, and the right answers."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np

HEADERS = {
    1: "timestamp,solving_id,question_id,user_answer,elapsed_time",
    **dict.fromkeys((2, 3), "timestamp,action_type,item_id,source,user_answer,platform"),
    4: "timestamp,action_type,item_id,cursor_time,source,user_answer,platform",
}
LETTERS = "abcd"

Action = tuple[int, int, str, str, str, str, str, str]
"""Level from which it is recorded, time, action, item, cursor, source, answer, platform."""
Answer = tuple[int, int, int, str, int]
"""Time, solving_id, question, answer (nothing where there is none), elapsed time."""


@dataclass
class SyntheticEdNet:
    """The stream of each student, the answers that it stands for, and the contents."""

    right: dict[int, str]
    bundles: list[list[int]]
    tags: dict[int, list[int]]
    streams: dict[int, list[Action]] = field(default_factory=dict)
    answers: dict[int, list[Answer]] = field(default_factory=dict)

    def lines(self, uid: int, level: int) -> list[str]:
        """Return the rows of a student's file, without the header."""
        if level == 1:
            return [
                f"{time},{solving},q{question},{answer},{elapsed}"
                for time, solving, question, answer, elapsed in self.answers[uid]
            ]
        rows = [row[1:] for row in self.streams[uid] if row[0] <= level]
        shown = rows if level == 4 else [row[:3] + row[4:] for row in rows]  # without the cursor
        return [",".join(map(str, row)) for row in shown]

    def content(self, uid: int, level: int) -> str:
        """Return a student's file."""
        return "\n".join([HEADERS[level], *self.lines(uid, level)]) + "\n"

    def write_contents(self, folder: Path) -> Path:
        """Write the contents tables, and return their folder."""
        folder.mkdir(parents=True, exist_ok=True)
        bundle_of = {question: b for b, questions in enumerate(self.bundles, 1) for question in questions}
        rows = [
            f"q{q},b{bundle_of[q]},e{bundle_of[q]},{right},{1 + q % 7},{';'.join(map(str, self.tags[q]))},0"
            for q, right in self.right.items()
        ]
        header = "question_id,bundle_id,explanation_id,correct_answer,part,tags,deployed_at"
        (folder / "questions.csv").write_text("\n".join([header, *rows]) + "\n")
        lectures = [f"l{n},{n % 8},{n},600000,-1" for n in range(1, 21)]
        header = "lecture_id,part,tags,video_length,deployed_at"
        (folder / "lectures.csv").write_text("\n".join([header, *lectures]) + "\n")
        return folder

    def write_folder(self, folder: Path, level: int) -> Path:
        """Write a file a student, and return the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for uid in self.streams:
            (folder / f"u{uid}.csv").write_text(self.content(uid, level))
        return folder

    def zipped(self, level: int) -> bytes:
        """Return a zip with a folder of files."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for uid in self.streams:
                archive.writestr(f"KT{level}/u{uid}.csv", self.content(uid, level))
        return packed.getvalue()

    def write_zip(self, path: Path, level: int) -> Path:
        """Write a zip with a folder of files, and return its path."""
        path.write_bytes(self.zipped(level))
        return path


def synthesize(students: int, seed: int, bundles: int = 200, sessions: int = 12) -> SyntheticEdNet:
    """Return a small EdNet.

    Students change their minds, skip questions, leave bundles without handing them in, open a bundle twice,
    strike choices out, listen, read explanations, watch lectures and pay. A student works on `sessions` of
    the bundles on average.
    """
    random = Random(seed)
    groups: list[list[int]] = []
    question = 1
    for _ in range(bundles):
        size = random.choice([1, 1, 1, 2, 3, 4])
        groups.append(list(range(question, question + size)))
        question += size
    right = {q: random.choice(LETTERS[:3] if 1 + q % 7 == 2 else LETTERS) for q in range(1, question)}
    tags = {q: random.sample(range(1, 31), random.choice([1, 2, 2, 3])) for q in right}
    made = SyntheticEdNet(right, groups, tags)
    for uid in random.sample(range(1, 40 * students + 1), students):
        student = _Student(made, random)
        number = 0
        for _ in range(1 + int(random.expovariate(1 / sessions))):
            # not the same twice in a row: a bundle that was left and is entered again continues, by the rules
            number = (number + random.randrange(1, bundles)) % bundles
            student.work(number + 1)
        made.streams[uid], made.answers[uid] = student.stream, student.answers
    return made


class _Student:
    """One student at work: the stream so far, and the answers that were handed in."""

    def __init__(self, ednet: SyntheticEdNet, random: Random) -> None:
        self.ednet, self.random = ednet, random
        self.platform = random.choice(["mobile", "mobile", "web"])
        self.now = 1_525_000_000_000 + random.randrange(10**10)
        self.source = ""
        self.stream: list[Action] = []
        self.answers: list[Answer] = []
        self.solved = 0

    def act(self, level: int, action: str, item: str, cursor: str = "", letter: str = "") -> None:
        """Record an action, from a level on."""
        row = (level, self.now, action, item, cursor, self.source, letter, self.platform)
        self.stream.append(row)

    def work(self, number: int) -> None:
        """Work on a bundle, and perhaps read its explanation."""
        random = self.random
        self.source = random.choice(["diagnosis", "sprint", "review_quiz", "adaptive_offer"])
        self.now += random.randrange(1000, 10**7)
        self.act(2, "enter", f"b{number}")
        entered, given = self._respond(number)
        if random.random() < 0.04:
            return  # left without handing in
        self.now += random.randrange(300, 3000)
        self.act(2, "submit", f"b{number}")
        self.solved += 1
        missing = (question for question in self.ednet.bundles[number - 1] if question not in given)
        given |= dict.fromkeys(missing, (self.now, ""))
        elapsed = (self.now - entered) // len(given)
        rows = [(time, self.solved, question, letter, elapsed) for question, (time, letter) in given.items()]
        self.answers += sorted(rows, key=lambda row: row[0])
        self._afterwards(number)

    def _respond(self, number: int) -> tuple[int, dict[int, tuple[int, str]]]:
        """Answer the questions of a bundle; return when it was last entered, and the answers by question."""
        random, entered = self.random, self.now
        given: dict[int, tuple[int, str]] = {}
        for question in self.ednet.bundles[number - 1]:
            if random.random() < 0.03:
                continue
            if random.random() < 0.1:
                self.act(4, "play_audio", f"b{number}", cursor=str(random.randrange(9000)))
            for _ in range(2 if random.random() < 0.15 else 1):
                if random.random() < 0.1:
                    self.act(4, "erase_choice", f"q{question}", letter=random.choice(LETTERS))
                self.now += random.choice([0, 1, 1, 1]) * random.randrange(500, 40_000)
                right = self.ednet.right[question]
                letter = random.choice([*LETTERS, right, right])
                given[question] = (self.now, letter)
                self.act(2, "respond", f"q{question}", letter=letter)
            if random.random() < 0.02:
                self.now += 700
                self.act(2, "enter", f"b{number}")
                entered = self.now
        return entered, given

    def _afterwards(self, number: int) -> None:
        """Read the explanation, perhaps watch a lecture, perhaps pay."""
        random = self.random
        self.source = "sprint"
        self.act(3, "enter", f"e{number}")
        if random.random() < 0.1:
            lecture = f"l{random.randrange(1, 21)}"
            self.act(3, "enter", lecture)
            self.act(4, "play_video", lecture, cursor="0")
            self.act(3, "quit", lecture)
        if random.random() < 0.02:
            self.act(4, "pay", f"p{random.randrange(1, 9)}")
        self.now += random.randrange(2000, 60_000)
        if random.random() < 0.5:
            self.act(3, "quit", f"e{number}")


def zipped(students: int, seed: int) -> np.ndarray:
    """Return the zip of a synthetic EdNet's level 4 as bytes, uint8: a stage that arms share."""
    return np.frombuffer(synthesize(students, seed).zipped(4), np.uint8)
