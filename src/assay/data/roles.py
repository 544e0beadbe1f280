"""Which column plays which role: as the user says, else by its name and type."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import datasets
import pyarrow as pa

from assay.data.raw import Raw
from assay.errors import InputError, nearest, unknown

CANONICAL = {
    "text": ("text", "sentence", "review", "content", "transcription", "transcript"),
    "image": ("image", "img"),
    "audio": ("audio",),
    "label": ("label", "labels", "target", "class", "y"),
    "group": ("group",),
    "id": ("id",),
}
NEEDS = ("text", "image", "audio", "label", "target", "features", "group", "id")


@dataclass(frozen=True)
class Roles:
    """The column of each role. `features` has one column of lists, or columns of numbers."""

    text: str | None = None
    image: str | None = None
    audio: str | None = None
    label: str | None = None
    group: str | None = None
    id: str | None = None
    features: tuple[str, ...] = ()

    def used(self) -> set[str]:
        """Return the columns that have a role."""
        single = {column for _, column in self.single()}
        return single | set(self.features)

    def single(self) -> list[tuple[str, str]]:
        """Return the roles of one column each, with their columns."""
        return [(role, column) for role in CANONICAL if (column := getattr(self, role)) is not None]


def find_roles(raw: Raw, named: Roles, needs: Iterable[str] | None) -> Roles:
    """Give columns their roles, those first that the user named.

    Raises:
        InputError: a column that the user named is missing, of the wrong type or named twice, or a role
            that the caller needs has no column.
    """
    wanted = _wanted(needs)
    roles = _named(raw, named)
    for role, names in CANONICAL.items():
        if getattr(roles, role) is None and role in wanted:
            free = {column.lower(): column for column in raw.columns if column not in roles.used()}
            if "x" in free:
                free.pop("y", None)  # coordinates
            fits = [free[name] for name in names if name in free and _fault(raw, free[name], role) is None]
            roles = _with(roles, role, fits[0]) if fits else roles
    if not roles.features and "features" in wanted:
        roles = replace(roles, features=_numeric(raw, roles, needs is not None))
    _check_needs(raw, roles, needs)
    return roles


def check_roles(raw: Raw, roles: Roles, train: str) -> None:
    """Check that a test table has the columns of its training table, of the same types.

    Raises:
        InputError: a column is missing or of another type.
    """
    for column in sorted(roles.used()):
        if column not in raw.columns:
            raise _no_column(raw, column, f", which {train} has")
    for role, column in [*roles.single(), *(("features", column) for column in roles.features)]:
        _check(raw, column, role)


def is_list(kind: pa.DataType) -> bool:
    """Return whether a type is a list of anything."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_number(kind: pa.DataType) -> bool:
    """Return whether a type is a number or true/false."""
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return any(check(kind) for check in checks)


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type is text, also when it is kept as a dictionary."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return any(
        check(kind) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    )


def _with(roles: Roles, role: str, column: str) -> Roles:
    found: dict[str, Any] = {role: column}
    return replace(roles, **found)


def _wanted(needs: Iterable[str] | None) -> set[str]:
    if needs is None:
        return {*CANONICAL, "features"}
    for need in needs:
        if need not in NEEDS:
            raise unknown("role", need, NEEDS)
    return {"label" if need == "target" else need for need in needs}


def _named(raw: Raw, named: Roles) -> Roles:
    """Return the roles that the user named, if their columns are there and fit."""
    given = named.single()
    for role, column in [*given, *(("features", column) for column in named.features)]:
        if column not in raw.columns:
            raise _no_column(raw, column, "")
        _check(raw, column, role)
    columns = [*(column for _, column in given), *named.features]
    twice = [column for column in columns if columns.count(column) > 1]
    if twice:
        raise InputError(f"The column {twice[0]!r} is named for two roles. Name it for one.")
    return named


def _no_column(raw: Raw, column: str, remark: str) -> InputError:
    listing = ", ".join(raw.columns[:30]) + (" ..." if len(raw.columns) > 30 else "")
    return InputError(
        f"{raw.name} has no column {column!r}{remark}.{nearest(column, raw.columns)} Its columns: {listing}."
    )


def _numeric(raw: Raw, roles: Roles, needed: bool) -> tuple[str, ...]:
    """Return a column of lists called features, else all free numeric columns where nothing else is input."""
    free = [column for column in raw.columns if column not in roles.used()]
    for column in free:
        if column.lower() == "features" and _fault(raw, column, "features") is None:
            return (column,)
    other_input = roles.text or roles.image or roles.audio
    if raw.num_features or (other_input and not needed):
        return ()
    # a second class label of a published table is no measurement
    return tuple(
        column
        for column in free
        if is_number(raw.table.schema.field(column).type)
        and not isinstance(raw.features[column], datasets.ClassLabel)
    )


def _check(raw: Raw, column: str, role: str) -> None:
    fault = _fault(raw, column, role)
    if fault is not None:
        raise InputError(f"{raw.name}: column {column!r} {fault}. Name another with --data.{role}.")


def _fault(raw: Raw, column: str, role: str) -> str | None:
    """Say why a column cannot play a role, or return `None`."""
    kind = raw.table.schema.field(column).type
    if role == "text" and not is_text(kind):
        return f"is not text but {_words(kind)}"
    if role == "image" and not isinstance(raw.features[column], datasets.Image) and not _holds_bytes(kind):
        return f"holds no pictures but {_words(kind)} (pictures in files: images:FOLDER with a metadata.csv)"
    if role == "audio" and not isinstance(raw.features[column], datasets.Audio) and not _holds_bytes(kind):
        return f"holds no sound but {_words(kind)} (sound in files: audio:FOLDER with a metadata.csv)"
    if role in ("label", "group", "id") and not (is_text(kind) or is_number(kind)):
        return f"holds {_words(kind)}, not one value a row"
    if role == "features" and not is_number(kind) and not (is_list(kind) and is_number(kind.value_type)):
        return f"is not numeric but {_words(kind)}{_example(raw, column)}"
    return None


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _example(raw: Raw, column: str) -> str:
    """Show the first value that is no number, for the column that only a few cells keep from being one."""
    if not is_text(raw.table.schema.field(column).type):
        return ""
    for row, value in enumerate(raw.table[column].to_pylist(), start=1):
        try:
            float(value or "nan")
        except ValueError:
            return f" (row {row}: {value[:40]!r})"
    return ""


def _words(kind: Any) -> str:
    if is_text(kind):
        return "text"
    if is_number(kind):
        return "numbers"
    if is_list(kind):
        return f"lists of {_words(kind.value_type)}"
    return str(kind) if len(str(kind)) < 40 else "nested values"


def _check_needs(raw: Raw, roles: Roles, needs: Iterable[str] | None) -> None:
    for need in needs or ():
        role = "label" if need == "target" else need
        found = bool(raw.num_features or roles.features) if role == "features" else getattr(roles, role)
        if found:
            continue
        faults = [
            f" Column {column!r} {fault}."
            for column in raw.columns
            if column.lower() in CANONICAL.get(role, ()) and (fault := _fault(raw, column, role)) is not None
        ]
        what = "column of numbers" if role == "features" else f"{need} column"
        raise InputError(
            f"{raw.name} has no {what}.{''.join(faults[:1])} Name one with --data.{role}. Its columns:"
            f" {', '.join(raw.columns[:30])}."
        )
