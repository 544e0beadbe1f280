"""PanFlute, mazes and boards: one at a time and many copies at once, under their names in gymnasium.

The environments of Young et al., "The Benefits of Model-Based Generalization in Reinforcement Learning" (ICML
2023). All observations are flat bits. Importing this module registers the names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from assay.errors import InputError
from assay.papers.agents.grids import GridEnvironment, draw_mazes
from assay.papers.agents.vectorised import (
    BatchedEnvironment,
    Bits,
    Indices,
    SingleEnvironment,
    probability,
    register_all,
)


class VectorPanFlute(BatchedEnvironment):
    """PanFlute: n pipes, pipe i a shift register of i+1 bits; action i blows into pipe i.

    The reward is 1 when the last bits of all pipes are set before the step. Every pipe then shifts by one
    towards its end, and its first bit becomes whether it was blown into. With probability `spontaneous` all
    last bits are set. Playing n-1, n-2, ..., 0 for ever earns 1/n a step.
    """

    continuing = True

    def __init__(self, num_envs: int = 1, num_pipes: int = 5, spontaneous: float | None = None) -> None:
        if num_pipes < 1:
            raise InputError(f"num_pipes is {num_pipes}: give at least 1.")
        super().__init__(num_envs, num_pipes * (num_pipes + 1) // 2, num_pipes)
        self.num_pipes = num_pipes
        self.spontaneous = probability("spontaneous", spontaneous, 1 / num_pipes**2)
        self._first, self._last = pipe_ends(num_pipes)

    def start_from(self, observations: Bits) -> None:
        self._bits = np.asarray(observations).astype(np.int8)

    def _begin(self, rows: Indices) -> None:
        self._bits = np.zeros((self.num_envs, self._last[-1] + 1), dtype=np.int8)

    def _advance(self, actions: Indices) -> tuple[np.ndarray, np.ndarray]:
        rewards: np.ndarray = self._bits[:, self._last].min(axis=1).astype(np.float64)
        self._bits = blown(self._bits, actions, self._first)
        if self.spontaneous:
            rows = np.flatnonzero(self.np_random.random(self.num_envs) < self.spontaneous)
            self._bits[rows[:, None], self._last] = 1
        return rewards, np.zeros(self.num_envs, dtype=bool)

    def _observe(self) -> Bits:
        return self._bits  # every step makes a new array


def pipe_ends(num_pipes: int) -> tuple[Int[np.ndarray, " pipes"], Int[np.ndarray, " pipes"]]:
    """Return where each pipe's first and last bit is."""
    lengths = np.arange(1, num_pipes + 1)
    last: np.ndarray = np.cumsum(lengths) - 1
    return last - lengths + 1, last


def blown(bits: Bits, actions: Indices, first: Int[np.ndarray, " pipes"]) -> Bits:
    """Shift all pipes by one and blow into one of each row."""
    shifted = np.empty_like(bits)
    shifted[:, 1:] = bits[:, :-1]
    shifted[:, first] = 0
    shifted[np.arange(len(bits)), first[actions]] = 1
    return shifted


