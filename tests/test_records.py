"""Records: values that come back as they were, without pickle, and nothing else than they may hold."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import scipy.sparse
import torch
from hypothesis import given, settings, strategies as st

from assay import files, records
from assay.errors import InputError, StorageError
from values import NESTED, round_trip, same, table

PACKAGES = (__name__.split(".")[0],)


@dataclass(frozen=True)
class Point:
    x: int
    name: str


class Pair(NamedTuple):
    first: torch.Tensor
    rest: list[Point]


@dataclass
class Derived:
    start: int
    total: int = field(init=False, default=0)


class Doubler(torch.nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(by))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x

    def record(self) -> dict[str, Any]:
        return {"weights": self.state_dict()}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Doubler:
        made = cls(0.0)
        made.load_state_dict(record["weights"])
        return made


class TestRecord:
    @pytest.mark.parametrize(
        "value",
        [
            None,
            True,
            0,
            2**80,
            -1.5,
            math.inf,
            "",
            "$tensor",
            [],
            (),
            {},
            {"$tuple": [1, (2, [3])], "$dict": {}},
            {1: "int", "1": "str", None: "none", 2.5: "float", (1, "a"): "tuple"},
            torch.arange(6).reshape(2, 3),
            torch.arange(6).reshape(2, 3).T,
            torch.tensor(2.5),
            torch.zeros(0, 3),
            torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
            torch.tensor([True, False]),
            np.arange(6.0).reshape(2, 3)[:, ::2],
            np.asfortranarray(np.arange(6).reshape(2, 3)),
            np.array(7, dtype=np.int16),
            np.zeros((0, 2), dtype=np.float32),
            np.array([True]),
            {"weights": [torch.ones(2), (np.ones(2), "name")], "step": 3},
            table(),
            table().select([]),
            table().select([2, 0]),
            {1, 2},
            frozenset({"a"}),
            b"\0bytes",
            Path("/some/where"),
            np.array(["a", "bc"]),
            np.array(["2022-06-05T10:00:01"], "datetime64[s]"),
            Point(1, "one"),
            Pair(torch.ones(2), [Point(2, "two")]),
        ],
    )
    def test_it_comes_back_as_it_was(self, value: Any) -> None:
        assert same(round_trip(value, PACKAGES), value)

    @given(NESTED)
    @settings(max_examples=60, deadline=None)
    def test_nested_plain_values_come_back(self, value: Any) -> None:
        assert same(round_trip(value, PACKAGES), value)

    def test_numbers_that_json_lacks_come_back(self, tmp_path: Path) -> None:
        found = round_trip((math.nan, math.inf, np.float64(-math.inf)))
        assert math.isnan(found[0])
        assert found[1:] == (math.inf, -math.inf)
        records.save(tmp_path, [math.inf])
        json.loads((tmp_path / records.RECORD).read_text(), parse_constant=pytest.fail)

    def test_state_dicts_and_parameters_come_back_as_tensors(self) -> None:
        module = torch.nn.Linear(2, 1)
        loaded = round_trip(module.state_dict())
        assert isinstance(module.state_dict(), OrderedDict)
        torch.nn.Linear(2, 1).load_state_dict(loaded)
        assert torch.equal(loaded["weight"], module.weight)
        assert not round_trip(module.weight).requires_grad

    def test_tensors_that_share_memory_come_back_apart(self) -> None:
        base = torch.zeros(4)
        first, second = round_trip((base, base[:2]))
        first += 1
        assert torch.equal(second, torch.zeros(2))

    def test_numpys_scalars_come_back_plain(self) -> None:
        loaded = round_trip({np.int64(3): np.float32(0.5), "flag": np.bool_(True)})
        assert same(loaded, {3: 0.5, "flag": True})

    def test_a_formatted_table_keeps_its_rows(self) -> None:
        assert round_trip(table().with_format("torch")).to_list() == table().to_list()

    def test_classes_keep_their_names(self) -> None:
        assert round_trip(table()).features["label"].names == ["ant", "bee"]

    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            (torch.nn.Linear(1, 1), "Linear"),
            ({"model": [torch.nn.ReLU()]}, "ReLU"),
            (object(), "object"),
            (torch.eye(2).to_sparse(), "Tensor"),
            (np.array([None]), "ndarray of object"),
            (np.array([1j]), "ndarray of complex128"),
        ],
    )
    def test_what_it_cannot_keep_is_a_type_error(self, value: Any, kind: str) -> None:
        with pytest.raises(TypeError, match=rf"^cannot save a {kind}: .*plain values"):
            round_trip(value)

    def test_a_full_disk_is_a_storage_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any) -> None:
            raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

        def write() -> None:
            with files.atomic_folder(tmp_path / "stage") as folder:
                records.save(folder, torch.ones(2))

        monkeypatch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(StorageError, match=r"^Cannot write .*No space left on device"):
            write()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("value", "file"),
        [
            (torch.ones(2), "tensors.safetensors"),
            (np.ones(2), "arrays.safetensors"),
            (table(), "d0.parquet"),
            (None, records.RECORD),
        ],
    )
    def test_a_damaged_file_is_one_line(self, tmp_path: Path, value: Any, file: str) -> None:
        records.save(tmp_path, value)
        content = (tmp_path / file).read_bytes()
        (tmp_path / file).write_bytes(content[: len(content) // 2])
        with pytest.raises(StorageError, match="is damaged"):
            records.load(tmp_path)

    def test_dataclasses_come_back_with_what_they_derive(self) -> None:
        made = Derived(2)
        made.total = 7
        assert vars(round_trip(made, PACKAGES)) == {"start": 2, "total": 7}

    def test_frames_and_sparse_matrices_come_back(self) -> None:
        frame = pd.DataFrame({"step": [1, 2], "loss": [0.5, None], "name": ["a", "b"]})
        assert round_trip(frame).equals(frame)
        for kind in (scipy.sparse.csr_matrix, scipy.sparse.csr_array):
            sparse = kind(np.array([[0.0, 2.0], [0.0, 0.0], [1.0, 0.0]]))
            loaded = round_trip({"x": sparse})["x"]
            assert (type(loaded), loaded.shape) == (kind, sparse.shape)
            assert (loaded != sparse).nnz == 0
            assert files.digest(loaded) == files.digest(sparse) != files.digest(2 * sparse)
        assert files.digest(frame) == files.digest(frame.copy()) != files.digest(frame.assign(step=3))

    def test_an_object_comes_back_from_its_record(self) -> None:
        loaded = round_trip({"model": Doubler(3.0)}, PACKAGES)["model"]
        assert isinstance(loaded, Doubler)
        assert loaded(torch.ones(1)).item() == 3.0

    def test_tensors_that_do_not_fit_the_record_are_refused(self, tmp_path: Path) -> None:
        records.save(tmp_path, torch.ones(2))
        safetensors.torch.save_file({"t0": torch.ones(3)}, tmp_path / "tensors.safetensors")
        with pytest.raises(StorageError, match="not those that were saved"):
            records.load(tmp_path)

    def test_a_record_of_another_version_is_refused(self, tmp_path: Path) -> None:
        records.save(tmp_path, Point(1, "one"))
        text = (tmp_path / records.RECORD).read_text()
        (tmp_path / records.RECORD).write_text(text.replace('"name"', '"title"'))
        with pytest.raises(StorageError, match="Point of another version"):
            records.load(tmp_path, PACKAGES)
        (tmp_path / records.RECORD).write_text(text.replace('"format": 1', '"format": 2'))
        with pytest.raises(StorageError, match="not written by this version"):
            records.load(tmp_path, PACKAGES)

    @pytest.mark.parametrize(
        "name", ["os:path", "subprocess:Popen", "assay.records:Path", "assay:nothing", ""]
    )
    def test_it_makes_no_class_of_others(self, tmp_path: Path, name: str) -> None:
        records.save(tmp_path, Point(1, "one"))
        text = (tmp_path / records.RECORD).read_text()
        (tmp_path / records.RECORD).write_text(text.replace(f"{__name__}:Point", name))
        with pytest.raises(InputError, match="names"):
            records.load(tmp_path)

    def test_a_table_is_not_read_from_elsewhere(self, tmp_path: Path) -> None:
        table().to_parquet(tmp_path / "other.parquet")
        (tmp_path / "record").mkdir()
        described = {"format": records.FORMAT, "schema": {}, "record": {"$table": "../other"}}
        files.write_json(tmp_path / "record" / records.RECORD, described)
        with pytest.raises(InputError, match="leads outside"):
            records.load(tmp_path / "record")

    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_whatever_is_damaged_is_one_line(self, data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as folder:
            records.save(Path(folder), {"a": [Point(1, "b"), torch.ones(2)], "c": (None, 2.5, np.ones(2))})
            path = data.draw(st.sampled_from(sorted(Path(folder).iterdir())))
            content = bytearray(path.read_bytes())
            for _ in range(data.draw(st.integers(1, 3))):
                content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
            path.write_bytes(bytes(content))
            with contextlib.suppress(StorageError, InputError):
                records.load(Path(folder), PACKAGES)
