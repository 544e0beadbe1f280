"""A result is JSON and back; an older one is read as far as it can be, and a damaged one is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from assay.checking import saved
from assay.checking.results import Checked, ClaimResult, Requirement
from checking.made_results import checked, judged

CLAIM = ClaimResult(
    name="higher",
    statement="The high arm scores higher than the low one.",
    reported="+1 (section 1)",
    verdict="supported",
    reason="all tests hold",
    recipe="draw",
    tests=(judged(), judged(interval=None, bound=(-math.inf, 1.0), values=(None,), note="did not vary")),
    requires=(Requirement("score: high at least 0", True, 1.0, ""), Requirement("", False, None, None)),
    equal=("draws",),
    on=("",),
)
RESULT = checked(CLAIM)


def plain(result: Checked = RESULT) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(result.to_json(), allow_nan=False))
    return read


def test_it_comes_back_as_it_was() -> None:
    assert Checked.from_json(plain()) == RESULT


def test_json_has_no_infinity() -> None:
    first, second = plain()["claims"][0]["tests"]
    assert (first["bound"], second["bound"]) == ([0.0, None], [None, 1.0])


def test_every_saved_result_is_what_it_was() -> None:
    """All keys and values, apart from those that came later."""
    for path in saved.FOLDER.glob("*.json"):
        before = json.loads(path.read_text())
        after = plain(Checked.from_json(before))
        for test in (test for claim in after["claims"] for test in claim["tests"]):
            del test["kind"]
        del after["provenance"]["precision"]
        before["provenance"].setdefault("left_out", [])
        for test in (test for claim in before["claims"] for test in claim["tests"]):
            test.pop("kind", None)
        before["provenance"].pop("precision", None)
        assert after == before, path.name


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ({}, "difference"),
        ({"test": "score: high at least 3", "other": None}, "value"),
        ({"test": "score: high / low at least 3"}, "ratio"),
        ({"note": "share of seeds won: the level was never reached in 2 trials"}, "wins"),
        ({"test": "s: a / b at most 1", "note": "share of seeds won: the level ..."}, "wins"),
    ],
)
def test_an_older_result_tells_in_words_what_kind_a_test_is(words: dict[str, Any], kind: str) -> None:
    older = plain()
    older["claims"][0]["tests"][0] |= words
    for test in older["claims"][0]["tests"]:
        del test["kind"]
    assert Checked.from_json(older).claims[0].tests[0].kind == kind


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("claims", 0, "verdict"), "perhaps", r"claims\.0\.verdict: Input should be 'supported'"),
        (("claims", 0, "tests", 0, "interval"), [1], r"claims\.0\.tests\.0\.interval"),
        (("claims", 0, "tests", 0, "n"), "many", r"claims\.0\.tests\.0\.n: .*valid integer"),
        (("claims",), None, "claims: "),
        (("claims", 0), 3, r"claims\.0: "),
        (("arms", "high", "role"), "winner", r"arms\.high\.role: "),
        (("provenance",), {}, r"provenance\.date: "),
        (("preset",), ["laptop"], "preset: "),
        (("pictures", 0), {"arm": "high"}, r"pictures\.0\.caption: "),
        (("curves", "high"), [{"score": 1.0}], "a curve has a point without a step"),
    ],
)
def test_a_damaged_result_is_refused_with_the_reason(place: tuple[Any, ...], value: Any, reason: str) -> None:
    damaged: Any = plain()
    outer = damaged
    for key in place[:-1]:
        outer = outer[key]
    outer[place[-1]] = value
    with pytest.raises(ValueError, match=reason):
        Checked.from_json(damaged)


@pytest.mark.parametrize("value", [None, [], "text", 3, {}])
def test_what_is_no_result_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=": "):
        Checked.from_json(value)


def test_the_status_is_that_of_the_worst() -> None:
    def status(*verdicts: str, errors: tuple[str, ...] = ()) -> int:
        claims = [replace(CLAIM, verdict=verdict) for verdict in verdicts]
        return checked(*claims, errors=errors).exit_status

    assert status("supported") == 0
    assert status("supported", "inconclusive") == 2
    assert status("supported", "inconclusive", "contradicted") == 1
    assert status("contradicted", errors=("boom",)) == 3


def test_its_name_has_the_data_that_the_user_brought() -> None:
    assert RESULT.name == "toy--laptop"
    brought = replace(RESULT.provenance, overrides={"data": "csv:my file.csv", "rows": "3"})
    assert replace(RESULT, provenance=brought).name == "toy--laptop--csv-my-file-csv"
