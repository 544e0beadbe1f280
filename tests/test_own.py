from __future__ import annotations

import sys
from pathlib import Path

import pytest

from assay.data import hash_file
from assay.errors import InputError
from assay.own import code_of, import_own


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_here.py").write_text("def listen(audio):\n    return audio\n")
    (tmp_path / "mine_broken.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine_here", raising=False)


def test_a_function_of_the_working_folder_is_found() -> None:
    before = list(sys.path)
    assert import_own("mine_here:listen", "--system")(3) == 3
    assert import_own("os.path:join", "--system")("a", "b") == "a/b"
    assert sys.path == before


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("mine_hear:listen", "there is no module 'mine_hear', neither installed nor in "),
        ("mine_here:listn", "'mine_here' has no 'listn'. Did you mean 'listen'?"),
        ("mine_broken:x", "no licence"),
        (":x", "there is no module ''"),
        ("mine here:x", "there is no module 'mine here'"),
    ],
)
def test_what_is_not_there_is_said_with_the_option(written: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        import_own(written, "--system")
    assert str(error.value).startswith(f"--system {written} cannot be imported: ")
    assert words in str(error.value)


def test_the_code_of_a_module_is_identified() -> None:
    assert code_of("mine_here:listen") == code_of("mine_here:x") == hash_file(Path("mine_here.py"))
    assert code_of("mine_hear:listen") == code_of(":x") == code_of("sys:path") == "unknown"
