"""Saved results: stale when the claims have been edited, and skipped when damaged."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_paper.paper import PAPER

from assay.checking import saved
from assay.checking.results import Checked, ClaimResult
from assay.paper import PRESETS, Preset, Superior
from checking.made_results import checked, judged


def result(preset: str = "laptop", verdict: Any = "supported", **changes: Any) -> Checked:
    claims = {"higher": verdict, "same": "inconclusive"}
    return checked(
        *(ClaimResult(name, "", None, found, "", tests=(judged(),)) for name, found in claims.items()),
        preset=preset,
        **changes,
    )


def write(folder: Path, name: str, written: Checked) -> None:
    """Write a result under a name of ours."""
    (folder / f"{name}.json").write_text(json.dumps(written.to_json()))


def test_it_comes_back(tmp_path: Path) -> None:
    path = saved.save(result(), tmp_path)
    assert path == tmp_path / "toy--laptop.json"
    (found,), refused = saved.results_of(PAPER, tmp_path)
    assert (found.name, found.result, found.stale) == ("toy--laptop", result(), False)
    assert found.verdicts == {"higher": "supported", "same": "inconclusive"}
    assert refused == []


def test_the_newest_takes_the_place_of_the_last(tmp_path: Path) -> None:
    saved.save(result(), tmp_path)
    saved.save(result(verdict="contradicted"), tmp_path)
    (found,), _ = saved.results_of(PAPER, tmp_path)
    assert found.verdicts["higher"] == "contradicted"
    assert len(list(tmp_path.iterdir())) == 1


def test_without_a_folder_there_are_none(tmp_path: Path) -> None:
    assert saved.results_of(PAPER, tmp_path / "none") == ([], [])


def test_results_on_a_presets_own_data_come_first_in_the_order_of_the_presets(tmp_path: Path) -> None:
    recipe = replace(PAPER.recipes["draw"], presets=dict.fromkeys((*PRESETS, "grown"), Preset()))
    paper = replace(PAPER, recipes={"draw": recipe})
    for preset in ("tiny", "grown", "paper", "public", "extended", "laptop"):
        write(tmp_path, f"toy--{preset}", result(preset if preset in ("tiny", "laptop") else "laptop"))
        text = (tmp_path / f"toy--{preset}.json").read_text()
        (tmp_path / f"toy--{preset}.json").write_text(
            text.replace('"preset": "laptop"', f'"preset": "{preset}"')
        )
    write(tmp_path, "toy--laptop--csv-a", result(verdict="contradicted"))
    write(tmp_path, "toys--laptop", result())
    found, _ = saved.results_of(paper, tmp_path)
    names = [item.name.removeprefix("toy--") for item in found]
    assert names == ["laptop", "extended", "public", "paper", "tiny", "grown", "laptop--csv-a"]
    assert saved.verdicts(found) == {"higher": "supported", "same": "inconclusive"}


def test_it_is_stale_when_a_claim_was_edited(tmp_path: Path) -> None:
    saved.save(result(), tmp_path)
    saved.save(result("tiny"), tmp_path)
    claim = replace(PAPER.claims[0], tests=(Superior("score", "high", over="low", by=0.5),))
    edited = replace(PAPER, claims=(claim, *PAPER.claims[1:]))
    assert [item.stale for item in saved.results_of(edited, tmp_path)[0]] == [True, True]
    assert [item.stale for item in saved.results_of(PAPER, tmp_path)[0]] == [False, False]


def test_it_is_stale_only_at_the_preset_that_was_edited(tmp_path: Path) -> None:
    saved.save(result(), tmp_path)
    saved.save(result("tiny"), tmp_path)
    recipe = PAPER.recipes["draw"]
    presets = {**recipe.presets, "laptop": Preset(settings={"rows": 51})}
    edited = replace(PAPER, recipes={"draw": replace(recipe, presets=presets)})
    assert {item.name: item.stale for item in saved.results_of(edited, tmp_path)[0]} == {
        "toy--laptop": True,
        "toy--tiny": False,
    }


def test_it_is_not_stale_when_only_words_around_it_were(tmp_path: Path) -> None:
    saved.save(result(), tmp_path)
    edited = replace(PAPER, title="Another Title", summary="says the same")
    assert [item.stale for item in saved.results_of(edited, tmp_path)[0]] == [False]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "damaged"),
        ('{"paper": "toy", "claims": [', "damaged"),
        ("null", "should be"),
        ("{}", "paper: Field required"),
        (
            json.dumps(result().to_json() | {"claims": [{"name": "higher"}]}),
            r"claims\.0\.statement: Field required",
        ),
        (json.dumps(result(paper="other").to_json()), "older version of the paper's entry"),
        (json.dumps(result().to_json() | {"preset": "huge"}), "older version of the paper's entry"),
        (
            json.dumps(
                checked(ClaimResult("a", "", None, "supported", "", tests=(judged(metric="f1"),))).to_json()
            ),
            "older version of the paper's entry",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_skipped_and_told(tmp_path: Path, content: str, reason: str) -> None:
    saved.save(result(), tmp_path)
    path = tmp_path / "toy--paper.json"
    path.write_text(content)
    found, (refused,) = saved.results_of(PAPER, tmp_path)
    assert [item.name for item in found] == ["toy--laptop"]
    assert refused.startswith(f"{path} cannot be used (")
    assert re.search(reason, refused)
    assert refused.endswith("run `assay check toy` to make it again.")
