"""Given transitions: read from a table or an npz file, checked once, and cut in time."""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay import files
from assay.data import Table
from assay.data.source import File
from assay.errors import InputError
from assay.papers.agents.model_generalization.config import Arrays
from assay.papers.agents.model_generalization.method import Transitions, World

COLUMNS = ("obs", "action", "reward", "next_obs", "terminal")


class TableWorld:
    """What is known of an environment of which there are only transitions."""

    num_envs = 1

    def __init__(self, table: Transitions, continuing: bool = False) -> None:
        self.continuing = continuing
        self.observation_size = table.obs.shape[-1]
        self.num_actions = int(table.action.max()) + 1
        bits = torch.cat([table.obs, table.next_obs])
        self.binary = bool(((bits == 0) | (bits == 1)).all())

    def check_like(self, world: World) -> None:
        """Refuse an environment that the transitions are not from; take its number of actions.

        Raises:
            InputError: observations differ in size, or there are more actions in the table.
        """
        if world.observation_size != self.observation_size or world.num_actions < self.num_actions:
            raise InputError(
                f"the transitions have {self.observation_size} numbers an observation and {self.num_actions}"
                f" actions, the environment {world.observation_size} and {world.num_actions}: give the"
                " environment that they are from."
            )
        self.num_actions = world.num_actions


def read_transitions(data: Table, arrays: Arrays) -> Transitions:
    """Read transitions in the order of their rows.

    Raises:
        InputError: a column is missing, or does not hold what it should.
    """
    if arrays.path is not None:
        where, columns = arrays.path, _read_arrays(arrays.path)
    else:
        where, columns = data.source, _read_table(data)
    for name in COLUMNS:
        if name not in columns:
            known = ", ".join(columns)
            raise InputError(f"{where} has no column {name!r}; it has {known}. Needed: {', '.join(COLUMNS)}.")
    obs, next_obs = (_observations(columns[name], name, where) for name in ("obs", "next_obs"))
    reward, terminal = (_numbers(columns[name], name, where) for name in ("reward", "terminal"))
    action = _numbers(columns["action"], "action", where)
    rows = {len(part) for part in (obs, next_obs, reward, terminal, action)}
    if len(rows) != 1 or rows == {0} or obs.shape != next_obs.shape:
        raise InputError(
            f"{where}: obs, action, reward, next_obs and terminal must have the same rows, 1 or more."
        )
    if not bool(((terminal == 0) | (terminal == 1)).all()):
        raise InputError(
            f"{where}: terminal must be 0 or 1 (true where the episode ended, not where it was cut)."
        )
    if not bool(((action == action.round()) & (action >= 0)).all()):
        raise InputError(
            f"{where}: actions are {action.min():g} to {action.max():g} and must be whole numbers from 0:"
            " only discrete actions are supported."
        )
    return Transitions(obs, action.long(), reward, next_obs, 1 - terminal, torch.ones_like(reward))


def _read_table(data: Table) -> dict[str, Any]:
    rows = data.load(needs=()).rows
    return {name: rows[name][:] if name in COLUMNS else None for name in rows.column_names}


def _read_arrays(path: str) -> dict[str, Any]:
    found = File(files.user_path(path)).require((".npz",))
    try:
        with np.load(found, allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no npz file of plain arrays ({error}).") from None


def _observations(values: Any, name: str, where: str) -> Tensor:
    """Return vectors; observations with more axes are flattened."""
    found = _numbers(values, name, where)
    return found.reshape(len(found), -1)


def _numbers(values: Any, name: str, where: str) -> Tensor:
    try:
        found = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError):
        raise InputError(
            f"{where}: the column {name!r} must hold numbers, in every row equally many."
        ) from None
    if not np.isfinite(found).all():
        raise InputError(f"{where}: the column {name!r} has numbers that are missing or infinite.")
    return torch.from_numpy(found)


def split_in_time(table: Transitions, held_out: float) -> tuple[Transitions, Transitions]:
    """Return the first rows to learn from and the last ones to measure on."""
    cut = round(table.rows * (1 - held_out))
    if not 0 < cut < table.rows:
        raise InputError(
            f"a share of {held_out} of {table.rows} transitions leaves a part empty: give more rows."
        )
    return table.part(slice(cut)), table.part(slice(cut, None))
