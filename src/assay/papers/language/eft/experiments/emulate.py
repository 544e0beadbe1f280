"""Replies of the emulated model to prompts, scored; and the emulated model itself, to be used again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from assay import files
from assay.errors import AssayError, InputError
from assay.models import ModelSource
from assay.paper import Value
from assay.papers.language.eft.config import Emulate
from assay.papers.language.eft.emulator import INSIDE, Emulator, Setup, Written, located
from assay.papers.language.eft.given import check_parts
from assay.papers.language.eft.judge import check_rubrics, check_sandbox, judge, passes, program_of
from assay.papers.language.eft.method import Delta, EmulatedFineTuning, SpeculativeStats
from assay.papers.language.eft.prompts import PromptRow, read_prompts
from assay.papers.language.eft.world import World
from assay.trial import Trial

SHARED = (
    "weights",
    "amplify",
    "delta_top_p",
    "reference_floor",
    "base_template",
    "tuned_template",
    "extra_tokens",
    "allow_negative",
    "dtype",
)


def emulate(config: Emulate, trial: Trial) -> dict[str, Value]:
    """Reply to prompts and keep replies, a summary, and what is needed to go on."""
    rows = read_prompts(config.prompts, config.max_prompts) if config.prompts.source else None
    parts = {name: getattr(config, name) for name in ("base", "tuned", "reference", "upper")}
    if check_parts(parts):
        if rows is None:
            raise InputError("--prompts FILE is missing: what should the emulated model reply to?")
        emulator = Emulator.of(setup_of(config), trial.device)
    else:
        emulator, own = trained_here(config, trial)
        rows = rows or own
    check_sandbox(config.sandbox)
    check_rubrics(config.rubrics)
    told = score_answers(emulator, rows, config)
    trial.progress(f"replying to {len(rows)} prompts")
    written, stats = reply(emulator, config, rows, trial)
    lines = [
        {**vars(row), **dataclasses.asdict(each), **({} if known is None else {"answer_logprobs": known})}
        for row, each, known in zip(rows, written, told, strict=True)
    ]
    summary = measure(written, stats, told)
    summary |= run_programs(config, rows, written, lines)
    summary |= judged(config, emulator, rows, written, lines, trial)
    trial.save("emulator", emulator)
    trial.save("summary", summary)
    if trial.out is not None:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        files.write_atomic(trial.out / "generations.jsonl", text)
    return {name: value for name, value in summary.items() if isinstance(value, int | float)}


# --- models -------------------------------------------------------------------------------------


def setup_of(config: Emulate) -> Setup:
    """Return what the emulated model is made of, with sources that mean the same from every folder."""
    return Setup(
        located(config.base.sources[0]),
        tuple(map(located, config.tuned.sources)),
        tuple(map(located, config.reference.sources)),
        **{name: getattr(config, name) for name in SHARED},
    )


def trained_here(config: Emulate, trial: Trial) -> tuple[Emulator, list[PromptRow]]:
    """Return a family that is trained here, and beginnings of texts to go on with.

    Raises:
        InputError: there is one tuned model, and several weights.
    """
    if len(config.weights) != 1:
        raise InputError(f"--weights has {len(config.weights)} numbers; one tuned model is trained here.")
    world = World.of(config.data, config.fact_table, config.family, trial)
    domain = world.domain(0, config.max_texts, 0.3)
    tuned = world.tuned("domain", "small", domain.train, domain.validation)["weights"]
    setup = Setup(
        f"{INSIDE}base",
        (f"{INSIDE}tuned",),
        (f"{INSIDE}reference",),
        **{name: getattr(config, name) for name in SHARED},
    )
    model = EmulatedFineTuning(
        world.model("large", world.base("large")),
        Delta(world.model("small", tuned), world.model("small", world.base("small")), config.weights[0]),
        amplify=config.amplify,
        delta_top_p=config.delta_top_p,
        reference_floor=config.reference_floor,
        allow_negative=config.allow_negative,
    )
    tokenizer = world.tokenizer
    starts = [str(tokenizer.decode(ids[:6])) for _, ids in domain.test[: config.max_prompts or 8]]
    return Emulator(setup, model, dict.fromkeys(("base", "tuned", "reference"), tokenizer)), [
        PromptRow(start) for start in starts if start.strip()
    ]


def reply(emulator: Emulator, config: Emulate, rows: Sequence[PromptRow], trial: Trial) -> Any:
    """Return replies to prompts and what they cost."""
    return emulator.generate(
        [row.prompt for row in rows],
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        block_size=config.block_size,
        seed=trial.seed,
        batch_size=config.batch_size,
        report=trial.progress,
    )


# --- what the replies are worth -----------------------------------------------------------------


def measure(
    written: Sequence[Written], stats: Sequence[SpeculativeStats], told: Sequence[list[float] | None]
) -> dict[str, Any]:
    """Return means over all tokens of all replies and answers, and what the replies cost."""

    def mean(values: list[float]) -> float | None:
        return float(np.mean(values)) if values else None

    proposed, tokens = (sum(getattr(each, name) for each in stats) for name in ("proposed", "tokens"))
    return {
        "replies": len(written),
        "tokens": tokens,
        **{
            f"mean_{name.removesuffix('s')}": mean([v for each in written for v in getattr(each, name)])
            for name in ("logprobs", "tv", "entropy")
        },
        "acceptance": sum(each.accepted for each in stats) / proposed if proposed else None,
        "large_forwards_per_token": sum(each.row_forwards for each in stats) / max(tokens, 1),
        "answer_mean_logprob": mean([v for logprobs in told for v in logprobs or ()]),
    }


def score_answers(emulator: Emulator, rows: Sequence[PromptRow], config: Emulate) -> list[list[float] | None]:
    """Return the log-probabilities of the tokens of each answer that came with a prompt, None without one."""
    known = [place for place, row in enumerate(rows) if row.answer]
    told: list[list[float] | None] = [None] * len(rows)
    if known:
        answers = [str(rows[place].answer) for place in known]
        found = emulator.score([rows[place].prompt for place in known], answers, config.batch_size)
        for place, logprobs in zip(known, found, strict=True):
            told[place] = logprobs
    return told


def run_programs(
    config: Emulate, rows: Sequence[PromptRow], written: Sequence[Written], lines: list[dict[str, Any]]
) -> dict[str, Any]:
    """Run programs with tests in the user's sandbox, and only there; return the share that passes."""
    tested = [place for place, row in enumerate(rows) if row.check]
    if config.sandbox is None or not tested:
        return {}
    for place in tested:
        program = program_of(rows[place].prompt, written[place].text, str(rows[place].check))
        lines[place]["passed"] = passes(config.sandbox, program)
    return {"pass_at_1": sum(lines[place]["passed"] for place in tested) / len(tested)}


