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
from assay.papers.education.ednet.apart import read_apart
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
from assay.papers.education.ednet.learners import (
    Learners,
    acting_learners,
    learners_of,
    own_table,
    schema_of,
)
from assay.papers.education.ednet.learning import Fitted, log_training, tune_baseline, tune_network
from assay.papers.education.ednet.method import (
    LICENCE,
    Contents,
    EdNetLog,
    KnowledgeTracer,
    Rules,
    Steps,
    project_log,
)
from assay.papers.education.ednet.method.leakage import (
    LeakReport,
    detect_leak,
    detect_model_leak,
    expand_tags,
    fuse,
    questions_of,
)
from assay.papers.education.ednet.method.tracer import BASELINES, NeuralTracer, auc
from assay.papers.education.ednet.method.windows import KTDataset
from assay.papers.education.ednet.mini import MiniEdNet, make_mini, zipped
from assay.papers.education.ednet.simulation import shuffle_actions, simulate
from assay.papers.education.ednet.truth import wrong_rows
from assay.trial import Split, Trial

SHARES = {0.05: "auc_5_percent", 0.25: "auc_25_percent"}
LARGER = 100
"""Learners whose windows the model's leak detector looks at."""


# --- logs ---------------------------------------------------------------------------------------


def ingest(config: Ingest, trial: Trial) -> dict[str, Value]:
    """Read EdNet as published into Parquet shards, in a process of its own."""
    trial.progress(LICENCE)
    root, contents = config.root.require("root"), config.contents.require("contents")
    with tempfile.TemporaryDirectory() as scratch:
        kept = config.resume_in.source
        work = Path(scratch) / "log" if kept is None else Path(kept).expanduser()
        took = read_apart(
            root,
            contents,
            work,
            level=config.level,
            shard_rows=config.shard_rows,
            largest_member=config.largest_member,
        )
        log = EdNetLog(work)
        trial.save("ednet", log)
        if kept is not None:
            shutil.rmtree(work)
    print(LICENCE, file=sys.stderr)
    return {"seconds": took.seconds, "peak_memory": took.peak_memory, **_counts(log)}


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
        projected = project_log(
            log, config.to, Path(scratch) / "log", contents, Rules(divided=config.divided)
        )
        trial.save("ednet", projected)
        return _counts(projected)


def detect(config: Detect, trial: Trial) -> dict[str, Value]:
    """Say whether a log shows answers of the same question to whoever predicts them."""
    report = detect_leak(own_table(config.data)[0], schema_of(config.columns))
    trial.save("leak", vars(report))
    print(report.reason, file=sys.stderr)
    return {"visible": int(report.visible), "repeated": report.share, "optimistic_auc": report.optimistic_auc}


def _counts(log: EdNetLog) -> dict[str, Value]:
    manifest: dict[str, Any] = log.manifest
    students, rows = int(manifest["students"]), len(log)
    counts: dict[str, Value] = {"level": log.level, "students": students, "rows": rows}
    counts["actions a student"] = rows / students
    counts |= {f"action {name}": count for name, count in sorted(manifest.get("actions", {}).items())}
    counts |= {f"noticed: {name}": count for name, count in sorted(manifest.get("noticed", {}).items())}
    skipped = manifest.get("skipped", {}).get("files", {})
    return counts | {f"passed over: {name}": count for name, count in sorted(skipped.items())}


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
    for share in config.shares if trial.out is None else config.shares[-1:]:
        some = learners.steps.learners(order[: max(round(share * len(order)), 1)])
        trial.progress(f"{config.model} on {len(some.users)} learners")
        fitted = _tuned(config, some, validation, trial)
        metrics[SHARES.get(share, "auc")] = _auc(fitted, test)
    log_training(fitted, trial)
    tracer = KnowledgeTracer(config.model, fitted.model, learners.steps.catalogue, learners.schema)
    trial.save("tracer", tracer)
    return metrics


def across(arms: dict[str, dict[str, Value]]) -> dict[str, Value]:
    """Return how far DKT is ahead of the best simple model, with few learners and with all."""

    def gap(metric: str) -> float | None:
        found = [arms[name].get(metric) for name in ("dkt", *BASELINES)]
        if not all(isinstance(value, float) for value in found):
            return None
        deep, *simple = (float(value) for value in found)  # type: ignore[arg-type]
        return deep - max(simple)

    few, all_ = gap("auc_5_percent"), gap("auc")
    growth = None if few is None or all_ is None else all_ - few
    return {"gap_5_percent": few, "gap": all_, "gap_growth": growth}


