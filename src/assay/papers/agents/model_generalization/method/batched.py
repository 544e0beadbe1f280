"""The paper's environments, many copies at a time in numpy, as gymnasium vector environments.

All observations are flat bits and say everything about the state, so that `start_from(observations)` puts the
copies into given states: that is how a rollout starts from an observation of the past.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, Int

from assay.errors import InputError

MOVES = ((0, 0), (-1, 0), (0, -1), (1, 0), (0, 1))
"""No move, up, left, down, right: the actions of the grids (row, column)."""

Bits = Int[np.ndarray, "n bits"]
Cells = Int[np.ndarray, " n"]


class BatchedEnvironment(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Copies of one environment that step together.

    `step` returns what gymnasium's vector environments return, with the mode SAME_STEP: where an episode has
    ended, the observation is the first of the next one and `infos["final_obs"]` has the last one.
    """

    continuing: ClassVar[bool]
    """Whether the task never ends; then reward per step counts, else the return of an episode."""
    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(self, num_envs: int, bits: int, num_actions: int) -> None:
        if num_envs < 1:
            raise InputError(f"num_envs is {num_envs}: give at least 1.")
        self.num_envs = num_envs
        self.single_observation_space = spaces.MultiBinary(bits)
        self.single_action_space = spaces.Discrete(num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rows = np.arange(num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start all copies anew; a seed makes all that follows repeatable."""
        if isinstance(seed, list):  # one generator serves all copies
            seed = seed[0]
        super().reset(seed=seed)
        self._begin(self._rows)
        return self._observe(), {}

    def step(self, actions: Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one action in each copy: observations, rewards, terminations, truncations, infos."""
        rewards, ended = self._advance(np.asarray(actions))
        infos: dict[str, Any] = {}
        observations = self._observe()
        if ended.any():
            infos = {"final_obs": observations, "_final_obs": ended}
            self._begin(np.flatnonzero(ended))
            observations = self._observe()
        return observations, rewards, ended, np.zeros(self.num_envs, dtype=bool), infos

    def start_from(self, observations: Bits) -> None:
        """Put each copy into the state that an observation shows."""
        raise NotImplementedError

    def _begin(self, rows: Cells) -> None:
        """Draw first states for some copies."""
        raise NotImplementedError

    def _advance(self, actions: Cells) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """Move all copies; return rewards and whether the episode has ended."""
        raise NotImplementedError

    def _observe(self) -> Bits:
        """Return observations that later steps leave alone."""
        raise NotImplementedError


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

    def _begin(self, rows: Cells) -> None:
        self._bits = np.zeros((self.num_envs, self._last[-1] + 1), dtype=np.int8)

    def _advance(self, actions: Cells) -> tuple[np.ndarray, np.ndarray]:
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


def blown(bits: Bits, actions: Cells, first: Int[np.ndarray, " pipes"]) -> Bits:
    """Shift all pipes by one and blow into one of each row."""
    shifted = np.empty_like(bits)
    shifted[:, 1:] = bits[:, :-1]
    shifted[:, first] = 0
    shifted[np.arange(len(bits)), first[actions]] = 1
    return shifted


class GridEnvironment(BatchedEnvironment):
    """What the grids share: cells numbered row by row, and channels of one-hot bits, the last axis first."""

    def __init__(self, num_envs: int, grid_size: int, channels: int, smallest: int) -> None:
        if grid_size < smallest:
            raise InputError(f"grid_size is {grid_size}: give at least {smallest}.")
        super().__init__(num_envs, grid_size**2 * channels, len(MOVES))
        self.grid_size, self.cells, self.channels = grid_size, grid_size**2, channels
        self._target = moves(grid_size)
        self._layers = np.zeros((num_envs, self.cells, channels), dtype=np.int8)
        self._position = np.zeros(num_envs, dtype=np.int64)

    def _observe(self) -> Bits:
        return self._layers.reshape(self.num_envs, -1).copy()

    def _put_player(self, position: Cells) -> None:
        self._layers[self._rows, self._position, 0] = 0
        self._layers[self._rows, position, 0] = 1
        self._position = position

    def start_from(self, observations: Bits) -> None:
        self._layers = np.asarray(observations).astype(np.int8).reshape(self._layers.shape)
        self._position = self._layers[:, :, 0].argmax(axis=1)


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

    def _begin(self, rows: Cells) -> None:
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

    def _advance(self, actions: Cells) -> tuple[np.ndarray, np.ndarray]:
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

    def _begin(self, rows: Cells) -> None:
        self._position[rows] = self.np_random.integers(self.cells, size=len(rows))
        self._layers[rows] = 0
        self._layers[rows, self._position[rows], 0] = 1

    def _advance(self, actions: Cells) -> tuple[np.ndarray, np.ndarray]:
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

    def _begin(self, rows: Cells) -> None:
        order = self.np_random.random((len(rows), self.cells)).argpartition(self.num_buttons - 1, axis=1)
        self._position[rows] = self.np_random.integers(self.cells, size=len(rows))
        self._layers[rows] = 0
        self._layers[rows[:, None], order[:, : self.num_buttons], 2] = 1
        self._layers[rows, self._position[rows], 0] = 1
        self._off[rows] = self.num_buttons

    def _advance(self, actions: Cells) -> tuple[np.ndarray, np.ndarray]:
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

    def _switch_on(self, rows: Cells) -> None:
        self._layers[rows, :, 1] |= self._layers[rows, :, 2]
        self._layers[rows, :, 2] = 0
        self._off[rows] = 0


def moves(grid_size: int) -> Int[np.ndarray, "cells 5"]:
    """Return the cell to which each action leads from each cell; the edge holds the player back."""
    row, column = np.divmod(np.arange(grid_size**2), grid_size)
    steps = [
        np.clip(row + down, 0, grid_size - 1) * grid_size + np.clip(column + right, 0, grid_size - 1)
        for down, right in MOVES
    ]
    return np.stack(steps, axis=1)


def draw_mazes(count: int, grid_size: int, random: np.random.Generator) -> Bool[np.ndarray, "count cells"]:
    """Draw mazes: True where a cell is open.

    A walk with a stack: from the cell on top, open a random neighbour that is closed and has exactly one open
    neighbour; where there is none, go back by one. All mazes walk together.
    """
    cells, outside = grid_size**2, grid_size**2
    neighbours = moves(grid_size)[:, 1:]
    neighbours = np.where(neighbours == np.arange(cells)[:, None], outside, neighbours)
    neighbours = np.concatenate([neighbours, np.full((1, 4), outside)])
    is_open = np.zeros((count, cells + 1), dtype=bool)
    open_around = np.zeros((count, cells + 1), dtype=np.int64)
    stack = np.zeros((count, cells + 1), dtype=np.int64)
    depth = np.zeros(count, dtype=np.int64)

    def open_cells(rows: Cells, places: Cells) -> None:
        is_open[rows, places] = True
        for side in range(4):  # the sides lead to different cells, so no sum is lost; outside is not read
            open_around[rows, neighbours[places, side]] += 1
        stack[rows, depth[rows]] = places
        depth[rows] += 1

    open_cells(np.arange(count), random.integers(cells, size=count))
    while (rows := np.flatnonzero(depth)).size:
        around = neighbours[stack[rows, depth[rows] - 1]]
        seen = rows[:, None]
        eligible = (around != outside) & ~is_open[seen, around] & (open_around[seen, around] == 1)
        chosen = np.where(eligible, random.random(around.shape), -1).argmax(axis=1)
        goes_on = eligible.any(axis=1)
        depth[rows[~goes_on]] -= 1
        open_cells(rows[goes_on], around[np.arange(len(rows)), chosen][goes_on])
    return is_open[:, :cells]


def probability(name: str, given: float | None, usual: float) -> float:
    """Return a probability as given, or the usual one."""
    if given is not None and not 0 <= given <= 1:
        raise InputError(f"{name} is {given}: give a probability, 0 to 1.")
    return usual if given is None else given
