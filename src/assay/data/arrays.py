"""Arrays and tensors of users, read without pickle."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from assay.data.paths import existing_file
from assay.data.text import check_growth
from assay.errors import AssayError, InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

TORCH = (".pt", ".pth", ".bin")
"""Endings of what `torch.save` wrote."""


def read_arrays(path: str | Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of a NumPy file by name; that of a .npy has the file's name without its ending.

    Raises:
        InputError: it is missing or damaged, or holds Python objects, which would need a pickle.
    """
    found = existing_file(path, (".npz", ".npy"))
    try:
        if not zipfile.is_zipfile(found):
            with found.open("rb") as file:
                return {found.stem: _array(file, found.stat().st_size, f"{found}")}
        with zipfile.ZipFile(found) as packed:
            infos = packed.infolist()
            check_growth(found.stat().st_size, sum(info.file_size for info in infos), str(found))
            arrays = {}
            for info in infos:
                name = info.filename.removesuffix(".npy")
                with packed.open(info) as file:
                    arrays[name] = _array(file, info.file_size, f"{found}: {name!r}")
            return arrays
    except AssayError:
        raise
    except (
        OSError,
        EOFError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise InputError(f"{found} is damaged or cannot be read ({error}).") from None


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a file of weights by name: safetensors, or what `torch.save` wrote.

    The latter is followed without an unpickler (see `assay.data.torch_files`). Of a checkpoint the part
    called state_dict or model is taken; a single tensor has the file's name without its ending.

    Raises:
        InputError: it is missing or damaged, or holds no tensors.
    """
    found = existing_file(path, (".safetensors", *TORCH))
    if found.suffix.lower() in TORCH:
        return _torch_tensors(found)
    import safetensors
    import safetensors.torch

    try:
        tensors: dict[str, Tensor] = safetensors.torch.load_file(found)
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"{found} cannot be read as safetensors ({error}).") from None
    return tensors


def _torch_tensors(path: Path) -> dict[str, Tensor]:
    import torch

    from assay.data.torch_files import read_torch_file

    try:
        value = read_torch_file(path)
    except ValueError as error:
        raise InputError(str(error)) from None
    for part in ("state_dict", "model"):
        if isinstance(value, dict) and isinstance(value.get(part), dict):
            value = value[part]
    if isinstance(value, torch.Tensor):
        return {path.stem: value}
    tensors = value.items() if isinstance(value, dict) else ()
    found = {str(name): item for name, item in tensors if isinstance(item, torch.Tensor)}
    if not found:
        raise InputError(f"{path} holds no tensors by name, such as a model's state_dict().")
    return found


def _array(file: IO[bytes], size: int, name: str) -> np.ndarray[Any, Any]:
    """Read one array, whose header must agree with the number of bytes."""
    import numpy as np
    from numpy.lib import format as npy

    head = io.BytesIO(file.read(1 << 16))
    try:
        version = npy.read_magic(head)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, kind = read_header(head)
    except Exception as error:  # its parser raises what it likes on damaged bytes
        raise InputError(f"{name} is no array of NumPy ({str(error).splitlines()[0]}).") from None
    if kind.hasobject:
        raise InputError(
            f"{name} holds Python objects, which need a pickle and are never read. Save plain arrays."
        )
    count = math.prod(shape)
    if head.tell() + count * kind.itemsize != size or min(shape, default=0) < 0:
        raise InputError(f"{name} is damaged: {size} bytes do not hold {kind} of shape {shape}.")
    content = head.read() + file.read()
    if len(content) != count * kind.itemsize:
        raise InputError(f"{name} is damaged: it ends too early.")
    flat = np.frombuffer(bytearray(content), dtype=kind, count=count) if count else np.empty(0, kind)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
