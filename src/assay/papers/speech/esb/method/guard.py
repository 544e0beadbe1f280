"""Whether one system transcribed everything: the same before and after, in any batch."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

import numpy as np
import torch

from assay.errors import InputError
from assay.papers.speech.recognisers import Recogniser, transcribe_checked

FORBIDDEN = frozenset({"dataset", "dataset_id", "dataset_name", "domain", "corpus", "set_name"})
"""Names of parameters through which a system would ask where a sound is from."""


@dataclass(frozen=True)
class Violation:
    """A way in which the rule of one system for all sets was broken."""

    rule: str
    """`one-system` or `independent-of-batch`."""
    found: str
    """What was found, in words."""
    ids: tuple[str, ...] = ()
    """The utterances that show it."""


class OneSystemGuard:
    """Watches that one system transcribes all sets, and that it never learns which set a sound is from.

    The benchmark hands over bare arrays of all sets, shuffled. The guard refuses a system with a parameter
    for the set, compares a hash of its code, its options and its weights before and after, and transcribes
    a sample again in other batches and in another order, which shows a system whose texts depend on the other
    sounds of a batch or on earlier ones.

    Raises:
        InputError: the system asks for more than the sounds, or has a parameter that names the set.
    """

    def __init__(self, system: Recogniser) -> None:
        _check_signature(system)
        self.system = system
        self.before = fingerprint(system)

    def unchanged(self) -> Violation | None:
        """Return a violation where code, state or weights are no longer what they were."""
        if fingerprint(self.system) == self.before:
            return None
        return Violation("one-system", "its code, state or weights changed while it transcribed")

    def again(
        self, audio: Sequence[np.ndarray], texts: Sequence[str], ids: Sequence[str], batch: int = 4
    ) -> Violation | None:
        """Transcribe sounds in reverse order and in small batches; return a violation where texts differ."""
        differing = []
        order = list(range(len(audio)))[::-1]
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            outputs = transcribe_checked(
                self.system, [audio[row] for row in rows], [ids[row] for row in rows]
            )
            differing += [
                ids[row] for row, output in zip(rows, outputs, strict=True) if (output or "") != texts[row]
            ]
        if not differing:
            return None
        return Violation(
            "independent-of-batch",
            f"{len(differing)} of {len(audio)} texts differed when transcribed again in other batches",
            tuple(sorted(differing)),
        )


def _check_signature(system: Recogniser) -> None:
    try:
        parameters = inspect.signature(system).parameters.values()
    except (TypeError, ValueError):
        return  # written in C
    for parameter in parameters:
        if parameter.name.lower() in FORBIDDEN:
            raise InputError(
                f"The system has a parameter {parameter.name!r}. No system may know which set a sound is"
                " from: it takes a list of sounds and nothing else."
            )
    required = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if len(required) > 1:
        raise InputError(
            f"The system needs {', '.join(required)}; it must take a list of sounds and nothing else."
        )


def fingerprint(system: Any) -> str:
    """Hash what can be hashed of a system: the code of its functions, its options as texts, its weights.

    Numbers that it keeps do not count, since harmless systems count their calls.
    """
    state = hashlib.sha256()
    _add(state, system, depth=5, seen=set())
    return state.hexdigest()[:16]


def _add(state: Any, value: Any, depth: int, seen: set[int]) -> None:
    state.update(type(value).__qualname__.encode())
    if isinstance(value, str):
        state.update(value.encode())
    if value is None or isinstance(value, str | int | float | bytes) or depth == 0 or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, np.ndarray) and value.dtype != object:
        state.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, torch.Tensor):
        _add_tensor(state, value)
    elif isinstance(value, torch.nn.Module):
        for name, tensor in value.state_dict().items():
            state.update(name.encode())
            _add_tensor(state, tensor)
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            state.update(str(key).encode())
            _add(state, value[key], depth - 1, seen)
    elif isinstance(value, list | tuple):
        for item in value:
            _add(state, item, depth - 1, seen)
    elif callable(value):
        _add_callable(state, value, depth, seen)


def _add_tensor(state: Any, tensor: torch.Tensor) -> None:
    """Add a tensor's shape and two sums, which change with nearly any change of its values."""
    if isinstance(tensor, torch.Tensor) and tensor.numel():
        values = tensor.detach().double()
        state.update(f"{tuple(tensor.shape)}{values.sum().item()!r}{values.square().sum().item()!r}".encode())


def _add_callable(state: Any, value: Any, depth: int, seen: set[int]) -> None:
    """Add a function's code, defaults and cells, or the code of an object's call and its attributes."""
    function = getattr(value, "__func__", value)
    code = getattr(function, "__code__", None) or getattr(type(value).__call__, "__code__", None)
    if isinstance(code, CodeType):
        _add_code(state, code)
    _add(state, getattr(function, "__defaults__", None), depth - 1, seen)
    for cell in getattr(function, "__closure__", None) or ():
        _add(state, _content(cell), depth - 1, seen)
    owner = getattr(value, "__self__", value)
    if not inspect.ismodule(owner):
        _add(state, dict(getattr(owner, "__dict__", {})), depth - 1, seen)


def _add_code(state: Any, code: CodeType) -> None:
    state.update(code.co_code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _add_code(state, constant)
        elif not isinstance(constant, frozenset):  # whose order changes from process to process
            state.update(repr(constant).encode())


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that is not filled yet
        return None
