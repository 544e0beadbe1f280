"""What results to calibrate on come from: own records, published replies, benchmarks; and encoders."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.data import read_json_lines
from assay.errors import InputError
from assay.models import ModelSource, OwnModel
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
    """A question of a benchmark with its solution, and the rest of its row."""

    question: str
    solution: str
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grading:
    """How the difficulty of a problem is read and a reply compared: by the task."""

    task: Task
    count: CountEntities
    """Gives the number of named entities in a text."""
    signed: bool = True

    def difficulty(self, problem: Problem) -> tuple[float, float]:
        """Return steps and load as the paper reads them.

        Raises:
            DifficultyUnavailable: the solution says nothing of them.
        """
        row, counted = problem.row, problem.row.get("knowledge_num")
        known = None if counted is None else float(counted)
        if self.task == "math":
            return MathResistance().difficulty(problem.solution)
        if self.task == "plan":
            return PlanResistance.difficulty(problem.solution)
        if self.task == "medical":
            if "step_num" in row and "entity_num" in row:
                return float(row["step_num"]), float(row["entity_num"])
            return MedicalResistance.difficulty(str(row.get("exp") or problem.solution), self.count, known)
        return MultiHopResistance.difficulty(hops_of(row), self.count, known)

    def difficulty_or_none(self, problem: Problem) -> tuple[float, float] | None:
        """Return steps and load, None where the solution says nothing of them."""
        try:
            return self.difficulty(problem)
        except DifficultyUnavailable:
            return None

    def is_correct(self, reply: str, problem: Problem) -> bool:
        """Compare a reply with the solution: the last number, the actions of a plan, a choice, or a text.

        What stands after `####` is compared exactly, as the authors do; where a reply has no such mark, it
        must hold the words of the answer.
        """
        if self.task == "math":
            return answers_match(reply, problem.solution, signed=self.signed)
        if self.task == "plan":
            return _actions(reply) == _actions(problem.solution)
        if self.task == "medical" and isinstance(problem.row.get("cop"), int):
            chosen = re.findall(r"\(([A-D])\)", reply.rpartition("[[Answer]]")[2])
            return bool(chosen) and chosen[-1] == " ABCD"[problem.row["cop"]]
        expected = str(problem.row.get("answer") or problem.solution).rpartition("####")[2]
        _, mark, said = reply.rpartition("####")
        if mark:
            return said.strip().lower() == expected.strip().lower()
        words = _words(expected)
        return bool(words) and f" {words} " in f" {_words(reply)} "


def hops_of(row: Mapping[str, Any]) -> list[str]:
    """Return the supporting sentences of a row of hotpot_qa, or its column `hop` or `hops`."""
    given = row.get("hops") or row.get("hop")
    if given:
        return [str(hop) for hop in given]
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


def _actions(text: str) -> list[str]:
    """Return the actions `(unstack b c)` of a text."""
    return [" ".join(action.lower().split()) for action in re.findall(r"\(([^()]*)\)", text)]


def _words(text: str) -> str:
    return " ".join(word for word in re.findall(r"\w+", text.lower()) if word not in ("a", "an", "the"))


# --- the user's own results ---------------------------------------------------------------------


def own_records(path: str, grading: Grading) -> list[Record]:
    """Read the user's own results.

    A line has `question`; `solution` (annotated) or `difficulty` ([r1, r2]); `correct`; and, where they
    matter, `demos` (questions, or objects with question and answer), `way`, `samples`, `reasoning_tokens`
    and `group`.
    """
    records = []
    for number, row in read_json_lines(path):
        try:
            records.append(_own_record(row, grading))
        except InputError:
            raise
        except (ValueError, TypeError, KeyError) as error:
            what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{path}, line {number}: {what}") from error
    return records


def _own_record(row: dict[str, Any], grading: Grading) -> Record:
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
        difficulty = grading.difficulty(Problem(question, solution, row))
    reasoning = float(row.get("reasoning_tokens", len(solution.split()) if way != "direct" else 0))
    demos = tuple(_demo(demo) for demo in row.get("demos") or ())
    group = str(row.get("group", question))
    return Record(question, difficulty, bool(correct), demos, way, samples, reasoning, group, solution)


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


# --- benchmarks and replies ---------------------------------------------------------------------


def problems_of(rows: Sequence[Mapping[str, Any]], task: Task) -> list[Problem]:
    """Read problems: question and answer (GSM8K, BigGSM, hotpot_qa), or PlanBench's query and plan."""
    asked, solved = ("query", "ground_truth_plan") if task == "plan" else ("question", "answer")
    problems = []
    for number, row in enumerate(rows):
        question = row.get(asked) or row.get("question")
        solution = row.get(solved) or row.get("answer") or row.get("solution") or row.get("exp")
        if not isinstance(question, str) or solution is None:
            raise InputError(
                f"Row {number} of the problems has no {asked} and {solved}; it has {', '.join(row)}."
            )
        problems.append(Problem(question, str(solution), row))
    return problems


