"""Any gymnasium environment as a world; scores; the simulator."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from assay.errors import InputError
from assay.papers.agents.dqn import UniformPolicy
from assay.papers.agents.evaluation import collect, evaluate
from assay.papers.agents.simulator import SimulatorModel
from assay.papers.agents.worlds import open_world


class Countdown(gymnasium.Env):
    """Counts down from 3; action 1 (of 1 and 2) counts twice; cut short by a time limit outside."""

    def __init__(self, noise=False):
        self.observation_space = spaces.Box(-10, 10, (2, 2), np.float32)
        self.action_space = spaces.Discrete(2, start=1)
        self.noise = noise

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 3
        return self._seen(), {}

    def step(self, action):
        assert action in (1, 2)
        self.left -= 2 if action == 1 else 1
        self.left -= int(self.noise and self.np_random.integers(2))
        return self._seen(), float(action), self.left <= 0, False, {}

    def _seen(self):
        return np.full((2, 2), self.left, dtype=np.float32)


class Always:
    def __init__(self, action):
        self.action = action

    def __call__(self, obs):
        return torch.full(obs.shape[:-1], self.action)


def limited(steps):
    return lambda: gymnasium.wrappers.TimeLimit(Countdown(), steps)


# --- worlds -------------------------------------------------------------------------------------


def test_observations_are_flattened_and_actions_counted_from_zero():
    world = open_world(Countdown, 2)
    assert (world.observation_size, world.num_actions, world.binary) == (4, 2, False)
    assert list(world.actions) == [1, 2]
    assert world.reset(0).tolist() == [[3.0] * 4] * 2
    step = world.step(torch.tensor([0, 1]))  # actions 1 and 2
    assert step.next_obs[:, 0].tolist() == [1, 2]
    assert step.reward.tolist() == [1, 2]


def test_only_an_end_stops_the_bootstrap():
    rows = collect(open_world(limited(2)), Always(1), 4, seed=0)
    assert rows.obs[:, 0].tolist() == [3, 2, 3, 2]  # cut short after two steps
    assert rows.next_obs[:, 0].tolist() == [2, 1, 2, 1]
    assert rows.continuation.tolist() == [1, 1, 1, 1]
    rows = collect(open_world(Countdown), Always(0), 4, seed=0)
    assert rows.next_obs[:, 0].tolist() == [1, -1, 1, -1]
    assert rows.continuation.tolist() == [1, 0, 1, 0]


def test_discrete_observations_become_bits():
    world = open_world("FrozenLake-v1", is_slippery=False)
    assert (world.observation_size, world.binary) == (16, True)
    assert world.reset(0)[0].tolist() == [1.0] + [0.0] * 15


def test_the_vector_form_is_used_where_there_is_one():
    world = open_world("PanFlute-v0", 4, num_pipes=3)
    assert world.continuing
    assert world.binary
    assert world.reset(0).shape == (4, 6)
    maze = open_world("ProcMaze-v0", 200, grid_size=4)
    obs = maze.reset(0)
    for _ in range(20):
        step = maze.step(torch.randint(5, (200,)))
        moved = (step.next_obs.view(200, 16, 4)[:, :, 2] == obs.view(200, 16, 4)[:, :, 2]).all(1)
        assert moved.all()  # what an action led to is in the maze that it was taken in
        assert (step.obs[step.terminated == 0] == step.next_obs[step.terminated == 0]).all()
        obs = step.obs
    assert step.terminated.sum() >= 0


def test_an_environment_that_is_there_is_copied():
    env = gymnasium.make("CartPole-v1", max_episode_steps=3)
    world = open_world(env, 2)
    rows = collect(world, Always(1), 4, seed=0)
    assert rows.rows == 8
    assert (rows.obs[3] != rows.next_obs[2]).any()  # the limit of 3 steps is kept
    flute = open_world(gymnasium.make("PanFlute-v0", num_pipes=3))
    assert flute.continuing
    assert flute.binary
    with pytest.raises(gymnasium.error.ResetNeeded):  # the user's own has not been touched
        env.step(0)


class Broken(Countdown):
    def __init__(self, reward=0.0, seen=0.0):
        super().__init__()
        self.reward, self.seen = reward, seen

    def step(self, action):
        return np.full((2, 2), self.seen, dtype=np.float32), self.reward, False, False, {}


@pytest.mark.parametrize("given", [{"reward": float("nan")}, {"seen": float("inf")}])
def test_numbers_that_are_not_finite_are_refused(given):
    with pytest.raises(InputError, match="finite"):
        collect(open_world(Broken, **given), Always(0), 2, seed=0)


def test_permuted_states_tell_the_same_story():
    plain, permuted = (open_world("PanFlute-v0", 3, permuted=seed, num_pipes=3) for seed in (None, 5))
    plain.reset(1)
    first = permuted.reset(1)
    for action in (2, 1, 0, 0):
        one, two = (world.step(torch.full((3,), action)) for world in (plain, permuted))
        assert (one.reward == two.reward).all()
    permutation = permuted.permutation
    assert (permutation(one.obs.numpy().astype(np.int8)) == two.obs.numpy()).all()
    assert (first.numpy() == permutation(np.zeros((3, 6), dtype=np.int8))).all()


class Continuous(Countdown):
    def __init__(self):
        super().__init__()
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)


class Graphs(Countdown):
    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Sequence(spaces.Discrete(3))


@pytest.mark.parametrize(
    ("env", "arguments", "text"),
    [
        (Continuous, {}, "the action space is Box"),
        (Graphs, {}, "cannot be flattened"),
        (lambda: 3, {}, "must return a gymnasium environment"),
        (Countdown(), {"noise": True}, "made already and takes no arguments"),
        ("CartPol-v1", {}, "CartPol.*CartPole"),
        ("PanFlute-v0", {"pipes": 3}, "does not take these arguments"),
        ("CartPole-v1", {"permuted": 1}, "where observations are bits"),
    ],
)
def test_worlds_that_cannot_be_are_refused(env, arguments, text):
    with pytest.raises(InputError, match=text):
        open_world(env, **arguments)


# --- scores -------------------------------------------------------------------------------------


def test_scores_of_an_episode_and_of_a_step():
    assert evaluate(Always(1), open_world(Countdown, 3), 10, seed=0).item() == 6  # until the first end
    assert evaluate(Always(0), open_world(Countdown, 3, continuing=True), 10, seed=0).item() == 1


def test_stacked_policies_are_scored_each_on_its_own():
    def policy(obs):
        return torch.tensor([[0], [1]]).expand(2, obs.shape[1])

    assert evaluate(policy, open_world(Countdown, 6), 10, 0, 2).tolist() == [2, 6]


# --- the simulator ------------------------------------------------------------------------------


def test_the_simulator_follows_the_rules_and_stops_counting_at_the_end():
    world = open_world(Countdown)
    world.remember = True
    rows = collect(world, Always(1), 3, seed=0)
    found = SimulatorModel(world).rollout(rows.obs[:2], Always(0), 3)  # from 3 and from 2
    assert found.weight.view(3, 2).tolist() == [[1, 1], [1, 0], [0, 0]]
    assert found.reward[:3].tolist() == [1, 1, 1]
    assert found.continuation.view(3, 2)[:2].tolist() == [[1, 0], [0, 1]]


def test_the_simulator_goes_on_where_an_episode_is_cut_short():
    world = open_world(limited(2))
    world.remember = True
    rows = collect(world, Always(1), 2, seed=0)
    found = SimulatorModel(world).rollout(rows.obs[:1], Always(1), 3)
    assert found.continuation.tolist()[:2] == [1, 1]
    assert found.weight.tolist() == [1, 1, 0]


def test_copies_of_an_environment_draw_numbers_of_their_own():
    world = open_world(Countdown, noise=True)
    world.remember = True
    start = world.reset(0)
    found = SimulatorModel(world).rollout(start.expand(60, 4), Always(1), 1)
    assert set(found.next_obs[:, 0].tolist()) == {1.0, 2.0}


def test_one_step_of_the_simulator_is_distributed_as_stored_transitions():
    world = open_world("PanFlute-v0", 1, num_pipes=3)
    rows = collect(world, UniformPolicy(3), 4000, seed=0)
    found = SimulatorModel(world).rollout(rows.obs, UniformPolicy(3), 1)
    assert (found.reward == rows.reward).all()  # the reward is a function of the state
    torch.testing.assert_close(found.next_obs.mean(0), rows.next_obs.mean(0), atol=0.04, rtol=0)


def test_a_state_that_was_never_seen_cannot_be_returned_to():
    world = open_world(Countdown)
    world.reset(0)
    with pytest.raises(InputError, match="cannot start from an observation"):
        SimulatorModel(world).rollout(torch.full((1, 4), 7.0), Always(0), 2)
    with pytest.raises(InputError, match="horizon of a rollout is 0"):
        SimulatorModel(world).rollout(torch.full((1, 4), 7.0), Always(0), 0)
