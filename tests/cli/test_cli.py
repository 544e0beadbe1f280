"""The command line, as scripts rely on it: what it prints, where, and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assay import catalogue, cli
from assay.checking.executors import ProcessExecutor


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(words))
    printed = capsys.readouterr()
    return stop.value.code or 0, printed.out, printed.err  # type: ignore[return-value]


def test_list_and_show_need_no_torch_and_print_json() -> None:
    code = (
        "import sys, assay.cli\n"
        "for words in (['list'], ['list', '--json'], ['show', 'toy'], ['show', 'toy', '--json']):\n"
        "    try: assay.cli.main(words)\n"
        "    except SystemExit as stop: assert stop.code == 0\n"
        "assert not {'torch', 'datasets', 'scipy', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "higher" in done.stdout


def test_list_json_has_a_row_a_paper(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "list", "--json", "--family", "theory")
    assert status == 0
    toy = next(row for row in json.loads(out) if row["slug"] == "toy")
    assert toy["family"] == "theory"
    assert toy["verdicts"] == []


def test_show_json_has_claims_arms_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "show", "toy", "--json")
    shown = json.loads(out)
    assert status == 0
    assert shown["claims"][0]["tests"] == ["score: high better than low"]
    assert shown["recipes"]["draw"]["arms"]["none"]["removes"] == "the mean"
    options = {option["name"]: option for option in shown["recipes"]["draw"]["options"]}
    assert options["inner.scale"]["default"] == 1.0
    assert options["rows"]["meaning"] == "How many draws."


def test_check_json_keeps_the_contract(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = call(capsys, "check", "toy", "--json", "--store", str(tmp_path), "--workers", "1")
    result = json.loads(out)
    assert status == 0
    assert set(result) >= {"paper", "preset", "data", "claims", "arms", "provenance"}
    claim = result["claims"][0]
    assert set(claim) >= {"name", "statement", "reported", "verdict", "reason", "tests"}
    keys = {"test", "metric", "effect", "interval", "p_value", "n", "unit", "verdict", "seeds_needed", "kind"}
    assert set(claim["tests"][0]) >= keys
    assert set(result["arms"]["high"]) >= {"role", "metrics", "cost"}
    assert {"seconds", "peak_memory_bytes"} <= set(result["arms"]["high"]["cost"])


def test_check_of_several_papers_prints_a_list_and_options_reach_the_recipe(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out, _ = call(
        capsys,
        *("check", "toy", "--rows", "10", "--no-copy", "--inner.scale=0.5", "--fault", "none"),
        *("--store", str(tmp_path), "--seeds", "3", "--workers", "1"),
    )
    assert status in (0, 3)
    assert "supported" in out or status == 3


def test_a_trial_takes_of_a_cluster_what_the_command_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Executor(ProcessExecutor):
        def __init__(self, *share: Any) -> None:
            super().__init__(1)
            taken.append(share)

    taken: list[Any] = []
    monkeypatch.setattr("assay.checking.run.RayExecutor", Executor)
    words = ["--ray", "auto", "--cores", "2", "--gpus", "0.5", "--resources", "disk=1,memory=0.5"]
    status, _, _ = call(capsys, "check", "toy", "--store", str(tmp_path), *words)
    assert status == 0
    assert taken == [("auto", None, 2, 0.5, {"disk": 1.0, "memory": 0.5})]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chek", "toy"], "Did you mean 'check'"),
        (["check", "tyo"], "Did you mean 'toy'"),
        (["check"], "Name a paper"),
        (["check", "toy", "--rosw", "3"], "Did you mean 'rows'"),
        (["check", "toy", "--mean", "3"], "set by the arms"),
        (["check", "toy", "--rows", "abc"], "Error parsing --rows"),
        (["check", "toy", "--preset", "labtop"], "Did you mean 'laptop'"),
        (["check", "toy", "--seeds", "1"], "at least 3"),
        (["check", "toy", "--precision", "bf16"], "--precision"),
        (["check", "toy", "--device", "cuda:99"], "no device 'cuda:99' here"),
        (["run", "toy", "--out", "x", "--device", "gpu"], "no device 'gpu' here"),
        (["check", "toy", "--gpus", "1"], "add --ray"),
        (["check", "toy", "--ray", "auto", "--resources", "disk"], "NAME=AMOUNT"),
        (["show", "tooy"], "Did you mean 'toy'"),
        (["show", "of_mine"], "`assay new` starts an entry"),
        (["show"], "Missing"),
        (["list", "--family", "theor"], "Did you mean 'theory'"),
        (["list", "--rows", "3"], "no option --rows"),
        (["run", "toy"], "--out"),
        (["run", "toy", "drew", "--out", "x"], "Did you mean 'draw'"),
        (["run", "toy", "--out", "x", "--arm", "hihg"], "Did you mean 'high'"),
        (["run", "toy", "--out", "x", "--arm", "high", "--mean", "3"], "--arm high"),
        (["new", "Toy", "--family", "theory"], "lower-case"),
        (["new", "toy", "--family", "theory"], "already"),
        (["new", "other", "--family", "theorie"], "Did you mean 'theory'"),
    ],
)
def test_bad_input_is_one_line_and_status_3(
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, errors = call(capsys, *words)
    assert status == 3
    assert said in errors
    assert "Traceback" not in errors
    assert errors.startswith("assay: ")
    assert not out
    assert not (tmp_path / "x").exists()


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(ValueError, match="no paper 'nothing'"):
        cli.main(["show", "nothing", "--debug"])


def test_run_writes_an_artefact_that_loads_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import assay

    out = tmp_path / "out"
    status, printed, _ = call(capsys, "run", "toy", "--out", str(out), "--rows", "7", "--mean", "2")
    assert status == 0
    assert "assay.json" in printed
    assert len(assay.load(out)["values"]) == 7
    status, _, errors = call(capsys, "run", "toy", "--out", str(out))
    assert status == 3
    assert "--overwrite" in errors
    status, printed, _ = call(capsys, "run", "toy", "--out", str(out), "--overwrite", "--json")
    assert status == 0
    assert json.loads(printed)["metrics"]["score"] > 0.5


def test_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert "assay check SLUG" in call(capsys)[1]
    for command in cli.COMMANDS:
        status, out, _ = call(capsys, command, "--help")
        assert status == 0
        assert f"assay {command}" in out


def test_report_writes_a_page_with_the_verdicts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, out = tmp_path / "store", tmp_path / "page"
    toy = catalogue.entry("toy")
    monkeypatch.setattr(catalogue, "entries", lambda: [toy])
    call(capsys, "check", "toy", "--store", str(store), "--seeds", "3", "--workers", "1")
    status, printed, _ = call(capsys, "report", "--store", str(store), "--out", str(out))
    assert status == 0
    assert printed.strip() == str(out / "index.html")
    assert "papers/toy.html" in (out / "index.html").read_text()
    assert "The high arm scores higher" in (out / "papers" / "toy.html").read_text()
