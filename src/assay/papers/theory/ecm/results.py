"""Results to calibrate on: the user's own, published replies, or a model's answers to a benchmark."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from assay.errors import InputError
from assay.models import ModelSource
from assay.papers.theory.ecm.config import Task
from assay.papers.theory.ecm.method import (
    WAYS,
    Demo,
    DifficultyUnavailable,
    MathResistance,
    MedicalResistance,
    MultiHopResistance,
    PlanResistance,
    Way,
    answers_match,
)

CountEntities = Callable[[str], int]


@dataclass(frozen=True)
class Record:
    """One prompt and what came of it."""

    question: str
    difficulty: tuple[float, float]
    correct: bool
    demos: tuple[Demo, ...] = ()
    way: Way = "cot"
    samples: int = 1
    reasoning: float = 0.0
    """Tokens of reasoning, as the scaling law counts them."""
    group: str = ""
    """Items of one group stay together in a split."""
    solution: str = ""


@dataclass(frozen=True)
class Problem:
    """A question of a benchmark with its solution, and whatever else its row says."""

    question: str
    solution: str
    row: Mapping[str, Any] = field(default_factory=dict)


# --- the user's own results ---------------------------------------------------------------------


def own_records(path: Path, task: Task, count: CountEntities) -> list[Record]:
    """Read results of one's own.

    A line has `question`; `solution` (annotated) or `difficulty` ([r1, r2]); `correct`; and, where they
    matter, `demos` (questions, or objects with question and answer), `way`, `samples`, `reasoning_tokens`
    and `group`.

    Raises:
        InputError: a line is no such object; says which.
    """
    records = []
    for number, row in _lines(path):
        try:
            records.append(_own_record(row, task, count))
        except (ValueError, TypeError, KeyError) as error:
            what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{path}, line {number}: {what}") from error
    return records


def _own_record(row: dict[str, Any], task: Task, count: CountEntities) -> Record:
    question, correct = row["question"], row["correct"]
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"question must be a text, not {question!r:.40}.")
    if not (isinstance(correct, bool) or correct in (0, 1)):
        raise ValueError(f"correct must be true or false, not {correct!r:.40}.")
    way, samples = row.get("way", "cot"), row.get("samples", 1)
    if way not in WAYS:
        raise ValueError(f"way {way!r} is none of {', '.join(WAYS)}.")
    if not isinstance(samples, int) or samples < 1:
        raise ValueError(f"samples must be a whole number from 1, not {samples!r}.")
    solution = str(row.get("solution") or "")
    if row.get("difficulty") is not None:
        difficulty = _two_numbers(row["difficulty"])
    else:
        difficulty = difficulty_of(Problem(question, solution, row), task, count)
    reasoning = row.get("reasoning_tokens", len(solution.split()) if way != "direct" else 0)
    demos = tuple(_demo(demo) for demo in row.get("demos") or ())
    group = str(row.get("group", question))
    return Record(question, difficulty, bool(correct), demos, way, samples, float(reasoning), group, solution)


def _two_numbers(given: Any) -> tuple[float, float]:
    if isinstance(given, dict):
        given = [given.get("steps"), given.get("load")]
    if not isinstance(given, list) or len(given) != 2 or not all(isinstance(n, int | float) for n in given):
        raise ValueError(f"difficulty must be two numbers, steps and load, not {given!r:.40}.")
    if min(given) < 0:
        raise ValueError(f"difficulty must be at least 0, not {given}.")
    return float(given[0]), float(given[1])


def _demo(given: Any) -> Demo:
    if isinstance(given, str):
        return Demo(given, "")
    if isinstance(given, dict) and isinstance(given.get("question"), str):
        return Demo(given["question"], str(given.get("answer") or given.get("solution") or ""))
    raise ValueError(f"a demo must be a question, or an object with question and answer, not {given!r:.40}.")


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON Lines file with their line numbers."""
    empty = True
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}, line {number}: this is no JSON ({error}).") from error
            if not isinstance(row, dict):
                raise InputError(f"{path}, line {number}: give one JSON object a line.")
            empty = False
            yield number, row
    if empty:
        raise InputError(f"{path} is empty; give one JSON object a line.")


# --- how hard, and whether right ----------------------------------------------------------------


def difficulty_of(problem: Problem, task: Task, count: CountEntities) -> tuple[float, float]:
    """Return steps and load as the paper reads them for the task.

    Raises:
        DifficultyUnavailable: the solution says nothing of them.
    """
    if task == "math":
        return MathResistance().difficulty(problem.solution)
    if task == "plan":
        return PlanResistance.difficulty(problem.solution)
    if task == "medical":
        return MedicalResistance.difficulty(str(problem.row.get("exp") or problem.solution), count)
    return MultiHopResistance.difficulty(hops_of(problem.row), count)


