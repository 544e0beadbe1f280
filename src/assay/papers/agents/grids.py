"""Boards of cells in numpy: many players that move at once, and mazes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from assay.errors import InputError
from assay.papers.agents.vectorised import BatchedEnvironment, Bits, Indices

MOVES = ((0, 0), (-1, 0), (0, -1), (1, 0), (0, 1))
"""No move, up, left, down, right: the actions of the grids (row, column)."""


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

    def _put_player(self, position: Indices) -> None:
        self._layers[self._rows, self._position, 0] = 0
        self._layers[self._rows, position, 0] = 1
        self._position = position

    def start_from(self, observations: Bits) -> None:
        self._layers = np.asarray(observations).astype(np.int8).reshape(self._layers.shape)
        self._position = self._layers[:, :, 0].argmax(axis=1)


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

    def open_cells(rows: Indices, places: Indices) -> None:
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