def _tuned(config: Train, train: Steps, validation: Steps, trial: Trial) -> Fitted:
    if config.model in BASELINES:
        return tune_baseline(config.model, train, validation, config.candidates, trial).fitted
    return tune_network(config.model, train, validation, config, trial, config.blind).fitted


def _auc(fitted: Fitted, test: Steps) -> float:
    return auc(fitted.model.predict(test)[test.scored], test.correct[test.scored])


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
        steps = shuffle_actions(steps, trial.numpy("shuffle"))
    elif config.reading == "dropped":
        steps = steps.keep(steps.answered)
    train, validation, test = (steps.learners(part) for part in (parts.train, parts.validation, parts.test))
    trial.count("test_answers", int(test.scored.sum()))
    fitted = tune_network("dkt", train, validation, config, trial).fitted
    log_training(fitted, trial)
    trial.save("tracer", KnowledgeTracer("dkt", fitted.model, steps.catalogue))
    return {"auc": _auc(fitted, test), "actions_per_answer": read}


# --- the leak through a question's skills -------------------------------------------------------


def leak(config: Leak, trial: Trial) -> dict[str, Value]:
    """Train DKT on steps that show answers of the same question, or not, and ask the detector."""
    steps, _ = simulate(config.simulated, trial.numpy("learners"))
    parts = trial.split(len(steps.users), test=config.test, validation=config.validation, fresh=True)
    if config.form != "questions":
        steps = expand_tags(steps)
    train, validation, test = (steps.learners(part) for part in (parts.train, parts.validation, parts.test))
    name = "masked" if config.form == "masked" else "dkt"
    fitted = tune_network(name, train, validation, config, trial).fitted
    log_training(fitted, trial)
    chance, correct, scored = fitted.model.predict(test), test.correct, test.scored
    if config.form == "masked":
        chance, correct, scored = fuse(chance, test)
    trial.count("test_questions", len(fuse(chance, test)[0]) if config.form == "expanded" else len(chance))
    model = _model_leak(fitted, test)
    return {
        "auc": auc(chance[scored], correct[scored]),
        "leak_in_data": int(detect_leak(test).visible),
        "leak_in_model": int(model.visible),
        "moved_share": model.share,
    }


def _model_leak(fitted: Fitted, test: Steps) -> LeakReport:
    assert isinstance(fitted.model, NeuralTracer)
    network = fitted.model.network.eval()
    few = test.learners(np.arange(min(LARGER, len(test.users))))
    batch = KTDataset(few, network.size.seq_len).batch(np.arange(len(few.users)))
    device = next(network.parameters()).device
    batch = type(batch)(*(part.to(device) for part in batch))
    return detect_model_leak(network, batch, questions_of(test.catalogue).to(device))


# --- does the reader keep everything? -----------------------------------------------------------


def roundtrip(config: Roundtrip, trial: Trial) -> dict[str, Value]:
    """Write a small EdNet whose truth is known, read it back at all levels, and compare."""
    seed = int(trial.numpy("mini").integers(2**31))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        mini = make_mini(config.students, seed)
        contents = mini.write_contents(folder / "contents")
        root = mini.write_zip(folder / "KT4.zip", 4)
        written = sum(map(len, mini.streams.values()))
        first = read_apart(root, contents, folder / "few", level=4, reader=config.reader)
        metrics: dict[str, Value] = {"rows_lost": written - first.rows}
        if config.last_counts:
            larger = trial.once("larger log", zipped, config.more_students, seed + 1)
            larger.tofile(folder / "more.zip")
            second = read_apart(folder / "more.zip", contents, folder / "more", level=4, reader=config.reader)
            growth = second.peak_memory - first.peak_memory
            metrics |= {"peak_memory": second.peak_memory, "memory_growth": growth}
        if config.reader == "streaming":
            log = EdNetLog(folder / "few")
            rules = Rules(last_counts=config.last_counts)
            metrics |= compare(mini, log, Contents.load(contents), rules, folder)
        return metrics


def compare(
    mini: MiniEdNet, log: EdNetLog, contents: Contents, rules: Rules, folder: Path
) -> dict[str, Value]:
    """Return how many rows of levels 3 to 1 differ from the truth, by each way down."""
    levels = {4: log}
    for level in (3, 2):
        levels[level] = project_log(levels[level + 1], level, folder / f"level{level}")
    wrong = sum(wrong_rows(mini, levels[level], level) for level in (4, 3, 2))
    errors = 0
    for level in (4, 3, 2):
        answers = project_log(levels[level], 1, folder / f"answers{level}", contents, rules)
        errors += wrong_rows(mini, answers, 1)
    return {"rows_wrong": wrong, "projection_errors": errors}
