"""How far rollouts of a learned model are from what happens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.errors import InputError
from assay.papers.agents.model_generalization.method.models import TransitionModel
from assay.papers.agents.model_generalization.method.transitions import Transitions


@dataclass(frozen=True)
class Sequences:
    """Stretches of h steps without an end inside: first observations, actions, rewards, next observations."""

    obs: Float[Tensor, "n d"]
    action: Int[Tensor, "n h"]
    reward: Float[Tensor, "n h"]
    next_obs: Float[Tensor, "n h d"]


@dataclass(frozen=True)
class RolloutError:
    """Errors after 1, 2, ..., h steps: of observations (share of wrong bits, or RMSE), of rewards (RMSE)."""

    observation: tuple[float, ...]
    reward: tuple[float, ...]


def sequences(rows: Transitions, steps: int, most: int = 1000) -> Sequences:
    """Cut stretches of `steps` rows out of a table whose rows follow each other in time.

    A stretch goes on as long as a row starts where the last one led, without an end.

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


def rollout_error(model: TransitionModel, seen: Sequences, binary: bool) -> RolloutError:
    """Follow the actions that were taken, and compare what the model imagines with what was seen."""
    imagined, rewards = model.predict(seen.obs, seen.action)
    apart = imagined - seen.next_obs
    if binary:
        observation = apart.abs().mean((0, 2))
    else:
        observation = apart.square().mean((0, 2)).sqrt()
    reward = (rewards - seen.reward).square().mean(0).sqrt()
    return RolloutError(tuple(observation.tolist()), tuple(reward.tolist()))