def published_replies(path: str, way: Way, grading: Grading) -> list[Record]:
    """Read a file of published replies: {"index", "pred": [{"role", "content"}], "origin": {problem}}.

    Problems whose solution has no annotations are left out.
    """
    records = []
    for number, row in read_json_lines(path):
        origin, reply = row.get("origin"), _last_reply(row.get("pred"))
        if not isinstance(origin, dict) or reply is None:
            raise InputError(
                f'{path}, line {number}: a reply has "origin" and "pred" with role and content; this has'
                f" {', '.join(row)}."
            )
        problem = problems_of([origin], grading.task)[0]
        difficulty, question = grading.difficulty_or_none(problem), problem.question
        if difficulty is not None:
            right = grading.is_correct(reply, problem)
            length = float(len(reply.split())) if way != "direct" else 0.0
            records.append(Record(question, difficulty, right, way=way, reasoning=length, group=question))
    return records


def _last_reply(pred: Any) -> str | None:
    """Return the text of the last message; its content is a text, or a list of parts with texts."""
    if isinstance(pred, str):
        return pred
    while isinstance(pred, list) and pred:  # one list of messages for each sampled reply
        pred = pred[-1]
    content = pred.get("content") if isinstance(pred, dict) else None
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str)) if parts else None
    return content if isinstance(content, str) else None


# --- models of the user -------------------------------------------------------------------------


@dataclass(eq=False)
class EntityCounter:
    """Counts named entities, with a model that is loaded when it is first used.

    An entity begins at a token that the classifier labels `B-...`.
    """

    source: OwnModel
    """A token classifier, such as hub:dslim/bert-base-NER; none, and counting is refused."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        self._model: Any = None

    def _load(self) -> None:
        if self.source.source is None:
            raise InputError(
                "The difficulty of multihop and medical questions counts named entities: give a token"
                " classifier with --entities, such as hub:dslim/bert-base-NER."
            )
        from transformers import AutoModelForTokenClassification

        from assay.models import load_model, load_tokenizer

        known = ModelSource(self.source.source)
        self._tokenizer = load_tokenizer(known)
        self._model = load_model(known, AutoModelForTokenClassification, device=self.device)
        names: Any = self._model.config.id2label
        self._begins = torch.tensor([str(names[number]).startswith("B-") for number in range(len(names))])
        if not self._begins.any():
            raise InputError(
                f"{known} has no labels that begin with B-; give a token classifier of entities."
            )

    @torch.no_grad()
    def __call__(self, text: str) -> int:
        """Return how many entities begin in the text."""
        if self._model is None:
            self._load()
        encoded = self._tokenizer(text, truncation=True, max_length=512, return_tensors="pt")
        logits = self._model(**encoded.to(self.device)).logits[0].cpu()
        return int(self._begins[logits.argmax(-1)].sum())


@dataclass(eq=False)
class QuestionEncoder:
    """Embeds questions, each once, with a model that is loaded when it is first used."""

    source: ModelSource
    pooling: str = "mean"
    """`mean` is the mean of token states at length one; `pooler` the encoder's own pooler, as the authors
    have it for roberta-base, with underscores as spaces and 512 tokens."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        self._loaded: Any = None
        self._known: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Return embeddings [n, d]."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known |= dict(zip(new, self._embed(new), strict=True))
        return torch.stack([self._known[text] for text in texts])

    def _embed(self, texts: list[str]) -> Tensor:
        from assay.models import SentenceEncoder

        if self._loaded is None:
            self._loaded = SentenceEncoder(self.source, self.device)
        if self.pooling == "mean":
            found: Tensor = self._loaded.encode(texts).cpu()
            return found
        return self._pool([text.replace("_", " ") for text in texts])

    @torch.no_grad()
    def _pool(self, texts: list[str], at_once: int = 32) -> Tensor:
        found = []
        for start in range(0, len(texts), at_once):
            part = texts[start : start + at_once]
            encoded = self._loaded.tokenizer(
                part, truncation=True, max_length=512, padding=True, return_tensors="pt"
            )
            pooled = getattr(self._loaded.transformer(**encoded.to(self.device)), "pooler_output", None)
            if pooled is None:
                raise InputError(f"{self.source} has no pooler; use --pooling mean.")
            found.append(pooled.float().cpu())
        return torch.cat(found)
