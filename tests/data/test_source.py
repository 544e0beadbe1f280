from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

from assay.data import File, Folder, Table
from assay.data.places import BUNDLED, parse
from assay.errors import InputError
from assay.options import from_plain, options, resolve, to_plain


@dataclasses.dataclass(frozen=True)
class Config:
    """A config as an entry has it."""

    data: Table = dataclasses.field(default_factory=lambda: Table("bundled:digits"))
    """The data."""
    scenes: Folder = dataclasses.field(default_factory=lambda: Folder(Path("scenes")))
    """The scenes."""


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, assay.data; heavy = {'numpy', 'torch', 'datasets', 'pandas', 'pyarrow', 'sklearn'};"
        " sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- how sources are written --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "config", "revision", "split"),
    [
        ("hub:imdb", "imdb", None, None, None),
        ("hub:stanfordnlp/imdb", "stanfordnlp/imdb", None, None, None),
        ("hub:nyu-mll/glue/sst2", "nyu-mll/glue", "sst2", None, None),
        ("hub:nyu-mll/glue@v1.0", "nyu-mll/glue", None, "v1.0", None),
        ("hub:a/b@refs/convert/parquet", "a/b", None, "refs/convert/parquet", None),
        ("hub:org.x/n-1_2/en-US@abc123#validation", "org.x/n-1_2", "en-US", "abc123", "validation"),
        ("hub:a/b/deep/config", "a/b", "deep/config", None, None),
        ("hub:a/b#test", "a/b", None, None, "test"),
    ],
)
def test_a_hub_name_has_two_parts_then_config_revision_and_split(
    text: str, name: str, config: str | None, revision: str | None, split: str | None
) -> None:
    place = parse(text)
    assert (place.location, place.config, place.revision, place.split) == (name, config, revision, split)


@pytest.mark.parametrize("text", ["hub:/home/me/data", "hub:a b/c", "hub:../x", "hub:a/b@", "hub:~/data"])
def test_what_is_no_hub_name_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not a name on the hub"):
        parse(text)


def test_colons_and_spaces_in_paths_survive() -> None:
    assert parse("csv:/a b/c:d.csv").path == Path("/a b/c:d.csv")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("reviews.csv", "Did you mean 'csv:reviews.csv'"),
        ("a/b.tsv", "Did you mean 'csv:a/b.tsv'"),
        ("x.jsonl", "Did you mean 'json:x.jsonl'"),
        ("x.json.gz", "Did you mean 'json:x.json.gz'"),
        ("x.parquet", "Did you mean 'parquet:x.parquet'"),
        ("a9a.svmlight.bz2", "Did you mean 'svmlight:a9a.svmlight.bz2'"),
        ("digits", "Did you mean 'bundled:digits'"),
        ("digit", "Did you mean 'bundled:digits'"),
        ("stanfordnlp/imdb", "Did you mean 'hub:stanfordnlp/imdb'"),
        ("C:\\data\\x.csv", "Did you mean 'csv:C"),
        ("model.pt", "never read"),
        ("rows.pkl.gz", "never read"),
    ],
)
def test_a_source_without_a_kind_gets_the_likely_one(text: str, hint: str) -> None:
    with pytest.raises(InputError) as error:
        Table(text)
    assert hint in str(error.value)


