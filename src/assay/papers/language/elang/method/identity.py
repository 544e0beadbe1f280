"""Which model is this: fingerprints, label names, and whether it is ready to be used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

SAMPLE = 4096
"""How many values of each tensor a fingerprint reads."""


def module_of(model: Callable[..., Any]) -> nn.Module | None:
    """Return the module behind a model: itself, or the one whose bound method it is; None for a function."""
    owner = model if isinstance(model, nn.Module) else getattr(model, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def fingerprint(model: Callable[..., Any]) -> str | None:
    """Identify a model: by its weights if it has some, else by its own `fingerprint()`, else by its name.

    Of each tensor the name, shape, type and up to 4,096 evenly spaced values are hashed, so that a model of
    many gigabytes takes milliseconds. Functions made by one `lambda` or closure cannot be told apart.
    """
    module = module_of(model)
    if module is not None:
        return f"weights:{_digest(module.state_dict())}"
    if callable(getattr(model, "fingerprint", None)):
        return str(model.fingerprint())  # type: ignore[attr-defined]
    name = getattr(model, "__qualname__", None)
    return f"function:{model.__module__}.{name}" if name else None


def _digest(state: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            digest.update(f"{name}={value!r};".encode())
            continue
        digest.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
        flat = value.detach().reshape(-1)
        step = max(1, -(-len(flat) // SAMPLE))
        digest.update(flat[::step].cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def label_names(model: Callable[..., Any]) -> tuple[str, ...] | None:
    """Return a model's class names: its `label_names`, or `id2label` of its transformers config.

    The placeholders LABEL_0, LABEL_1, ... count as no names.
    """
    module = module_of(model)
    names = getattr(module if module is not None else model, "label_names", None)
    if names is not None:
        return tuple(names)
    id2label = getattr(getattr(module, "config", None), "id2label", None)
    if not id2label:
        return None
    ordered = tuple(str(id2label[number]) for number in sorted(id2label))
    return None if all(name == f"LABEL_{number}" for number, name in enumerate(ordered)) else ordered


def same_labels(swift: Sequence[str] | None, super_: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the class names that the models share; None where one of them has none.

    Raises:
        ValueError: The names differ, or stand in another order.
    """
    if swift is None or super_ is None:
        return None
    mine, other = ([name.casefold() for name in names] for names in (swift, super_))
    if mine != other:
        what = "the same labels in another order" if sorted(mine) == sorted(other) else "other labels"
        raise ValueError(
            f"Swift and Super have {what}: {list(swift)} and {list(super_)}. An answer would change its"
            " meaning with the route. Give both models one order of labels (id2label)."
        )
    return tuple(swift)


def check_ready(model: Callable[..., Any], name: str) -> None:
    """Refuse a model in training mode: dropout would make its energy, and the route, random.

    Raises:
        ValueError: Says which model.
    """
    module = module_of(model)
    if module is not None and any(part.training for part in module.modules()):
        raise ValueError(f"{name} is in training mode. Call .eval() on it first.")
