"""Replies of the emulated model to prompts, scored; and the emulated model itself, to be used again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from assay import files
from assay.data import Table
from assay.errors import AssayError, InputError
from assay.models import ModelSource, open_text_model
from assay.paper import Value
from assay.papers.language.eft.artefact import INSIDE, Emulator, Written
from assay.papers.language.eft.config import Emulate
from assay.papers.language.eft.evaluation import (
    check_rubrics,
    check_sandbox,
    judge,
    passes,
    program_of,
    recovered,
)
from assay.papers.language.eft.inputs import PromptRow, Setup, located, read_prompts, shared_settings
from assay.papers.language.eft.method import SpeculativeStats
from assay.papers.language.eft.stages import TrainedFamily
from assay.trial import Trial

TEST = 0.3
"""Share of the texts whose beginnings are prompts where none are given."""
Line = dict[str, Any]
"""What is kept of one reply, as JSON."""


def emulate(config: Emulate, trial: Trial) -> dict[str, Value]:
    """Reply to prompts and keep replies, a summary, and the emulated model."""
    rows = read_prompts(config.prompts, config.max_prompts) if config.prompts.source else None
    setup = Setup.of(config)
    check_sandbox(config.sandbox)
    check_rubrics(config.rubrics)
    if setup is None:
        emulator, beginnings = trained_family(config, trial)
        rows = rows or beginnings
    elif rows is None:
        raise InputError("--prompts FILE is missing: what should the emulated model reply to?")
    else:
        emulator = Emulator.of(setup, trial.device)
    answer_logprobs = score_answers(emulator, rows, config)
    trial.progress(f"replying to {len(rows)} prompts")
    written, stats = reply(emulator, config, rows, trial)
    lines: list[Line] = [
        {**vars(row), **dataclasses.asdict(each), **({} if known is None else {"answer_logprobs": known})}
        for row, each, known in zip(rows, written, answer_logprobs, strict=True)
    ]
    summary = measure(written, stats, answer_logprobs)
    summary |= run_programs(config, rows, lines)
    summary |= judged(config, emulator, lines, trial)
    trial.save("emulator", emulator)
    trial.save("summary", summary)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    files.write_atomic(trial.folder("generations") / "generations.jsonl", text)
    return {name: value for name, value in summary.items() if isinstance(value, int | float)}


def trained_family(config: Emulate, trial: Trial) -> tuple[Emulator, list[PromptRow]]:
    """Return a family that is trained here, and beginnings of texts to continue."""
    if len(config.weights) != 1:
        raise InputError(f"--weights has {len(config.weights)} numbers; one tuned model is trained here.")
    family = TrainedFamily.of(Table("bundled:docstrings"), config.fact_table, config.family, trial)
    domain = family.domain(0, config.max_texts, TEST)
    tuned = family.tuned("domain", "small", domain.train, domain.validation).weights
    names = ("base", "tuned", "reference")
    base, small, before = (f"{INSIDE}{name}" for name in names)
    model = family.emulated(
        tuned,
        config.weights[0],
        amplify=config.amplify,
        delta_top_p=config.delta_top_p,
        reference_floor=config.reference_floor,
        allow_negative=config.allow_negative,
    )
    starts = [str(family.tokenizer.decode(ids[:6])) for _, ids in domain.test[: config.max_prompts or 8]]
    setup = Setup(base, (small,), (before,), **shared_settings(config))
    emulator = Emulator(setup, model, dict.fromkeys(names, family.tokenizer))
    return emulator, [PromptRow(start) for start in starts if start.strip()]


def reply(
    emulator: Emulator, config: Emulate, rows: Sequence[PromptRow], trial: Trial
) -> tuple[list[Written], list[SpeculativeStats]]:
    """Return replies to prompts and what they cost."""
    names = ("max_new_tokens", "temperature", "top_k", "top_p", "block_size", "batch_size")
    settings = {name: getattr(config, name) for name in names}
    prompts = [row.prompt for row in rows]
    return emulator.generate(prompts, seed=trial.seed, report=trial.progress, **settings)


# --- what the replies are worth -----------------------------------------------------------------


def measure(
    written: Sequence[Written], stats: Sequence[SpeculativeStats], answers: Sequence[list[float] | None]
) -> dict[str, Any]:
    """Return means over all tokens of all replies and answers, and what the replies cost."""

    def mean(values: list[float]) -> float | None:
        return float(np.mean(values)) if values else None

    cost = sum(stats, SpeculativeStats())
    means = {
        f"mean_{name.removesuffix('s')}": mean([value for each in written for value in getattr(each, name)])
        for name in ("logprobs", "tv", "entropy")
    }
    return {
        "replies": len(written),
        "tokens": cost.tokens,
        **means,
        "acceptance": cost.acceptance,
        "large_forwards_per_token": cost.forwards_per_token,
        "answer_mean_logprob": mean([value for logprobs in answers for value in logprobs or ()]),
    }


def score_answers(emulator: Emulator, rows: Sequence[PromptRow], config: Emulate) -> list[list[float] | None]:
    """Return the log-probabilities of the tokens of each answer that came with a prompt, None without one."""
    known = {place: row.answer for place, row in enumerate(rows) if row.answer}
    scored: list[list[float] | None] = [None] * len(rows)
    if known:
        prompts = [rows[place].prompt for place in known]
        found = emulator.score(prompts, list(known.values()), config.batch_size)
        for place, logprobs in zip(known, found, strict=True):
            scored[place] = logprobs
    return scored


def run_programs(config: Emulate, rows: Sequence[PromptRow], lines: list[Line]) -> dict[str, Any]:
    """Run programs with tests in the user's sandbox, and only there; return the share that passes."""
    tested = [(row, line) for row, line in zip(rows, lines, strict=True) if row.check]
    if config.sandbox is None or not tested:
        return {}
    for row, line in tested:
        program = program_of(row.prompt, line["text"], str(row.check))
        line["passed"] = passes(config.sandbox, program)
    return {"pass_at_1": sum(line["passed"] for _, line in tested) / len(tested)}


