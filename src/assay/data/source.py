"""Where data comes from: typed inputs that a config can hold. Nothing heavy is imported here.

A table's source is written `KIND:PLACE`, such as `csv:reviews.csv` or `hub:stanfordnlp/imdb`; it is checked
for its form when it is made, and for its content when it is loaded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from assay import files
from assay.data import paths, text
from assay.errors import InputError, nearest, unknown

if TYPE_CHECKING:
    from assay.data.table import LoadedTable

KINDS = {
    "bundled": "bundled:NAME",
    "csv": "csv:FILE",
    "json": "json:FILE",
    "parquet": "parquet:FILE or parquet:FOLDER",
    "svmlight": "svmlight:FILE",
    "images": "images:FOLDER",
    "audio": "audio:FOLDER",
    "hub": "hub:NAME[/CONFIG][@REVISION][#SPLIT]",
}
BUNDLED = ("breast_cancer", "diabetes", "digits", "docstrings", "iris", "patches", "wine")

_KIND_OF_SUFFIX = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".libsvm": "svmlight",
    ".svm": "svmlight",
    ".svmlight": "svmlight",
}
_TABLES = ("hub:", "csv:", "json:", "parquet:")
_PREFIX = re.compile(r"(?P<kind>[A-Za-z_]{2,}):(?P<place>.*)", re.DOTALL)
_HUB = re.compile(
    r"(?P<name>\w[\w.-]*(/\w[\w.-]*)?)(/(?P<config>[^@#]+))?(@(?P<revision>[^#\s]+))?(#(?P<split>[\w.-]+))?"
)


@dataclass(frozen=True)
class Table:
    """A table of examples. `--data SOURCE` is short for `--data.source SOURCE`."""

    source: str
    """Where the rows are: bundled:NAME, csv:FILE, json:FILE, parquet:FILE or FOLDER, svmlight:FILE,
    images:FOLDER, audio:FOLDER, or `hub:NAME[/CONFIG][@REVISION]` (the only one that downloads)."""
    text: str | None = None
    """Column with the text. Unless given, one called text, sentence, review or content."""
    image: str | None = None
    """Column with the pictures. Unless given, one called image or img."""
    audio: str | None = None
    """Column with the sound. Unless given, one called audio."""
    label: str | None = None
    """Column with the class. Unless given, one called label, labels, target, class or y. Real numbers
    become the column target instead."""
    features: tuple[str, ...] | None = None
    """Columns with numbers. Unless given, a column of lists called features or, where there is no text,
    picture or sound, every numeric column that has no other role."""
    group: str | None = None
    """Column that names what rows have in common (a student, a patient, a speaker): a split keeps such
    rows together. Unless given, one called group."""
    id: str | None = None
    """Column that names a row. Unless given, one called id."""
    test: str | None = None
    """Source of the test rows, with the same columns. Unless given, the published test split, if any."""
    encoding: str = "utf-8"
    """Encoding of csv: and json: files."""
    missing: Literal["refuse", "drop"] = "refuse"
    """Rows with an empty cell in a column that has a role: an error, or left out with a warning."""

    def __post_init__(self) -> None:
        parse(self.source)
        if self.test is not None:
            parse(self.test)
        if self.features is not None:
            given: str | Iterable[str] = self.features  # a list from JSON, or a single name
            object.__setattr__(self, "features", (given,) if isinstance(given, str) else tuple(given))
        text.check_encoding(self.encoding)

    def load(self, needs: Iterable[str] | None = None) -> LoadedTable:
        """Read the rows and give the columns their roles' names.

        Args:
            needs: the roles that the caller uses, of text, image, audio, label, target, features, group
                and id. Each must be there; columns of other roles are not looked for and keep their own
                names unless the user named them. With `None` every role is looked for and none must be
                there.

        Raises:
            InputError: the source cannot be read, or a column is missing or unfit for its role.
        """
        from assay.data.loaders import load

        return load(self, needs)

    def fingerprint(self) -> str:
        """Identify the content and the roles: SHA-256 of files, versions of packages, a hub's revision."""
        roles = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("source", "test")
            and (field.name not in ("encoding", "missing") or getattr(self, field.name) != field.default)
        }
        contents = [_content(parse(place)) for place in (self.source, self.test) if place is not None]
        state = json.dumps({"roles": roles, "contents": contents}, sort_keys=True)
        return hashlib.sha256(state.encode()).hexdigest()


