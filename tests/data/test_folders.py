from __future__ import annotations

import importlib.util
import io
import wave
from pathlib import Path

import datasets
import numpy as np
import PIL.Image
import pytest

from assay.data import Table
from assay.errors import InputError


def picture(path: Path, value: int = 0, size: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("L", (size, size), value).save(path)
    return path


def sound(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.zeros(80, np.int16).tobytes())
    return path


def refused(source: str) -> str:
    with pytest.raises(InputError) as error:
        Table(source).load()
    return str(error.value)


# --- pictures -----------------------------------------------------------------------------------


def test_subfolders_are_classes_in_a_stable_order(tmp_path: Path) -> None:
    for name, value in (("10/b.png", 4), ("10/a.png", 3), ("9/deep/c.JPG", 2), ("2/x.bmp", 1)):
        picture(tmp_path / name, value)
    (tmp_path / "9/notes.txt").write_text("no picture")
    (tmp_path / ".cache").mkdir()
    table = Table(f"images:{tmp_path}").load()
    assert table.label_names == ("2", "9", "10")
    assert list(table.rows["id"]) == ["10/a.png", "10/b.png", "2/x.bmp", "9/deep/c.JPG"]
    assert table.labels().tolist() == [2, 2, 0, 1]
    assert [image.getpixel((0, 0)) for image in table.rows["image"]] == [3, 4, 1, 2]


def test_train_and_test_folders_are_splits(tmp_path: Path) -> None:
    for name in ("train/cat/a.png", "train/dog/b.png", "test/dog/c.png"):
        picture(tmp_path / name)
    table = Table(f"images:{tmp_path}").load()
    assert table.test_name == "test"
    assert table.test is not None
    assert table.labels(table.test).tolist() == [1]
    picture(tmp_path / "test/bird/d.png")
    assert "has the class 'bird', which images:" in refused(f"images:{tmp_path}")


def test_metadata_gives_pictures_their_columns(tmp_path: Path) -> None:
    picture(tmp_path / "b.png", 2)
    picture(tmp_path / "sub/a.png", 1)
    (tmp_path / "metadata.csv").write_text("file_name,text,label,patient\nsub/a.png,one,x,7\nb.png,two,y,7\n")
    table = Table(f"images:{tmp_path}", group="patient").load()
    row = table.rows[0]
    assert row.pop("image").getpixel((0, 0)) == 1
    assert row == {"text": "one", "label": 0, "group": 7, "id": "sub/a.png"}


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (
            "name,label\na.png,1\n",
            "metadata.csv has no column 'file_name'. Did you mean 'name'? Its columns: name, label.",
        ),
        ("file_name,label\n../a.png,1\n", "metadata.csv, row 1: '../a.png' leads outside the folder"),
        ("file_name,label\nb.png,1\n", "There is no file"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(tmp_path: Path, metadata: str, words: str) -> None:
    picture(tmp_path / "set/a.png")
    (tmp_path / "set/metadata.csv").write_text(metadata)
    assert words in refused(f"images:{tmp_path}/set")


def test_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "set/a.png")
    assert "has no subfolders. Put the files of each class into a subfolder" in refused(
        f"images:{tmp_path}/set"
    )
    picture(tmp_path / "set/one/a.png")
    assert "has only one class, 'one'" in refused(f"images:{tmp_path}/set")
    (tmp_path / "set/two").mkdir()
    assert "the class folder 'two' holds no images (.bmp, " in refused(f"images:{tmp_path}/set")
    assert "Did you mean 'set'" in refused(f"images:{tmp_path}/sett")
    assert "is a file; a folder was expected" in refused(f"images:{tmp_path}/set/a.png")


def damaged(kind: str) -> bytes:
    """Return a picture cut in half, noise, or nothing."""
    if kind in ("noise", "empty"):
        return b"no picture at all" if kind == "noise" else b""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    PIL.Image.fromarray(noise).save(buffer, kind.upper())
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


@pytest.mark.parametrize("kind", ["noise", "empty", "png", "jpeg"])
def test_unreadable_pictures_are_named_and_counted(tmp_path: Path, kind: str) -> None:
    picture(tmp_path / "a/fine.png")
    picture(tmp_path / "b/fine.jpg", size=64)
    for name in ("a/broken.png", "b/broken.jpg", "b/other.jpg"):
        (tmp_path / name).write_bytes(damaged(kind))
    words = refused(f"images:{tmp_path}")
    assert ": a/broken.png is unreadable (" in words
    assert "So are 2 others." in words
    assert "object at 0x" not in words


# --- sound --------------------------------------------------------------------------------------


def test_sound_stays_bytes_and_path_without_a_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_decoder(monkeypatch)
    paths = [sound(tmp_path / "no/a.wav"), sound(tmp_path / "yes/b.wav")]
    table = Table(f"audio:{tmp_path}").load()
    assert table.label_names == ("no", "yes")
    assert list(table.rows["audio"]) == [{"bytes": None, "path": str(path)} for path in paths]


def hide_decoder(monkeypatch: pytest.MonkeyPatch, found: object = None) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: found if name == "torchcodec" else real(name, *rest)
    )


def test_sound_is_decoded_where_a_decoder_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_decoder(monkeypatch, found=object())
    sound(tmp_path / "no/a.wav")
    sound(tmp_path / "yes/b.wav")
    assert Table(f"audio:{tmp_path}").load().rows.features["audio"] == datasets.Audio(decode=True)


def test_metadata_gives_sound_its_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_decoder(monkeypatch)
    sound(tmp_path / "clips/a.wav")
    (tmp_path / "metadata.csv").write_text("file_name,transcription,speaker\nclips/a.wav,hello there,7\n")
    row = Table(f"audio:{tmp_path}", group="speaker").load().rows[0]
    assert (row["text"], row["group"], row["id"]) == ("hello there", 7, "clips/a.wav")
    assert Path(row["audio"]["path"]).name == "a.wav"


def test_sound_in_a_table_keeps_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    hide_decoder(monkeypatch)
    clips = [{"bytes": b"fLaC", "path": "a.flac", "sampling_rate": 8000}] * 2
    pq.write_table(pa.table({"audio": clips, "label": [0, 1]}), tmp_path / "rows.parquet")
    table = Table(f"parquet:{tmp_path}/rows.parquet").load()
    assert table.rows[0]["audio"] == {"bytes": b"fLaC", "path": "a.flac"}


def test_empty_sound_is_refused(tmp_path: Path) -> None:
    sound(tmp_path / "no/a.wav")
    sound(tmp_path / "yes/b.wav").write_bytes(b"")
    assert "yes/b.wav is unreadable (it is empty)" in refused(f"audio:{tmp_path}")
