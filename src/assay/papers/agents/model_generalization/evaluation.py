"""What the recipes measure: errors of models and of Q, a uniformly random policy, a picture of a rollout."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from assay.errors import InputError
from assay.paper import Value
from assay.papers.agents.exact import LARGEST
from assay.papers.agents.model_generalization.method import (
    RolloutError,
    TransitionModel,
    Transitions,
    UniformPolicy,
    VectorPanFlute,
    VectorWorld,
    World,
    evaluate,
    pan_flute_values,
    rollout_error,
    sequences,
)
from assay.papers.agents.options import Environment, Judging
from assay.papers.agents.worlds import open_environment
from assay.trial import Trial


def random_score(env: Environment, judging: Judging, seed: int) -> float:
    """Score a policy that acts uniformly at random, in ten times as many episodes."""
    world = open_environment(env, 10 * judging.episodes)
    policy = UniformPolicy(world.num_actions, torch.Generator().manual_seed(seed))
    return evaluate(policy, world, judging.steps, seed).item()


def not_scrambled(trial: Trial) -> dict[str, Value]:
    """Return that there is nothing to measure: only states of bits can be scrambled."""
    trial.progress("states can only be scrambled where observations are bits")
    for name in ("environment_steps", "q_updates", "q_rows", "candidates"):
        trial.count(name, 0)
    return {"greedy_reward": None}


def unexplained(model: TransitionModel, table: Transitions) -> float:
    """Return the squared error of drawn next observations over their variance; 1 is no better than a mean."""
    imagined, _ = model.predict(table.obs, table.action[:, None])
    error = (imagined[:, 0] - table.next_obs).square().mean(0).sum()
    spread = table.next_obs.var(0, unbiased=False).sum()
    return (error / spread.clamp(min=1e-12)).item()


def model_errors(model: TransitionModel, rows: Transitions, horizon: int, binary: bool) -> RolloutError:
    """Return errors after 1 to `horizon` steps, or as many as the rows have in one stretch."""
    for steps in range(horizon, 0, -1):
        try:
            return rollout_error(model, sequences(rows, steps), binary)
        except InputError:
            continue
    return RolloutError((), (), "share of wrong bits" if binary else "RMSE")


def action_value_errors(q_net: nn.Module, world: World, table: Transitions, gamma: float) -> dict[str, Value]:
    """Return the RMSE to the exact Q*, for state-action pairs of the table and for all others.

    Only for a PanFlute that can be solved; else there is nothing to compare with.
    """
    env = world.env if isinstance(world, VectorWorld) else None
    if not isinstance(world, VectorWorld) or not isinstance(env, VectorPanFlute) or env.num_pipes > LARGEST:
        return {"q_error_seen": None, "q_error_unseen": None}
    bits, exact = pan_flute_values(env, gamma)
    shown = bits if world.permutation is None else world.permutation(bits)
    with torch.no_grad():
        values = q_net(torch.from_numpy(shown.astype(np.float32))).double().numpy()
    seen = {
        (obs.tobytes(), action)
        for obs, action in zip(table.obs.numpy().astype(np.int8), table.action.tolist(), strict=True)
    }
    in_table = np.array(
        [
            [(row.tobytes(), action) in seen for action in range(world.num_actions)]
            for row in shown.astype(np.int8)
        ]
    )
    squared = (values - exact) ** 2
    return {
        "q_error_seen": float(np.sqrt(squared[in_table].mean())) if in_table.any() else None,
        "q_error_unseen": float(np.sqrt(squared[~in_table].mean())) if not in_table.all() else None,
    }


def picture_of_rollout(model: TransitionModel, rows: Transitions, steps: int) -> tuple[np.ndarray, str]:
    """Draw what happened and, below it, what the model imagined for the same actions."""
    steps = min(steps, rows.rows)
    imagined, _ = model.predict(rows.obs[:1], rows.action[None, :steps])
    picture = drawn_bits(rows.next_obs[:steps].T, imagined[0].T)
    caption = (
        f"Bits over {steps} steps of random actions: above what happened, below what the model imagined from"
        " the first observation alone; red where it is wrong."
    )
    return picture, caption


def drawn_bits(true: Tensor, imagined: Tensor) -> np.ndarray:
    """Return a picture uint8 [h, w, 3] of two arrays of bits [d, t], the second with its errors in red."""
    white, black, red = np.array([[255, 255, 255], [40, 40, 40], [220, 60, 50]], dtype=np.uint8)
    above = np.where((true > 0.5).numpy()[..., None], black, white)
    below = np.where((imagined > 0.5).numpy()[..., None], black, white)
    wrong = ((true > 0.5) != (imagined > 0.5)).numpy()[..., None]
    gap = np.full((1, true.shape[1], 3), 150, dtype=np.uint8)
    small = np.concatenate([above, gap, np.where(wrong, red, below)]).astype(np.uint8)
    return small.repeat(10, axis=0).repeat(10, axis=1)