@dataclass(frozen=True)
class Folder:
    """A folder that is no table: scenes, logs, video."""

    path: Path
    """The folder."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", files.user_path(self.path))

    def require(self, suffixes: Iterable[str] = ()) -> Path:
        """Return the path.

        Args:
            suffixes: endings, such as `.tif`, of which the folder must hold a file, however deep.

        Raises:
            InputError: there is no such folder, or it holds no such file.
        """
        return paths.existing_folder(self.path, suffixes)

    def fingerprint(self) -> str:
        """Return the SHA-256 over the relative paths and contents of the files, without hidden ones."""
        return paths.hash_folder(self.path)


@dataclass(frozen=True)
class File:
    """A file that is no table."""

    path: Path
    """The file."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", files.user_path(self.path))

    def require(self, suffixes: Iterable[str] = ()) -> Path:
        """Return the path.

        Args:
            suffixes: endings, such as `.zip`, of which the file must have one. Kinds of file that may hold
                a pickle are refused unless their ending is among them.

        Raises:
            InputError: there is no such file, it is empty, or it ends otherwise.
        """
        return paths.existing_file(self.path, suffixes)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the content."""
        return paths.hash_file(self.path)


@dataclass(frozen=True)
class Rows:
    """Rows in a file or a table, or none."""

    source: str | None = None
    """A file of JSON lines, or a table: `hub:NAME[/CONFIG][#SPLIT]`, csv:FILE, json:FILE, parquet:FILE."""

    def table(self) -> Table | None:
        """Return the table that the source names, if it is not the path of a file."""
        return Table(self.source) if self.source and self.source.startswith(_TABLES) else None

    def fingerprint(self) -> str:
        """Identify the content."""
        if self.source is None:
            return "made here"
        table = self.table()
        if table is not None:
            return table.fingerprint()
        path = files.user_path(self.source)
        return paths.hash_file(path) if path.is_file() else "missing"


@dataclass(frozen=True)
class Place:
    """A source, taken apart. `text` is how it was written; only a hub has the last three."""

    kind: str
    location: str
    text: str
    config: str | None = None
    revision: str | None = None
    split: str | None = None

    @property
    def path(self) -> Path:
        """The file or folder."""
        return files.user_path(self.location)


def parse(text: str) -> Place:
    """Take a source apart.

    After `hub:` the first two names are the data set (`ORG/NAME`; one that has no organisation is written
    alone), what follows a second slash is the configuration, after `@` comes a revision (a branch, a tag
    or a commit) and after `#` the split to take the rows from.

    Raises:
        InputError: it has no kind, an unknown one, or a place that the kind does not allow.
    """
    match = _PREFIX.fullmatch(text)
    if match is None:
        raise _unprefixed(text)
    kind, place = match["kind"], match["place"].strip()
    if kind not in KINDS:
        raise unknown("kind of source", kind, KINDS)
    if not place:
        raise InputError(f"{text!r} names no place. Write {KINDS[kind]}.")
    if kind == "bundled" and place not in BUNDLED:
        raise unknown("bundled table", place, BUNDLED)
    if kind == "hub":
        return _hub(place, text)
    return Place(kind, place, text)


def _hub(place: str, text: str) -> Place:
    match = _HUB.fullmatch(place)
    if match is None:
        raise InputError(
            f"{text!r} is not a name on the hub. Write {KINDS['hub']}, such as hub:nyu-mll/glue/sst2;"
            " a folder on this machine is written parquet:FOLDER."
        )
    return Place("hub", match["name"], text, match["config"], match["revision"], match["split"])


def _unprefixed(text: str) -> InputError:
    """Return the error for a source without a kind, with the one that was probably meant."""
    path = files.user_path(text)
    kind = _KIND_OF_SUFFIX.get(paths.suffix_of(path))
    if paths.suffix_of(path) in paths.PICKLES:
        return InputError(
            f"{text!r} may hold a pickle, which is never read. Save the data as Parquet, CSV or JSON."
        )
    if kind is not None:
        hint = f" Did you mean {f'{kind}:{text}'!r}?"
    elif path.is_dir():
        choices = " or ".join(repr(f"{kind}:{text}") for kind in ("images", "audio", "parquet"))
        hint = f" It is a folder: write {choices}."
    elif nearest(text, BUNDLED):
        hint = nearest(text, BUNDLED).replace("'", "'bundled:", 1)
    elif _HUB.fullmatch(text) and "/" in text and not path.exists():
        hint = f" Did you mean {f'hub:{text}'!r}?"
    else:
        hint = ""
    return InputError(
        f"{text!r} does not say what kind of source it is.{hint} Known: {', '.join(KINDS.values())}."
    )


def _content(place: Place) -> list[str | None]:
    """Identify what a source holds without loading it."""
    if place.kind == "hub":
        return ["hub", place.location, place.config, place.revision, place.split]
    if place.kind == "bundled":
        from assay.data.bundled import versions

        return ["bundled", place.location, *versions(place.location)]
    if place.kind == "parquet" and place.path.is_dir():
        splits = paths.parquet_splits(place.path)
        main, tests = paths.used_splits(list(splits), place.text, f"{place.text}/SPLIT.parquet")
        used = [(name, file) for name in (main, *tests) for file in splits[name]]
        return ["parquet", *(f"{name}:{paths.hash_file(file)}" for name, file in used)]
    if place.kind in ("images", "audio"):
        return [place.kind, paths.hash_folder(place.path)]
    return [place.kind, paths.hash_file(paths.existing_file(place.path))]
