"""What `torch.save` and `pickle.dumps` wrote, read without an unpickler: nothing that a file names is called.

The opcodes of the pickle are followed on a stack of plain values. Where a pickle would call a function, there
is a `Call` with the function's name; tensors and byte arrays are made of these by their known layout.
"""

from __future__ import annotations

import math
import pickletools
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
"""By the names of torch's storages."""

_BROKEN = (EOFError, LookupError, OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged archive raises."""
_MADE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
}
_VALUES = ("INT", "LONG", "FLOAT", "STRING", "UNICODE", "BYTES", "BYTEARRAY8")
_MARK = object()


@dataclass(eq=False)
class Call:
    """A function or class that a pickle names, with what it would be given. It is never called."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file of `torch.save`."""

    path: Path
    member: str
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def load(self) -> Tensor:
        """Read it.

        Raises:
            ValueError: the file is damaged.
        """
        try:
            with zipfile.ZipFile(self.path) as packed:
                content = bytearray(packed.read(self.member))
            flat = torch.empty(0, dtype=self.dtype)
            if content:
                flat = torch.frombuffer(content, dtype=self.dtype)
        except _BROKEN as error:
            raise ValueError(f"{self.path} is damaged: {error}.") from None
        count: int = math.prod(self.shape)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        if count and max(last + 1, count) > len(flat):
            raise ValueError(
                f"{self.path} is damaged: a tensor of shape {self.shape} reaches beyond its end."
            )
        return flat.as_strided(self.shape, self.stride, self.offset).clone()


def read_torch_file(path: str | Path) -> Any:
    """Return what `torch.save` wrote: dicts, lists and plain values with tensors in them.

    Anything else that the file holds, such as an optimizer's or a generator's state, comes back as a `Call`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or of another format.
    """
    stored = open_torch_file(path)
    return _replace(stored, lambda value: value.load() if isinstance(value, StoredTensor) else value, {})


def open_torch_file(path: str | Path) -> Any:
    """Return what `read_torch_file` returns, with a `StoredTensor` in place of each tensor."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with zipfile.ZipFile(path) as packed:
            members = packed.namelist()
            if any(info.compress_type != zipfile.ZIP_STORED for info in packed.infolist()):
                raise ValueError("it is compressed, which torch.save never does")
            (pickled,) = (name for name in members if name.endswith("/data.pkl"))
            folder = pickled.removesuffix("data.pkl")
            if f"{folder}byteorder" in members and packed.read(f"{folder}byteorder") != b"little":
                raise ValueError("its numbers are not little-endian")
            value = read_pickle(packed.read(pickled))
        return _replace(value, lambda part: _rebuild(part, path, folder), {})
    except _BROKEN as error:
        raise ValueError(
            f"{path} cannot be read as a file of torch.save ({error}). Files of versions before 1.6 are not"
            " read: save it again, or as safetensors."
        ) from None


def read_pickle(content: bytes) -> Any:
    """Return the value that a pickle describes, with a `Call` wherever it would call something.

    Raises:
        ValueError: it is damaged, or has an opcode that plain data does not need.
    """
    try:
        return _follow(content)
    except (IndexError, KeyError, TypeError, AttributeError, UnicodeError, ValueError) as error:
        raise ValueError(f"the pickle is damaged ({type(error).__name__}: {error})") from None


def bytes_of(value: Any) -> bytes:
    """Return the bytes of a value that `read_pickle` returned: bytes, or an array of uint8.

    Raises:
        ValueError: it is something else; names it.
    """
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    name = value.name if isinstance(value, Call) else type(value).__name__
    if name == "_codecs.encode" and isinstance(value.arguments[0], str):  # bytes in protocol 2
        return value.arguments[0].encode("latin1")
    function = name.rpartition(".")[2] if name.startswith("numpy.") else ""
    if function == "_reconstruct" and isinstance(value.state, tuple) and len(value.state) == 5:
        _, _, dtype, _, content = value.state
        return _uint8(dtype, content)
    if function == "_frombuffer" and len(value.arguments) == 4:
        return _uint8(value.arguments[1], value.arguments[0])
    raise ValueError(f"it holds {name}, which is not read: only bytes and arrays of uint8 are")


def _uint8(dtype: Any, content: Any) -> bytes:
    if not (isinstance(dtype, Call) and dtype.name == "numpy.dtype" and dtype.arguments[:1] == ("u1",)):
        raise ValueError("it holds an array of other numbers than uint8")
    return bytes_of(content)


def _follow(content: bytes) -> Any:
    """Follow the opcodes of a pickle."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        place = len(stack) - 1 - stack[::-1].index(_MARK)
        above = stack[place + 1 :]
        del stack[place:]
        return above

    argument: Any
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack.pop()
        if name == "MARK":
            stack.append(_MARK)
        elif name in _MADE:
            stack.append(_MADE[name]())
        elif any(kind in name for kind in _VALUES):
            stack.append(argument)
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("TUPLE", "LIST"):
            stack.append((tuple if name == "TUPLE" else list)(since_mark()))
        elif name in ("APPEND", "APPENDS", "ADDITEMS", "SETITEM", "SETITEMS", "DICT"):
            count = {"APPEND": 1, "SETITEM": 2}.get(name, 0)
            above = [stack.pop() for _ in range(count)][::-1] or since_mark()
            stack += [{}] if name == "DICT" else []
            pairs = list(zip(above[::2], above[1::2], strict=True)) if name[0] in "SD" else above
            target = stack[-1].items if isinstance(stack[-1], Call) else stack[-1]
            target.extend(pairs) if isinstance(target, list) else target.update(pairs)
        elif name == "MEMOIZE" or name.endswith("PUT"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name.endswith("GET"):
            stack.append(memo[argument])
        elif name == "GLOBAL":
            stack.append(Call(argument.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            stack[-2:] = [Call(f"{stack[-2]}.{stack[-1]}")]
        elif name in ("REDUCE", "NEWOBJ"):
            stack[-2:] = [Call(stack[-2].name, tuple(stack[-1]))]
        elif name == "BINPERSID":
            stack.append(Call("persistent", tuple(stack.pop())))
        elif name == "BUILD":
            state = stack.pop()
            if isinstance(stack[-1], Call):
                stack[-1].state = state
        else:
            raise ValueError(f"plain data has no opcode {name}")
    raise ValueError("it ends too early")


def _replace(value: Any, change: Callable[[Any], Any], done: dict[int, Any]) -> Any:
    """Change a value and all that is in it, each part once, however often it is there."""
    if id(value) not in done:
        new = change(value)
        if isinstance(new, dict):
            new = {key: _replace(item, change, done) for key, item in new.items()}
        elif isinstance(new, list | tuple):
            new = type(new)(_replace(item, change, done) for item in new)
        done[id(value)] = (value, new)  # the value, so that its id stays taken
    return done[id(value)][1]


def _rebuild(value: Any, path: Path, folder: str) -> Any:
    """Return a dict or a stored tensor for the call that would make one."""
    while isinstance(value, Call) and value.name == "torch._utils._rebuild_parameter":
        value = value.arguments[0]
    if isinstance(value, Call) and value.name == "torch._utils._rebuild_tensor_v2":
        return _tensor(value, path, folder)
    if isinstance(value, Call) and value.name == "collections.OrderedDict":
        return dict(value.items)
    return value


def _tensor(call: Call, path: Path, folder: str) -> StoredTensor:
    try:
        storage, offset, shape, stride = call.arguments[:4]
        _, kind, key, _, _ = storage.arguments
        dtype = DTYPES[kind.name.removeprefix("torch.").removesuffix("Storage")]
        numbers = (offset, *shape, *stride)
        if len(shape) != len(stride) or not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError("its shape is no tuple of whole numbers")
        return StoredTensor(path, f"{folder}data/{key}", dtype, offset, shape, stride)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"a tensor in it is damaged or of an unknown kind: {error}") from None
