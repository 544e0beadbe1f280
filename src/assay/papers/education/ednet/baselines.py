"""What the reader and the actions are compared with: pandas file by file, and readings at random."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from assay.papers.education.ednet.method.process import ReadTask, answer
from assay.papers.education.steps import Steps


def read_with_pandas(task: ReadTask) -> int:
    """Read file by file with pandas and join all: what one writes first. Returns the number of rows."""
    import pandas as pd

    frames = []
    if task.root.is_dir():
        for path in sorted(task.root.rglob("u*.csv")):
            frames.append(pd.read_csv(path).assign(uid=int(path.stem[1:])))
    else:
        with zipfile.ZipFile(task.root) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    frames.append(pd.read_csv(file).assign(uid=int(Path(name).stem[1:])))
    table = pd.concat(frames, ignore_index=True)
    if task.contents is not None:
        questions = pd.read_csv(task.contents / "questions.csv")[["question_id", "correct_answer"]]
        item = "question_id" if "question_id" in table else "item_id"
        table = table.merge(questions, left_on=item, right_on="question_id", how="left")
        table["correct"] = table["user_answer"] == table["correct_answer"]
    task.out.mkdir(parents=True, exist_ok=True)
    table.to_parquet(task.out / "all.parquet")
    return len(table)


def shuffle_actions(steps: Steps, random: np.random.Generator) -> Steps:
    """Assign explanations and lectures at random to other answers of the same correctness.

    As many follow as many right and wrong answers, and an explanation that is that of the question before it
    (content q7, e7) becomes that of the question it now follows: only whom it helped is at random.
    """
    answers, explained = np.flatnonzero(steps.answered), _explanations(steps)
    ends = np.append(answers[1:], len(steps))
    follow = np.minimum(ends, steps.starts[1:][steps.owner[answers]]) - answers - 1
    donor = np.arange(len(answers))
    for outcome in (0, 1):
        mine = np.flatnonzero(steps.correct[answers] == outcome)
        donor[mine] = random.permutation(mine)
    repeats = 1 + follow[donor]
    place = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    receiver, giver = np.repeat(answers, repeats), np.repeat(answers[donor], repeats)
    moved = steps.rows(np.where(place == 0, receiver, giver + place))
    new = explained[steps.item[receiver]]
    own = (place > 0) & (explained[steps.item[giver]] == moved.item) & (new > 0)
    counts = np.bincount(steps.owner[receiver], minlength=len(steps.users))
    return replace(
        moved,
        starts=np.concatenate([[0], np.cumsum(counts)]),
        item=np.where(own, new, moved.item),
        time=None if steps.time is None else steps.time[receiver] + np.where(place > 0, 1000, 0),
    )


def _explanations(steps: Steps) -> np.ndarray:
    """Return the explanation of each question: content e7 for q7; -1 where there is none of that name."""
    number = {name: place for place, name in enumerate(steps.catalogue.names, 1)}
    found = [number.get(f"e{name[1:]}", -1) if name[:1] == "q" else -1 for name in steps.catalogue.names]
    return np.array([-1, *found])


if __name__ == "__main__":
    answer(read_with_pandas)
