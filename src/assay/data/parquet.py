"""Parquet files, and data sets of the hub."""

from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet

from assay.data.delimited import PANDAS_INDEX
from assay.data.paths import SPLITS, existing_file, parquet_splits, used_splits
from assay.data.places import Place
from assay.data.raw import Raw, Splits, make_raw
from assay.data.text import check_growth
from assay.errors import InputError


def read_parquet(place: Place) -> Splits:
    """Read a Parquet file, or the splits `train`, `test` and `validation` of a folder, into memory.

    Raises:
        InputError: a file is not Parquet, has no rows, or the folder has several splits and no train.
    """
    if not place.path.is_dir():
        return Splits(_read([existing_file(place.path)], place.text), {})
    files = parquet_splits(place.path)
    main, tests = used_splits(list(files), place.text, f"{place.text}/SPLIT.parquet")
    return Splits(
        _read(files[main], f"{place.text} ({main})"),
        {name: _read(files[name], f"{place.text} ({name})") for name in tests},
    )


def read_hub(place: Place) -> Splits:
    """Download a data set from the Hugging Face hub, or take it from the hub's cache.

    No code of the data set is run: only those kept as data files can be loaded.

    Raises:
        InputError: there is no such data set, configuration, revision or split, or it cannot be reached.
    """
    try:
        loaded = datasets.load_dataset(place.location, place.config, revision=place.revision)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{place.text} cannot be loaded: {reason.rstrip('.')}. Check its name, configuration, revision"
            " and your connection; a data set that is a script must be saved as Parquet first."
        ) from error
    if not isinstance(loaded, datasets.DatasetDict):
        raise InputError(
            f"{place.text} cannot be loaded: it came as a {type(loaded).__name__}, not as splits."
        )
    splits = {SPLITS.get(str(name), str(name)): rows for name, rows in loaded.items()}
    return _hub_splits(place, splits)


def _hub_splits(place: Place, splits: dict[str, datasets.Dataset]) -> Splits:
    main, tests = place.split or "", tuple[str, ...]()
    if not main:
        main, tests = used_splits(list(splits), place.text, f"{place.text}#SPLIT")
    elif main not in splits:
        raise InputError(f"{place.text} has no split {main!r}. It has: {', '.join(sorted(splits))}.")

    def raw(name: str) -> Raw:
        # the Arrow table underneath stays mapped from the hub's cache on disk
        rows = splits[name]
        rows = rows.remove_columns([column for column in rows.column_names if PANDAS_INDEX.fullmatch(column)])
        made = make_raw(rows.data.table, f"{place.text} ({name})")
        return Raw(made.table, rows.features, made.name, media_checked=True)

    return Splits(raw(main), {name: raw(name) for name in tests})


def read_files(files: list[Path], name: str) -> pa.Table:
    """Read Parquet files that together are one table, without the row numbers that pandas writes.

    Whole numbers of different widths become those of the widest.

    Raises:
        InputError: a file is damaged or unpacks to far more than its size, or their columns differ.
    """
    try:
        tables = [_read_file(file, name) for file in files]
        for file, table in zip(files, tables, strict=True):
            strange = sorted(set(table.column_names) ^ set(tables[0].column_names))
            if strange:
                raise InputError(
                    f"{name}: {file.name} and {files[0].name} have different columns: {strange[0]!r} is in"
                    " one of them only."
                )
        table = tables[0] if len(tables) == 1 else _joined(tables)
        table.validate(full=True)  # text that is not UTF-8 comes through otherwise
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    return table.drop_columns([column for column in table.column_names if PANDAS_INDEX.fullmatch(column)])


def _read_file(path: Path, name: str) -> pa.Table:
    # read_table would make columns of folders that are called `name=value`
    file = pyarrow.parquet.ParquetFile(path)
    cells = 8 * file.metadata.num_rows * file.metadata.num_columns
    packed = [file.metadata.row_group(group).total_byte_size for group in range(file.metadata.num_row_groups)]
    check_growth(path.stat().st_size, max(cells, sum(packed)), f"{name} ({path.name})")
    return file.read()


def _joined(tables: list[pa.Table]) -> pa.Table:
    joined = pa.unify_schemas([table.schema for table in tables], promote_options="permissive")
    for table in tables:
        for field in table.schema:
            if pa.types.is_integer(field.type) and pa.types.is_floating(joined.field(field.name).type):
                table[field.name].cast(pa.float64())  # refuses whole numbers that would change
    return pa.concat_tables(tables, promote_options="permissive")


def _read(files: list[Path], name: str) -> Raw:
    return make_raw(read_files(files, name), name)
