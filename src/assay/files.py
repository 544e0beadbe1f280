"""Files on disk: written whole or not at all; and `digest`, which identifies a value by its content."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assay.errors import InputError, StorageError

# --- atomic writes ------------------------------------------------------------------------------


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


@contextlib.contextmanager
def atomic_folder(path: Path, marker: str | None = None) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends well.

    Where another process has made `path` meanwhile, its folder stays and ours is dropped. A folder
    that lacks the file `marker`, which every whole one has, is a remnant and is replaced.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        _sync(temporary)
        if marker is not None and path.is_dir() and not (path / marker).exists():
            shutil.rmtree(path, ignore_errors=True)
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    except StorageError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(path: Path) -> None:
    """Have what was written to a file or folder on the disk before it counts."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cannot_write(path: Path, error: OSError) -> StorageError:
    """Return the one-line error for a failed write."""
    reason = error.strerror or str(error)
    return StorageError(f"Cannot write {path}: {reason}. What was finished before is kept.")


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Write a plain value as JSON, atomically; without an indent it is much faster."""
    write_atomic(path, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: the file is truncated or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:
        raise StorageError(f"{path} is damaged or cannot be read ({error}).") from error


def spell_infinities(value: Any) -> Any:
    """Return a plain value with its infinities as the text "inf" or "-inf", since JSON has none."""
    if isinstance(value, dict):
        return {name: spell_infinities(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [spell_infinities(item) for item in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def user_path(text: str | Path) -> Path:
    """Return a path with the user's home in place of `~`; the home of an unknown user stays as written."""
    return Path(os.path.expanduser(text))


def inside(folder: Path, name: str) -> Path:
    """Return `folder/name`, refusing a name that leads outside the folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"{name!r} leads outside {folder}. Names must stay inside the folder.")
    return path


def refuse_full(folder: Path, overwrite: bool) -> None:
    """Refuse an output folder that has something in it, unless `overwrite` and assay wrote it.

    Raises:
        InputError: the folder is a file, is not empty, or holds what is not ours to replace.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; give a folder.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise InputError(f"--out {folder} exists and is not empty. Add --overwrite or choose another folder.")
    if not (folder / "assay.json").exists():
        raise InputError(
            f"--out {folder} was not written by assay (it has no assay.json): --overwrite leaves it alone."
            " Choose another folder."
        )


# --- content hashes -----------------------------------------------------------------------------


def digest(*values: Any) -> str:
    """Identify values by their content: plain values, containers, dataclasses, arrays, tensors, tables."""
    state = hashlib.sha256()
    for value in values:
        _feed(state, value)
    return state.hexdigest()[:32]


def _feed(state: Any, value: Any) -> None:
    is_numpy = hasattr(value, "dtype")  # its float64 is a float, but not its float32
    if not is_numpy and (value is None or isinstance(value, bool | int | float | str | bytes | Path)):
        state.update(f"{type(value).__name__}:{value!r};".encode())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        state.update(f"{type(value).__qualname__}(".encode())
        for item in dataclasses.fields(value):
            _feed(state, item.name)
            _feed(state, getattr(value, item.name))
        if hasattr(value, "fingerprint"):
            _feed(state, value.fingerprint())
        state.update(b")")
    elif isinstance(value, dict):
        state.update(f"dict{len(value)}(".encode())
        for key, item in value.items():
            _feed(state, key)
            _feed(state, item)
    elif isinstance(value, list | tuple):
        state.update(f"{type(value).__name__}{len(value)}(".encode())
        for item in value:
            _feed(state, item)
    else:
        _feed_array(state, value)


def _feed_array(state: Any, value: Any) -> None:
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu().contiguous()
        state.update(f"tensor{tuple(tensor.shape)}{tensor.dtype}".encode())
        if tensor.numel():  # an empty one may have strides that no view has
            state.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray) and value.dtype != object:
        state.update(f"array{value.shape}{value.dtype.str}".encode())
        state.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, np.generic):
        _feed(state, value.item())
    elif is_frame(value):
        _feed(state, {str(name): value[name].tolist() for name in value})
    elif is_sparse(value):
        _feed(state, [value.data, value.indices, value.indptr, value.shape])
    elif is_table(value):
        import pyarrow

        # Two tables of equal rows may differ in the library's own metadata and in the bits beyond a slice.
        rows = value.with_format("arrow")[:].cast(value.features.arrow_schema)
        rows = rows.take(pyarrow.array(np.arange(len(rows)))).combine_chunks()
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        state.update(sink.getvalue())
    else:
        raise TypeError(
            f"cannot identify a {type(value).__name__} by its content: pass plain values, dataclasses,"
            " arrays, tensors or tables"
        )


def is_table(value: Any) -> bool:
    """Whether a value is a `datasets.Dataset`."""
    return _is_of("datasets", "Dataset", value)


def is_frame(value: Any) -> bool:
    """Whether a value is a data frame of pandas."""
    return _is_of("pandas", "DataFrame", value)


def is_sparse(value: Any) -> bool:
    """Whether a value is a sparse matrix of scipy, stored by rows."""
    return _is_of("scipy.sparse", "csr_matrix", value) or _is_of("scipy.sparse", "csr_array", value)


def _is_of(package: str, name: str, value: Any) -> bool:
    """Whether a value is of a class, without importing its package: who has such a value, has it."""
    module = sys.modules.get(package)
    return module is not None and isinstance(value, getattr(module, name))
