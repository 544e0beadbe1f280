"""What is measured: rows that differ from what was written, and answers that a model sees too early."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from operator import eq
from pathlib import Path

import numpy as np
import pyarrow as pa

from assay.paper import Value
from assay.papers.education.ednet.method.contents import Contents
from assay.papers.education.ednet.method.leakage import LeakReport, detect_model_leak, questions_of
from assay.papers.education.ednet.method.parsing import COLUMNS, KINDS
from assay.papers.education.ednet.method.projection import Rules, project_log
from assay.papers.education.ednet.method.shards import EdNetLog
from assay.papers.education.ednet.method.tracer import NeuralTracer, Predictor
from assay.papers.education.ednet.method.windows import KTDataset
from assay.papers.education.ednet.synthetic import SyntheticEdNet
from assay.papers.education.steps import Steps

Row = tuple[object, ...]
PROBED = 100
"""Learners whose windows the model's leak detector looks at."""


def model_leak(model: Predictor, test: Steps) -> LeakReport:
    """Say whether a network's predictions depend on answers to the same question."""
    assert isinstance(model, NeuralTracer)
    network = model.network.eval()
    few = test.learners(np.arange(min(PROBED, len(test.users))))
    batch = KTDataset(few, network.size.seq_len).batch(np.arange(len(few.users)))
    device = next(network.parameters()).device
    batch = type(batch)(*(part.to(device) for part in batch))
    return detect_model_leak(network, batch, questions_of(test.catalogue).to(device))


def compare_levels(
    ednet: SyntheticEdNet, log: EdNetLog, contents: Contents, rules: Rules, folder: Path
) -> dict[str, Value]:
    """Return how many rows of levels 4 to 1 differ from what was written, by each way down."""
    levels = {4: log}
    for level in (3, 2):
        levels[level] = project_log(levels[level + 1], level, folder / f"level{level}")
    wrong = sum(wrong_rows(ednet, levels[level], level) for level in (4, 3, 2))
    errors = 0
    for level in (4, 3, 2):
        answers = project_log(levels[level], 1, folder / f"answers{level}", contents, rules)
        errors += wrong_rows(ednet, answers, 1)
    return {"rows_wrong": wrong, "projection_errors": errors}


def wrong_rows(ednet: SyntheticEdNet, log: EdNetLog, level: int) -> int:
    """Return how many rows of a log are not those of the truth, student by student and place by place."""
    found: dict[int, list[Row]] = {uid: [] for uid in ednet.streams}
    for table, uids, lengths in log.shards():
        shown = iter(_shown(table, log, level))
        found |= {uid: list(islice(shown, n)) for uid, n in zip(uids.tolist(), lengths.tolist(), strict=True)}
    pairs = ((rows, list(_true(ednet, uid, level))) for uid, rows in found.items())
    return sum(max(len(rows), len(true)) - sum(map(eq, rows, true)) for rows, true in pairs)


def _true(ednet: SyntheticEdNet, uid: int, level: int) -> Iterable[Row]:
    """Yield what a student's file says, with each answer marked."""

    def mark(question: int, answer: str) -> int:
        return -1 if not answer else int(ednet.right[question] == answer)

    if level == 1:
        for time, solving, question, answer, elapsed in ednet.answers[uid]:
            yield time, solving, question, answer, elapsed, mark(question, answer)
        return
    for row in ednet.streams[uid]:
        least, time, action, item, cursor, source, answer, platform = row
        if least <= level:
            marked = mark(int(item[1:]), answer) if action == "respond" else -1
            shown = (int(cursor) if cursor else None,) if level == 4 else ()
            yield time, action, item, *shown, source, answer, platform, marked


def _shown(table: pa.Table, log: EdNetLog, level: int) -> list[Row]:
    """Return rows of a log in the words of the files."""
    columns = {name: table[name].to_pylist() for name in table.column_names}
    names = {"answer": ["a", "b", "c", "d", ""]}
    if level > 1:
        names |= {column: [*log.names(column), ""] for column in ("action", "source", "platform")}
        columns["item"] = [
            f"{KINDS[kind]}{item}" for kind, item in zip(columns["kind"], columns["item"], strict=True)
        ]
    for column, words in names.items():
        columns[column] = [words[code] for code in columns[column]]
    return list(zip(*(columns[name] for name in (*COLUMNS[level], "correct")), strict=True))
