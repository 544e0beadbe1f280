"""Configs: frozen dataclasses whose fields are the options of a recipe.

A config is resolved in layers (the class's defaults, a preset, the user's options, an arm), each a mapping
from option names to values; `data.text` names a field of a nested dataclass.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from assay.errors import InputError, unknown

if TYPE_CHECKING:
    import pydantic

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a recipe: its dotted name, type as written, default and meaning."""

    name: str
    type: str
    default: Any
    meaning: str


def resolve(config: type[Config], *layers: Mapping[str, Any]) -> Config:
    """Build a config from its defaults and `layers`, later ones winning.

    Raises:
        InputError: an option does not exist, or a value does not fit its type.
    """
    values = to_plain(config())
    for layer in layers:
        for name, value in sorted(layer.items(), key=lambda item: item[0].count(".")):
            _assign(config, values, name, value)
    return from_plain(config, values)


def from_plain(config: type[Config], values: Mapping[str, Any]) -> Config:
    """Build a config from plain values, as read from JSON, checking names and types."""
    import pydantic

    known = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise unknown("option", name, known)
    try:
        adapted: Config = _adapter(config).validate_python(dict(values))
        return adapted
    except pydantic.ValidationError as error:
        raise _refused(config, error.errors()[0]) from None


def _refused(config: type, problem: Any) -> InputError:
    """Return the error for a value that does not fit, named by the option that it was given for."""
    parts = [str(part) for part in problem["loc"]]
    names = option_names(config())
    # What follows the option is an element of a tuple or a member of a union.
    known = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    where = next((name for name in known if name in names), ".".join(parts) or config.__name__).replace(
        "_", "-"
    )
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, InputError):  # raised by the value itself, in words for the user
        return InputError(f"--{where}: {cause}" if parts else str(cause))
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    return InputError(f"--{where}: got {problem['input']!r}; {message}.")


def to_plain(config: Any) -> dict[str, Any]:
    """Return a config as values that JSON can hold."""
    plain: dict[str, Any] = _adapter(type(config)).dump_python(config, mode="json")
    return plain


_ADAPTERS: dict[type, pydantic.TypeAdapter[Any]] = {}


def _adapter(config: type) -> pydantic.TypeAdapter[Any]:
    """Return what reads and writes a config; making one takes longer than using it."""
    import pydantic

    if config not in _ADAPTERS:
        _ADAPTERS[config] = pydantic.TypeAdapter(config)
    return _ADAPTERS[config]


def option_names(config: Any) -> list[str]:
    """Return the dotted names of all options, those of nested dataclasses too."""
    return [option.name for option in options(config)]


def options(config: Any) -> Iterator[Option]:
    """Yield every option of a config instance, in the order in which it is written."""
    meanings = _meanings(config.__class__)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            short = shorthand(vars(value))
            if short is not None:
                default = getattr(value, short)
                yield Option(field.name, type(value).__name__, default, meanings.get(field.name, ""))
            for inner in options(value):
                if inner.name != short:
                    yield dataclasses.replace(inner, name=f"{field.name}.{inner.name}")
        else:
            kind = field.type.__name__ if isinstance(field.type, type) else str(field.type)
            yield Option(field.name, kind.replace("typing.", ""), value, meanings.get(field.name, ""))


def shorthand(fields: Mapping[str, Any]) -> str | None:
    """Return the field that an input's own name stands for: `--data X` is `--data.source X`."""
    return next((name for name in ("source", "path") if name in fields), None)


def _assign(config: type, values: dict[str, Any], name: str, value: Any) -> None:
    """Set the dotted option `name` in the nested dict `values`."""
    *outer, last = name.split(".")
    target = values
    for part in outer:
        if not isinstance(target.get(part), dict):
            raise unknown("option", name, option_names(config()))
        target = target[part]
    if last not in target:
        raise unknown("option", name, option_names(config()))
    old = target[last]
    if last == "source" and outer:
        # column roles belong to the old source
        target.update(_defaults(config, outer, target) | {"source": value})
    elif isinstance(old, dict) and shorthand(old) and isinstance(value, str | None):
        target[last] = _defaults(config, [*outer, last], old) | {shorthand(old): value}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        target[last] = to_plain(value)
    else:
        target[last] = copy.deepcopy(value)  # a later layer may reach into it


def _defaults(config: type, place: list[str], values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a dataclass inside a config as its own defaults have them, else `None`."""
    held: Any = functools.reduce(lambda outer, part: getattr(outer, part, None), place, config())
    fields = dataclasses.fields(held) if dataclasses.is_dataclass(held) else ()
    plain = {field.name: field.default for field in fields if isinstance(field.default, str | int | float)}
    return dict.fromkeys(values) | plain


@functools.cache  # parsing takes tens of milliseconds, and a check asks for each arm
def _meanings(config: type) -> dict[str, str]:
    """Read the string literal under each field of a dataclass, inherited ones too."""
    inherited = (_meanings(base) for base in reversed(config.__bases__) if base is not object)
    meanings = {name: text for known in inherited for name, text in known.items()}
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(config)))
    except (OSError, TypeError):
        return meanings
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    for field, text in pairwise(body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            meanings[field.target.id] = inspect.cleandoc(str(text.value.value))
    return meanings
