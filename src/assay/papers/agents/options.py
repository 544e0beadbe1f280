"""Options that several entries put into their configs. Nothing heavy is imported here."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

from assay import files
from assay.bounds import PositiveInt
from assay.data import hash_file
from assay.errors import InputError
from assay.own import code_of


@dataclass(frozen=True)
class Environment:
    """An environment with discrete actions. `--env NAME` is short for `--env.source NAME`."""

    source: str | None = None
    """Name in gymnasium (CartPole-v1, PanFlute-v0), or MODULE:FUNCTION that returns an environment; the
    module is also looked for in the working folder."""
    arguments: tuple[str, ...] | None = None
    """Arguments of the environment, each NAME=VALUE, such as num_pipes=4."""
    continuing: bool | None = None
    """Whether the task never ends: scores are then rewards per step. The paper's environments know it."""

    def __post_init__(self) -> None:
        self.keywords()

    def keywords(self) -> dict[str, int | float | bool | str]:
        """Return the arguments as numbers, truth values and text."""
        pairs = [argument.partition("=") for argument in self.arguments or ()]
        for name, equals, _ in pairs:
            if not (name.isidentifier() and equals):
                raise InputError(f"{name!r} is no argument: write NAME=VALUE, such as num_pipes=4.")
        return {name: _value(text) for name, _, text in pairs}

    def fingerprint(self) -> str:
        """Identify the environment: the version of gymnasium, and the code of the user's module."""
        name = self.source or ""
        return f"{name} {_installed('gymnasium')} {code_of(name) if ':' in name else ''}"


def _value(text: str) -> int | float | bool | str:
    if text in ("True", "true", "False", "false"):
        return text in ("True", "true")
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@dataclass(frozen=True)
class Arrays:
    """An npz file with one array a column. `--arrays FILE` is short for `--arrays.path FILE`."""

    path: str | None = None
    """File with the arrays obs, action, reward, next_obs and terminal, instead of a table."""

    def fingerprint(self) -> str:
        """Return the SHA-256 of the content."""
        if self.path is None:
            return "none"
        path = files.user_path(self.path)
        return hash_file(path) if path.is_file() else "missing"


@dataclass(frozen=True)
class Judging:
    """How the greedy policy is scored: reward per step, or the return of an episode."""

    every: PositiveInt = 150
    """Updates (offline) or environment steps (online) from one score to the next."""
    episodes: PositiveInt = 32
    """Copies of the environment that it acts in."""
    steps: PositiveInt = 100
    """Steps that it acts for."""
