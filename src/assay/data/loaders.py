"""From a source to a table: read it, find the roles of its columns, and name the columns by them."""

from __future__ import annotations

import importlib.util
import io
import secrets
from collections.abc import Iterable
from typing import Any

import datasets
import pyarrow as pa

from assay.data import features, labels
from assay.data.arrow_files import read_hub, read_parquet
from assay.data.bundled import read_bundled
from assay.data.media import check_picture, read_folder
from assay.data.raw import Raw, Splits, null_mask, row_numbers
from assay.data.roles import Roles, check_roles, find_roles
from assay.data.source import Place, Table, parse
from assay.data.svmlight import list_column, read_svmlight
from assay.data.table import LoadedTable
from assay.data.text_files import read_csv, read_json
from assay.errors import InputError


def load(table: Table, needs: Iterable[str] | None = None) -> LoadedTable:
    """Load a table; see `Table.load`."""
    needs = None if needs is None else tuple(needs)
    splits, test_name = _read_both(table)
    main = splits.main
    roles = find_roles(main, table, needs)
    regression = _is_regression(main, roles, needs)
    names, codes = (), None
    if roles.label is not None and not regression:
        codes, names = labels.encode(main, roles.label)
    shaped, feature_names = _shape(main, roles, codes, names)
    test = None
    for split, raw in splits.tests.items():
        if test_name is None and roles.label is not None and labels.all_hidden(raw, roles.label):
            continue
        test, test_name = _shape_test(raw, roles, names, main, feature_names), test_name or split
        break
    num_features = main.num_features if not roles.features else len(feature_names)
    return LoadedTable(shaped, test, names, feature_names, num_features, table.source, test_name)


# --- reading ------------------------------------------------------------------------------------


def _read_both(table: Table) -> tuple[Splits, str | None]:
    """Read the source and, where the user gave one, the test source; return the latter's name too."""
    place = parse(table.source)
    if table.test is None:
        return _read(place), None
    test = parse(table.test)
    if place.kind == test.kind == "svmlight":  # one numbering of features for both
        main, tested = read_svmlight([(place.path, place.text), (test.path, test.text)])
    else:
        main, found = _read(place).main, _read(test)
        tested = next(iter(found.tests.values()), found.main)
    return Splits(main, {table.test: tested}), table.test


def _read(place: Place) -> Splits:
    if place.kind == "bundled":
        return Splits(read_bundled(place.location), {})
    if place.kind == "csv":
        return Splits(read_csv(place.path, place.text), {})
    if place.kind == "json":
        return Splits(read_json(place.path, place.text), {})
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
    real = labels.is_real(raw, roles.label)
    if real and needs is not None and "label" in needs:
        raise InputError(
            f"{raw.name}: column {roles.label!r} holds real numbers, not classes. Name another with --data.label."
        )
    return real


def _shape_test(
    raw: Raw, roles: Roles, names: tuple[str, ...], train: Raw, feature_names: tuple[str, ...]
) -> datasets.Dataset:
    """Name the columns of test rows as those of the training rows."""
    check_roles(raw, roles, train.name)
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
            columns[name], types[name] = raw.table[column], _without_decoder(raw.features[column])
    # a random fingerprint, because the default would hash every byte, and nothing in memory is cached by it
    info = datasets.DatasetInfo(features=datasets.Features(types))
    return datasets.Dataset(pa.table(columns), info=info, fingerprint=secrets.token_hex(8)), feature_names


def _role_column(raw: Raw, role: str, column: str) -> tuple[Any, Any]:
    data, feature = raw.table[column], raw.features[column]
    empty = null_mask(data)
    if empty.any():
        raise InputError(
            f"{raw.name}: column {column!r} is empty in {int(empty.sum())} of {len(empty)} rows"
            f" ({row_numbers(empty)}). Fill them in or remove these rows."
        )
    if role == "image":
        feature = feature if isinstance(feature, datasets.Image) else datasets.Image()
        data = _media(raw, column, feature)
        _check_pictures(data, raw.name, column)
    elif role == "audio":
        feature = _without_decoder(feature if isinstance(feature, datasets.Audio) else datasets.Audio())
        data = _media(raw, column, feature)
    elif role == "text":
        feature = datasets.Value("large_string" if pa.types.is_large_string(data.type) else "string")
        data = data.cast(feature.pa_type)
    return data, feature


def _media(raw: Raw, column: str, feature: Any) -> pa.ChunkedArray:
    """Return pictures or sound as structs of bytes and path."""
    chunks = [feature.cast_storage(chunk) for chunk in raw.table[column].chunks]
    data = pa.chunked_array(chunks, feature.pa_type)
    if raw.from_folder:
        return data
    outside = null_mask(pa.chunked_array([chunk.field("bytes") for chunk in data.chunks], pa.binary()))
    if outside.any():  # a path inside a table may lead to any file or address: it is not followed
        raise InputError(
            f"{raw.name}: column {column!r} has no content but only a path in {row_numbers(outside)}. Save"
            " the table with the bytes of the files in it."
        )
    return data


def _check_pictures(data: pa.ChunkedArray, name: str, column: str) -> None:
    """Read the heads of pictures that are kept in a table; those in folders were read when listed."""
    for row, picture in enumerate(data.to_pylist(), start=1):
        content = picture["bytes"]
        fault = check_picture(io.BytesIO(content)) if content is not None else None
        if fault is not None:
            raise InputError(f"{name}: column {column!r}, row {row} is no readable picture ({fault}).")


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
