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
from assay.models import ModelSource, OwnModel, open_text_model
from assay.papers.theory.ecm.config import Calibrate, Small
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
    """Return the user's own results, published replies, a solver's, or those of the small model."""
    given, device = _given(config), trial.compute.accelerator
    seed = int(trial.numpy("prompts").integers(2**31))
    prompting = Prompting(config.shots, config.choices, config.direct)
    grading = Grading(config.task, EntityCounter(config.entities, device), config.signed)
    encoder = QuestionEncoder(config.encoder, config.pooling, device)
    if not given:
        small, compute = config.small, trial.compute
        weights = trial.once("solver", train_solver, small, compute, seedless=True)
        found = trial.once("prompts", small_results, small, weights, prompting, encoder, compute, seed)
    elif given == ["--solver"]:
        benchmark = _benchmark(config, grading, trial)
        found = trial.once("replies", solver_results, benchmark, prompting, encoder, seed)
    else:
        replies = {"cot": config.replies, "direct": config.direct_replies}
        found = trial.once("files", file_results, config.records, replies, grading, encoder, seedless=True)
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


# --- the small model ----------------------------------------------------------------------------


def small_results(
    small: Small,
    weights: dict[str, Tensor],
    prompting: Prompting,
    encoder: QuestionEncoder,
    compute: Compute,
    seed: int,
) -> Results:
    """Draw unit values with a pool of solved journeys, and return what the small model makes of others."""
    random = np.random.default_rng(seed)
    units = UnitValues.draw(random, small.largest)
    pool = [units.journey(random, draw_steps(random, DEMO_STEPS)) for _ in range(small.demos)]
    journeys = [units.journey(random, draw_steps(random, STEPS)) for _ in range(small.queries)]
    how = prompting.draw(len(journeys), random)
    solved = [Demo(each.question, each.solution) for each in pool]
    asked = Asked.of([each.question for each in journeys], how, solved, encoder, seed)
    replies = solve(small, weights, asked.prompts, [prompt.direct for prompt in how], compute)
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


def file_results(
    records: Rows, replies: dict[Way, Rows], grading: Grading, encoder: QuestionEncoder
) -> Results:
    """Return what stands in the user's own records, or in files of published replies."""
    found = [] if records.source is None else own_records(records.source, grading)
    for way, rows in replies.items():
        found += [] if rows.source is None else published_replies(rows.source, way, grading)
    if not found:
        raise InputError("No item of these files has a difficulty: annotate the solutions, or give it.")
    solved = [demo for record in found for demo in record.demos if demo.answer]
    solved = solved or [Demo(record.question, record.solution) for record in found if record.solution]
    return Results.of(found, list(dict.fromkeys(solved)), encoder)


# --- a benchmark --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Benchmark:
    """Problems, a pool of solved examples, and the model that answers."""

    problems: list[Problem]
    pool: list[Problem]
    grading: Grading
    solver: OwnModel
    max_new_tokens: int
    temperature: float
    cache: Path | None


def _benchmark(config: Calibrate, grading: Grading, trial: Trial) -> Benchmark:
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
        grading,
        config.solver,
        config.max_new_tokens,
        config.temperature,
        trial.replies,
    )


def _table(rows: Rows) -> Table:
    return rows.table() or Table(str(rows.source))


def solver_results(
    benchmark: Benchmark, prompting: Prompting, encoder: QuestionEncoder, seed: int
) -> Results:
    """Ask a language model the problems of a benchmark, and return what it makes of them."""
    read = ((problem, benchmark.grading.difficulty_or_none(problem)) for problem in benchmark.problems)
    kept = [(problem, difficulty) for problem, difficulty in read if difficulty is not None]
    problems = [problem for problem, _ in kept]
    how = prompting.draw(len(problems), np.random.default_rng(seed))
    pool = [Demo(each.question, each.solution) for each in benchmark.pool]
    wanted = max((prompt.shots for prompt in how), default=0)
    if wanted > len(pool):
        raise InputError(f"{wanted} demonstrations are asked for, and the pool has {len(pool)}: --demo-pool.")
    asked = Asked.of([each.question for each in problems], how, pool, encoder, seed)
    model = open_text_model(ModelSource(str(benchmark.solver.source)), encoder.device, cache=benchmark.cache)
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
            difficulty=difficulty,
            correct=benchmark.grading.is_correct(reply.text, each),
            group=each.question,
            solution=each.solution,
        )
        for place, ((each, difficulty), reply) in enumerate(zip(kept, replies, strict=True))
    ]
    return Results.of(records, pool, encoder)