class VectorProcMaze(GridEnvironment):
    """ProcMaze: a new maze each episode, and -1 a step until the step that starts on the goal.

    With probability `teleport`, by default 0.1 / ((G+1) ceil(G/2) - G mod 2), the player is put on the goal.
    Channels: player, goal, wall, empty.
    """

    continuing = False

    def __init__(self, num_envs: int = 1, grid_size: int = 10, teleport: float | None = None) -> None:
        super().__init__(num_envs, grid_size, channels=4, smallest=2)
        usual = 0.1 / ((grid_size + 1) * -(-grid_size // 2) - grid_size % 2)
        self.teleport = probability("teleport", teleport, usual)
        self._goal = np.zeros(num_envs, dtype=np.int64)
        self._spare = np.zeros((0, self.cells), dtype=bool)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        if seed is not None:
            self._spare = self._spare[:0]  # drawn from another stream
        return super().reset(seed=seed, options=options)

    def start_from(self, observations: Bits) -> None:
        super().start_from(observations)
        self._goal = self._layers[:, :, 1].argmax(axis=1)

    def _begin(self, rows: Indices) -> None:
        is_open = self._mazes(len(rows))
        layers = np.zeros((len(rows), self.cells, 4), dtype=np.int8)
        layers[:, :, 2], layers[:, :, 3] = ~is_open, is_open
        own = np.arange(len(rows))
        for channel, places in ((0, self._position), (1, self._goal)):
            drawn = np.where(is_open, self.np_random.random(is_open.shape), -1).argmax(axis=1)
            layers[own, drawn, channel] = 1
            places[rows] = drawn
        self._layers[rows] = layers

    def _mazes(self, count: int) -> Bool[np.ndarray, "m cells"]:
        """Take mazes from the store, which is filled by many at a time."""
        if len(self._spare) < count:
            new = draw_mazes(max(count, min(self.num_envs, 1024)), self.grid_size, self.np_random)
            self._spare = np.concatenate([self._spare, new])
        taken, self._spare = self._spare[:count], self._spare[count:]
        return taken

    def _advance(self, actions: Indices) -> tuple[np.ndarray, np.ndarray]:
        ended = self._position == self._goal
        target = self._target[self._position, actions]
        target = np.where(self._layers[self._rows, target, 2] == 1, self._position, target)
        if self.teleport:
            target = np.where(self.np_random.random(self.num_envs) < self.teleport, self._goal, target)
        self._put_player(target)
        return np.full(self.num_envs, -1.0), ended


class VectorOpenGrid(GridEnvironment):
    """OpenGrid: an empty board with the goal in the far corner, and -1 a step as in ProcMaze."""

    continuing = False

    def __init__(self, num_envs: int = 1, grid_size: int = 10, teleport: float | None = None) -> None:
        super().__init__(num_envs, grid_size, channels=1, smallest=2)
        self.teleport = probability("teleport", teleport, 0.1 / grid_size)

    def _begin(self, rows: Indices) -> None:
        self._position[rows] = self.np_random.integers(self.cells, size=len(rows))
        self._layers[rows] = 0
        self._layers[rows, self._position[rows], 0] = 1

    def _advance(self, actions: Indices) -> tuple[np.ndarray, np.ndarray]:
        goal = self.cells - 1
        ended = self._position == goal
        target = self._target[self._position, actions]
        if self.teleport:
            target = np.where(self.np_random.random(self.num_envs) < self.teleport, goal, target)
        self._put_player(target)
        return np.full(self.num_envs, -1.0), ended


class VectorButtonGrid(GridEnvironment):
    """ButtonGrid: stepping onto a button switches it; all on give 1 in the next step, and a new board.

    Only a step that changes the position switches. With probability `activate`, by default 1/(10 G^2), all
    buttons switch on. Channels: player, button that is on, button that is off.
    """

    continuing = True

    def __init__(
        self, num_envs: int = 1, grid_size: int = 10, num_buttons: int = 3, activate: float | None = None
    ) -> None:
        super().__init__(num_envs, grid_size, channels=3, smallest=1)
        if not 1 <= num_buttons <= self.cells:
            raise InputError(f"num_buttons is {num_buttons}: give 1 to {self.cells}, the cells of the grid.")
        self.num_buttons = num_buttons
        self.activate = probability("activate", activate, 1 / (10 * self.cells))
        self._off = np.zeros(num_envs, dtype=np.int64)

    def start_from(self, observations: Bits) -> None:
        super().start_from(observations)
        self._off = self._layers[:, :, 2].sum(axis=1, dtype=np.int64)

    def _begin(self, rows: Indices) -> None:
        order = self.np_random.random((len(rows), self.cells)).argpartition(self.num_buttons - 1, axis=1)
        self._position[rows] = self.np_random.integers(self.cells, size=len(rows))
        self._layers[rows] = 0
        self._layers[rows[:, None], order[:, : self.num_buttons], 2] = 1
        self._layers[rows, self._position[rows], 0] = 1
        self._off[rows] = self.num_buttons

    def _advance(self, actions: Indices) -> tuple[np.ndarray, np.ndarray]:
        success = self._off == 0
        target = self._target[self._position, actions]
        switched = self._layers[self._rows, target, 1:].any(axis=1) & (target != self._position)
        rows, cells = np.flatnonzero(switched), target[switched]
        was_off = self._layers[rows, cells, 2]
        self._layers[rows, cells, 1], self._layers[rows, cells, 2] = was_off, 1 - was_off
        self._off[rows] += 1 - 2 * was_off.astype(np.int64)
        self._put_player(target)
        if self.activate:
            self._switch_on(np.flatnonzero(self.np_random.random(self.num_envs) < self.activate))
        if success.any():
            self._begin(np.flatnonzero(success))
        return success.astype(np.float64), np.zeros(self.num_envs, dtype=bool)

    def _switch_on(self, rows: Indices) -> None:
        self._layers[rows, :, 1] |= self._layers[rows, :, 2]
        self._layers[rows, :, 2] = 0
        self._off[rows] = 0


class PanFlute(SingleEnvironment):
    """See `VectorPanFlute`."""

    batched = VectorPanFlute


class ProcMaze(SingleEnvironment):
    """See `VectorProcMaze`."""

    batched = VectorProcMaze


class ButtonGrid(SingleEnvironment):
    """See `VectorButtonGrid`."""

    batched = VectorButtonGrid


class OpenGrid(SingleEnvironment):
    """See `VectorOpenGrid`."""

    batched = VectorOpenGrid


def register() -> None:
    """Make the environments known to `gymnasium.make` and `gymnasium.make_vec`."""
    register_all(
        {
            "ProcMaze-v0": ProcMaze,
            "ButtonGrid-v0": ButtonGrid,
            "PanFlute-v0": PanFlute,
            "OpenGrid-v0": OpenGrid,
        }
    )


register()
