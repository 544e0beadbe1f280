"""Parquet files, and data sets of the hub."""

from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet

from assay.data.paths import SPLITS, existing_file, parquet_splits, used_splits
from assay.data.raw import Raw, Splits, make_raw
from assay.data.source import Place
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
        made = make_raw(splits[name].data.table, f"{place.text} ({name})")
        return Raw(made.table, splits[name].features, made.name, media_checked=True)

    return Splits(raw(main), {name: raw(name) for name in tests})


def _read(files: list[Path], name: str) -> Raw:
    try:
        # read_table would make columns of folders that are called `name=value`
        tables = [pyarrow.parquet.ParquetFile(file).read() for file in files]
        table = pa.concat_tables(tables) if len(tables) > 1 else tables[0]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise InputError(f"{name} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    return make_raw(table, name)
