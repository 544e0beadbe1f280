"""A new entry: its name is checked, and what is written runs, passes the linter and loads again."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from assay import catalogue, options
from assay.artefact import load
from assay.catalogue import Entry
from assay.checking.judging import judge_claim
from assay.checking.store import Store, Unit
from assay.checking.trials import run_arm
from assay.cli import running, scaffold
from assay.cli.scaffold import TEMPLATES, new_entry
from assay.errors import InputError, StorageError
from assay.paper import ALL_ARMS
from assay.trial import Trial

ROOT = Path(__file__).parents[2]
SLUG = "written_for_a_test"


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entry]:
    """A new entry in a package of its own, installed with the entry point that assay needs."""
    new_entry(SLUG, "optimization", tmp_path)
    installed = tmp_path / f"{SLUG}-0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {SLUG}\nVersion: 0\n")
    (installed / "entry_points.txt").write_text(f"[assay.papers]\n{SLUG} = {SLUG}\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield catalogue.entry(SLUG)
    for name in [name for name in sys.modules if name.split(".")[0] == SLUG]:
        del sys.modules[name]


class TestNames:
    @pytest.mark.parametrize(
        "slug",
        ["", "Big", "two words", "a-b", "1st", "_a", "a.b", "../a", "a/b", "é", "lambda", "import", "a\n"],
    )
    def test_a_slug_is_a_name_in_python(self, tmp_path: Path, slug: str) -> None:
        with pytest.raises(InputError, match="cannot name a paper"):
            new_entry(slug, "theory", tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_family_names_the_nearest(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"There is no family 'theorie'. Did you mean 'theory'\?"):
            new_entry("mine", "theorie", tmp_path)

    def test_a_slug_is_taken_once(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="There is a paper 'toy' already; see `assay show toy`"):
            new_entry("toy", "theory", tmp_path)

    def test_a_folder_that_is_there_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        with pytest.raises(InputError, match="exists; choose another name"):
            new_entry("mine", "theory", tmp_path)
        assert list((tmp_path / "mine").iterdir()) == []

    def test_a_folder_that_cannot_be_written_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError, match=r"^Cannot write .*/file/mine: "):
            new_entry("mine", "theory", tmp_path / "file")


class TestWritten:
    def test_every_template_is_filled(self, tmp_path: Path) -> None:
        folder = new_entry("mine", "theory", tmp_path)
        assert folder == tmp_path / "mine"
        written = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
        assert set(written) == {template.stem for template in TEMPLATES.glob("*.txt")}
        assert {"paper.py", "config.py", "method.py", "recipe.py", "__init__.py", "README.md"} <= set(written)
        assert not any("{slug}" in text or "{family}" in text for text in written.values())
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    def test_among_assays_own_it_lies_in_its_family(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scaffold, "__file__", str(tmp_path / "cli" / "scaffold.py"))
        folder = new_entry("mine", "driving")
        assert folder == tmp_path / "papers" / "driving" / "mine"
        assert "from assay.papers.driving.mine import" in (folder / "README.md").read_text()
        assert (folder.parent / "__init__.py").read_text().startswith('"""Papers on driving')

    def test_the_linter_has_nothing_to_say(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
        package = tmp_path / "src" / "assay"
        monkeypatch.setattr(scaffold, "__file__", str(package / "cli" / "scaffold.py"))
        new_entry("mine", "theory")
        for name in ("artefact", "paper", "trial"):  # imports are sorted by where they lie
            (package / f"{name}.py").write_text("")
        for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
            done = subprocess.run(
                [sys.executable, "-m", "ruff", *command, "src"],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, done.stdout + done.stderr

    def test_the_paper_is_sound(self, entry: Entry) -> None:
        paper = entry.paper
        assert (paper.slug, paper.family) == (SLUG, "optimization")
        assert {arm.role for arm in paper.recipes["estimate"].arms} == {"baseline", "method", "control"}
        assert set(paper.recipes["estimate"].presets) == {"tiny", "laptop", "paper"}
        assert paper.tested == paper.claims

    def test_every_option_has_a_meaning(self, entry: Entry) -> None:
        found = list(options.options(entry.config("estimate")()))
        assert [option.name for option in found] == ["rows", "coordinates", "shrink", "target"]
        assert all(option.meaning for option in found)

    def test_the_method_is_there_by_its_name(self, entry: Entry) -> None:
        package = importlib.import_module(entry.package)
        assert dir(package) == package.__all__ == ["ShrunkenMean"]
        fitted = package.ShrunkenMean(shrink=0.0)
        rows = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
        assert fitted.fit(rows).estimate.tolist() == [2.0, 4.0]
        with pytest.raises(ValueError, match="got 1 rows, expected at least 2"):
            fitted.fit(rows[:1])

    def test_a_tiny_check_runs(self, entry: Entry, tmp_path: Path) -> None:
        recipe = entry.paper.recipes["estimate"]
        configs = {
            arm.name: options.to_plain(
                options.resolve(entry.config("estimate"), recipe.presets["tiny"].settings_for(), arm.settings)
            )
            for arm in recipe.arms
        }
        store = Store(tmp_path / "store")
        trials = {}
        for seed in (1000, 1001, 1002):
            unit = Unit(
                slug=SLUG,
                recipe="estimate",
                data="",
                seed=seed,
                configs=configs,
                keys={},
                store=str(store.folder),
                code="",
                device="cpu",
                precision="32-true",
                fresh=False,
            )
            trials[seed] = {arm: run_arm(entry, unit, arm, store) for arm in configs}
            assert ALL_ARMS not in trials[seed]
        records = [record for arms in trials.values() for record in arms.values()]
        assert [record.error for record in records] == [None] * 9
        assert {record.counters["rows"] for record in records} == {5}
        # The arms of a seed see the same rows, so the control's far target leaves just the mean.
        assert all(arms["mean"].metrics != arms["shrunken"].metrics for arms in trials.values())
        result = judge_claim(entry.paper, entry.paper.claims[0], {"": trials})
        assert all(required.held for required in result.requires)
        assert result.tests[0].effect is not None
        assert result.tests[0].effect > 0

    def test_it_is_deterministic_for_a_seed(self, entry: Entry) -> None:
        config = entry.config("estimate")()
        first, second, other = (
            entry.function("estimate")(config, Trial(seed))["squared_error"] for seed in (1000, 1000, 1001)
        )
        assert first == second != other

    def test_its_artefact_loads_again(self, entry: Entry, tmp_path: Path) -> None:
        ran = running.run(SLUG, out=tmp_path / "out", preset="tiny")
        loaded = load(tmp_path / "out")
        assert type(loaded).__name__ == "ShrunkenMean"
        assert (loaded.shrink, loaded.target) == (1.0, 0.0)
        assert loaded.estimate.shape == (50,)
        config = options.resolve(entry.config("estimate"), {"rows": 5})
        assert entry.function("estimate")(config, Trial(0)) == ran.metrics
