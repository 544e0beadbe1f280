"""How EdNet is run: read and project logs, trace knowledge, look for leaks, and check what the paper says."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from assay.errors import InputError
from assay.paper import Value
from assay.papers.education.ednet import baselines
from assay.papers.education.ednet.config import (
    Actions,
    Detect,
    Ingest,
    Leak,
    Project,
    Roundtrip,
    Stats,
    Train,
)
from assay.papers.education.ednet.evaluation import compare_levels, model_leak
from assay.papers.education.ednet.inputs import Learners, acting_learners, learners_of, own_table
from assay.papers.education.ednet.method.contents import Contents
from assay.papers.education.ednet.method.leakage import detect_leak, expand_tags, fuse
from assay.papers.education.ednet.method.process import ReadTask, read_in_process
from assay.papers.education.ednet.method.projection import Rules, project_log
from assay.papers.education.ednet.method.shards import LICENCE, EdNetLog
from assay.papers.education.ednet.method.tracer import BASELINES, KnowledgeTracer, auc, scored_auc
from assay.papers.education.ednet.synthetic import synthesize, zipped
from assay.papers.education.ednet.training import log_training, tune
from assay.papers.education.logs import KTSchema
from assay.papers.education.simulated import simulate
from assay.trial import Split, Trial

SHARES = {0.05: "auc_5_percent", 0.25: "auc_25_percent"}


# --- logs ---------------------------------------------------------------------------------------


def ingest(config: Ingest, trial: Trial) -> dict[str, Value]:
    """Read EdNet as published into Parquet shards, in a process of its own."""
    trial.progress(LICENCE)
    root, contents = config.root.require("root"), config.contents.require("contents")
    with tempfile.TemporaryDirectory() as scratch:
        kept = config.resume_in.source
        work = Path(scratch) / "log" if kept is None else Path(kept).expanduser()
        task = ReadTask(root, contents, work, config.level, config.shard_rows, config.largest_member)
        cost = read_in_process(task)
        log = EdNetLog(work)
        trial.save("ednet", log)
        if kept is not None:
            shutil.rmtree(work)
    print(LICENCE, file=sys.stderr)
    return {"seconds": cost.seconds, "peak_memory": cost.peak_memory, **_counts(log)}


def stats(config: Stats, trial: Trial) -> dict[str, Value]:
    """Count what a log holds, and check it against its manifest."""
    log = EdNetLog(config.root.require("root"))
    damaged = log.verify()
    if damaged:
        raise InputError(
            f"{log.folder}: {', '.join(damaged)} is not what the manifest says. Ingest it again."
        )
    lengths = log.index["length"].to_numpy()
    spread = {
        f"{share} % of students have at most": float(np.percentile(lengths, share)) for share in (50, 90)
    }
    trial.save("stats", {"manifest": log.manifest, "actions a student": spread})
    return {**_counts(log), **spread}


def project(config: Project, trial: Trial) -> dict[str, Value]:
    """Derive a lower level from a log."""
    log = EdNetLog(config.root.require("root"))
    contents = Contents.load(config.contents.require("contents")) if config.contents.given else None
    if config.to == 1 and contents is None:
        raise InputError("Level 1 marks answers by the contents tables: give their folder, --contents DIR.")
    with tempfile.TemporaryDirectory() as scratch:
        rules = Rules(divided=config.divided, own_times=config.own_times)
        projected = project_log(log, config.to, Path(scratch) / "log", contents, rules)
        trial.save("ednet", projected)
        return _counts(projected)


def detect(config: Detect, trial: Trial) -> dict[str, Value]:
    """Say whether a log shows answers of the same question to whoever predicts them."""
    report = detect_leak(own_table(config.data)[0], KTSchema(**vars(config.columns)))
    trial.save("leak", vars(report))
    print(report.reason, file=sys.stderr)
    return {"visible": int(report.visible), "repeated": report.share, "optimistic_auc": report.optimistic_auc}


def _counts(log: EdNetLog) -> dict[str, Value]:
    manifest: dict[str, Any] = log.manifest
    students, rows = int(manifest["students"]), len(log)
    counts: dict[str, Value] = {"level": log.level, "students": students, "rows": rows}
    counts["actions a student"] = rows / students
    skipped = manifest.get("skipped", {}).get("files", {})
    groups = {"action ": manifest.get("actions", {}), "noticed: ": manifest.get("noticed", {})}
    for prefix, group in (groups | {"skipped: ": skipped}).items():
        counts |= {prefix + name: count for name, count in sorted(group.items())}
    return counts


# --- knowledge tracing --------------------------------------------------------------------------


def train(config: Train, trial: Trial) -> dict[str, Value]:
    """Train a model on shares of the learners, and measure it on learners that it has not seen."""
    learners = learners_of(config, trial)
    parts = learners.split(config.test, config.validation, trial)
    test, validation = learners.measured(parts), learners.steps.learners(parts.validation)
    trial.count("test_answers", int(test.scored.sum()))
    if config.model == "oracle":
        return {"auc": _oracle(learners, parts)}
    order = trial.numpy("shares").permutation(parts.train)
    metrics: dict[str, Value] = dict.fromkeys(SHARES.values())
    for share in config.shares:
        some = learners.steps.learners(order[: max(round(share * len(order)), 1)])
        trial.progress(f"{config.model} on {len(some.users)} learners")
        model = tune(config.model, some, validation, config, trial, config.blind)
        metrics[SHARES.get(share, "auc")] = scored_auc(model, test)
    log_training(model, trial)
    tracer = KnowledgeTracer(config.model, model, learners.steps.catalogue, learners.schema)
    trial.save("tracer", tracer)
    return metrics


def across(arms: dict[str, dict[str, Value]]) -> dict[str, Value]:
    """Return how far DKT is ahead of the best simple model, with few learners and with all."""

    def gap(metric: str) -> float | None:
        found = [arms[name].get(metric) for name in ("dkt", *BASELINES)]
        deep, *simple = [value for value in found if isinstance(value, float)] or [0.0]
        return deep - max(simple) if len(simple) == len(BASELINES) else None

    few, all_ = gap("auc_5_percent"), gap("auc")
    growth = None if few is None or all_ is None else all_ - few
    return {"gap_5_percent": few, "gap": all_, "gap_growth": growth}


def _oracle(learners: Learners, parts: Split[np.ndarray]) -> float | None:
    """Return the AUC of the true chances, where they are known: no model can do better but by luck."""
    if learners.truth is None:
        return None
    steps = learners.steps
    rows = steps.scored & np.isin(steps.owner, parts.test)
    return auc(learners.truth[rows], steps.correct[rows])


# --- explanations and lectures ------------------------------------------------------------------


def actions(config: Actions, trial: Trial) -> dict[str, Value]:
    """Train DKT with, without, or with shuffled explanations and lectures."""
    learners = acting_learners(config, trial)
    parts = learners.split(config.test, config.validation, trial)
    steps = learners.steps
    read = float((~steps.answered).sum() / max(steps.answered.sum(), 1))
    if config.reading == "shuffled":
        steps = baselines.shuffle_actions(steps, trial.numpy("shuffle"))
    elif config.reading == "dropped":
        steps = steps.keep(steps.answered)
    train, validation, test = (steps.learners(part) for part in (parts.train, parts.validation, parts.test))
    trial.count("test_answers", int(test.scored.sum()))
    model = tune("dkt", train, validation, config, trial)
    log_training(model, trial)
    trial.save("tracer", KnowledgeTracer("dkt", model, steps.catalogue))
    return {"auc": scored_auc(model, test), "actions_per_answer": read}


# --- the leak through a question's skills -------------------------------------------------------


def leak(config: Leak, trial: Trial) -> dict[str, Value]:
    """Train DKT on steps that show answers of the same question, or not, and ask the detector."""
    steps, _ = simulate(config.simulated, trial.numpy("learners"))
    parts = trial.split(len(steps.users), test=config.test, validation=config.validation, fresh=True)
    if config.form != "questions":
        steps = expand_tags(steps)
    train, validation, test = (steps.learners(part) for part in (parts.train, parts.validation, parts.test))
    model = tune("masked" if config.form == "masked" else "dkt", train, validation, config, trial)
    log_training(model, trial)
    chance, correct, scored = model.predict(test), test.correct, test.scored
    if config.form == "masked":
        chance, correct, scored = fuse(chance, test)
    trial.count("test_questions", len(fuse(chance, test)[0]) if config.form == "expanded" else len(chance))
    report = model_leak(model, test)
    return {
        "auc": auc(chance[scored], correct[scored]),
        "leak_in_data": int(detect_leak(test).visible),
        "leak_in_model": int(report.visible),
        "moved_share": report.share,
    }


# --- does the reader keep everything? -----------------------------------------------------------


def roundtrip(config: Roundtrip, trial: Trial) -> dict[str, Value]:
    """Write a synthetic EdNet, read it back at all levels, and compare."""
    seed = int(trial.numpy("mini").integers(2**31))
    module = (
        baselines.__name__ if config.reader == "pandas" else "assay.papers.education.ednet.method.process"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ednet = synthesize(config.students, seed)
        contents = ednet.write_contents(folder / "contents")
        root = ednet.write_zip(folder / "KT4.zip", 4)
        written = sum(map(len, ednet.streams.values()))
        first = read_in_process(ReadTask(root, contents, folder / "few", level=4), module)
        metrics: dict[str, Value] = {"rows_lost": written - first.rows}
        if config.last_counts:
            larger = trial.once("larger log", zipped, config.more_students, seed + 1)
            larger.tofile(folder / "more.zip")
            second = read_in_process(
                ReadTask(folder / "more.zip", contents, folder / "more", level=4), module
            )
            growth = second.peak_memory - first.peak_memory
            metrics |= {"peak_memory": second.peak_memory, "memory_growth": growth}
        if config.reader == "streaming":
            rules = Rules(last_counts=config.last_counts)
            metrics |= compare_levels(ednet, EdNetLog(folder / "few"), Contents.load(contents), rules, folder)
        return metrics
