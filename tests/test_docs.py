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

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in (ROOT / "docs").glob("*.md"))
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


def run(words: list[str], folder: Path, status: set[int]) -> None:
    """Run a command of a page where its files are."""
    words = [sys.executable, "-m", *words]
    path = os.pathsep.join([str(folder / "installed"), str(folder)])
    done = subprocess.run(
        words, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode in status, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"


def run_block(block: Block, folder: Path, names: dict[str, Any]) -> None:
    """Do with a block what its reader would do."""
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
        return
    if block.language == "python":
        exec(compile(block.code, "page", "exec"), names)
        return
    assert block.language == "console", f"a block of {block.language!r} that nobody runs"
    for line in block.code.splitlines():
        command = line.removeprefix("$ ")
        assert command != line, f"{line!r} does not start with a prompt"
        stated = STATUS.search(command)
        fits = {int(stated[1])} if stated else {0, 1, 2}
        run(shlex.split(STATUS.sub("", command)), folder, fits)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        run_block(block, tmp_path, names)


def test_the_tutorials_paper_is_listed_and_gets_verdicts(tmp_path: Path) -> None:
    page = ROOT / "docs" / "tutorial.md"
    for block in blocks(page):
        if block.title is not None:
            run_block(block, tmp_path, {})
    path = os.pathsep.join([str(tmp_path / "installed"), str(tmp_path)])

    def ask(*words: str) -> str:
        command = [sys.executable, "-m", "assay", *words]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 1, 2), done.stderr
        return done.stdout

    assert "mixup" in ask("list")
    checked = ask("check", "mixup", "--first-seed", "1000", "--seeds", "3")
    assert re.search(r"beats-erm .*(supported|contradicted|inconclusive)", checked)


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
        "--quiet",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("index", "papers/ef21w/index", "commands/index", "api/assay.paper/index"):
        assert (tmp_path / "site" / f"{name}.html").exists()
    card = (tmp_path / "site" / "papers" / "ef21w" / "index.html").read_text(encoding="utf-8")
    assert "supported" in card
