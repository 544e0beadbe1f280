"""Transitions, the buffer that keeps them, and stretches of them that follow each other in time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.errors import InputError


@dataclass(frozen=True)
class Transitions:
    """Rows of (s, a, r, s'), real or imagined. All may have leading axes: one set for each stacked network.

    `action` counts from 0. `continuation` is 1 - terminal for real rows and the predicted probability to go
    on for imagined ones; it is 1 where an episode was only cut short (gymnasium's `truncated`). `weight` is
    that of the row in the loss: the probability that the rollout got there.
    """

    obs: Float[Tensor, "*stack n d"]
    action: Int[Tensor, "*stack n"]
    reward: Float[Tensor, "*stack n"]
    next_obs: Float[Tensor, "*stack n d"]
    continuation: Float[Tensor, "*stack n"]
    weight: Float[Tensor, "*stack n"]

    @property
    def rows(self) -> int:
        """The number of rows (of each set)."""
        return self.action.shape[-1]

    def map(self, change: Callable[[Tensor], Tensor]) -> Transitions:
        """Apply a function to every column."""
        return Transitions(*map(change, self._columns()))

    def part(self, rows: slice | Int[Tensor, " k"]) -> Transitions:
        """Return some of the rows (of each set)."""
        several = self.action.ndim  # observations have one axis more
        return self.map(lambda column: column[..., rows] if column.ndim == several else column[..., rows, :])

    @classmethod
    def joined(cls, parts: Sequence[Transitions]) -> Transitions:
        """Put rows one after another."""
        axis = parts[0].action.ndim - 1
        return cls(
            *(torch.cat(columns, axis) for columns in zip(*(part._columns() for part in parts), strict=True))
        )

    def _columns(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in dataclasses.fields(self)]


class ReplayBuffer:
    """The last `capacity` transitions.

    Args:
        capacity: rows kept; the oldest are overwritten.
        observation_size: numbers of an observation.
        device: where the rows are.
    """

    def __init__(self, capacity: int, observation_size: int, device: torch.device | str = "cpu") -> None:
        if capacity < 1:
            raise InputError(f"the capacity of the buffer is {capacity}: give at least 1 row.")
        self.capacity, self.size, self._next = capacity, 0, 0
        self.obs = torch.zeros(capacity, observation_size, device=device)
        self.next_obs = torch.zeros(capacity, observation_size, device=device)
        self.action = torch.zeros(capacity, dtype=torch.long, device=device)
        self.reward = torch.zeros(capacity, device=device)
        self.continuation = torch.zeros(capacity, device=device)

    def add(
        self,
        obs: Float[Tensor, "n d"],
        action: Int[Tensor, " n"],
        reward: Float[Tensor, " n"],
        next_obs: Float[Tensor, "n d"],
        terminated: Float[Tensor, " n"],
    ) -> None:
        """Keep rows. `terminated` (1 or 0) ends the bootstrap; what gymnasium calls truncated does not."""
        rows = (self._next + torch.arange(len(action))) % self.capacity
        for name, values in (
            ("obs", obs),
            ("action", action),
            ("reward", reward),
            ("next_obs", next_obs),
            ("continuation", 1 - terminated),
        ):
            kept = getattr(self, name)
            kept[rows] = values.to(kept)
        self._next = (self._next + len(action)) % self.capacity
        self.size = min(self.size + len(action), self.capacity)

    @classmethod
    def of(cls, rows: Transitions) -> ReplayBuffer:
        """Hold rows, possibly several sets at once: [*stack, n, d]."""
        buffer = cls(1, rows.obs.shape[-1])
        buffer.capacity = buffer.size = rows.rows
        for name in ("obs", "action", "reward", "next_obs", "continuation"):
            setattr(buffer, name, getattr(rows, name))
        return buffer

    def rows(self) -> Transitions:
        """Return all rows that are there."""
        ones = torch.ones_like(self.reward)
        every = Transitions(self.obs, self.action, self.reward, self.next_obs, self.continuation, ones)
        return every.part(slice(self.size))

    def sample(self, count: int, generator: torch.Generator | None = None) -> Transitions:
        """Draw rows uniformly with replacement, separately from each set.

        Raises:
            InputError: the buffer holds fewer rows than are asked for.
        """
        if not 1 <= count <= self.size:
            raise InputError(
                f"a batch of {count} transitions cannot be drawn from a buffer of {self.size}: give at least"
                " as many transitions as a batch has, or a smaller batch."
            )
        stack = self.action.shape[:-1]
        rows = torch.randint(self.size, (*stack, count), generator=generator).to(self.action.device)
        wide = rows.unsqueeze(-1).expand(*stack, count, self.obs.shape[-1])
        return Transitions(
            self.obs.gather(-2, wide),
            self.action.gather(-1, rows),
            self.reward.gather(-1, rows),
            self.next_obs.gather(-2, wide),
            self.continuation.gather(-1, rows),
            torch.ones(rows.shape, device=rows.device),
        )


def stacked(sets: Sequence[Transitions]) -> Transitions:
    """Put sets of equally many rows side by side, on a new first axis."""
    return Transitions(*map(torch.stack, zip(*(part._columns() for part in sets), strict=True)))


@dataclass(frozen=True)
class Sequences:
    """Stretches of h steps without an end inside: first observations, actions, rewards, next observations."""

    obs: Float[Tensor, "n d"]
    action: Int[Tensor, "n h"]
    reward: Float[Tensor, "n h"]
    next_obs: Float[Tensor, "n h d"]


def sequences(rows: Transitions, steps: int, most: int = 1000) -> Sequences:
    """Cut stretches of `steps` rows out of a table whose rows follow each other in time.

    A stretch lasts as long as each row starts where the last one led, without an end.

    Raises:
        InputError: there is no stretch of that length.
    """
    goes_on = torch.zeros(rows.rows, dtype=torch.bool)
    goes_on[1:] = (rows.obs[1:] == rows.next_obs[:-1]).all(-1) & (rows.continuation[:-1] > 0)
    starts = stretch_starts(goes_on, steps)
    if not len(starts):
        raise InputError(
            f"no {steps} rows in a row follow each other: keep the rows of an episode together, or ask for"
            " shorter stretches."
        )
    starts = starts[torch.linspace(0, len(starts) - 1, min(most, len(starts))).long()]
    every = starts[:, None] + torch.arange(steps)
    return Sequences(rows.obs[starts], rows.action[every], rows.reward[every], rows.next_obs[every])


def stretch_starts(goes_on: Bool[Tensor, " n"], steps: int) -> Int[Tensor, " m"]:
    """Return the rows from which `steps` rows follow each other."""
    places = torch.arange(len(goes_on))
    begun = torch.where(goes_on, torch.zeros_like(places), places).cummax(0).values
    ends = places[places - begun + 1 >= steps]
    return ends - steps + 1