def test_a_bare_folder_is_answered_with_the_kinds_for_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"images:.*audio:.*parquet:"):
        Table(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cvs:x.csv", "no kind of source 'cvs'. Did you mean 'csv'"),
        ("csv:", "names no place"),
        ("bundled:digist", "no bundled table 'digist'. Did you mean 'digits'"),
    ],
)
def test_wrong_kinds_and_names_are_answered_with_the_nearest(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        Table(text)
    assert message in str(error.value)


def test_the_test_source_is_checked_too() -> None:
    with pytest.raises(InputError, match="no kind of source"):
        Table("bundled:iris", test="cvs:x")


# --- configs ------------------------------------------------------------------------------------


def test_a_table_survives_json() -> None:
    table = Table("csv:x.csv", text="review", label="stars", features=("a", "b"), test="csv:y.csv")
    assert Table(**json.loads(json.dumps(dataclasses.asdict(table)))) == table
    assert Table("csv:x.csv", features="a").features == ("a",)  # type: ignore[arg-type]


def test_a_config_with_a_table_and_a_folder_survives_json_and_options() -> None:
    config = resolve(Config, {"data": "csv:x.csv", "data.text": "review", "data.features": ["a", "b"]})
    assert config.data == Table("csv:x.csv", text="review", features=("a", "b"))
    assert from_plain(Config, json.loads(json.dumps(to_plain(config)))) == config


def test_every_field_is_documented() -> None:
    assert all(option.meaning for option in options(Config()))
    assert [field.name for field in dataclasses.fields(Table)] == [
        *(
            "source",
            "text",
            "image",
            "audio",
            "label",
            "features",
            "group",
            "id",
            "test",
            "encoding",
            "missing",
        )
    ]


# --- fingerprints -------------------------------------------------------------------------------


def test_a_files_fingerprint_is_of_its_content_and_roles_not_its_place(write) -> None:
    first, copy = write("a.csv", "text,label\nx,1\n"), write("sub/b.csv", "text,label\nx,1\n")
    other = write("c.csv", "text,label\nx,2\n")
    prints = [Table(f"csv:{path}").fingerprint() for path in (first, copy, other)]
    assert prints[0] == prints[1] != prints[2]
    assert Table(f"csv:{first}", label="label").fingerprint() != prints[0]
    assert Table(f"csv:{first}", test=f"csv:{other}").fingerprint() != prints[0]
    assert File(first).fingerprint() == hashlib.sha256(b"text,label\nx,1\n").hexdigest()


def test_a_folders_fingerprint_is_of_relative_paths_and_contents(write, tmp_path: Path) -> None:
    for root in ("one", "two"):
        write(f"{root}/a/x.png", "1")
        write(f"{root}/b/y.png", "2")
    write("one/.DS_Store", "hidden")
    write("one/.git/x", "hidden")
    same = Folder(tmp_path / "one").fingerprint()
    assert Folder(tmp_path / "two").fingerprint() == same
    assert Table(f"images:{tmp_path}/one").fingerprint() == Table(f"images:{tmp_path}/two").fingerprint()
    (tmp_path / "two/b/y.png").rename(tmp_path / "two/b/z.png")
    assert Folder(tmp_path / "two").fingerprint() != same
    write("two/b/y.png", "3")
    (tmp_path / "two/b/z.png").unlink()
    assert Folder(tmp_path / "two").fingerprint() != same


def test_a_parquet_folders_fingerprint_covers_the_splits_that_are_used(write, tmp_path: Path) -> None:
    write("set/train.parquet", "a")
    write("set/test.parquet", "b")
    before = Table(f"parquet:{tmp_path}/set").fingerprint()
    write("set/README.md", "words")
    write("set/extra.parquet", "c")
    assert Table(f"parquet:{tmp_path}/set").fingerprint() == before
    write("set/test.parquet", "d")
    assert Table(f"parquet:{tmp_path}/set").fingerprint() != before


def test_a_hub_fingerprint_is_of_name_and_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = ("hub:a/b", "hub:a/c", "hub:a/b@1", "hub:a/b/x", "hub:a/b#test")
    assert len({Table(source).fingerprint() for source in sources}) == len(sources)
    assert Table("hub:a/b@1").fingerprint() == Table("hub:a/b@1").fingerprint()


def test_a_bundled_fingerprint_is_of_name_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: Table(f"bundled:{name}").fingerprint() for name in BUNDLED}
    assert len(set(before.values())) == len(BUNDLED)
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "0.0")
    assert Table("bundled:iris").fingerprint() != before["iris"]


def test_fingerprints_need_no_heavy_import(write) -> None:
    path = write("a.csv", "text,label\nx,1\n")
    code = (
        "import sys; from assay.data import Table; Table('bundled:docstrings').fingerprint();"
        f" Table('csv:{path}').fingerprint();"
        " sys.exit(', '.join({'torch', 'datasets', 'numpy', 'pyarrow'} & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- files and folders --------------------------------------------------------------------------


def test_a_missing_file_is_answered_with_the_nearest_one(write, tmp_path: Path) -> None:
    write("reviews.csv", "text\nx\n")
    for act in (Table(f"csv:{tmp_path}/review.csv").load, Table(f"csv:{tmp_path}/review.csv").fingerprint):
        with pytest.raises(InputError, match=r"There is no file .*review.csv. Did you mean 'reviews.csv'"):
            act()
    with pytest.raises(InputError, match=r"the folder .*nowhere does not exist"):
        File(tmp_path / "nowhere/x.csv").require()


def test_a_file_is_required_with_its_endings(write, tmp_path: Path) -> None:
    path = write("scans.zip", "x")
    assert File(str(path)).require() == File(path).require(suffixes=(".zip",)) == path
    with pytest.raises(InputError, match=r"ends in \.csv or \.tsv"):
        File(path).require(suffixes=(".tsv", ".csv"))
    with pytest.raises(InputError, match="is a folder; a file was expected"):
        File(tmp_path).require()
    with pytest.raises(InputError, match="is empty"):
        File(write("none.zip", "")).require()


@pytest.mark.parametrize("suffix", [".pkl", ".pt", ".npy", ".joblib", ".pickle", ".pth"])
def test_pickles_are_refused_unless_asked_for(write, suffix: str) -> None:
    path = write(f"x{suffix}", "x")
    with pytest.raises(InputError, match="pickle"):
        File(path).require()
    with pytest.raises(InputError, match="pickle"):
        Table(f"csv:{path}").load()
    assert File(path).require(suffixes=(suffix,)) == path


def test_a_folder_is_required_with_its_endings(write, tmp_path: Path) -> None:
    write("scenes/deep/a.TIF", "x")
    folder = Folder(tmp_path / "scenes")
    assert folder.require() == folder.require(suffixes=(".tif",)) == tmp_path / "scenes"
    with pytest.raises(InputError, match=r"holds no file that ends in \.png"):
        folder.require(suffixes=(".png",))
    with pytest.raises(InputError, match=r"no folder .*scens. Did you mean 'scenes'"):
        Folder(tmp_path / "scens").require()
    with pytest.raises(InputError, match="is a file; a folder was expected"):
        Folder(tmp_path / "scenes/deep/a.TIF").require()
