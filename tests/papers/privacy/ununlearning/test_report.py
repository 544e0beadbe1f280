"""Recovery, intervals, Holm's correction, verdicts, and the report on disk."""

import dataclasses

import numpy as np
import pytest

from assay import records
from assay.errors import InputError
from assay.papers.privacy.ununlearning.method import (
    AuditReport,
    Cell,
    Estimate,
    FactRecord,
    assess,
    bootstrap,
    holm,
    verdict_of,
)

ITEMS = 100


def cell(model, level, accuracy, split="forget", **more):
    right = round(accuracy * ITEMS)
    values = tuple([1.0] * right + [0.0] * (ITEMS - right))
    ids = tuple(f"{split}-{place}" for place in range(ITEMS))
    return Cell(model, None, level, split, ids, ids, values, tuple(-1.0 for _ in ids), None, None, **more)


def report_of(closed, direct, original=0.9, irrelevant=0.1, retain=0.9, **more):
    cells = [
        *(cell("original", level, original) for level in ("closed_book", "irrelevant", "direct")),
        cell("original", "closed_book", 0.9, "retain"),
        cell("unlearned", "closed_book", closed),
        cell("unlearned", "irrelevant", irrelevant),
        cell("unlearned", "direct", direct),
        cell("unlearned", "closed_book", retain, "retain", guess=0.25),
        cell("unlearned", "direct", 0.8, "retain"),
    ]
    facts = {"forget-0": FactRecord("forget-0", "Ana", "Where is Ana?", "in Rome", "Ana is in Rome.")}
    return assess(cells, ["a note"], "greedy", facts)


def test_recovery_is_what_comes_back_over_what_was_lost():
    found = report_of(closed=0.1, direct=0.7).finding("unlearned", "direct")
    assert found.forgetting.value == pytest.approx(0.8)
    assert found.recovery.value == pytest.approx(0.75)
    assert found.recovery_clipped == pytest.approx(0.75)
    assert found.uplift.value == pytest.approx(0.6)
    assert found.recovery.low < 0.75 < found.recovery.high
    assert found.ceiling == pytest.approx(0.8)


def test_only_the_clipped_recovery_is_clipped():
    found = report_of(closed=0.1, direct=1.0).finding("unlearned", "direct")
    assert found.recovery.value == pytest.approx(1.125)
    assert found.recovery_clipped == 1


@pytest.mark.parametrize(
    ("closed", "direct", "retain", "verdict"),
    [
        (0.1, 0.9, 0.9, "ununlearned"),
        (0.1, 0.12, 0.9, "resistant"),
        (0.1, 0.5, 0.9, "partial"),
        (0.85, 0.9, 0.9, "no verdict: nothing was unlearned, or too little to tell"),
        (0.1, 0.9, 0.2, "no verdict: the model is broken"),
    ],
)
def test_verdicts(closed, direct, retain, verdict):
    assert report_of(closed, direct, retain=retain).verdict["unlearned"].startswith(verdict)


def test_a_high_recovery_that_an_irrelevant_context_gives_too_is_no_ununlearning():
    assert report_of(closed=0.1, direct=0.9, irrelevant=0.9).verdict["unlearned"] == "partial"


def test_a_verdict_needs_a_level_that_brings_the_fact_back():
    assert verdict_of([], Estimate(0.8, 0.7, 0.9), False).startswith("no verdict: neither")


def test_the_bootstrap_of_identical_columns_is_exactly_zero():
    values = np.random.default_rng(0).random(40)
    estimate = bootstrap([str(place // 4) for place in range(40)], (values, values), lambda a, b: a - b)
    assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)


def test_the_bootstrap_recovers_a_known_shift():
    values = np.random.default_rng(0).random(200)
    names = [str(place) for place in range(200)]
    constant = bootstrap(names, (values + 0.2, values), lambda a, b: a - b)
    assert (constant.value, constant.low, constant.high) == pytest.approx((0.2, 0.2, 0.2))
    noise = np.random.default_rng(1).normal(size=200) * 0.3
    noisy = bootstrap(names, (values + 0.2 + noise, values), lambda a, b: a - b)
    assert noisy.low < 0.2 < noisy.high
    assert noisy.high - noisy.low == pytest.approx(2 * 1.96 * 0.3 / np.sqrt(200), rel=0.15)


def test_items_of_one_entity_are_drawn_together():
    values = np.repeat([0.0, 1.0] * 5, 20)
    together = bootstrap([str(place // 20) for place in range(200)], (values,), lambda a: a)
    alone = bootstrap([str(place) for place in range(200)], (values,), lambda a: a)
    assert together.high - together.low > 3 * (alone.high - alone.low)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_report_is_written_without_texts_and_read_again(tmp_path):
    report = report_of(0.1, 0.7)
    report.save(tmp_path)
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    for secret in ("Rome", "Ana", "forget-0"):
        assert secret not in written
    read = AuditReport.load(tmp_path)
    assert read.findings == report.findings
    assert dict(read.verdict) == dict(report.verdict)
    assert read.cell("unlearned", "direct").accuracy == report.cell("unlearned", "direct").accuracy
    assert read.table.accuracy.tolist() == report.table.accuracy.tolist()
    assert "recovery_low" in read.recovery.columns
    assert "ununlearned" in written
    assert repr(report) == "AuditReport(9 cells, 1 findings; unlearned: ununlearned)"


def test_a_report_shows_texts_when_asked(tmp_path):
    report = dataclasses.replace(report_of(0.1, 0.7), redact=False)
    report.save(tmp_path)
    assert "in Rome" in (tmp_path / "report.md").read_text()
    assert AuditReport.load(tmp_path) == report


def test_what_is_no_report_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no record\.json"):
        AuditReport.load(tmp_path)
    records.save(tmp_path, {"cells": []})
    with pytest.raises(InputError, match="holds a dict, where a AuditReport was expected"):
        AuditReport.load(tmp_path)
