"""The store: a record comes back as it was, and a damaged one counts as none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.checking.store import Store, TrialRecord, decode, encode
from assay.errors import StorageError
from assay.paper import Items, Rate

RECORD = TrialRecord(
    slug="toy",
    recipe="draw",
    arm="high",
    seed=3,
    metrics={
        "score": 0.25,
        "count": 4,
        "reached": None,
        "hits": Rate(3, 4),
        "words": Items(["a", "b"], [0.5, 1.0]),
        "lines": Items(["a", "b"], [0.5, 1.0], clusters=["x", "y"]),
    },
    counters={"steps": 10.0},
    curve=[{"step": 0.0, "loss": 1.0}],
    resplit=0.25,
    cost={"seconds": 1.5},
    config={"rows": 20, "inner": {"scale": 1.0}, "name": None},
    provenance={"code": "abc"},
)


class TestRecord:
    def test_it_comes_back_as_it_was(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.write("key", RECORD)
        assert store.read("toy", "key") == RECORD

    def test_an_error_is_kept(self, tmp_path: Path) -> None:
        failed = TrialRecord("toy", "draw", "high", 0, error="Traceback: ü", refused=True)
        Store(tmp_path).write("key", failed)
        assert Store(tmp_path).read("toy", "key") == failed

    @pytest.mark.parametrize(
        "value", [None, 0, 1.5, Rate(0, 3), Items(["a"], [1.0]), Items(["a"], [1.0], clusters=["x"])]
    )
    def test_each_kind_of_value_survives_json(self, value: Any) -> None:
        assert decode(json.loads(json.dumps(encode(value)))) == value

    def test_values_from_arrays_survive_json(self) -> None:
        items = Items(np.array(["a", "b"]), np.array([1, 2], np.float32), clusters=np.array([1, 1]))  # type: ignore[arg-type]
        assert decode(json.loads(json.dumps(encode(items)))) == items
        rate = Rate(np.int64(1), np.int64(2))  # type: ignore[arg-type]
        assert decode(json.loads(json.dumps(encode(rate)))) == rate

    def test_it_lies_where_its_key_says(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.write("key", RECORD)
        assert store.path("toy", "key") == tmp_path / "trials" / "toy" / "key.json"
        assert [path.name for path in store.path("toy", "key").parent.iterdir()] == ["key.json"]


class TestDamage:
    def test_there_is_none(self, tmp_path: Path) -> None:
        assert Store(tmp_path).read("toy", "key") is None

    @pytest.mark.parametrize("share", [0, 0.3, 0.99])
    def test_a_truncated_file_is_none(self, tmp_path: Path, share: float) -> None:
        store = Store(tmp_path)
        store.write("key", RECORD)
        content = store.path("toy", "key").read_bytes().strip()
        store.path("toy", "key").write_bytes(content[: int(share * len(content))])
        assert store.read("toy", "key") is None

    @pytest.mark.parametrize(
        "content",
        [
            "no json",
            "\0\0\0",
            "null",
            "3",
            '"text"',
            "[]",
            "{}",
            '{"metrics": {}}',
            '{"metrics": []}',
            '{"metrics": null}',
        ],
    )
    def test_what_is_no_record_is_none(self, tmp_path: Path, content: str) -> None:
        store = Store(tmp_path)
        store.path("toy", "key").parent.mkdir(parents=True)
        store.path("toy", "key").write_text(content)
        assert store.read("toy", "key") is None

    @pytest.mark.parametrize(
        "changes",
        [
            {"unknown": 1},
            {"metrics": {"score": "text"}},
            {"metrics": {"score": [1.0]}},
            {"metrics": {"hits": {"successes": 5, "trials": 4}}},
            {"metrics": {"hits": {"successes": 0.5, "trials": 4}}},
            {"metrics": {"hits": {"successes": 5}}},
            {"metrics": {"words": {"ids": ["a"], "values": []}}},
            {"metrics": {"words": {"ids": ["a"], "values": ["b"]}}},
        ],
    )
    def test_a_record_of_the_wrong_shape_is_none(self, tmp_path: Path, changes: dict[str, Any]) -> None:
        store = Store(tmp_path)
        store.path("toy", "key").parent.mkdir(parents=True)
        store.path("toy", "key").write_text(json.dumps(RECORD.to_json() | changes))
        assert store.read("toy", "key") is None

    def test_bytes_that_are_no_text_are_none(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.path("toy", "key").parent.mkdir(parents=True)
        store.path("toy", "key").write_bytes(b"\xff\xfe\x00")
        assert store.read("toy", "key") is None

    def test_a_folder_in_its_place_is_none(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.path("toy", "key").mkdir(parents=True)
        assert store.read("toy", "key") is None


class TestWritable:
    def test_a_probe_leaves_nothing(self, tmp_path: Path) -> None:
        Store(tmp_path / "new").check_writable()
        assert list((tmp_path / "new").iterdir()) == []

    def test_a_full_disk_is_told_early(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device"):
            Store(tmp_path).check_writable()
        assert list(tmp_path.iterdir()) == []

    def test_a_file_in_the_way_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "store").write_text("")
        with pytest.raises(StorageError, match=r"^Cannot write"):
            Store(tmp_path / "store").check_writable()


class TestSaying:
    def test_lines_are_there_until_they_are_taken_away(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        assert store.said() == []
        store.say("b", "second")
        store.say("a", "first")
        assert store.said() == ["first", "second"]
        store.say("a", "third")
        store.hush("b")
        assert store.said() == ["third"]
        store.hush("b")

    def test_it_never_disturbs_the_work(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        store = Store(tmp_path / "file")
        store.say("a", "text")
        store.hush("a")
        assert store.said() == []