def judged(config: Emulate, emulator: Emulator, lines: list[Line], trial: Trial) -> dict[str, Any]:
    """Let the judge score the replies of the emulated model, of the small tuned and of the large one.

    With `--upper`, the share of the way from the small tuned model to the large one that is recovered. A
    judge that fails loses no replies: the summary then says why there are no scores.
    """
    if config.judge.source is None:
        return {}
    try:
        return _judged(config, emulator, lines, trial)
    except AssayError as error:
        trial.progress(f"the judge failed: {error}")
        return {"judge_error": str(error)}


def _judged(config: Emulate, emulator: Emulator, lines: list[Line], trial: Trial) -> dict[str, Any]:
    model = open_text_model(ModelSource(str(config.judge.source)), str(trial.device), cache=trial.replies)
    rows = [PromptRow(line["prompt"]) for line in lines]
    rivals = {"small_tuned": emulator.reweighted([1.0] + [0.0] * (len(config.weights) - 1), amplify=0.0)}
    if config.upper.source:
        setup = dataclasses.replace(
            emulator.setup,
            base=located(config.upper.source),
            weights=(0.0,) * len(config.weights),
            amplify=1.0,
            delta_top_p=None,
            base_template=config.tuned_template,
        )
        rivals["upper"] = Emulator.of(setup, trial.device)
    replies = {"emulated": [line["text"] for line in lines]}
    for name, rival in rivals.items():
        replies[name] = [each.text for each in reply(rival, config, rows, trial)[0]]
    prompts = [row.prompt for row in rows]
    scores = {name: judge(model, config.rubrics, prompts, texts) for name, texts in replies.items()}
    for name, by_rubric in scores.items():
        for rubric, values in by_rubric.items():
            for line, value in zip(lines, values, strict=True):
                line[f"{rubric}_{name}"] = value
    return {rubric: recovered({name: scores[name][rubric] for name in scores}) for rubric in config.rubrics}
