"""The stage that all arms share: results from wherever they come, with steps, load and flux of every item."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from assay.data import Rows, Table
from assay.errors import InputError
from assay.models import ModelSource, open_text_model
from assay.papers.theory.ecm.config import Calibrate, Small, Task
from assay.papers.theory.ecm.inputs import (
    EntityCounter,
    Grading,
    Problem,
    QuestionEncoder,
    Record,
    own_records,
    problems_of,
    published_replies,
)
from assay.papers.theory.ecm.method import (
    Choice,
    Demo,
    DemoRetriever,
    DifficultyUnavailable,
    MathResistance,
    Readings,
    Way,
    answers_match,
    flux,
    render_prompt,
)
from assay.papers.theory.ecm.synthetic import DEMO_STEPS, STEPS, UnitValues, decode, draw_steps
from assay.papers.theory.ecm.training import solve, train_solver
from assay.training import Compute
from assay.trial import Trial

LEAST = 40
"""Items with a difficulty, of which some calibrate and others measure."""


@dataclass(frozen=True)
class Results:
    """Items with what the circuit is given for them, and what came of them."""

    questions: list[str]
    readings: Readings
    correct: np.ndarray
    shots: np.ndarray
    reasoning: np.ndarray
    groups: list[str]
    embeddings: Tensor
    pool: list[Demo]
    informed: np.ndarray | None = None
    """Whether the prompt held what was needed to answer, where that is known."""
    fresh: bool = False
    """Whether the items were drawn for this seed."""

    def __len__(self) -> int:
        return len(self.questions)

    @classmethod
    def of(cls, records: Sequence[Record], pool: Sequence[Demo], encoder: QuestionEncoder) -> Results:
        """Return records as arrays, with the sum of the flux of each one's demonstrations."""
        embeddings = encoder([record.question for record in records])
        sums = np.zeros(len(records))
        for place, record in enumerate(records):
            if record.demos:
                shown = encoder([demo.question for demo in record.demos])
                sums[place] = float(flux(embeddings[place], shown).sum())
        readings = Readings(
            np.array([record.difficulty[0] for record in records]),
            np.array([record.difficulty[1] for record in records]),
            sums,
            tuple(record.way for record in records),
            np.array([record.samples for record in records]),
        )
        return cls(
            [record.question for record in records],
            readings,
            np.array([record.correct for record in records]),
            np.array([len(record.demos) for record in records]),
            np.array([record.reasoning for record in records]),
            [record.group for record in records],
            embeddings,
            list(pool),
        )


def results_of(config: Calibrate, trial: Trial) -> Results:
    """Return the user's own results, published replies, a solver's, or those of the small model.

    Raises:
        InputError: several of them are given, one cannot be read, or there are too few items.
    """
    given = _given(config)
    prompting, seed = Prompting.of(config), int(trial.numpy("prompts").integers(2**31))
    encoding = Encoding(config.encoder, config.encoder.fingerprint(), config.pooling, trial.compute)
    if not given:
        weights = trial.once("solver", train_solver, config.small, trial.compute, seedless=True)
        found = trial.once("prompts", small_results, config.small, weights, prompting, encoding, seed)
    elif given == ["--solver"]:
        found = trial.once("replies", solver_results, _benchmark(config, trial), prompting, encoding, seed)
    else:
        found = trial.once("files", file_results, _result_files(config), encoding, seedless=True)
    if len(found) < LEAST:
        raise InputError(
            f"There are {len(found)} items with a difficulty; at least {LEAST} are needed, to calibrate on"
            " some and measure on others."
        )
    return found


def _given(config: Calibrate) -> list[str]:
    """Return where the results are to come from; nothing for the small model."""
    if config.problems.source is not None and config.solver.source is None:
        raise InputError("--problems needs a model that answers them: give --solver, or --replies.")
    if config.solver.source is not None and config.problems.source is None:
        raise InputError("--solver needs problems to answer: give --problems, such as hub:openai/gsm8k/main.")
    sources = {
        "--records": config.records.source,
        "--replies": config.replies.source or config.direct_replies.source,
        "--solver": config.solver.source,
    }
    given = [name for name, source in sources.items() if source is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} exclude each other; give results from one place.")
    return given


# --- prompts and encoders -----------------------------------------------------------------------


class Prompt(NamedTuple):
    """How one question is put."""

    shots: int
    choice: Choice
    direct: bool


