from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from assay.data import open_archive, text
from assay.errors import InputError

CONTENT = {"a/one.txt": b"1", "two.txt": b"22", "._two.txt": b"macOS", "__MACOSX/a/._one.txt": b"macOS"}


def zipped(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in content.items():
            packed.writestr(name, data)
    return path


def tarred(path: Path, content: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in (".tgz", ".gz") else "w") as packed:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data), kind, "elsewhere"
            packed.addfile(info, io.BytesIO(data))
    return path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as error, open_archive(path) as archive:
        list(archive)
    return str(error.value)


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz", "x.tar.gz"])
def test_files_are_read_and_unpacked(tmp_path: Path, name: str) -> None:
    make = zipped if name == "x.zip" else tarred
    with open_archive(make(tmp_path / name, CONTENT)) as archive:
        assert {member.name: member.read() for member in archive} == {"a/one.txt": b"1", "two.txt": b"22"}
        assert [member.size for member in archive] == [1, 2]
        archive.extract(tmp_path / "out")
    assert (tmp_path / "out/a/one.txt").read_bytes() == b"1"
    assert len(list((tmp_path / "out").rglob("*.txt"))) == 2


@pytest.mark.parametrize("name", ["../up.txt", "/root.txt", "a/../../up.txt", "C:/x.txt"])
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    for path in (zipped(tmp_path / "x.zip", {name: b"1"}), tarred(tmp_path / "x.tar", {name: b"1"})):
        assert f"the name {name!r} leads outside of the folder" in refused(path)


def test_links_devices_and_names_that_stand_twice_are_refused(tmp_path: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        assert "'x' is a link or a device" in refused(tarred(tmp_path / "x.tar", {"x": b""}, kind))
    info = zipfile.ZipInfo("x")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.writestr(info, "elsewhere")
    assert "'x' is a link or a device" in refused(tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as packed:
        packed.writestr("x", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            packed.writestr("x", "2")
    assert "the name 'x' stands twice" in refused(tmp_path / "y.zip")


def test_bombs_and_damage_are_refused(tmp_path: Path, write, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = zipped(tmp_path / "x.zip", {"a": bytes(range(256)) * 100}).read_bytes()
    assert "is no whole archive" in refused(write("half.zip", whole[: len(whole) // 2]))
    assert "is no whole archive" in refused(write("noise.tar", b"x" * 2000))
    broken = write("broken.zip", whole[:60] + b"\xff" * 20 + whole[80:])
    with open_archive(broken) as archive, pytest.raises(InputError, match="a is damaged in its archive"):
        next(iter(archive)).read()
    monkeypatch.setattr(text, "FREE_GROWTH", 1 << 16)
    for path in (
        zipped(tmp_path / "bomb.zip", {"a": b"\0" * (8 << 20)}),
        tarred(tmp_path / "bomb.tgz", {"a": b"\0" * (8 << 20)}),
    ):
        assert "unpacks to more than 200 times its size" in refused(path)
