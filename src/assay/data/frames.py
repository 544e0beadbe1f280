"""Tables of users as data frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from assay.data.paths import existing_file, suffix_of

if TYPE_CHECKING:
    import pandas as pd

DELIMITED = (".csv", ".tsv", ".txt")
JSON = (".json", ".jsonl", ".ndjson")


def read_frame(path: str | Path, encoding: str = "utf-8") -> pd.DataFrame:
    """Read a table by its ending: Parquet, delimited text, or JSON lines.

    Whole numbers stay whole where cells are empty (`Int64`), and those of more than 64 bits stay text.

    Raises:
        InputError: it is missing, ends otherwise, or is damaged.
    """
    found = existing_file(path, (".parquet", *DELIMITED, *JSON))
    from assay.data import columns, parquet

    if suffix_of(found) == ".parquet":
        table = parquet.read_files([found], str(path))
    elif suffix_of(found) in JSON:
        table = columns.json_table(found, str(path), encoding)
    else:
        table = columns.delimited_table(found, str(path), encoding)
    import pandas as pd
    import pyarrow as pa

    frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas()
    for name in table.column_names:
        column = table[name]
        if pa.types.is_integer(column.type) and column.null_count:
            frame[name] = pd.array(column.to_pylist(), dtype="Int64")
    return frame
