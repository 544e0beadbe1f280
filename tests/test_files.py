"""Files: whole or not at all; and digests of content."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from assay import files
from assay.errors import InputError, StorageError
from values import NESTED, round_trip, table

FULL = OSError(errno.ENOSPC, "No space left on device")


def fail(*_: Any, **__: Any) -> None:
    raise FULL


class TestWriteAtomic:
    def test_it_writes_text_and_bytes_into_new_folders(self, tmp_path: Path) -> None:
        files.write_atomic(tmp_path / "a" / "b" / "text", "ü\n")
        files.write_atomic(tmp_path / "bytes", b"\0\1")
        assert (tmp_path / "a" / "b" / "text").read_text(encoding="utf-8") == "ü\n"
        assert (tmp_path / "bytes").read_bytes() == b"\0\1"

    @pytest.mark.parametrize("step", ["fsync", "replace"])
    def test_a_failed_write_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        path = tmp_path / "kept.json"
        files.write_atomic(path, "old")
        monkeypatch.setattr(os, step, fail)
        with pytest.raises(StorageError) as caught:
            files.write_atomic(path, "new")
        assert str(caught.value) == (
            f"Cannot write {path}: No space left on device. What was finished before is kept."
        )
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_file_in_the_way_of_a_folder_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError, match=r"^Cannot write .*/file/below: .*kept\.$"):
            files.write_atomic(tmp_path / "file" / "below", "text")


class TestAtomicFolder:
    def test_it_appears_when_the_block_ends(self, tmp_path: Path) -> None:
        with files.atomic_folder(tmp_path / "made") as folder:
            (folder / "file").write_text("text")
            assert not (tmp_path / "made").exists()
        assert (tmp_path / "made" / "file").read_text() == "text"
        assert list(tmp_path.iterdir()) == [tmp_path / "made"]

    def test_who_is_first_stays(self, tmp_path: Path) -> None:
        with files.atomic_folder(tmp_path / "made") as folder:
            (folder / "file").write_text("second")
            (tmp_path / "made").mkdir()
            (tmp_path / "made" / "file").write_text("first")
        assert (tmp_path / "made" / "file").read_text() == "first"
        assert list(tmp_path.iterdir()) == [tmp_path / "made"]

    @pytest.mark.parametrize(("kept", "content"), [("mark", "first"), ("other", "second")])
    def test_a_folder_without_its_marker_is_replaced(self, tmp_path: Path, kept: str, content: str) -> None:
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / kept).write_text("first")
        with files.atomic_folder(tmp_path / "made", marker="mark") as folder:
            (folder / "mark").write_text("second")
        assert (tmp_path / "made" / "mark").read_text() == content
        assert len(list((tmp_path / "made").iterdir())) == 1

    def test_a_failure_inside_leaves_nothing(self, tmp_path: Path) -> None:
        def write() -> None:
            with files.atomic_folder(tmp_path / "made") as folder:
                (folder / "file").write_text("text")
                raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match=r"^stop$"):
            write()
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="No space left"), files.atomic_folder(tmp_path / "made"):
            fail()
        assert list(tmp_path.iterdir()) == []

    def test_a_file_in_its_place_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "made").write_text("a file")
        with pytest.raises(StorageError, match="Cannot write"), files.atomic_folder(tmp_path / "made"):
            pass
        assert (tmp_path / "made").read_text() == "a file"


class TestJson:
    def test_it_comes_back(self, tmp_path: Path) -> None:
        value = {"a": [1, 2.5, None, True, "ü"]}
        files.write_json(tmp_path / "a.json", value)
        assert files.read_json(tmp_path / "a.json") == value

    @pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe", b"no json"])
    def test_a_damaged_file_is_one_line(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(StorageError, match=r"a\.json is damaged or cannot be read"):
            files.read_json(tmp_path / "a.json")

    def test_a_missing_file_is_told_apart(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            files.read_json(tmp_path / "a.json")


class TestInside:
    def test_names_within_are_paths(self, tmp_path: Path) -> None:
        assert files.inside(tmp_path, "a/b") == (tmp_path / "a" / "b").resolve()
        assert files.inside(tmp_path, "a/../b") == (tmp_path / "b").resolve()

    @pytest.mark.parametrize("name", ["..", "../a", "a/../../b", "/etc/passwd"])
    def test_names_that_lead_out_are_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InputError, match="leads outside"):
            files.inside(tmp_path, name)

    def test_a_sibling_with_the_same_beginning_is_outside(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="leads outside"):
            files.inside(tmp_path / "out", "../outer/a")

    def test_links_are_followed(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "away").symlink_to(tmp_path)
        (tmp_path / "out" / "near").symlink_to(tmp_path / "out")
        with pytest.raises(InputError, match="leads outside"):
            files.inside(tmp_path / "out", "away/a")
        assert files.inside(tmp_path / "out", "near/a") == (tmp_path / "out" / "a").resolve()


class TestRefuseFull:
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_new_or_empty_folder_is_free(self, tmp_path: Path, overwrite: bool) -> None:
        files.refuse_full(tmp_path, overwrite)
        files.refuse_full(tmp_path / "new", overwrite)
        assert not (tmp_path / "new").exists()

    def test_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("")
        with pytest.raises(InputError, match="is a file; give a folder"):
            files.refuse_full(tmp_path / "out", overwrite=True)

    def test_a_full_folder_needs_overwrite(self, tmp_path: Path) -> None:
        (tmp_path / "assay.json").write_text("{}")
        with pytest.raises(InputError, match=r"exists and is not empty. Add --overwrite"):
            files.refuse_full(tmp_path, overwrite=False)
        files.refuse_full(tmp_path, overwrite=True)

    def test_a_folder_of_somebody_else_is_refused_even_then(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("")
        with pytest.raises(InputError, match="was not written by assay"):
            files.refuse_full(tmp_path, overwrite=True)


@dataclass(frozen=True)
class Point:
    x: int
    y: int


@dataclass(frozen=True)
class Vector:
    x: int
    y: int


@dataclass(frozen=True)
class Named:
    path: str

    def fingerprint(self) -> str:
        return Path(self.path).read_text()


class TestDigest:
    @pytest.mark.parametrize(
        "values",
        [
            (None, False, 0, 0.0, "", b"", (), [], {}),
            (1, True, 1.0, "1", b"1", Path("1"), [1], (1,), {1: 1}),
            ([1, 2], [2, 1], [[1], 2], [1, [2]], [1], [1, 2, None]),
            ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2, "b": 1}, [("a", 1), ("b", 2)]),
            ("ab", ["a", "b"], ["ab"], ["ab", ""]),
            (Point(1, 2), Vector(1, 2), Point(2, 1), {"x": 1, "y": 2}),
            (
                torch.zeros(2, 3),
                torch.zeros(3, 2),
                torch.zeros(6),
                torch.zeros(2, 3, dtype=torch.float64),
                torch.zeros(2, 3, dtype=torch.int32),
                np.zeros((2, 3), np.float32),
                np.zeros((3, 2), np.float32),
                np.zeros((2, 3)),
                [[0.0] * 3] * 2,
            ),
            (torch.zeros(0, 2), torch.zeros(0, 3), torch.zeros(0), np.zeros((0, 2))),
            (torch.zeros(1, 4)[:, :0].expand(3, 0), torch.zeros(2, 0)),
            (
                table(),
                table().select([0, 1]),
                table().select([1, 2]),
                table().select([1, 0, 2]),
                table().rename_column("text", "words"),
                table().remove_columns("text"),
                table().cast_column("label", datasets.ClassLabel(names=["ant", "cat"])),
            ),
        ],
    )
    def test_other_content_has_another_digest(self, values: tuple[Any, ...]) -> None:
        assert len({files.digest(value) for value in values}) == len(values)

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            (1.0, np.float64(1)),
            (1.0, np.float32(1)),
            (3, np.int64(3)),
            ("a", np.str_("a")),
            (True, np.bool_(True)),
            (torch.arange(6).reshape(2, 3).T.contiguous(), torch.arange(6).reshape(2, 3).T),
            (torch.ones(2), torch.ones(4)[::2]),
            (torch.ones(2), torch.ones(2, requires_grad=True)),
            (np.asfortranarray(np.eye(3)[:2]), np.eye(3)[:2]),
            (Point(1, 2), Point(1, 2)),
        ],
    )
    def test_equal_content_has_an_equal_digest(self, first: Any, second: Any) -> None:
        assert files.digest(first) == files.digest(second)

    @pytest.mark.parametrize(
        "made",
        [
            lambda rows: rows.select(range(3)),
            lambda rows: rows.with_format("torch"),
            lambda rows: datasets.concatenate_datasets([rows.select([0]), rows.select([1, 2])]),
            lambda rows: rows.select([2, 1, 0]).select([2, 1, 0]),
            lambda rows: datasets.Dataset.from_dict(rows.to_dict(), features=rows.features),
            round_trip,
        ],
    )
    def test_tables_of_equal_rows_have_an_equal_digest(self, made: Any) -> None:
        assert files.digest(made(table())) == files.digest(table())

    def test_it_does_not_see_what_made_a_table(self) -> None:
        datasets.disable_progress_bars()
        mapped = table().map(lambda row: {"text": row["text"]})
        datasets.enable_progress_bars()
        assert mapped.data.schema.metadata != table().data.schema.metadata
        assert files.digest(mapped) == files.digest(table())

    def test_it_does_not_see_the_rows_beyond_a_slice(self) -> None:
        flags = datasets.Dataset.from_dict({"flag": [True, False, True, True, True]})
        alone = datasets.Dataset.from_dict({"flag": [True, False, True]})
        assert files.digest(flags.select(range(3))) == files.digest(alone)

    def test_several_values_are_not_one(self) -> None:
        assert len({files.digest(1, 2), files.digest([1, 2]), files.digest((1, 2)), files.digest(1)}) == 4

    def test_a_source_counts_by_its_content(self, tmp_path: Path) -> None:
        path = tmp_path / "data.csv"
        path.write_text("a")
        before = files.digest(Named(str(path)))
        assert files.digest(Named(str(path))) == before
        path.write_text("b")
        assert files.digest(Named(str(path))) != before

    @given(NESTED)
    @settings(max_examples=60, deadline=None)
    def test_a_copy_has_the_same_digest(self, value: Any) -> None:
        assert files.digest(round_trip(value)) == files.digest(value)

    @given(NESTED, NESTED)
    @settings(max_examples=60, deadline=None)
    def test_it_tells_nested_values_apart(self, first: Any, second: Any) -> None:
        # repr tells types and signed zeros apart, as a digest does.
        assert (files.digest(first) == files.digest(second)) == (repr(first) == repr(second))

    @pytest.mark.parametrize("value", [{1}, object(), torch.nn.Linear(1, 1), np.array([None]), len, Point])
    def test_what_has_no_content_is_a_type_error(self, value: Any) -> None:
        with pytest.raises(TypeError, match=r"cannot identify a .* by its content"):
            files.digest(value)
