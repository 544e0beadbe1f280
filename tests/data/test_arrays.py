from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from assay.data import read_arrays, read_tensors
from assay.errors import InputError

ARRAYS = {
    "observations": np.arange(6.0).reshape(3, 2),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "empty": np.empty((0, 4), np.float32),
    "names": np.array(["a", "bc"]),
    "scalar": np.array(3),
    "dates": np.array(["2022-05-31"], "datetime64[s]"),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_numpy_reads_them(tmp_path: Path, save) -> None:
    save(tmp_path / "x.npz", **ARRAYS)
    found = read_arrays(tmp_path / "x.npz")
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    np.save(tmp_path / "y.npy", ARRAYS["observations"])
    np.testing.assert_array_equal(read_arrays(tmp_path / "y.npy")["y"], ARRAYS["observations"])


def test_python_objects_are_refused_unread(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.array([{"a": 1}], dtype=object))
    np.save(tmp_path / "y.npy", np.array([print], dtype=object))
    for name in ("x.npz", "y.npy"):
        with pytest.raises(InputError, match="holds Python objects, which need a pickle and are never read"):
            read_arrays(tmp_path / name)


def test_damaged_arrays_are_refused(write) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(100))
    whole = buffer.getvalue()
    for content, words in (
        (whole[:-8], "is damaged: 920 bytes do not hold int64 of shape"),
        (whole.replace(b"(100,)", b"(999,)"), "is damaged: 928 bytes do not hold int64"),
        (b"no array", "is no array of NumPy"),
        (b"PK\x03\x04" + b"x" * 50, "is no array of NumPy"),
    ):
        with pytest.raises(InputError, match=words):
            read_arrays(write("x.npy", content))


def test_tensors_come_from_files_of_weights(tmp_path: Path, write) -> None:
    weights = {"w": torch.arange(4.0)}
    safetensors.torch.save_file(weights, tmp_path / "x.safetensors")
    torch.save(weights, tmp_path / "x.pt")
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "x.pth")
    torch.save(weights["w"], tmp_path / "w.bin")
    for name in ("x.safetensors", "x.pt", "x.pth", "w.bin"):
        assert read_tensors(tmp_path / name)["w"].tolist() == [0, 1, 2, 3], name


class Harmful:
    def __reduce__(self):
        return print, ("called",)


def test_what_holds_no_tensors_is_refused_and_nothing_in_it_is_called(tmp_path: Path, write, capsys) -> None:
    torch.save({"w": Harmful()}, tmp_path / "harmful.pt")
    with pytest.raises(InputError, match="holds no tensors by name"):
        read_tensors(tmp_path / "harmful.pt")
    assert capsys.readouterr().out == ""
    with pytest.raises(InputError, match=r"cannot be read as a file of torch\.save"):
        read_tensors(write("x.bin", b"x"))
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        read_tensors(write("y.safetensors", b"x" * 20))
