"""The environments: what their rules say, copy by copy, and that gymnasium accepts them."""

from collections import deque
from itertools import pairwise

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from assay.errors import InputError
from assay.papers.agents.environments import (
    VectorButtonGrid,
    VectorOpenGrid,
    VectorPanFlute,
    VectorProcMaze,
    register,
)
from assay.papers.agents.exact import pan_flute_values
from assay.papers.agents.grids import draw_mazes
from assay.papers.agents.permutation import StatePermutation

IDS = ("ProcMaze-v0", "ButtonGrid-v0", "PanFlute-v0", "OpenGrid-v0")
BATCHED = (VectorProcMaze, VectorButtonGrid, VectorPanFlute, VectorOpenGrid)


@pytest.mark.parametrize("name", IDS)
def test_gymnasium_accepts_them(name):
    register()  # again: nothing is overwritten
    check_env(gymnasium.make(name).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("name", IDS)
def test_a_vector_of_them_follows_its_spaces_and_its_seed(name):
    env = gymnasium.make_vec(name, num_envs=6)
    first = [env.reset(seed=5)[0]]
    actions = [np.arange(6) % env.single_action_space.n] * 40
    first += [env.step(action)[0] for action in actions]
    again = [env.reset(seed=5)[0], *(env.step(action)[0] for action in actions)]
    assert all((one == two).all() for one, two in zip(first, again, strict=True))
    assert all(env.observation_space.contains(obs) for obs in first)
    assert any((one != two).any() for one, two in pairwise(first))


@pytest.mark.parametrize("make", BATCHED)
def test_copies_start_from_any_observation(make):
    env = make(20)
    env.reset(seed=1)
    for _ in range(15):
        obs = env.step(np.random.default_rng(2).integers(env.single_action_space.n, size=20))[0]
    other = make(20)
    other.reset(seed=9)
    other.start_from(obs)
    assert (other._observe() == obs).all()
    env.np_random, other.np_random = (np.random.default_rng(3) for _ in range(2))
    if isinstance(env, VectorProcMaze):
        env._spare = other._spare[:0]
        other._spare = other._spare[:0]
    actions = np.arange(20) % env.single_action_space.n
    for one, two in zip(env.step(actions)[:3], other.step(actions)[:3], strict=True):
        assert (one == two).all()


# --- ProcMaze -----------------------------------------------------------------------------------


def test_teleport_probabilities_of_the_maze():
    assert VectorProcMaze(1, 4).teleport == pytest.approx(0.01)
    assert VectorProcMaze(1, 10).teleport == pytest.approx(0.1 / 55)
    assert VectorOpenGrid(1, 5).teleport == pytest.approx(0.02)


@pytest.mark.parametrize("size", [4, 7])
def test_open_cells_of_a_maze_are_connected(size):
    for is_open in draw_mazes(50, size, np.random.default_rng(0)).reshape(-1, size, size):
        cells = {tuple(cell) for cell in np.argwhere(is_open)}
        front, seen = deque([next(iter(cells))]), set()
        while front:
            row, column = front.popleft()
            if (row, column) in cells and (row, column) not in seen:
                seen.add((row, column))
                front += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
        assert seen == cells
        edges = sum((row + 1, column) in cells for row, column in cells)
        edges += sum((row, column + 1) in cells for row, column in cells)
        assert edges == len(cells) - 1  # a tree: no cell joined two open ones


def test_channels_of_the_maze():
    obs = VectorProcMaze(30, 4).reset(seed=0)[0].reshape(30, 16, 4).sum(1)
    assert (obs[:, 0] == 1).all()
    assert (obs[:, 1] == 1).all()
    assert (obs[:, 2] + obs[:, 3] == 16).all()


def corridor(distance):
    """A maze of 5 by 5 whose first row is open; the player is so many cells left of the goal."""
    layers = np.zeros((1, 25, 4), dtype=np.int8)
    layers[0, :5, 3], layers[0, 5:, 2] = 1, 1
    layers[0, 0, 0] = layers[0, distance, 1] = 1
    env = VectorProcMaze(1, 5, teleport=0.0)
    env.reset(seed=0)
    env.start_from(layers.reshape(1, -1))
    return env


@pytest.mark.parametrize("distance", [0, 3])
def test_the_return_over_a_distance(distance):
    env = corridor(distance)
    total, ended = 0.0, False
    while not ended:
        _, reward, terminated, truncated, _ = env.step(np.array([4]))
        total, ended = total + reward[0], bool(terminated[0])
        assert not truncated[0]
    assert total == -(distance + 1)


def test_walls_and_edges_hold_the_player_back_and_nothing_is_free():
    env = corridor(3)
    for action in (0, 1, 2, 3):  # no move, the edge above, the edge on the left, a wall below
        obs, reward, *_ = env.step(np.array([action]))
        assert obs.reshape(25, 4)[0, 0] == 1
        assert reward[0] == -1


def test_the_last_observation_of_an_episode_is_kept():
    env = corridor(0)
    obs, _, terminated, _, infos = env.step(np.array([4]))
    assert terminated[0]
    assert infos["final_obs"][0].reshape(25, 4)[1, 0] == 1
    assert (obs[0] != infos["final_obs"][0]).any()


# --- ButtonGrid ---------------------------------------------------------------------------------


def board(player, off, on=(), size=3, activate=0.0):
    layers = np.zeros((1, size**2, 3), dtype=np.int8)
    layers[0, player, 0] = 1
    layers[0, list(on), 1] = 1
    layers[0, list(off), 2] = 1
    env = VectorButtonGrid(1, size, len(off) + len(on), activate=activate)
    env.reset(seed=0)
    env.start_from(layers.reshape(1, -1))
    return env


def buttons_on(obs):
    return np.flatnonzero(obs.reshape(-1, 3)[:, 1]).tolist()


def test_pushing_against_the_edge_does_not_switch():
    env = board(player=0, off=[0, 5])
    for action in (0, 1, 2):
        assert buttons_on(env.step(np.array([action]))[0]) == []


def test_stepping_on_twice_switches_back():
    env = board(player=0, off=[1, 5])
    seen = [buttons_on(env.step(np.array([action]))[0]) for action in (4, 2, 4)]
    assert seen == [[1], [1], []]


def test_the_reward_comes_one_step_after_the_last_button_and_then_a_new_board():
    env = board(player=0, off=[1])
    first = env.step(np.array([4]))
    assert (first[1][0], buttons_on(first[0])) == (0, [1])
    obs, reward, terminated, *_ = env.step(np.array([0]))
    assert (reward[0], terminated[0], buttons_on(obs)) == (1, False, [])
    assert env.step(np.array([0]))[1][0] == 0


def test_all_buttons_switch_on_at_once_now_and_then():
    env = board(player=0, off=[2, 5, 7], activate=1.0)
    assert buttons_on(env.step(np.array([0]))[0]) == [2, 5, 7]
    assert VectorButtonGrid(1, 10).activate == pytest.approx(1e-3)


# --- PanFlute -----------------------------------------------------------------------------------


def test_the_reward_comes_in_the_step_after_the_melody():
    env = VectorPanFlute(1, 3, spontaneous=0.0)
    env.reset(seed=0)
    assert [env.step(np.array([action]))[1][0] for action in (2, 1, 0, 0)] == [0, 0, 0, 1]


def test_the_melody_earns_one_nth():
    env = VectorPanFlute(2, 4, spontaneous=0.0)
    env.reset(seed=0)
    rewards = [env.step(np.full(2, 3 - step % 4))[1] for step in range(400)]
    assert np.mean(rewards[4:]) == pytest.approx(1 / 4)


def test_a_spontaneous_reward_sets_the_last_bits():
    env = VectorPanFlute(1, 3, spontaneous=1.0)
    env.reset(seed=0)
    obs = env.step(np.array([1]))[0][0]
    assert obs.tolist() == [1, 1, 1, 0, 0, 1]  # pipe 0, pipe 1 (blown, last), pipe 2
    assert VectorPanFlute(1, 5).spontaneous == pytest.approx(1 / 25)
    assert gymnasium.make("PanFlute-v0").observation_space.n == 15


def test_exact_values_satisfy_the_bellman_equation_and_the_melody():
    env = VectorPanFlute(1, 3, spontaneous=0.0)
    bits, values = pan_flute_values(env, 0.9)
    place = {row.tobytes(): number for number, row in enumerate(bits)}
    for action in range(3):
        env = VectorPanFlute(len(bits), 3, spontaneous=0.0)
        env.start_from(bits)
        following, reward, *_ = env.step(np.full(len(bits), action))
        after = values[[place[row.tobytes()] for row in following]].max(1)
        np.testing.assert_allclose(values[:, action], reward + 0.9 * after, atol=1e-8)
    # From silence: rewards after 3, 6, 9, ... steps.
    silent = place[np.zeros(6, dtype=np.int8).tobytes()]
    assert values[silent].max() == pytest.approx(0.9**3 / (1 - 0.9**3))


# --- permuted states, bad input -----------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 7, 10])
def test_a_permutation_is_one_and_has_an_inverse(bits):
    states = (np.arange(2**bits)[:, None] >> np.arange(bits) & 1).astype(np.int8)
    permute = StatePermutation(bits, seed=4)
    permuted = permute(states)
    assert len(np.unique(permuted, axis=0)) == 2**bits
    assert (permute.inverse(permuted) == states).all()
    assert (StatePermutation(bits, seed=4)(states) == permuted).all()


def test_a_looked_up_permutation_is_the_computed_one():
    states = np.random.default_rng(0).integers(2, size=(50, 10)).astype(np.int8)
    looked_up, computed = (StatePermutation(10, seed=4) for _ in range(2))
    computed._forward = computed._back = None
    assert (looked_up(states) == computed(states)).all()
    assert (looked_up.inverse(states) == computed.inverse(states)).all()


def test_a_permutation_leaves_no_structure_between_bits():
    states = (np.arange(1024)[:, None] >> np.arange(10) & 1).astype(np.int8)
    permuted = StatePermutation(10, seed=1)(states)
    correlation = np.corrcoef(states.T, permuted.T)[:10, 10:]
    assert np.abs(correlation).max() < 0.2
    one_changed = states.copy()
    one_changed[:, 3] ^= 1
    changed = (StatePermutation(10, seed=1)(one_changed) != permuted).mean()
    assert 0.4 < changed < 0.6


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: VectorPanFlute(1, 0), "num_pipes is 0"),
        (lambda: VectorPanFlute(1, 3, spontaneous=1.5), "spontaneous is 1.5"),
        (lambda: VectorProcMaze(1, 1), "grid_size is 1"),
        (lambda: VectorButtonGrid(1, 2, num_buttons=5), "num_buttons is 5"),
        (lambda: VectorOpenGrid(0), "num_envs is 0"),
        (lambda: StatePermutation(1, 0), "1 bits"),
        (lambda: pan_flute_values(VectorPanFlute(1, 3), 1.0), "gamma 1.0"),
        (lambda: pan_flute_values(VectorPanFlute(1, 9), 0.9), "9 pipes"),
    ],
)
def test_what_makes_no_environment_is_refused(make, text):
    with pytest.raises(InputError, match=text):
        make()
