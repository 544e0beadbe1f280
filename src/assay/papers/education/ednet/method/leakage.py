"""The leak of the answer through a question's several skills, and how to find it.

A question with two skills is often stored, or fed to a model, as two rows. Whoever predicts the second row
has seen the answer in the first: the AUC rises above 0.9 without any better knowledge of learners.
`detect_leak` looks for such rows in data; `detect_model_leak` changes answers and watches whose predictions
move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.papers.education.ednet.method.networks import DKT, Batch, NetworkSize
from assay.papers.education.ednet.method.tracer import auc
from assay.papers.education.logs import KTSchema
from assay.papers.education.steps import Catalogue, Steps

if TYPE_CHECKING:
    import pandas as pd

LEAKY_SHARE = 0.005
"""Share of rows that must repeat a question for data to count as expanded."""


@dataclass(frozen=True)
class LeakReport:
    """What was found. `visible` says whether answers of the same question can be seen.

    `rows`: looked at. `repeated`: rows that follow another row of the same question, or predictions that
    moved. `optimistic_auc`: what reading the answer off the row before would give on this data alone (0.5
    without the leak), or None where only a model was looked at. `reason`: in words.
    """

    visible: bool
    rows: int
    repeated: int
    optimistic_auc: float | None
    reason: str

    @property
    def share(self) -> float:
        """Repeated rows over all."""
        return self.repeated / max(self.rows, 1)


def detect_leak(data: pa.Table | pd.DataFrame | Steps, schema: KTSchema | None = None) -> LeakReport:
    """Say whether rows of a log repeat one answer for several skills.

    Two neighbouring rows of a learner are of one question when the question's name and the time agree, as far
    as there are any, and the skills differ; where there are both, rows of one time may come in any order.
    Expanded data shows by the answers of such rows: they are equal.

    Args:
        data: a table, or steps as they are fed to a model (`expand_tags` calls contents QUESTION#SKILL).
        schema: which columns are what, for a table.

    Raises:
        InputError: the columns cannot be found.
    """
    rows = _codes_of_steps(data) if isinstance(data, Steps) else (schema or KTSchema()).codes(data)
    if {"question", "time"} <= set(rows):  # rows of two questions that share a time may come in turn
        order = np.lexsort((rows["question"], rows["time"], rows["user"]))
        rows = {name: values[order] for name, values in rows.items()}
    correct = rows.pop("correct")
    if not {"question", "time"} & set(rows):
        reason = "There is neither a question nor a time: rows of one question cannot be told from others."
        return LeakReport(False, len(correct), 0, None, reason)
    skill = rows.pop("skill", None)
    same = np.logical_and.reduce([column[1:] == column[:-1] for column in rows.values()])
    if skill is not None:
        same &= skill[1:] != skill[:-1]
    repeated = int((same & (correct[1:] == correct[:-1])).sum())
    visible = bool(repeated > LEAKY_SHARE * len(correct) and repeated >= 0.9 * same.sum())
    guess = np.full(len(correct), 0.5)
    guess[1:][same] = correct[:-1][same]
    found = f"{repeated} of {len(correct)} rows repeat the question and the answer of the row before"
    reason = (
        f"{found}: the answers of the same question are visible. Merge them into one step (KTSchema does), or"
        " predict all rows of a question from the state before it."
        if visible
        else f"{found}; {int(same.sum())} are of the same question for another skill."
    )
    return LeakReport(visible, len(correct), repeated, auc(guess, correct), reason)


def _codes_of_steps(steps: Steps) -> dict[str, np.ndarray]:
    """Return the columns that tell whether steps are of one question."""
    answers = steps.keep(steps.answered)
    question = questions_of(answers.catalogue).numpy()[answers.item]
    rows = {"user": answers.owner, "question": question, "skill": answers.item}
    rows["correct"] = answers.correct
    return rows if answers.time is None else rows | {"time": answers.time}


def expand_tags(steps: Steps) -> Steps:
    """Return one step for each skill of each question: the form that leaks. Contents are QUESTION#SKILL."""
    old = steps.catalogue
    names: list[str] = []
    tags: list[list[int]] = []
    first = np.zeros(len(old.names) + 1, np.int64)
    width = np.maximum((old.tags >= 0).sum(1), 1)
    for number, name in enumerate(old.names, 1):
        first[number] = len(names) + 1
        own = [tag for tag in old.tags[number].tolist() if tag >= 0]
        names += [f"{name}#{old.skills[tag]}" for tag in own] or [name]
        tags += [[tag] for tag in own] or [[]]
    repeats = width[steps.item]
    rows = np.repeat(np.arange(len(steps)), repeats)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    ends = np.concatenate([[0], np.cumsum(repeats)])
    items = np.where(steps.item[rows] > 0, first[steps.item[rows]] + place, 0)
    expanded = steps.rows(rows)
    return replace(
        expanded, item=items, starts=ends[steps.starts], catalogue=Catalogue.of(names, tags, old.skills)
    )


def attempt_starts(
    item: Int[Tensor, "batch steps"], question_of: Int[Tensor, " contents"]
) -> Int[Tensor, "batch steps"]:
    """Return where the attempt at a question begins that each step belongs to.

    An attempt's steps are neighbours, of one question, with rising contents (as `expand_tags` lays them out):
    so a question that is tried twice in a row makes two attempts.

    Args:
        item: contents.
        question_of: the question of each content; `arange` where contents are questions.
    """
    question = question_of[item]
    first = torch.ones_like(item, dtype=torch.bool)
    first[:, 1:] = (question[:, 1:] != question[:, :-1]) | (item[:, 1:] <= item[:, :-1])
    place = torch.arange(item.shape[1], device=item.device).expand_as(item)
    return torch.where(first, place, 0).cummax(dim=1).values


def questions_of(catalogue: Catalogue) -> Int[Tensor, " contents"]:
    """Return the question of each content; QUESTION#SKILL belongs to QUESTION."""
    numbers: dict[str, int] = {}
    names = ("", *(name.partition("#")[0] for name in catalogue.names))
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in names])


