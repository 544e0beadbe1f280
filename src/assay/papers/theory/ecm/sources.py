"""The stage that all arms share: results from wherever they come, with steps, load and flux of every item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from assay import files
from assay.data import Table
from assay.errors import InputError
from assay.models import ModelSource, TextModel
from assay.papers.theory.ecm.config import Calibrate, Task
from assay.papers.theory.ecm.dealing import Dealing, choose_demos
from assay.papers.theory.ecm.encoding import QuestionEncoder
from assay.papers.theory.ecm.method import (
    Demo,
    DemoRetriever,
    DifficultyUnavailable,
    Readings,
    flux,
    render_prompt,
)
from assay.papers.theory.ecm.results import (
    EntityCounter,
    Problem,
    Record,
    difficulty_of,
    is_correct,
    no_entities,
    own_records,
    problems_of,
    published_replies,
)
from assay.papers.theory.ecm.solver import ask_solver, train_solver
from assay.trial import Trial


@dataclass(frozen=True)
class Results:
    """Items with what the circuit is given for them, and what came of them.

    `told` says whether the prompt held what was needed to answer, where that is known; `fresh` whether
    the items were drawn for this seed.
    """

    questions: list[str]
    readings: Readings
    correct: np.ndarray
    shots: np.ndarray
    reasoning: np.ndarray
    groups: list[str]
    embeddings: Tensor
    pool: list[Demo]
    told: np.ndarray | None
    fresh: bool

    def __len__(self) -> int:
        return len(self.questions)


def results_of(config: Calibrate, trial: Trial) -> Results:
    """Return the user's own results, published replies, a solver's, or those of the small model.

    Raises:
        InputError: several of them are given, one cannot be read, or there are too few items.
    """
    dealing = Dealing(config.shots, config.choices, config.direct)
    device, seed = str(trial.device), int(trial.numpy("prompts").integers(2**31))
    encoding = (config.encoder, config.encoder.fingerprint(), config.pooling, device)
    files = (config.records, config.replies, config.direct_replies)
    given = [name for name, there in _given(config).items() if there]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} exclude each other; give results from one place.")
    fresh = not given
    if not given:
        weights = trial.once("solver", train_solver, config.small, device, seedless=True)
        stage = trial.once("prompts", small_results, config.small, weights, dealing, encoding, seed)
    elif given == ["--solver"]:
        limit = config.max_queries
        stage = trial.once(
            "replies", solver_results, _benchmark(config, trial, limit), dealing, encoding, seed
        )
    else:
        paths = tuple((file.source, file.fingerprint()) for file in files)
        entities = (config.entities.source, config.entities.fingerprint())
        stage = trial.once(
            "files", file_results, paths, config.task, entities, config.signed, encoding, seedless=True
        )
    if len(stage["questions"]) < 40:
        raise InputError(
            f"There are {len(stage['questions'])} items with a difficulty; at least 40 are needed, to"
            " calibrate on some and measure on others."
        )
    return _restore(stage, fresh)


def _given(config: Calibrate) -> dict[str, bool]:
    if config.problems.source is not None and config.solver.source is None:
        raise InputError("--problems needs a model that answers them: give --solver, or --replies.")
    if config.solver.source is not None and config.problems.source is None:
        raise InputError("--solver needs problems to answer: give --problems, such as hub:openai/gsm8k/main.")
    replies = config.replies.source is not None or config.direct_replies.source is not None
    return {
        "--records": config.records.source is not None,
        "--replies": replies,
        "--solver": config.solver.source is not None,
    }


# --- the stages ---------------------------------------------------------------------------------

Encoding = tuple[ModelSource, str, str, str]
"""Encoder, its fingerprint, pooling and device."""


def small_results(
    small: Any, weights: dict[str, Tensor], dealing: Dealing, encoding: Encoding, seed: int
) -> dict[str, Any]:
    """Return what the small model makes of a world's problems."""
    encoder = _encoder(encoding)
    records, told, pool = ask_solver(small, weights, dealing, encoder, seed, encoding[3])
    return _measured(records, pool, encoder) | {"told": np.array(told)}


def file_results(
    paths: Sequence[tuple[str | None, str]],
    task: Task,
    entities: tuple[str | None, str],
    signed: bool,
    encoding: Encoding,
) -> dict[str, Any]:
    """Return what stands in the user's own records, or in files of published replies."""
    count = _counter(entities[0], encoding[3])
    own, reasoned, direct = (None if path is None else files.user_path(path) for path, _ in paths)
    records: list[Record] = []
    if own is not None:
        records = own_records(own, task, count)
    if reasoned is not None:
        records += published_replies(reasoned, "cot", task, count, signed)
    if direct is not None:
        records += published_replies(direct, "direct", task, count, signed)
    solved = [demo for record in records for demo in record.demos if demo.answer]
    solved = solved or [Demo(record.question, record.solution) for record in records if record.solution]
    return _measured(records, list(dict.fromkeys(solved)), _encoder(encoding))


@dataclass(frozen=True)
class Benchmark:
    """Problems, a pool of solved examples, and the model that answers."""

    problems: list[Problem]
    pool: list[Problem]
    task: Task
    solver: str
    solver_fingerprint: str
    entities: tuple[str | None, str]
    max_new_tokens: int
    temperature: float
    signed: bool
    cache: str | None


