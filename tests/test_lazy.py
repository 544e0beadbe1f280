"""Public names: typed as what they are, listed once, imported when they are used."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from assay import catalogue, lazy
from assay.errors import MissingExtraError

ROOT = Path(__file__).parents[1]
USER = """\
import assay
from assay.papers.distillation.lelp import SubspaceProjector

reveal_type(SubspaceProjector)
reveal_type(assay.check)
reveal_type(assay.load)
projector = SubspaceProjector("three")
assay.chekc("lelp")
"""
PACKAGE = """\
from typing import TYPE_CHECKING
from assay import lazy
if TYPE_CHECKING:
    from .method import *
    from made_up.extra import Extra as Extra, hidden
    from made_up.needing import Needing as Needing
else:
    __getattr__, __dir__ = lazy.attach(__name__, "vision")
"""
OWN = [entry for entry in catalogue.entries() if entry.package.startswith(catalogue.PAPERS)]


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "made_up"
    folder.mkdir()
    (folder / "__init__.py").write_text(PACKAGE)
    (folder / "method.py").write_text(
        "from math import pi\nclass Model: ...\ndef fit(): ...\ndef _own(): ...\n"
    )
    (folder / "extra.py").write_text("class Extra: ...\ndef hidden(): ...\n")
    (folder / "needing.py").write_text("import no_such_package\nclass Needing: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "made_up"]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def test_a_type_checker_sees_what_a_name_is(tmp_path: Path) -> None:
    program = tmp_path / "user.py"
    program.write_text(USER)
    command = [sys.executable, "-m", "mypy", str(program)]  # as `make lint`, whose cache makes it quick
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    revealed = re.findall(r'Revealed type is "(.*)"', told)
    assert re.match(r"def \(n_subclasses: int, .*\) -> assay\.papers\.distillation\.lelp\.", revealed[0]), (
        told
    )
    assert re.match(r"def \(slug: str, settings: .*\) -> assay\.checking\.\w+\.Checked", revealed[1]), told
    assert revealed[2].startswith("def (folder: str | pathlib.Path"), told
    assert 'Argument 1 to "SubspaceProjector" has incompatible type "str"; expected "int"' in told
    assert 'Module has no attribute "chekc"' in told


def test_names_are_those_of_the_typed_imports(made_up: Path) -> None:
    package = importlib.import_module("made_up")
    assert package.__all__ == dir(package) == ["Extra", "Model", "Needing", "fit"]
    assert package.Model is importlib.import_module("made_up.method").Model
    with pytest.raises(AttributeError, match="has no attribute 'hidden'"):
        _ = package.hidden


def test_nothing_is_imported_before_it_is_used(made_up: Path) -> None:
    package = importlib.import_module("made_up")
    assert "made_up.method" not in sys.modules
    assert package.fit
    assert "made_up.extra" not in sys.modules


def test_a_missing_package_says_which_extra_brings_it(made_up: Path) -> None:
    package = importlib.import_module("made_up")
    with pytest.raises(MissingExtraError, match=r"no_such_package is not installed.*assay\[vision\]"):
        _ = package.Needing
    (made_up / "needing.py").write_text("import made_up.nothing\n")
    with pytest.raises(ModuleNotFoundError, match=r"made_up\.nothing") as caught:
        _ = package.Needing
    assert not isinstance(caught.value, MissingExtraError)


@pytest.mark.parametrize(
    "package", [entry.package for entry in OWN] + ["assay", "assay.models", "assay.data"]
)
def test_every_public_name_is_there(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert lazy.attach(package)[1]() == module.__all__ == dir(module)
