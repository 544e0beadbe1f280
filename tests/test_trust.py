"""Whatever is put into files, stores and command lines: a result or an error in words, and nothing lost."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from assay import catalogue, checking, cli, report
from assay.checking.store import Store
from assay.data import Table
from assay.errors import AssayError

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    store = tmp_path_factory.mktemp("store")
    with ThreadPoolExecutor(1) as executor:
        checked = checking.check("toy", store=store, executor=executor)
    return json.loads(json.dumps(checked.to_json()))


@FUZZ
@given(
    kind=st.sampled_from(["csv", "json", "parquet", "svmlight"]),
    content=st.binary(max_size=200)
    | st.text("ab,;\"'\n\t0123456789.:{}[]-", max_size=200).map(str.encode)
    | st.lists(JSON, max_size=4).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
)
def test_any_file_is_a_table_or_an_error_in_words(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"table.{kind}"
    path.write_bytes(content)
    with contextlib.suppress(AssayError):
        Table(f"{kind}:{path}").load()
    assert path.read_bytes() == content


@FUZZ
@given(source=st.text(max_size=30), column=st.text(max_size=10))
def test_any_source_is_a_table_or_an_error_in_words(source: str, column: str) -> None:
    with contextlib.suppress(AssayError):
        Table(source if not source.startswith("hub:") else "hub", label=column).load()


@FUZZ
@given(content=st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_trial_file_is_a_trial_or_none(content: bytes, tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.path("toy", "key")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert store.read("toy", "key") is None


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested dicts and lists."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, inner in pairs for place in places(inner, (*here, key)))]


@FUZZ
@given(data=st.data())
def test_any_result_is_shown_or_skipped(
    data: st.DataObject, result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = catalogue.entry("toy")
    monkeypatch.setattr(catalogue, "entries", lambda: [toy])
    edited = json.loads(json.dumps(result))
    place = data.draw(st.sampled_from(places(edited)[1:]))
    outer = edited
    for key in place[:-1]:
        outer = outer[key]
    outer[place[-1]] = data.draw(JSON)
    shutil.rmtree(tmp_path / "results", ignore_errors=True)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "toy--laptop.json").write_text(json.dumps(edited))
    with warnings.catch_warnings(action="ignore"):
        report.write(tmp_path / "site", tmp_path)


@FUZZ
@given(
    words=st.lists(
        st.sampled_from(
            ["list", "show", "check", "run", "report", "new", "toy", "elang", "--json", "--preset"]
        )
        | st.sampled_from(
            ["--data", "csv:none.csv", "--seeds", "--family", "-h", "--store", "--out", "", "--"]
        )
        | st.text("abc-=:./ \n\0é", max_size=8),
        max_size=5,
    )
)
def test_any_command_line_ends_with_a_status_and_without_a_traceback(
    words: list[str], tmp_path: Path
) -> None:
    if "check" in words[:1] and {"toy", "elang"} & set(words):
        words = [*words, "--preset", "none"]  # which no check has, so that none runs
    if words[:1] in (["run"], ["new"], ["report"]):
        words = [*words, "--no-such-option"]
    out, err = io.StringIO(), io.StringIO()
    status: Any = 0
    with contextlib.chdir(tmp_path), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main(words)
        except SystemExit as stop:
            status = stop.code or 0
    assert status in (0, 1, 2, 3)
    assert "Traceback" not in out.getvalue() + err.getvalue()
    assert not list(tmp_path.iterdir())
