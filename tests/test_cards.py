"""The code on every card runs as it stands there.

Where it reads files, `tests/papers/<family>/<slug>/card_files.py` makes them with `prepare(folder)`.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import torch

from assay import catalogue
from assay.catalogue import Entry

OWN = [entry for entry in catalogue.entries() if entry.package.startswith(catalogue.PAPERS)]
TESTS = Path(__file__).parent / "papers"


@pytest.mark.parametrize("entry", OWN, ids=lambda entry: entry.slug)
def test_the_code_of_its_card_runs(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    prepare(entry, tmp_path)
    scripts = re.findall(r"```python\n(.*?)```", entry.card.read_text(encoding="utf-8"), re.DOTALL)
    assert scripts, "the card shows no code"
    for number, script in enumerate(scripts, start=1):
        torch.manual_seed(0)
        exec(compile(script, f"{entry.slug}, block {number} of the card", "exec"), {"__name__": "card"})
    assert capsys.readouterr().out, "the code prints nothing"


def prepare(entry: Entry, folder: Path) -> None:
    """Make the files that the code of a card reads."""
    if (TESTS / entry.paper.family / entry.slug / "card_files.py").exists():
        importlib.import_module(f"papers.{entry.paper.family}.{entry.slug}.card_files").prepare(folder)
