"""Where a table is, as the user writes it: `KIND:PLACE`, such as `csv:reviews.csv` or `hub:nyu-mll/glue`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from assay import files
from assay.data import paths
from assay.errors import InputError, nearest, unknown

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
_PREFIX = re.compile(r"(?P<kind>[A-Za-z_]{2,}):(?P<place>.*)", re.DOTALL)
_HUB = re.compile(
    r"(?P<name>\w[\w.-]*(/\w[\w.-]*)?)(/(?P<config>[^@#]+))?(@(?P<revision>[^#\s]+))?(#(?P<split>[\w.-]+))?"
)


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


def content(place: Place) -> list[str | None]:
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
