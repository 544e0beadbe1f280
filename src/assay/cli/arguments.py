"""Turns command-line words into values: a command's own options, and those of a recipe's config."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tyro

from assay import options
from assay.catalogue import Entry
from assay.errors import InputError, unknown


@dataclass(frozen=True)
class RecipeOption:
    """An option of a recipe as it stands on the command line."""

    name: str
    values: tuple[str, ...]


def separate(command: type, words: Sequence[str]) -> tuple[list[str], list[RecipeOption]]:
    """Tell a command's own words from the options that belong to a recipe."""
    kinds = {field.name: str(field.type) for field in dataclasses.fields(command)}
    own: list[str] = []
    others: list[RecipeOption] = []
    position = 0
    while position < len(words):
        word = words[position]
        name = word.removeprefix("--").partition("=")[0].replace("-", "_")
        end = position + 1
        while end < len(words) and not _is_option(words[end]):
            end += 1
        values = list(words[position + 1 : end])
        if word in ("-h", "--help"):
            own.append("--help")
        elif not word.startswith("--"):
            own.append(word)
            end = position + 1
        elif name == "ray" and name in kinds:
            address = values[:1] if values and (":" in values[0] or values[0] == "auto") else []
            own += ["--ray", *(address or ["local"])]
            end = position + 1 + len(address)
        elif name in kinds:
            taken = 0 if kinds[name] == "bool" or "=" in word else 1
            own += [word, *values[:taken]]
            end = position + 1 + min(taken, len(values))
        else:
            flag, equals, value = word.removeprefix("--").partition("=")
            others.append(RecipeOption(flag.replace("-", "_"), tuple([value] if equals else values)))
        position = end
    return own, others


def _is_option(word: str) -> bool:
    return word.startswith("--") or word == "-h"


def parse(config: type, words: Sequence[str], program: str, default: Any = None) -> Any:
    """Parse words into a dataclass; what is wrong with them becomes one `InputError`."""
    keywords: dict[str, Any] = {} if default is None else {"default": default}
    shown = io.StringIO()
    try:
        if "--help" in words:
            return tyro.cli(config, args=list(words), prog=program, **keywords)
        with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(shown):
            return tyro.cli(config, args=list(words), prog=program, **keywords)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(_plain_error(shown.getvalue())) from None


def _plain_error(shown: str) -> str:
    """Return the sentence inside the frame that tyro draws around an error."""
    parts = re.split(r"[-─]{5,}", re.sub(r"[│╭╮╰╯]", " ", shown))
    sentence = " ".join(parts[min(1, len(parts) - 1)].split())
    return re.sub(r"^Error parsing \w+: ", "", sentence)  # what a config itself refuses speaks of its options


def overrides_of(entry: Entry, recipes: Sequence[str], given: Sequence[RecipeOption]) -> dict[str, Any]:
    """Turn the options given on the command line into values, by the types of the recipes' configs.

    Raises:
        InputError: no recipe has such an option, or a value does not fit it.
    """
    configs = {name: entry.config(name)() for name in recipes}
    known = {option for config in configs.values() for option in options.option_names(config)}
    values: dict[str, Any] = {}
    for option in given:
        if _positive(option.name, known) not in known:
            raise unknown(f"option of {entry.slug}", option.name, known)
    for config in configs.values():
        names = set(options.option_names(config))
        mine = [option for option in given if _positive(option.name, names) in names]
        values |= _typed(config, mine, f"assay ... {entry.slug}")
    return values


def _positive(name: str, known: set[str]) -> str:
    """Return the option behind a flag that switches it off (`--no-rotate`, `--inner.no-rotate`)."""
    outer, dot, last = name.rpartition(".")
    return name if name in known else outer + dot + last.removeprefix("no_")


def _typed(config: Any, given: Sequence[RecipeOption], program: str) -> dict[str, Any]:
    """Parse options that the config has; an input's own name stands for its source or path."""
    plain = options.to_plain(config)
    names = set(options.option_names(config))
    words: list[str] = []
    for option in given:
        value = _at(plain, _positive(option.name, names))
        short = options.shorthand(value) if isinstance(value, dict) else None
        flag = f"{option.name}.{short}" if short else option.name
        words += [f"--{flag.replace('_', '-')}", *option.values]
    parsed = options.to_plain(parse(type(config), words, program, default=config))
    values = {}
    for option in given:
        name = _positive(option.name, names)
        found = _at(parsed, name)
        values[name] = found[options.shorthand(found)] if isinstance(found, dict) else found
    return values


def _at(plain: Any, name: str) -> Any:
    """Return the value of a dotted option."""
    for part in name.split("."):
        plain = plain[part]
    return plain