@dataclass(frozen=True)
class Prompting:
    """How the questions of an experiment are put: see the options of the same names."""

    shots: tuple[int, ...]
    choices: tuple[Choice, ...]
    direct: float

    @classmethod
    def of(cls, config: Calibrate) -> Prompting:
        """Return what the options say."""
        return cls(config.shots, config.choices, config.direct)

    def draw(self, count: int, random: np.random.Generator) -> list[Prompt]:
        """Draw how each of so many questions is put."""
        return [
            Prompt(
                int(random.choice(self.shots)),
                self.choices[int(random.integers(len(self.choices)))],
                bool(random.random() < self.direct),
            )
            for _ in range(count)
        ]


@dataclass(frozen=True)
class Asked:
    """Questions as they are put: how, with which demonstrations, and the whole prompts."""

    how: list[Prompt]
    rows: list[tuple[int, ...]]
    """Places of the demonstrations in the pool."""
    demos: list[tuple[Demo, ...]]
    prompts: list[str]

    @classmethod
    def of(
        cls,
        questions: Sequence[str],
        how: list[Prompt],
        pool: Sequence[Demo],
        encoder: QuestionEncoder,
        seed: int,
    ) -> Asked:
        """Choose the demonstrations of each question from a pool."""
        rows: list[tuple[int, ...]] = [()] * len(questions)
        if pool:
            retriever = DemoRetriever(encoder, [demo.question for demo in pool], seed)
            for shots, choice in sorted({(prompt.shots, prompt.choice) for prompt in how if prompt.shots}):
                places = [place for place, prompt in enumerate(how) if prompt[:2] == (shots, choice)]
                found = retriever.topk([questions[place] for place in places], shots, choice)
                for place, retrieved in zip(places, found, strict=True):
                    rows[place] = retrieved.rows
        demos = [tuple(pool[row] for row in each) for each in rows]
        prompts = [
            render_prompt(question, shown, reason=not prompt.direct)
            for question, shown, prompt in zip(questions, demos, how, strict=True)
        ]
        return cls(how, rows, demos, prompts)

    def record(self, place: int, length: int, **known: Any) -> Record:
        """Return what came of a question whose reply has so many tokens."""
        direct = self.how[place].direct
        reasoning = 0.0 if direct else float(length)
        way: Way = "direct" if direct else "cot"
        return Record(demos=self.demos[place], way=way, reasoning=reasoning, **known)


@dataclass(frozen=True)
class Encoding:
    """An encoder of questions, as plain values."""

    source: ModelSource
    content: str
    """The encoder's fingerprint."""
    pooling: str
    compute: Compute

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.compute.accelerator

    def encoder(self) -> QuestionEncoder:
        """Return the encoder, not loaded yet."""
        return QuestionEncoder(self.source, self.pooling, self.device)


# --- the small model ----------------------------------------------------------------------------


def small_results(
    small: Small, weights: dict[str, Tensor], prompting: Prompting, encoding: Encoding, seed: int
) -> Results:
    """Draw unit values with a pool of solved journeys, and return what the small model makes of others."""
    random, encoder = np.random.default_rng(seed), encoding.encoder()
    units = UnitValues.draw(random, small.largest)
    pool = [units.journey(random, draw_steps(random, DEMO_STEPS)) for _ in range(small.demos)]
    journeys = [units.journey(random, draw_steps(random, STEPS)) for _ in range(small.queries)]
    how = prompting.draw(len(journeys), random)
    solved = [Demo(each.question, each.solution) for each in pool]
    asked = Asked.of([each.question for each in journeys], how, solved, encoder, seed)
    replies = solve(small, weights, asked.prompts, [prompt.direct for prompt in how], encoding.compute)
    records = [
        asked.record(
            place,
            len(reply),
            question=each.question,
            difficulty=MathResistance().difficulty(each.solution),
            correct=answers_match(decode(reply), each.solution),
            group=str(each.wording),
            solution=each.solution,
        )
        for place, (each, reply) in enumerate(zip(journeys, replies, strict=True))
    ]
    informed = [
        any(pool[row].unit == each.unit for row in rows)
        for each, rows in zip(journeys, asked.rows, strict=True)
    ]
    found = Results.of(records, solved, encoder)
    return dataclasses.replace(found, informed=np.array(informed), fresh=True)


# --- files --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ResultFiles:
    """Files of results, each with its fingerprint, and how they are read."""

    records: str | None
    replies: str | None
    direct_replies: str | None
    fingerprints: tuple[str, ...]
    entities: str | None
    task: Task
    signed: bool