class MaskedDKT(DKT):
    """DKT on one step a skill without the leak: each step is predicted from the state before its question.

    It takes what DKT takes, and the question of each content: `arange` unless given.
    """

    question_of: Tensor

    def __init__(
        self,
        tags: Int[Tensor, "contents most"],
        skills: int,
        size: NetworkSize | None = None,
        question_of: Int[Tensor, " contents"] | None = None,
    ) -> None:
        super().__init__(tags, skills, size)
        found = torch.arange(len(tags)) if question_of is None else question_of
        self.register_buffer("question_of", found, persistent=False)

    def logits(
        self, batch: Batch, known: Int[Tensor, "batch steps"] | None = None
    ) -> Float[Tensor, "batch steps"]:
        starts = attempt_starts(batch.item, self.question_of)
        return super().logits(batch, starts if known is None else torch.minimum(starts, known))


def fuse(chance: np.ndarray, steps: Steps) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return one chance a question (the mean over its steps), its answer, and whether it counts."""
    item = torch.from_numpy(steps.item)[None]
    begin = attempt_starts(item, questions_of(steps.catalogue))[0].numpy()
    first = begin == np.arange(len(steps))
    first[steps.starts[:-1][steps.lengths > 0]] = True
    group = np.cumsum(first) - 1
    mean = np.bincount(group, weights=chance) / np.bincount(group)
    rank = np.cumsum(first) - np.cumsum(first)[steps.starts[:-1]][steps.owner]
    return mean, steps.correct[first], (rank > 0)[first]


def detect_model_leak(
    predict: Callable[[Batch], Float[Tensor, "batch steps"]],
    batch: Batch,
    question_of: Int[Tensor, " contents"],
    tolerance: float = 1e-6,
) -> LeakReport:
    """Say whether a model's predictions for a question depend on answers to that question.

    The answers of one question at a time are flipped: a prediction for one of its steps that moves has seen
    an answer that it should predict.

    Args:
        predict: the model in evaluation mode: chances for a batch.
        batch: steps of some learners.
        question_of: the question of each content (`questions_of` reads it off a catalogue); `arange` where
            contents are questions.
        tolerance: how far a prediction may move by rounding.
    """
    there = batch.trained
    group = attempt_starts(batch.item, question_of)
    with torch.inference_mode():
        plain = predict(batch)
        moved = torch.zeros_like(there)
        for number in group.unique().tolist():
            mine = (group == number) & there
            if mine.any():
                flipped = batch._replace(correct=torch.where(mine, 1 - batch.correct, batch.correct))
                moved |= mine & ((predict(flipped) - plain).abs() > tolerance)
    rows, repeated = int(there.sum()), int(moved.sum())
    visible = repeated > 0
    reason = (
        f"{repeated} of {rows} predictions move when answers to their own question are changed: the model"
        " sees them."
        if visible
        else f"None of {rows} predictions moves when answers to their own question are changed."
    )
    return LeakReport(visible, rows, repeated, None, reason)
