"""Values on disk, without pickle: a record in JSON, its tensors and arrays in safetensors, tables in Parquet.

A record is any nesting of dataclasses, dicts, lists and tuples over tensors, arrays, sparse matrices by rows,
tables, data frames, paths and plain values. An object that is none of these says what it consists of:
`record()` returns it, and the class method `from_record` makes an object of it.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib
import importlib.metadata
import math
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay import files
from assay.errors import AssayError, InputError, StorageError

if TYPE_CHECKING:
    import datasets

RECORD = "record.json"
FORMAT = 1
STORED_DTYPES = frozenset(
    ["bool", "float16", "float32", "float64", "complex64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)
"""The types of numpy arrays that safetensors holds."""


def save(folder: Path, value: Any) -> None:
    """Save a value to `folder`, which must exist.

    Raises:
        TypeError: a part of the value is none of what a record may hold.
        StorageError: the folder cannot be written.
    """
    import safetensors.numpy
    import safetensors.torch

    parts = _Parts()
    skeleton = _take_apart(value, parts)
    try:
        if parts.tensors:
            safetensors.torch.save_file(parts.tensors, folder / "tensors.safetensors")
        if parts.arrays:
            safetensors.numpy.save_file(parts.arrays, folder / "arrays.safetensors")
    except safetensors.SafetensorError as error:  # how it says that the disk is full
        raise OSError(str(error)) from error
    for name, table in parts.tables.items():
        _write_table(table, folder / f"{name}.parquet")
    schema = {name: _schema(item) for name, item in (parts.tensors | parts.arrays).items()}
    files.write_json(folder / RECORD, {"format": FORMAT, "schema": schema, "record": skeleton}, indent=None)


def load(folder: Path, packages: Collection[str] = ()) -> Any:
    """Load what `save` wrote.

    Args:
        folder: where it was saved.
        packages: packages beside assay's own and those of entries from elsewhere whose classes may be made.

    Raises:
        FileNotFoundError: `save` has not written to this folder.
        StorageError: a file is damaged, or of another version of assay.
        InputError: the record names a class that is not one of assay.
    """
    import pyarrow
    import safetensors.numpy
    import safetensors.torch

    described = files.read_json(folder / RECORD)
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise StorageError(f"{folder / RECORD} was not written by this version of assay; make it again.")
    tensor_file, array_file = folder / "tensors.safetensors", folder / "arrays.safetensors"
    try:
        tensors = safetensors.torch.load_file(tensor_file) if tensor_file.exists() else {}
        arrays = safetensors.numpy.load_file(array_file) if array_file.exists() else {}
        found = {name: _schema(item) for name, item in (tensors | arrays).items()}
        if found != described["schema"]:
            raise StorageError(f"{folder} is damaged: its tensors are not those that were saved.")
        return _Builder(folder, tensors, arrays, packages).build(described["record"])
    except AssayError:
        raise
    except (
        safetensors.SafetensorError,
        pyarrow.ArrowException,
        OSError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise StorageError(f"{folder} is damaged ({error}).") from error


def find_class(name: str, packages: Collection[str] = ()) -> type:
    """Return the class that a file names as `module:Class`, in assay and the packages of its entries alone.

    Raises:
        InputError: there is no such class, or it belongs to another package: a file must not choose what
            is imported.
    """
    module, _, qualified = name.partition(":")
    entries = importlib.metadata.entry_points(group="assay.papers")
    if module.split(".")[0] not in {"assay", *packages, *(point.value.split(".")[0] for point in entries)}:
        raise InputError(f"a record names the class {name!r}, which is part of no entry of assay.")
    try:
        found: Any = importlib.import_module(module)
        for part in qualified.split("."):
            found = getattr(found, part)
    except (ModuleNotFoundError, AttributeError) as error:
        raise InputError(f"a record names the class {name!r}, which is not here ({error}).") from error
    # What a module has imported is within reach of its name, but is not of assay.
    if not isinstance(found, type) or found.__module__ != module:
        raise InputError(f"a record names {name!r}, which is no class of an entry of assay.")
    return found


def class_name(kind: type) -> str:
    """Return how a file names a class: `module:Class`."""
    return f"{kind.__module__}:{kind.__qualname__}"


def read_table(path: Path) -> datasets.Dataset:
    """Read a Parquet file as a `datasets.Dataset` with the features that it was saved with."""
    import datasets
    import pyarrow.parquet

    return datasets.Dataset(pyarrow.parquet.read_table(path))


# --- taking apart -------------------------------------------------------------------------------


@dataclasses.dataclass
class _Parts:
    """What a record keeps outside its JSON."""

    tensors: dict[str, Any] = dataclasses.field(default_factory=dict)
    arrays: dict[str, Any] = dataclasses.field(default_factory=dict)
    tables: dict[str, datasets.Dataset] = dataclasses.field(default_factory=dict)


def _take_apart(value: Any, parts: _Parts) -> Any:
    """Return a value as JSON in which `{"$kind": content}` stands for what JSON does not have."""
    import numpy as np

    if type(value) is float and not math.isfinite(value):  # JSON has no such numbers
        return {"$float": str(value)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic) and value.dtype.kind not in "mM":
        return _take_apart(value.item(), parts)
    if isinstance(value, list):
        return [_take_apart(item, parts) for item in value]
    if isinstance(value, tuple):
        items = [_take_apart(item, parts) for item in value]
        return {"$tuple": items} if type(value) is tuple else {"$named": [class_name(type(value)), items]}
    if isinstance(value, dict):
        return {"$dict": [[_take_apart(part, parts) for part in pair] for pair in value.items()]}
    if isinstance(value, set | frozenset):
        return {f"${type(value).__name__}": [_take_apart(item, parts) for item in sorted(value)]}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, Path):
        return {"$path": str(value)}
    if hasattr(value, "record") and hasattr(type(value), "from_record"):
        return {"$object": [class_name(type(value)), _take_apart(value.record(), parts)]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"$data": [class_name(type(value)), {n: _take_apart(v, parts) for n, v in fields.items()}]}
    return _apart_from_json(value, parts)


def _apart_from_json(value: Any, parts: _Parts) -> Any:
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor) and value.layout == torch.strided:
        name = f"t{len(parts.tensors)}"
        parts.tensors[name] = value.detach().cpu().contiguous().clone()
        return {"$tensor": name}
    if isinstance(value, np.ndarray) and value.dtype.name in STORED_DTYPES:
        name = f"a{len(parts.arrays)}"
        parts.arrays[name] = np.ascontiguousarray(value).reshape(value.shape)
        return {"$array": name}
    if isinstance(value, np.ndarray) and value.dtype.kind in "mMU":  # times as numbers, text as lists
        plain = value.tolist() if value.dtype.kind == "U" else value.astype(np.int64)
        return {"$cast": [value.dtype.str, _take_apart(plain, parts)]}
    if files.is_frame(value):
        return {"$frame": _take_apart({str(name): value[name].tolist() for name in value}, parts)}
    if files.is_sparse(value):
        arrays = [value.data, value.indices, value.indptr]
        return {"$sparse": [type(value).__name__, _take_apart([*arrays, value.shape], parts)]}
    if files.is_table(value):
        name = f"d{len(parts.tables)}"
        parts.tables[name] = value.with_format(None)
        return {"$table": name}
    kind = f" of {value.dtype}" if isinstance(value, np.ndarray) else ""
    raise TypeError(
        f"cannot save a {type(value).__name__}{kind}: a record holds dataclasses, containers, dense tensors,"
        " arrays of numbers, tables and plain values (of a module, its state_dict())"
    )


def _schema(item: Any) -> list[Any]:
    """Return the type and shape of a tensor or an array."""
    return [str(item.dtype), list(item.shape)]


def _write_table(table: datasets.Dataset, path: Path) -> None:
    import datasets

    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        table.to_parquet(path)
    finally:
        if not hidden:
            datasets.enable_progress_bars()


# --- putting together ---------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Builder:
    """Makes a value of what `_take_apart` returned."""

    folder: Path
    tensors: dict[str, Any]
    arrays: dict[str, Any]
    packages: Collection[str]

    def build(self, item: Any) -> Any:
        if isinstance(item, list):
            return [self.build(part) for part in item]
        if not isinstance(item, dict):
            return item
        ((kind, content),) = item.items()
        makers = {
            "$tensor": self.tensors.__getitem__,
            "$array": self.arrays.__getitem__,
            "$table": lambda name: read_table(files.inside(self.folder, f"{name}.parquet")),
            "$tuple": lambda parts: tuple(map(self.build, parts)),
            "$named": lambda named: self._class(named[0])(*map(self.build, named[1])),
            "$set": lambda parts: set(map(self.build, parts)),
            "$frozenset": lambda parts: frozenset(map(self.build, parts)),
            "$dict": lambda pairs: {self.build(key): self.build(value) for key, value in pairs},
            "$float": float,
            "$bytes": base64.b64decode,
            "$path": Path,
            "$cast": self._cast,
            "$frame": self._frame,
            "$sparse": self._sparse,
            "$object": lambda named: self._class(named[0]).from_record(self.build(named[1])),
            "$data": self._dataclass,
        }
        return makers[kind](content)

    def _class(self, name: str) -> Any:
        return find_class(name, self.packages)

    def _cast(self, described: list[Any]) -> Any:
        import numpy as np

        return np.asarray(self.build(described[1])).astype(described[0])

    def _frame(self, columns: Any) -> Any:
        import pandas as pd

        return pd.DataFrame(self.build(columns))

    def _sparse(self, described: list[Any]) -> Any:
        import scipy.sparse

        makers = {"csr_array": scipy.sparse.csr_array, "csr_matrix": scipy.sparse.csr_matrix}
        *arrays, shape = self.build(described[1])
        return makers[described[0]](tuple(arrays), shape=shape)

    def _dataclass(self, named: list[Any]) -> Any:
        kind = self._class(named[0])
        values = {name: self.build(value) for name, value in named[1].items()}
        fields = {field.name: field.init for field in dataclasses.fields(kind)}
        if set(values) != set(fields):
            raise StorageError(
                f"{self.folder} holds a {kind.__name__} of another version of assay; make it again."
            )
        made = kind(**{name: value for name, value in values.items() if fields[name]})
        for name, value in values.items():
            if not fields[name]:
                object.__setattr__(made, name, value)
        return made
