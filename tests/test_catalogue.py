"""The catalogue: entries are found without being run, and their code is known by its meaning."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import toy_paper
from toy_paper.config import Draw

from assay import catalogue, cli, code
from assay.catalogue import Entry
from assay.errors import InputError, MissingExtraError

PLUGINS = Path(toy_paper.__file__).parents[1]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """A copy of the toy paper under a name of its own, which may be edited."""
    for source in ("toy_paper", "toy_paper-0.dist-info"):
        target = tmp_path / source.replace("toy", "copied")
        shutil.copytree(PLUGINS / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        for path in target.iterdir():
            text = path.read_text().replace("toy_paper", "copied_paper").replace("toy", "copied")
            path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield catalogue.entry("copied")
    for name in [name for name in sys.modules if name.startswith("copied_paper")]:
        del sys.modules[name]


def edit(entry: Entry, file: str, old: str, new: str) -> None:
    text = (entry.folder / file).read_text()
    assert old in text
    (entry.folder / file).write_text(text.replace(old, new, 1))


class TestEntries:
    def test_an_entry_point_is_an_entry(self) -> None:
        entry = catalogue.entry("toy")
        assert entry.slug == "toy"
        assert entry.folder == PLUGINS / "toy_paper"
        assert entry.config("draw") is Draw
        assert entry.function("draw").__module__ == "toy_paper.recipe"
        assert entry.across("draw")({"a": {"score": 3.0}, "b": {"score": 1.0}}) == {"spread": 2.0}
        assert entry.card == PLUGINS / "toy_paper" / "README.md"

    def test_it_is_listed_among_the_others_in_order(self, copied: Entry) -> None:
        slugs = catalogue.slugs()
        assert slugs == sorted(slugs)
        assert {"toy", "copied"} <= set(slugs)
        assert [paper.slug for paper in catalogue.list_papers()] == slugs

    def test_a_broken_package_of_others_is_named_and_hides_no_paper(
        self, copied: Entry, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in [name for name in sys.modules if name.startswith("copied_paper")]:
            del sys.modules[name]
        edit(copied, "paper.py", "PAPER =", "raise OSError('no disk')\nPAPER =")
        with pytest.raises(InputError, match=r"'copied' comes from copied_paper.*OSError: no disk"):
            catalogue.entry("copied")
        with pytest.warns(UserWarning, match="copied_paper"):
            papers = catalogue.list_papers()
        assert "toy" in {paper.slug for paper in papers}
        with pytest.raises(SystemExit) as stop:
            cli.main(["list"])
        assert not stop.value.code
        printed = capsys.readouterr()
        assert "toy" in printed.out
        assert "warning: The paper 'copied' comes from copied_paper" in printed.err.replace("\n", " ")

    def test_a_family_can_be_picked(self) -> None:
        assert "toy" in [paper.slug for paper in catalogue.list_papers("theory")]
        assert all(paper.family == "speech" for paper in catalogue.list_papers("speech"))

    def test_an_unknown_paper_names_the_nearest(self) -> None:
        with pytest.raises(InputError, match=r"There is no paper 'toi'. Did you mean 'toy'?"):
            catalogue.entry("toi")

    def test_an_unknown_recipe_names_the_nearest(self) -> None:
        with pytest.raises(InputError, match=r"There is no recipe of toy 'drew'. Did you mean 'draw'?"):
            catalogue.entry("toy").recipe("drew")

    def test_a_recipe_may_grow_into_a_module_of_its_own(self, copied: Entry) -> None:
        (copied.folder / "recipes").mkdir()
        (copied.folder / "recipes" / "__init__.py").write_text("")
        (copied.folder / "recipe.py").rename(copied.folder / "recipes" / "draw.py")
        assert copied.function("draw").__module__ == "copied_paper.recipes.draw"

    def test_a_missing_extra_says_how_to_install_it(self, copied: Entry) -> None:
        edit(copied, "recipe.py", "import os", "import no_such_package.part\nimport os")
        with pytest.raises(MissingExtraError) as caught:
            copied.function("draw")
        assert str(caught.value) == (
            "no_such_package is not installed. Install it with: pip install 'assay[theory]'"
        )

    @pytest.mark.parametrize("module", ["assay.no_such_module", "copied_paper.no_such_module"])
    def test_an_error_of_our_own_is_not_taken_for_one(self, copied: Entry, module: str) -> None:
        edit(copied, "recipe.py", "import os", f"import {module}\nimport os")
        with pytest.raises(ModuleNotFoundError, match=f"No module named {module!r}") as caught:
            copied.function("draw")
        assert not isinstance(caught.value, MissingExtraError)


class TestCodeFingerprint:
    def test_it_is_the_same_for_the_same_code(self, copied: Entry) -> None:
        assert copied.code_fingerprint("draw") == copied.code_fingerprint("draw")
        assert re.fullmatch("[0-9a-f]{16}", copied.code_fingerprint("draw"))

    @pytest.mark.parametrize(
        ("file", "old", "new"),
        [
            ("recipe.py", "noise.mean() + config.mean", "noise.mean() - config.mean"),
            ("recipe.py", "import signal\n", "import signal as signal\n"),
            ("config.py", "rows: int = 20", "rows: int = 21"),
        ],
    )
    def test_it_changes_with_the_code(self, copied: Entry, file: str, old: str, new: str) -> None:
        before = copied.code_fingerprint("draw")
        edit(copied, file, old, new)
        assert copied.code_fingerprint("draw") != before

    def test_it_changes_with_the_method(self, copied: Entry) -> None:
        method = copied.folder / "method.py"
        method.write_text("def double(x):\n    return 2 * x\n")
        edit(
            copied,
            "recipe.py",
            "import numpy as np",
            "import numpy as np\nfrom copied_paper.method import double",
        )
        before = copied.code_fingerprint("draw")
        method.write_text("def double(x):\n    return x + x\n")
        assert copied.code_fingerprint("draw") != before

    @pytest.mark.parametrize(
        "line", ["from .method.core import double", "from copied_paper.method import double"]
    )
    def test_a_method_may_be_a_package(self, copied: Entry, line: str) -> None:
        method = copied.folder / "method"
        (method / "deep").mkdir(parents=True)
        (method / "__init__.py").write_text("from .core import double as double\n")
        (method / "core.py").write_text("from .deep import two\ndef double(x):\n    return two * x\n")
        (method / "deep" / "__init__.py").write_text("two = 2\n")
        edit(copied, "recipe.py", "import numpy as np", f"import numpy as np\n{line}")
        before = copied.code_fingerprint("draw")
        (method / "core.py").write_text("from .deep import two\ndef double(x):\n    return x * two\n")
        changed = copied.code_fingerprint("draw")
        (method / "deep" / "__init__.py").write_text("two = 1 + 1\n")
        assert len({before, changed, copied.code_fingerprint("draw")}) == 3

    @pytest.mark.parametrize(
        ("file", "old", "new"),
        [
            ("recipe.py", "import numpy as np", "# a comment\n\nimport numpy as np"),
            ("recipe.py", "Draw numbers that all arms of a seed share", "Draw other words"),
            ("recipe.py", '"""How the copied paper is run."""', ""),
            ("config.py", "Mean of the draws.", "The mean of all draws."),
            ("config.py", "rows: int = 20", "rows: int = (20)"),
            ("paper.py", "draws numbers around a mean", "draws words around a mean"),
        ],
    )
    def test_it_does_not_change_with_comments_and_docstrings(
        self, copied: Entry, file: str, old: str, new: str
    ) -> None:
        before = copied.code_fingerprint("draw")
        edit(copied, file, old, new)
        assert copied.code_fingerprint("draw") == before

    @pytest.mark.parametrize(
        ("line", "reached"),
        [
            ("from copied_paper.part import double", {"one"}),
            ("from copied_paper.part import triple", {"other"}),
            ("from copied_paper import part", {"one", "other"}),
            ("import copied_paper.part", {"one", "other"}),
        ],
    )
    def test_a_lazy_name_brings_the_module_that_has_it(
        self, copied: Entry, line: str, reached: set[str]
    ) -> None:
        part = copied.folder / "part"
        part.mkdir()
        (part / "__init__.py").write_text(
            "from typing import TYPE_CHECKING\nfrom assay import lazy\nif TYPE_CHECKING:\n"
            "    from .one import *\n    from .other import triple as triple\n"
            "else:\n    __getattr__, __dir__ = lazy.attach(__name__)\n"
        )
        (part / "one.py").write_text("def double(x):\n    return 2 * x\n")
        (part / "other.py").write_text("def triple(x):\n    return 3 * x\n")
        edit(copied, "recipe.py", "import numpy as np", f"import numpy as np\n{line}")
        before = copied.code_fingerprint("draw")
        for name in ("one", "other"):
            text = (part / f"{name}.py").read_text()
            (part / f"{name}.py").write_text(text.replace("* x", "* x + 1"))
            assert (copied.code_fingerprint("draw") != before) is (name in reached), name
            (part / f"{name}.py").write_text(text)
            assert copied.code_fingerprint("draw") == before

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("SHIFT = 1", "SHIFT = 2"),
            ("def scale(x, by=2)", "def scale(x, by=3)"),
            ("return self.by * x", "return self.by + x"),
            ("by: float = 1.0", "by: float = 2.0"),
        ],
        ids=["a constant", "a default argument", "a method", "a default of a field"],
    )
    @pytest.mark.parametrize("home", ["copied_paper.method", "copied_paper_family"])
    def test_whatever_could_reach_a_metric_makes_trials_stale(
        self, copied: Entry, home: str, old: str, new: str
    ) -> None:
        """In the entry, and in a module that a family shares, which the method imports."""
        shared = copied.folder / "shared.py"
        shared.write_text(
            "from dataclasses import dataclass\n\nSHIFT = 1\n\n\ndef scale(x, by=2):\n    return by * x\n\n\n"
            "@dataclass\nclass Scaled:\n    by: float = 1.0\n\n    def __call__(self, x):\n"
            "        return self.by * x\n"
        )
        (copied.folder / "method.py").write_text("from .shared import Scaled\n")
        line = "from copied_paper.shared import scale" if home.endswith("family") else f"import {home}"
        edit(copied, "recipe.py", "import numpy as np", f"import numpy as np\n{line}")
        before = copied.code_fingerprint("draw")
        edit(copied, "shared.py", old, new)
        assert copied.code_fingerprint("draw") != before

    def test_what_only_a_type_checker_imports_does_not_count(self, copied: Entry) -> None:
        typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from copied_paper import words\n"
        (copied.folder / "words.py").write_text("WORDS = 1\n")
        edit(copied, "recipe.py", "import numpy as np", f"import numpy as np\n{typed}")
        before = copied.code_fingerprint("draw")
        (copied.folder / "words.py").write_text("WORDS = 2\n")
        assert copied.code_fingerprint("draw") == before

    def test_what_files_mean_is_kept_for_the_next_process(
        self, copied: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        before = copied.code_fingerprint("draw")
        (kept,) = (tmp_path / "cache" / "assay").iterdir()
        code._kept.cache_clear()
        with monkeypatch.context() as patched:
            patched.setattr(code, "_parse", lambda text: pytest.fail("parsed again"))
            assert copied.code_fingerprint("draw") == before
        for damaged in ("", "[]", '{"a": 1}', '{"a": [[1, 2], {"imports": 3}]}'):
            kept.write_text(damaged)
            code._kept.cache_clear()
            assert copied.code_fingerprint("draw") == before
        edit(copied, "recipe.py", "import signal\n", "import signal as signal\n")
        assert copied.code_fingerprint("draw") != before

    def test_code_without_a_source_is_not_taken_for_unchanged(self, copied: Entry) -> None:
        (copied.folder / "recipe.py").unlink()
        with pytest.raises(ModuleNotFoundError, match=r"copied_paper\.recipe has no source file"):
            copied.code_fingerprint("draw")

    @pytest.mark.parametrize(
        ("module", "counts"),
        [
            ("assay.trial", True),
            ("assay.files", True),
            ("assay.cli", False),
            ("assay.checking.judging", False),
        ],
    )
    def test_it_changes_with_the_parts_of_assay_that_a_recipe_reaches(
        self, module: str, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entry = catalogue.entry("toy")
        before = entry.code_fingerprint("draw")
        find = code._file_of
        source = find(module, {"assay": code.folder_of("assay")})
        assert source is not None
        changed = tmp_path / source.name
        changed.write_text(source.read_text() + "\nADDED = 1\n")
        ast.parse(changed.read_text())
        monkeypatch.setattr(
            code, "_file_of", lambda name, roots: changed if name == module else find(name, roots)
        )
        assert (entry.code_fingerprint("draw") != before) is counts


HEAVY = {"torch", "transformers", "datasets", "pandas", "sklearn", "scipy", "jinja2"}


@pytest.mark.parametrize("words", [None, ["list"], ["show", "toy"]])
def test_listing_imports_nothing_heavy(words: list[str] | None) -> None:
    code = "import assay; assay.list_papers()"
    if words is not None:
        code = (
            f"from assay.cli import main\ntry: main({words})\nexcept SystemExit as end: assert not end.code"
        )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "toy_paper.paper" in done.stdout.split()
    assert HEAVY & set(done.stdout.split()) == set()