def solver_results(benchmark: Benchmark, dealing: Dealing, encoding: Encoding, seed: int) -> dict[str, Any]:
    """Ask a language model the problems of a benchmark, and return what it makes of them."""
    encoder, count = _encoder(encoding), _counter(benchmark.entities[0], encoding[3])
    problems, difficulties = _with_difficulty(benchmark.problems, benchmark.task, count)
    random = np.random.default_rng(seed)
    plans = dealing.plans(len(problems), random)
    pool = [Demo(each.question, each.solution) for each in benchmark.pool]
    wanted = max((plan.shots for plan in plans), default=0)
    if wanted > len(pool):
        raise InputError(f"{wanted} demonstrations are asked for, and the pool has {len(pool)}: --demo-pool.")
    retriever = DemoRetriever(encoder, [demo.question for demo in pool], seed) if pool else None
    chosen = choose_demos([each.question for each in problems], plans, retriever)
    demos = [tuple(pool[row] for row in rows) for rows in chosen]
    prompts = [
        render_prompt(each.question, shown, reason=not plan.direct)
        for each, shown, plan in zip(problems, demos, plans, strict=True)
    ]
    model = _text_model(benchmark, encoding[3])
    replies = model.generate(
        prompts,
        max_new_tokens=benchmark.max_new_tokens,
        temperature=benchmark.temperature,
        stop="\n[QUESTION]",
        seed=seed,
    )
    records = [
        Record(
            question=each.question,
            difficulty=difficulty,
            correct=is_correct(reply.text, each, benchmark.task, benchmark.signed),
            demos=shown,
            way="direct" if plan.direct else "cot",
            reasoning=0.0 if plan.direct else float(reply.tokens or len(reply.text.split())),
            group=each.question,
            solution=each.solution,
        )
        for each, difficulty, shown, plan, reply in zip(
            problems, difficulties, demos, plans, replies, strict=True
        )
    ]
    return _measured(records, pool, encoder)


def _text_model(benchmark: Benchmark, device: str) -> TextModel:
    cache = None if benchmark.cache is None else Path(benchmark.cache)
    return ModelSource(benchmark.solver).text_model(device, cache=cache)


def _with_difficulty(
    problems: Sequence[Problem], task: Task, count: Callable[[str], int]
) -> tuple[list[Problem], list[tuple[float, float]]]:
    """Leave out the problems whose solution has no annotations."""
    kept, found = [], []
    for problem in problems:
        try:
            found.append(difficulty_of(problem, task, count))
            kept.append(problem)
        except DifficultyUnavailable:
            continue
    return kept, found


def _benchmark(config: Calibrate, trial: Trial, limit: int | None) -> Benchmark:
    assert config.problems.source is not None
    assert config.solver.source is not None
    table = Table(config.problems.source).load(needs=())
    rows = table.rows if table.test is None else table.test
    if config.task == "plan" and "domain" in rows.column_names:  # PlanBench has other domains too
        rows = rows.filter(lambda domain: domain.startswith("blocksworld"), input_columns="domain")
    if limit is not None and limit < len(rows):
        rows = rows.select(trial.deal(len(rows), limit)[0])
    pool: list[Problem] = []
    if config.demo_pool.source is not None:
        pool = problems_of(list(Table(config.demo_pool.source).load(needs=()).rows), config.task)
    elif table.test is not None:
        pool = problems_of(list(table.rows), config.task)
    return Benchmark(
        problems_of(list(rows), config.task),
        pool,
        config.task,
        config.solver.source,
        config.solver.fingerprint(),
        (config.entities.source, config.entities.fingerprint()),
        config.max_new_tokens,
        config.temperature,
        config.signed,
        None if trial.replies is None else str(trial.replies),
    )


# --- from records to arrays ---------------------------------------------------------------------


def _encoder(encoding: Encoding) -> QuestionEncoder:
    source, _, pooling, device = encoding
    return QuestionEncoder(source, pooling, device)


def _counter(entities: str | None, device: str) -> Callable[[str], int]:
    return no_entities if entities is None else EntityCounter(ModelSource(entities), device)


def _measured(records: Sequence[Record], pool: Sequence[Demo], encoder: QuestionEncoder) -> dict[str, Any]:
    """Return the records as arrays, with the sum of the flux of each one's demonstrations."""
    embeddings = encoder([record.question for record in records])
    sums = np.zeros(len(records))
    for place, record in enumerate(records):
        if record.demos:
            shown = encoder([demo.question for demo in record.demos])
            sums[place] = float(flux(embeddings[place], shown).sum())
    return {
        "questions": [record.question for record in records],
        "steps": np.array([record.difficulty[0] for record in records], dtype=np.float64),
        "load": np.array([record.difficulty[1] for record in records], dtype=np.float64),
        "flux": sums,
        "ways": [record.way for record in records],
        "samples": np.array([record.samples for record in records], dtype=np.float64),
        "correct": np.array([record.correct for record in records]),
        "shots": np.array([len(record.demos) for record in records]),
        "reasoning": np.array([record.reasoning for record in records]),
        "groups": [record.group for record in records],
        "embeddings": embeddings,
        "pool": [list(demo) for demo in pool],
    }


def _restore(stage: dict[str, Any], fresh: bool) -> Results:
    readings = Readings(stage["steps"], stage["load"], stage["flux"], tuple(stage["ways"]), stage["samples"])
    return Results(
        stage["questions"],
        readings,
        stage["correct"],
        stage["shots"],
        stage["reasoning"],
        stage["groups"],
        stage["embeddings"],
        [Demo(*demo) for demo in stage["pool"]],
        stage.get("told"),
        fresh,
    )
