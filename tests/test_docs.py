"""The guide: every code block is run, and the site builds without a broken link."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from assay import catalogue

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in (ROOT / "docs").glob("*.md"))
TUTORIAL = ROOT / "docs" / "tutorial.md"
FENCE = re.compile(
    r"^```(?P<language>\w+)?(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^```$", re.M | re.S
)
STATUS = re.compile(r"\s+# exit status (\d)$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str | None
    code: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8").replace(
        '--8<-- "CONTRIBUTING.md"', (ROOT / "CONTRIBUTING.md").read_text()
    )
    return [Block(found["language"], found["title"], found["code"]) for found in FENCE.finditer(text)]


def run(words: list[str], folder: Path, status: set[int]) -> str:
    """Run a command of a page where its files are, and return what it prints.

    A check gets one worker: what these do takes less time than to start them.
    """
    if words[:2] == ["assay", "check"]:
        words = [*words, "--workers", "1"]
    words = [sys.executable, "-m", *words]
    path = os.pathsep.join([str(folder / "installed"), str(folder)])
    done = subprocess.run(
        words, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    told = f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    assert done.returncode in status, told
    assert "Traceback" not in done.stderr, told
    return done.stdout


def run_block(block: Block, folder: Path, names: dict[str, Any]) -> dict[str, str]:
    """Do with a block what its reader would do, and return what each of its commands prints."""
    if block.title is not None:
        path = folder / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.code, encoding="utf-8")
        if path.name == "pyproject.toml":
            install = [
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--no-build-isolation",
                "--target",
                "installed",
                ".",
            ]
            run(install, folder, {0})
        elif path.suffix == ".sbatch":
            subprocess.run(["bash", "-n", str(path)], check=True)
        elif path.suffix == ".yaml":
            assert list(yaml.safe_load_all(block.code))
        return {}
    if block.language == "python":
        exec(compile(block.code, "page", "exec"), names)
        return {}
    assert block.language == "console", f"a block of {block.language!r} that nobody runs"
    printed = {}
    for line in block.code.splitlines():
        command = line.removeprefix("$ ")
        assert command != line, f"{line!r} does not start with a prompt"
        stated = STATUS.search(command)
        fits = {int(stated[1])} if stated else {0, 1, 2}
        command = STATUS.sub("", command)
        printed[command] = run(shlex.split(command), folder, fits)
    return printed


def run_page(page: Path, folder: Path) -> dict[str, str]:
    """Run all blocks of a page in turn, and return what each command prints."""
    names: dict[str, Any] = {"__name__": "page"}
    printed = {}
    for block in blocks(page):
        printed |= run_block(block, folder, names)
    return printed


@pytest.mark.parametrize("page", [page for page in PAGES if page != TUTORIAL], ids=lambda page: page.stem)
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    printed = run_page(page, tmp_path)
    if "assay report --out site" in printed:
        pages = {path.stem for path in (tmp_path / "site" / "papers").glob("*.html")}
        assert pages == set(catalogue.slugs()) - {"toy"}


def test_every_block_of_the_tutorial_runs_and_its_paper_is_listed_and_gets_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = run_page(TUTORIAL, tmp_path)
    assert "mixup" in printed["assay list --family vision"]
    assert re.search(r"beats-erm .*(supported|contradicted|inconclusive)", printed["assay check mixup"])


def test_commands_that_are_named_in_the_text_exist() -> None:
    from assay import cli

    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
    for page in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for line in page.read_text(encoding="utf-8").splitlines():
            named = re.match(r" {4}(assay|make) (\S+)", line)
            if named:
                assert named[2] in (cli.COMMANDS if named[1] == "assay" else targets), line


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("index", "papers/ef21w/index", "commands/index", "api/assay.paper/index"):
        assert (tmp_path / "site" / f"{name}.html").exists()
    card = (tmp_path / "site" / "papers" / "ef21w" / "index.html").read_text(encoding="utf-8")
    assert "supported" in card