def judged(
    config: Emulate,
    emulator: Emulator,
    rows: Sequence[PromptRow],
    written: Sequence[Written],
    lines: list[dict[str, Any]],
    trial: Trial,
) -> dict[str, Any]:
    """Let the judge score the replies of the emulated model, of the small tuned and of the large one.

    With `--upper`, the share of the way from the small tuned model to the large one that is recovered. A
    judge that fails loses no replies: the summary then says why there are no scores.
    """
    if config.judge.source is None:
        return {}
    try:
        return _judged(config, emulator, rows, written, lines, trial)
    except AssayError as error:
        trial.progress(f"the judge failed: {error}")
        return {"judge_error": str(error)}


def _judged(
    config: Emulate,
    emulator: Emulator,
    rows: Sequence[PromptRow],
    written: Sequence[Written],
    lines: list[dict[str, Any]],
    trial: Trial,
) -> dict[str, Any]:
    model = ModelSource(str(config.judge.source)).text_model(device=str(trial.device), cache=trial.replies)
    prompts = [row.prompt for row in rows]
    replies = {"emulated": [each.text for each in written]}
    small = emulator.reweighted([1.0] + [0.0] * (len(config.weights) - 1), amplify=0.0)
    replies["small_tuned"] = [each.text for each in reply(small, config, rows, trial)[0]]
    if config.upper.source:
        setup = dataclasses.replace(
            setup_of(config),
            base=located(config.upper.source),
            weights=(0.0,) * len(config.weights),
            amplify=1.0,
            delta_top_p=None,
            base_template=config.tuned_template,
        )
        upper = Emulator.of(setup, trial.device)
        replies["upper"] = [each.text for each in reply(upper, config, rows, trial)[0]]
    scores = {name: judge(model, config.rubrics, prompts, texts) for name, texts in replies.items()}
    for name, by_rubric in scores.items():
        for rubric, values in by_rubric.items():
            for line, value in zip(lines, values, strict=True):
                line[f"{rubric}_{name}"] = value
    return {rubric: recovered({name: scores[name][rubric] for name in scores}) for rubric in config.rubrics}


def recovered(scores: dict[str, list[int | None]]) -> dict[str, float | int | None]:
    """Return mean scores, how many replies went without one, and the gap that is recovered."""
    summary: dict[str, float | int | None] = {}
    for name, values in scores.items():
        known = [value for value in values if value is not None]
        summary[name] = float(np.mean(known)) if known else None
        summary[f"{name}_unscored"] = len(values) - len(known)
    small, found, upper = (summary.get(name) for name in ("small_tuned", "emulated", "upper"))
    if small is not None and found is not None and upper is not None and upper != small:
        summary["gap_recovered"] = (found - small) / (upper - small)
    return summary
