"""From a source to a table: read it, find the roles of its columns, and name the columns by them."""

from __future__ import annotations

import dataclasses
import importlib.util
import secrets
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import datasets
import numpy as np
import pyarrow as pa

from assay.data import features, labels
from assay.data.bundled import read_bundled
from assay.data.columns import delimited_table, json_table
from assay.data.folders import read_folder
from assay.data.parquet import read_hub, read_parquet
from assay.data.pictures import check_picture
from assay.data.places import Place, parse
from assay.data.raw import Raw, Splits, blank_mask, make_raw, null_mask, row_numbers
from assay.data.roles import Roles, check_roles, find_roles, is_text
from assay.data.svmlight import list_column, read_svmlight
from assay.data.table import DataWarning, LoadedTable
from assay.errors import InputError


@dataclass(frozen=True)
class Request:
    """A table as the user asks for it: its sources, the columns that they named, and how it is read."""

    source: str
    test: str | None
    roles: Roles
    encoding: str
    missing: Literal["refuse", "drop"]


def load(table: Request, needs: Iterable[str] | None = None) -> LoadedTable:
    """Load a table; see `Table.load`."""
    if needs is not None:
        needs = (needs,) if isinstance(needs, str) else tuple(needs)
    splits = _read_both(table)
    main = splits.main
    roles = find_roles(main, table.roles, needs)
    if table.missing == "drop":
        main = _without_empty(main, roles)
    regression = _is_regression(main, roles, needs)
    names: tuple[str, ...] = ()
    codes = None
    if roles.label is not None and not regression:
        codes, names = labels.encode(main, roles.label)
    shaped, feature_names = _shape(main, roles, codes, names)
    test, test_name = None, _choose_test(splits.tests, roles, given=table.test is not None)
    if test_name is not None:
        given = splits.tests[test_name]
        check_roles(given, roles, main.name)
        given = _without_empty(given, roles) if table.missing == "drop" else given
        test = _shape_test(given, roles, names, main, feature_names)
        test_name = table.test or test_name
    num_features = main.num_features if not roles.features else len(feature_names)
    return LoadedTable(shaped, test, names, feature_names, num_features, table.source, test_name)


# --- reading ------------------------------------------------------------------------------------


def _read_both(table: Request) -> Splits:
    """Read the source and, where the user gave one, the test source in place of the published test split."""
    place = parse(table.source)
    if table.test is None:
        return _read(place, table)
    test = parse(table.test)
    if place.kind == test.kind == "svmlight":  # one numbering of features for both
        main, tested = read_svmlight([(place.path, place.text), (test.path, test.text)])
        return Splits(main, {"test": tested})
    main, found = _read(place, table).main, _read(test, table)
    return Splits(main, found.tests or {"test": found.main})


def _read(place: Place, table: Request) -> Splits:
    if place.kind == "bundled":
        return read_bundled(place.location)
    if place.kind == "csv":
        rows = delimited_table(place.path, place.text, table.encoding, table.roles.id or "id")
        return Splits(make_raw(rows, place.text), {})
    if place.kind == "json":
        return Splits(make_raw(json_table(place.path, place.text, table.encoding), place.text), {})
    if place.kind == "svmlight":
        return Splits(read_svmlight([(place.path, place.text)])[0], {})
    if place.kind == "parquet":
        return read_parquet(place)
    if place.kind == "hub":
        return read_hub(place)
    return read_folder(place)


# --- naming the columns by their roles ----------------------------------------------------------


def _is_regression(raw: Raw, roles: Roles, needs: tuple[str, ...] | None) -> bool:
    if roles.label is None:
        return False
    if needs is not None and "target" in needs:
        return True
    if raw.regression and roles.label == "target":
        return True
    real = labels.is_real(raw, roles.label)
    if real and needs is not None and "label" in needs:
        raise InputError(
            f"{raw.name}: column {roles.label!r} holds real numbers, not classes. Name another with"
            " --data.label."
        )
    return real


def _choose_test(tests: dict[str, Raw], roles: Roles, given: bool) -> str | None:
    """Return the first test split whose labels are not hidden. One that the user gave must do in any case."""
    for name, raw in tests.items():
        if roles.label is None or not labels.all_hidden(raw, roles.label):
            return name
    return next(iter(tests), None) if given else None


def _shape_test(
    raw: Raw, roles: Roles, names: tuple[str, ...], train: Raw, feature_names: tuple[str, ...]
) -> datasets.Dataset:
    """Name the columns of test rows as those of the training rows."""
    codes = None
    if roles.label is not None and names:
        codes = labels.encode_like(raw, roles.label, names, train.name)
    shaped, found = _shape(raw, roles, codes, names)
    if len(found) != len(feature_names) or raw.num_features != train.num_features:
        raise InputError(
            f"{raw.name} has {len(found)} features where {train.name} has {len(feature_names)}."
            " Give test rows with the same features."
        )
    return shaped


