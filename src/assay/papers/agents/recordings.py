"""Recorded transitions: read from a table or an npz file, checked once, and split in time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.data import Table, read_arrays
from assay.errors import InputError
from assay.papers.agents.options import Arrays
from assay.papers.agents.transitions import Transitions
from assay.papers.agents.worlds import World

COLUMNS = ("obs", "action", "reward", "next_obs", "terminal")


class RecordedWorld:
    """What is known of an environment of which there are only transitions: `Sizes`, and the rows.

    Its actions are those that occur, whatever numbers they have; `rows` counts them from 0. An action that
    was never taken is none that a learner could choose.

    Args:
        table: transitions with the numbers of actions that the environment uses.
        continuing: whether the task never ends.
    """

    def __init__(self, table: Transitions, continuing: bool = False) -> None:
        self.continuing = continuing
        self.observation_size = table.obs.shape[-1]
        bits = torch.cat([table.obs, table.next_obs])
        self.binary = bool(((bits == 0) | (bits == 1)).all())
        self._table = table
        self._count_from(table.action.unique().tolist())

    def _count_from(self, actions: Sequence[int]) -> None:
        self.actions, self.num_actions = actions, len(actions)
        places = torch.searchsorted(torch.tensor(actions), self._table.action)
        self.rows = dataclasses.replace(self._table, action=places)

    def take_from(self, world: World) -> None:
        """Take the actions of the environment that the transitions are from, and whether its task ends.

        Raises:
            InputError: it has observations of another size, or lacks actions of the transitions.
        """
        lacking = sorted({*self.actions} - {*world.actions})
        if world.observation_size != self.observation_size or lacking:
            raise InputError(
                f"the transitions have {self.observation_size} numbers an observation and the actions"
                f" {_listed(self.actions)}, the environment {world.observation_size} numbers and the actions"
                f" {_listed(world.actions)}: give the environment that they are from."
            )
        self.continuing = world.continuing
        self._count_from(world.actions)


def _listed(actions: Sequence[int]) -> str:
    numbers = ", ".join(map(str, actions[:9]))
    return f"{numbers}, ..." if len(actions) > 9 else numbers


def read_transitions(data: Table, arrays: Arrays) -> Transitions:
    """Read transitions in the order of their rows; actions keep their numbers.

    Raises:
        InputError: a column is missing, or does not hold what it should.
    """
    if arrays.path is not None:
        return transitions_of(read_arrays(arrays.path), arrays.path)
    rows = data.load(needs=()).rows
    columns = {name: rows[name][:] if name in COLUMNS else None for name in rows.column_names}
    return transitions_of(columns, data.source)


def transitions_of(columns: Mapping[str, Any], where: str) -> Transitions:
    """Check columns and make transitions of them; `where` names their place in errors.

    Raises:
        InputError: a column is missing, or does not hold what it should.
    """
    for name in COLUMNS:
        if name not in columns:
            known = ", ".join(columns)
            raise InputError(f"{where} has no column {name!r}; it has {known}. Needed: {', '.join(COLUMNS)}.")
    obs, next_obs = (_vectors(columns[name], name, where) for name in ("obs", "next_obs"))
    action, reward, terminal = (
        _one_a_row(columns[name], name, where) for name in ("action", "reward", "terminal")
    )
    rows = {len(part) for part in (obs, next_obs, reward, terminal, action)}
    if len(rows) != 1 or rows == {0} or obs.shape != next_obs.shape:
        raise InputError(
            f"{where}: obs, action, reward, next_obs and terminal must have the same rows, 1 or more."
        )
    if not bool(((terminal == 0) | (terminal == 1)).all()):
        raise InputError(
            f"{where}: terminal must be 0 or 1 (true where the episode ended, not where it was cut)."
        )
    if not bool((action == action.round()).all()):
        raise InputError(
            f"{where}: actions are {action.min():g} to {action.max():g} and must be whole numbers: only"
            " discrete actions are supported."
        )
    continuation = 1 - terminal.float()
    return Transitions(
        obs.float(),
        action.long(),
        reward.float(),
        next_obs.float(),
        continuation,
        torch.ones_like(continuation),
    )


def _vectors(values: Any, name: str, where: str) -> Tensor:
    """Return one vector a row; observations with more axes are flattened."""
    found = _numbers(values, name, where)
    return found.reshape(len(found), math.prod(found.shape[1:]))


def _one_a_row(values: Any, name: str, where: str) -> Tensor:
    """Return one number a row; a column of shape (rows, 1) is one as well."""
    found = _numbers(values, name, where)
    if found.numel() != len(found):
        raise InputError(
            f"{where}: the column {name!r} has the shape {tuple(found.shape)}: give one number a row."
        )
    return found.reshape(-1)


def _numbers(values: Any, name: str, where: str) -> Tensor:
    try:
        found = np.asarray(values)
    except ValueError:  # rows of different lengths
        found = np.empty(0, dtype=object)
    if found.dtype.kind not in "biuf" or found.ndim == 0:
        raise InputError(
            f"{where}: the column {name!r} must hold numbers, in every row equally many and none missing."
        )
    if not (np.abs(found) <= np.finfo(np.float32).max).all():  # NaN compares as false
        raise InputError(f"{where}: the column {name!r} has numbers that are missing or infinite.")
    return torch.from_numpy(found.astype(np.float64))


def split_in_time(table: Transitions, held_out: float) -> tuple[Transitions, Transitions]:
    """Return the first rows to learn from and the last ones to measure on."""
    cut = round(table.rows * (1 - held_out))
    if not 0 < cut < table.rows:
        raise InputError(
            f"a share of {held_out} of {table.rows} transitions leaves a part empty: give more rows."
        )
    return table.part(slice(cut)), table.part(slice(cut, None))
