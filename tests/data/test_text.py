from __future__ import annotations

import bz2
import gzip
import os
from pathlib import Path

import pytest

from assay.data import Table, read_text, text
from assay.errors import InputError


def refused(path: Path, encoding: str = "utf-8") -> str:
    with pytest.raises(InputError) as error:
        read_text(path, encoding)
    return str(error.value)


def test_text_comes_whole_without_its_byte_order_mark(write) -> None:
    assert read_text(write("a.txt", "\ufeffone\r\ntwo\u2028three\n")) == "one\r\ntwo\u2028three\n"
    assert read_text(str(write("b.txt", "ünï"))) == "ünï"
    assert read_text(write("c.txt.gz", gzip.compress(b"packed"))) == "packed"
    assert read_text(write("d.txt.bz2", bz2.compress(b"packed"))) == "packed"


def test_another_encoding_is_read_where_it_is_named_and_asked_for_where_not(write) -> None:
    latin = write("latin.csv", "name,label\nMüller,1\nStaël,0\n".encode("latin-1"))
    assert "Müller" in read_text(latin, "latin-1")
    words = (
        "latin.csv is not UTF-8: byte 12 (0xfc) does not fit. Save the file as UTF-8, or name its encoding"
    )
    assert words in refused(latin)
    wide = write("wide.csv", "text,label\na,1\nb,0\n".encode("utf-16"))
    assert "wide.csv is UTF-16. Save the file as UTF-8, or name its encoding (--data.encoding" in refused(
        wide
    )
    assert len(Table(f"csv:{wide}", encoding="utf-16").load().rows) == 2
    assert Table(f"csv:{latin}", text="name", encoding="latin-1").load().rows[0]["text"] == "Müller"


@pytest.mark.parametrize(("name", "hint"), [("utf8x", "Did you mean 'utf-8'"), ("hex", ""), ("a\0b", "")])
def test_an_unknown_encoding_is_refused_when_it_is_written(name: str, hint: str) -> None:
    with pytest.raises(InputError, match="There is no encoding") as error:
        Table("csv:x.csv", encoding=name)
    assert hint in str(error.value)


def test_what_is_no_file_is_refused(tmp_path: Path, write, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "pipe.csv is no ordinary file but a pipe, a socket or a device" in refused(tmp_path / "pipe.csv")
    assert "is no ordinary file" in refused(Path("/dev/null"))
    assert "is a folder; a file was expected" in refused(tmp_path)
    write("reviews.csv", "text\na\n")
    assert "There is no file" in refused(tmp_path / "review.csv")
    assert "Did you mean 'reviews.csv'?" in refused(tmp_path / "review.csv")
    assert "There is no file" in refused(tmp_path / ("x" * 300))
    assert "There is no file" in refused(tmp_path / "a\0b")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_text("~/reviews.csv") == "text\na\n"


@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "rows.npy", "rows.joblib.gz"])
def test_files_that_may_hold_a_pickle_are_refused_by_name_and_by_content(write, name: str) -> None:
    assert "is refused: files like this can hold a pickle" in refused(write(name, b"x"))
    assert "is a pickle, which is never read" in refused(write("rows.csv", b"\x80\x04\x95rest"))


def test_what_unpacks_beyond_all_measure_is_refused(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "FREE_GROWTH", 1 << 20)
    real = write("real.csv.gz", gzip.compress(os.urandom(1 << 20).hex().encode()))
    assert len(read_text(real)) == 2 << 20
    bomb = write("bomb.csv.gz", gzip.compress(b"a" * (8 << 20)))
    assert "bomb.csv.gz unpacks to more than 200 times its size, as no real data does" in refused(bomb)
