"""Where data comes from: typed inputs that a config can hold. Nothing heavy is imported here.

A table's source is written `KIND:PLACE`, such as `csv:reviews.csv` or `hub:stanfordnlp/imdb`; it is checked
for its form when it is made, and for its content when it is loaded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from assay import files
from assay.data import paths, text
from assay.data.places import content, parse

if TYPE_CHECKING:
    from assay.data.table import LoadedTable

_TABLES = ("hub:", "csv:", "json:", "parquet:")


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
        from assay.data.loaders import Request, load
        from assay.data.roles import Roles

        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(Roles)}
        roles = Roles(**named | {"features": self.features or ()})
        return load(Request(self.source, self.test, roles, self.encoding, self.missing), needs)

    def fingerprint(self) -> str:
        """Identify the content and the roles: SHA-256 of files, versions of packages, a hub's revision."""
        roles = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("source", "test")
            and (field.name not in ("encoding", "missing") or getattr(self, field.name) != field.default)
        }
        contents = [content(parse(place)) for place in (self.source, self.test) if place is not None]
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
