"""Whatever bytes a file holds, a reader reads them or says in one line what is wrong with them."""

from __future__ import annotations

import gzip
import io
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import safetensors.numpy
import soundfile
from hypothesis import HealthCheck, given, settings, strategies as st

from assay import data
from assay.data import Table
from assay.errors import AssayError


def made(write: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def picture(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    return made(lambda file: PIL.Image.fromarray(pixels).save(file, kind))


def sound(kind: str) -> bytes:
    samples = np.sin(np.arange(2000) / 9).astype(np.float32)
    return made(lambda file: soundfile.write(file, samples, 8000, format=kind))


def archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as packed:
            packed.writestr("a/b.txt", "hello " * 20)
    else:
        with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as tar:
            info = tarfile.TarInfo("a/b.txt")
            info.size = 120
            tar.addfile(info, io.BytesIO(b"hello " * 20))
    return buffer.getvalue()


def unpacked(path: Path) -> list[bytes]:
    with data.open_archive(path) as members:
        return [member.read() for member in members]


FRAME = pd.DataFrame({"text": ["a, b", "c"], "label": ["x", "y"], "n": [1, 2**60], "f": [0.5, None]})
CSV = FRAME.to_csv(index=False).encode()
JSON = FRAME.to_json(orient="records", lines=True).encode()
SVM = b"1 1:0.5 3:2\n-1 2:1e3 # comment\n"


def table(kind: str) -> Callable[[Path], Any]:
    return lambda path: Table(f"{kind}:{path}").load()


READERS: dict[str, tuple[str, bytes, Callable[[Path], Any]]] = {
    "text": ("x.txt", "ünï\r\n".encode(), data.read_text),
    "rows": ("x.csv", CSV, data.read_rows),
    "packed rows": ("x.csv.gz", gzip.compress(CSV), data.read_rows),
    "csv": ("x.csv", CSV, table("csv")),
    "json": ("x.jsonl", JSON, table("json")),
    "json array": ("x.json", FRAME.to_json(orient="records").encode(), lambda p: list(data.read_records(p))),
    "json file": ("x.json", b'{"a": [1, {"b": null}]}', data.read_json_file),
    "parquet": ("x.parquet", made(FRAME.to_parquet), table("parquet")),
    "frame": ("x.parquet", made(FRAME.to_parquet), data.read_frame),
    "svmlight": ("x.svm", SVM, table("svmlight")),
    "npz": ("x.npz", made(lambda file: np.savez(file, a=np.arange(9.0), b=np.array("x"))), data.read_arrays),
    "npy": ("x.npy", made(lambda file: np.save(file, np.arange(9.0))), data.read_arrays),
    "tensors": ("x.safetensors", safetensors.numpy.save({"a": np.arange(9.0)}), data.read_tensors),
    "zip": ("x.zip", archive("zip"), unpacked),
    "tar": ("x.tar", archive(""), unpacked),
    "tgz": ("x.tgz", archive("gz"), unpacked),
} | {
    **{
        kind: (f"x.{kind}", picture(kind), data.read_picture)
        for kind in ("png", "jpeg", "gif", "webp", "tiff")
    },
    **{kind: (f"x.{kind}", sound(kind), data.read_sound) for kind in ("wav", "flac", "ogg", "mp3")},
}


@pytest.mark.parametrize("name", READERS)
def test_a_whole_file_is_read(write, name: str) -> None:
    file, content, read = READERS[name]
    read(write(file, content))


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(draw=st.data())
def test_damage_is_said_in_one_line(tmp_path: Path, name: str, draw: st.DataObject) -> None:
    file, content, read = READERS[name]
    damaged = bytearray(content[: draw.draw(st.integers(0, len(content)) | st.just(len(content)))])
    for _ in range(draw.draw(st.integers(0, 4))):
        place = draw.draw(st.integers(0, len(damaged)))
        damaged[place : place + draw.draw(st.integers(0, 4))] = draw.draw(st.binary(max_size=4))
    path = tmp_path / file
    path.write_bytes(damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", data.DataWarning)
        try:
            read(path)
        except AssayError as error:
            lines = str(error).splitlines()
        else:
            lines = ["it could be read"]
    assert len(lines) == 1