def _shape(
    raw: Raw, roles: Roles, codes: labels.Codes | None, names: tuple[str, ...]
) -> tuple[datasets.Dataset, tuple[str, ...]]:
    """Return the rows with columns called by their roles, and the names of the features."""
    columns: dict[str, Any] = {}
    types: dict[str, Any] = {}
    feature_names = raw.feature_names
    for role, column in roles.single():
        if role == "label":
            continue
        columns[role], types[role] = _role_column(raw, role, column)
    if codes is not None:
        columns["label"], types["label"] = pa.array(codes), datasets.ClassLabel(names=list(names))
    elif roles.label is not None:
        columns["target"] = pa.array(labels.real_values(raw, roles.label))
        types["target"] = datasets.Value("float64")
    if roles.features:
        matrix, feature_names = features.stack(raw, roles.features)
        columns["features"] = list_column(matrix)
        types["features"] = datasets.List(datasets.Value("float64"))
    for column in raw.columns:
        if column not in roles.used():
            name = _free_name(column, columns)
            columns[name], types[name] = _other_column(raw, column)
    # a random fingerprint, because the default would hash every byte, and nothing in memory is cached by it
    info = datasets.DatasetInfo(features=datasets.Features(types))
    return datasets.Dataset(pa.table(columns), info=info, fingerprint=secrets.token_hex(8)), feature_names


def _role_column(raw: Raw, role: str, column: str) -> tuple[Any, Any]:
    data, feature = raw.table[column], raw.features[column]
    empty = _empty(raw, role, column)
    if empty.any():
        raise InputError(
            f"{raw.name}: column {column!r} is empty in {int(empty.sum())} of {len(empty)} rows"
            f" ({row_numbers(empty)}). Fill them in, remove these rows, or leave them out with"
            " --data.missing drop."
        )
    if role == "image":
        feature = feature if isinstance(feature, datasets.Image) else datasets.Image()
        data = _media(raw, column, feature)
    elif role == "audio":
        feature = _without_decoder(feature if isinstance(feature, datasets.Audio) else datasets.Audio())
        data = _media(raw, column, feature)
    elif role == "text":
        feature = datasets.Value("large_string" if pa.types.is_large_string(data.type) else "string")
        data = data.cast(feature.pa_type)
    return data, feature


def _without_empty(raw: Raw, roles: Roles) -> Raw:
    """Leave out the rows that have nothing in a column with a role, and say how many they are."""
    empty = np.zeros(raw.table.num_rows, dtype=bool)
    for role, column in roles.single():
        empty |= labels.empty_mask(raw, column) if role == "label" else _empty(raw, role, column)
    for column in roles.features:
        empty |= features.empty_mask(raw.table[column])
    if empty.all():
        raise InputError(f"{raw.name}: every row has an empty cell in one of the columns that are used.")
    if empty.any():
        warnings.warn(
            f"{raw.name}: {int(empty.sum())} of {len(empty)} rows have empty cells and are left out"
            f" ({row_numbers(empty)}).",
            DataWarning,
            stacklevel=2,
        )
    return dataclasses.replace(raw, table=raw.table.filter(pa.array(~empty)))


def _empty(raw: Raw, role: str, column: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows have nothing in a column: a text may be empty, but no name of a group or a row."""
    data = raw.table[column]
    if role in ("group", "id") and is_text(data.type):
        return blank_mask(data)
    return null_mask(data)


def _media(raw: Raw, column: str, feature: Any) -> pa.ChunkedArray:
    """Return pictures or sound as structs of bytes and path."""
    chunks = [feature.cast_storage(chunk) for chunk in raw.table[column].chunks]
    data = pa.chunked_array(chunks, feature.pa_type)
    if raw.media_checked:
        return data
    outside = null_mask(pa.chunked_array([chunk.field("bytes") for chunk in data.chunks], pa.binary()))
    if outside.any():  # a path inside a table may lead to any file or address: it is not followed
        raise InputError(
            f"{raw.name}: column {column!r} has no content but only a path in {row_numbers(outside)}. Save"
            " the table with the bytes of the files in it."
        )
    if isinstance(feature, datasets.Image):
        for row, picture in enumerate(data, start=1):
            fault = check_picture(picture["bytes"].as_py(), whole=False)
            if fault is not None:
                raise InputError(
                    f"{raw.name}: column {column!r}, row {row} is no readable picture ({fault})."
                )
    return data


def _other_column(raw: Raw, column: str) -> tuple[Any, Any]:
    """Return a column without a role. Media inside it are decoded only where no path can be followed."""
    data, feature = raw.table[column], raw.features[column]
    if not raw.media_checked:
        return data, _undecoded(feature)
    return data, _without_decoder(feature)


def _undecoded(feature: Any) -> Any:
    """Return a type in which pictures, sound and the like stay bytes and path, however deep they are."""
    if isinstance(feature, dict):
        return {name: _undecoded(inner) for name, inner in feature.items()}
    if isinstance(feature, datasets.List | datasets.LargeList):
        return dataclasses.replace(feature, feature=_undecoded(feature.feature))
    return dataclasses.replace(feature, decode=False) if hasattr(feature, "decode") else feature


def _without_decoder(feature: Any) -> Any:
    """Keep sound as bytes and path where it cannot be decoded."""
    if isinstance(feature, datasets.Audio) and importlib.util.find_spec("torchcodec") is None:
        return datasets.Audio(sampling_rate=feature.sampling_rate, decode=False)
    return feature


def _free_name(column: str, taken: dict[str, Any]) -> str:
    """Return a name for a column without a role whose own name is that of another's role."""
    while column in taken:
        column = f"other_{column}"
    return column