def hops_of(row: Mapping[str, Any]) -> list[str]:
    """Return the supporting sentences of a row of hotpot_qa, or its column `hops`."""
    if row.get("hops"):
        return [str(hop) for hop in row["hops"]]
    facts, context = row.get("supporting_facts"), row.get("context")
    if not facts or not context:
        return []
    texts = dict(zip(context["title"], context["sentences"], strict=True))
    found = []
    for title, sentence in zip(facts["title"], facts["sent_id"], strict=True):
        sentences = texts.get(title, [])
        if sentence < len(sentences):  # some rows name a sentence that is not there
            found.append(str(sentences[sentence]))
    return found


def is_correct(reply: str, problem: Problem, task: Task, signed: bool) -> bool:
    """Compare a reply with the solution: the last number, the plan, or the answer as words."""
    if task == "math":
        return answers_match(reply, problem.solution, signed=signed)
    if task == "plan":
        return _plan(reply) == _plan(problem.solution)
    expected = _words(str(problem.row.get("answer") or problem.solution))
    return bool(expected) and f" {expected} " in f" {_words(reply)} "


def _plan(text: str) -> list[str]:
    """Return the actions `(unstack b c)` of a text."""
    return [" ".join(action.lower().split()) for action in re.findall(r"\(([^()]*)\)", text)]


def _words(text: str) -> str:
    return " ".join(word for word in re.findall(r"\w+", text.lower()) if word not in ("a", "an", "the"))


class EntityCounter:
    """Counts named entities: tokens that a token classifier calls the beginning of one (`B-`).

    Args:
        source: a token classifier, such as hub:dslim/bert-base-NER.
        device: where it runs.
    """

    def __init__(self, source: ModelSource, device: str = "cpu") -> None:
        from transformers import AutoModelForTokenClassification

        from assay.models import load_model, load_tokenizer

        self.tokenizer = load_tokenizer(source)
        self.model: Any = load_model(source, AutoModelForTokenClassification, device=device)
        names: Any = self.model.config.id2label
        self.begins = torch.tensor([str(names[number]).startswith("B-") for number in range(len(names))])
        if not self.begins.any():
            raise InputError(
                f"{source} has no labels that begin with B-; give a token classifier of entities."
            )

    @torch.no_grad()
    def __call__(self, text: str) -> int:
        """Return how many entities begin in the text."""
        encoded = self.tokenizer(text, truncation=True, max_length=512, return_tensors="pt")
        logits = self.model(**encoded.to(self.model.device)).logits[0].cpu()
        return int(self.begins[logits.argmax(-1)].sum())


def no_entities(text: str) -> int:
    """Refuse to count without a model."""
    raise InputError(
        "The difficulty of multihop and medical questions counts named entities: give a token classifier with"
        " --entities, such as hub:dslim/bert-base-NER."
    )


# --- benchmarks and replies ---------------------------------------------------------------------


def problems_of(rows: Sequence[Mapping[str, Any]], task: Task) -> list[Problem]:
    """Read problems: question and answer (GSM8K, BigGSM, hotpot_qa), or PlanBench's query and plan.

    Raises:
        InputError: the rows have no such columns.
    """
    asked, solved = ("query", "ground_truth_plan") if task == "plan" else ("question", "answer")
    problems = []
    for number, row in enumerate(rows):
        question = row.get(asked) or row.get("question")
        solution = row.get(solved) or row.get("answer") or row.get("solution")
        if not isinstance(question, str) or solution is None:
            raise InputError(
                f"Row {number} of the problems has no {asked} and {solved}; it has {', '.join(row)}."
            )
        problems.append(Problem(question, str(solution), row))
    return problems


def published_replies(path: Path, way: Way, task: Task, count: CountEntities, signed: bool) -> list[Record]:
    """Read a file of published replies: {"index", "pred": [{"role", "content"}], "origin": {problem}}.

    Problems whose solution has no annotations are left out.

    Raises:
        InputError: a line is no such object; says which.
    """
    records = []
    for number, row in _lines(path):
        origin, reply = row.get("origin"), _last_reply(row.get("pred"))
        if not isinstance(origin, dict) or reply is None:
            raise InputError(
                f'{path}, line {number}: a reply has "origin" and "pred" with role and content; this has'
                f" {', '.join(row)}."
            )
        problem = problems_of([origin], task)[0]
        try:
            difficulty = difficulty_of(problem, task, count)
        except DifficultyUnavailable:
            continue
        right = is_correct(reply, problem, task, signed)
        length = float(len(reply.split())) if way != "direct" else 0.0
        records.append(
            Record(problem.question, difficulty, right, way=way, reasoning=length, group=problem.question)
        )
    return records


def _last_reply(pred: Any) -> str | None:
    if isinstance(pred, str):
        return pred
    if not isinstance(pred, list) or not pred:
        return None
    last = pred[-1]
    while isinstance(last, list) and last:  # one list of messages for each sampled reply
        last = last[-1]
    return last["content"] if isinstance(last, dict) and isinstance(last.get("content"), str) else None