def _result_files(config: Calibrate) -> ResultFiles:
    used = (config.records, config.replies, config.direct_replies, config.entities)
    return ResultFiles(
        config.records.source,
        config.replies.source,
        config.direct_replies.source,
        tuple(each.fingerprint() for each in used),
        config.entities.source,
        config.task,
        config.signed,
    )


def file_results(files: ResultFiles, encoding: Encoding) -> Results:
    """Return what stands in the user's own records, or in files of published replies."""
    grading = Grading(files.task, EntityCounter(files.entities, encoding.device), files.signed)
    records: list[Record] = []
    if files.records is not None:
        records = own_records(files.records, grading)
    if files.replies is not None:
        records += published_replies(files.replies, "cot", grading)
    if files.direct_replies is not None:
        records += published_replies(files.direct_replies, "direct", grading)
    if not records:
        raise InputError("No item of these files has a difficulty: annotate the solutions, or give it.")
    solved = [demo for record in records for demo in record.demos if demo.answer]
    solved = solved or [Demo(record.question, record.solution) for record in records if record.solution]
    return Results.of(records, list(dict.fromkeys(solved)), encoding.encoder())


# --- a benchmark --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Benchmark:
    """Problems, a pool of solved examples, and the model that answers."""

    problems: list[Problem]
    pool: list[Problem]
    task: Task
    solver: str
    fingerprints: tuple[str, ...]
    """Of the solver and of the model that counts entities."""
    entities: str | None
    max_new_tokens: int
    temperature: float
    signed: bool
    cache: str | None


def _benchmark(config: Calibrate, trial: Trial) -> Benchmark:
    table = _table(config.problems).load(needs=())
    rows = table.rows if table.test is None else table.test
    if config.task == "plan" and "domain" in rows.column_names:  # PlanBench has other domains too
        rows = rows.filter(lambda domain: domain.startswith("blocksworld"), input_columns="domain")
    if config.max_queries is not None and config.max_queries < len(rows):
        rows = rows.select(trial.deal(len(rows), config.max_queries)[0])
    pool: list[Problem] = []
    if config.demo_pool.source is not None:
        pool = problems_of(list(_table(config.demo_pool).load(needs=()).rows), config.task)
    elif table.test is not None:
        pool = problems_of(list(table.rows), config.task)
    return Benchmark(
        problems_of(list(rows), config.task),
        pool,
        config.task,
        str(config.solver.source),
        (config.solver.fingerprint(), config.entities.fingerprint()),
        config.entities.source,
        config.max_new_tokens,
        config.temperature,
        config.signed,
        None if trial.replies is None else str(trial.replies),
    )


def _table(rows: Rows) -> Table:
    return rows.table() or Table(str(rows.source))


def solver_results(benchmark: Benchmark, prompting: Prompting, encoding: Encoding, seed: int) -> Results:
    """Ask a language model the problems of a benchmark, and return what it makes of them."""
    encoder = encoding.encoder()
    grading = Grading(benchmark.task, EntityCounter(benchmark.entities, encoding.device), benchmark.signed)
    problems, difficulties = _with_difficulty(benchmark.problems, grading)
    how = prompting.draw(len(problems), np.random.default_rng(seed))
    pool = [Demo(each.question, each.solution) for each in benchmark.pool]
    wanted = max((prompt.shots for prompt in how), default=0)
    if wanted > len(pool):
        raise InputError(f"{wanted} demonstrations are asked for, and the pool has {len(pool)}: --demo-pool.")
    asked = Asked.of([each.question for each in problems], how, pool, encoder, seed)
    model = open_text_model(
        ModelSource(benchmark.solver),
        encoding.device,
        cache=None if benchmark.cache is None else Path(benchmark.cache),
    )
    replies = model.generate(
        asked.prompts,
        max_new_tokens=benchmark.max_new_tokens,
        temperature=benchmark.temperature,
        stop="\n[QUESTION]",
        seed=seed,
    )
    records = [
        asked.record(
            place,
            reply.tokens or len(reply.text.split()),
            question=each.question,
            difficulty=difficulties[place],
            correct=grading.is_correct(reply.text, each),
            group=each.question,
            solution=each.solution,
        )
        for place, (each, reply) in enumerate(zip(problems, replies, strict=True))
    ]
    return Results.of(records, pool, encoder)


def _with_difficulty(
    problems: Sequence[Problem], grading: Grading
) -> tuple[list[Problem], list[tuple[float, float]]]:
    """Leave out the problems whose solution has no annotations."""
    kept, found = [], []
    for problem in problems:
        try:
            found.append(grading.difficulty(problem))
            kept.append(problem)
        except DifficultyUnavailable:
            continue
    return kept, found
