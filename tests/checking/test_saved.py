"""Saved verdicts: stale when the claims have been edited, and passed over when damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_paper.paper import PAPER

from assay.checking import saved
from assay.paper import Preset, Superior


def result(preset: str = "laptop", verdict: str = "supported") -> dict[str, Any]:
    return {
        "paper": "toy",
        "preset": preset,
        "claims": [{"name": "higher", "verdict": verdict}, {"name": "same", "verdict": "inconclusive"}],
        "provenance": {"claims_fingerprint": PAPER.fingerprint(preset)},
    }


def test_it_comes_back(tmp_path: Path) -> None:
    path = saved.save("toy--laptop", result(), tmp_path)
    assert path == tmp_path / "toy--laptop.json"
    (found,), damaged = saved.results_of(PAPER, tmp_path)
    assert (found.name, found.result, found.stale) == ("toy--laptop", result(), False)
    assert found.verdicts == {"higher": "supported", "same": "inconclusive"}
    assert damaged == []


def test_the_newest_takes_the_place_of_the_last(tmp_path: Path) -> None:
    saved.save("toy--laptop", result(), tmp_path)
    saved.save("toy--laptop", result(verdict="contradicted"), tmp_path)
    (found,), _ = saved.results_of(PAPER, tmp_path)
    assert found.verdicts["higher"] == "contradicted"
    assert len(list(tmp_path.iterdir())) == 1


def test_without_a_folder_there_are_none(tmp_path: Path) -> None:
    assert saved.results_of(PAPER, tmp_path / "none") == ([], [])


def test_the_default_check_comes_first(tmp_path: Path) -> None:
    for name in (
        "toy--paper",
        "toy--grown",
        "toy--laptop--csv-a",
        "toy--laptop",
        "toys--laptop",
        "other--laptop",
    ):
        saved.save(name, result(), tmp_path)
    found, _ = saved.results_of(PAPER, tmp_path)
    assert [item.name for item in found] == ["toy--laptop", "toy--grown", "toy--laptop--csv-a", "toy--paper"]


def test_it_is_stale_when_a_claim_was_edited(tmp_path: Path) -> None:
    saved.save("toy--laptop", result(), tmp_path)
    saved.save("toy--tiny", result("tiny"), tmp_path)
    claim = replace(PAPER.claims[0], tests=(Superior("score", "high", over="low", by=0.5),))
    edited = replace(PAPER, claims=(claim, *PAPER.claims[1:]))
    assert [item.stale for item in saved.results_of(edited, tmp_path)[0]] == [True, True]
    assert [item.stale for item in saved.results_of(PAPER, tmp_path)[0]] == [False, False]


def test_it_is_stale_only_at_the_preset_that_was_edited(tmp_path: Path) -> None:
    saved.save("toy--laptop", result(), tmp_path)
    saved.save("toy--tiny", result("tiny"), tmp_path)
    recipe = PAPER.recipes["draw"]
    presets = {**recipe.presets, "laptop": Preset(settings={"rows": 51})}
    edited = replace(PAPER, recipes={"draw": replace(recipe, presets=presets)})
    assert {item.name: item.stale for item in saved.results_of(edited, tmp_path)[0]} == {
        "toy--laptop": True,
        "toy--tiny": False,
    }


def test_it_is_not_stale_when_only_words_around_it_were(tmp_path: Path) -> None:
    saved.save("toy--laptop", result(), tmp_path)
    edited = replace(PAPER, title="Another Title", summary="says the same")
    assert [item.stale for item in saved.results_of(edited, tmp_path)[0]] == [False]


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"paper": "toy", "claims": [',
        "null",
        "[]",
        '"text"',
        "{}",
        json.dumps(result() | {"provenance": {}}),
        json.dumps(result() | {"provenance": None}),
        json.dumps(result() | {"claims": [{"name": "higher"}]}),
        json.dumps(result() | {"claims": None}),
        json.dumps({key: value for key, value in result().items() if key != "claims"}),
        json.dumps(result() | {"preset": ["laptop"]}),
    ],
)
def test_a_damaged_file_is_told_and_passed_over(tmp_path: Path, content: str) -> None:
    saved.save("toy--laptop", result(), tmp_path)
    (tmp_path / "toy--paper.json").write_text(content)
    found, damaged = saved.results_of(PAPER, tmp_path)
    assert [item.name for item in found] == ["toy--laptop"]
    path = tmp_path / "toy--paper.json"
    assert damaged == [f"{path} is damaged; run `assay check toy --save` to make it again."]
