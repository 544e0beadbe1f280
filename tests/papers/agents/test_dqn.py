"""The buffer, the policies and the Q-learner."""

import math

import pytest
import torch
from torch import nn

from assay.errors import InputError
from assay.papers.agents.dqn import DQNLearner, GreedyPolicy, SoftmaxPolicy, decoupled_adam
from assay.papers.agents.networks import DenseNet
from assay.papers.agents.transitions import ReplayBuffer, Transitions, stacked


def transitions(rows, size=3, actions=2, seed=0, **given):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=generator)

    made = {
        "obs": draw(rows, size),
        "action": torch.randint(actions, (rows,), generator=generator),
        "reward": draw(rows),
        "next_obs": draw(rows, size),
        "continuation": torch.ones(rows),
        "weight": torch.ones(rows),
    }
    return Transitions(**(made | given))


# --- the buffer ---------------------------------------------------------------------------------


def test_the_oldest_rows_are_overwritten():
    buffer = ReplayBuffer(4, 1)
    for number in range(6):
        row = torch.full((1, 1), float(number))
        buffer.add(row, torch.tensor([number % 2]), row[0], row + 1, torch.tensor([float(number == 5)]))
    rows = buffer.rows()
    assert sorted(rows.reward.tolist()) == [2, 3, 4, 5]
    assert rows.continuation[rows.reward == 5].item() == 0
    assert rows.continuation[rows.reward == 4].item() == 1


def test_each_stacked_set_is_sampled_from_its_own_rows():
    sets = stacked([transitions(5, reward=torch.full((5,), float(number))) for number in range(3)])
    sample = ReplayBuffer.of(sets).sample(4)
    assert sample.obs.shape == (3, 4, 3)
    assert sample.reward.tolist() == [[number] * 4 for number in (0.0, 1.0, 2.0)]


def test_a_batch_larger_than_the_buffer_is_refused():
    with pytest.raises(InputError, match="batch of 6 transitions cannot be drawn from a buffer of 5"):
        ReplayBuffer.of(transitions(5)).sample(6)
    with pytest.raises(InputError, match="capacity"):
        ReplayBuffer(0, 3)


# --- policies -----------------------------------------------------------------------------------


def test_softmax_draws_with_its_probabilities():
    values = torch.tensor([0.0, 0.1, 0.3])
    policy = SoftmaxPolicy(lambda obs: values.expand(len(obs), 3), 0.2, torch.Generator().manual_seed(0))
    share = torch.bincount(policy(torch.zeros(40_000, 1)), minlength=3) / 40_000
    torch.testing.assert_close(share, torch.softmax(values / 0.2, 0), atol=0.01, rtol=0)


def test_a_very_low_temperature_is_greedy_and_finite():
    values = torch.tensor([500.0, -300.0, 501.0])
    policy = SoftmaxPolicy(lambda obs: values.expand(len(obs), 3), 0.0125)
    assert set(policy(torch.zeros(1000, 1)).tolist()) == {2}
    assert GreedyPolicy(lambda obs: values.expand(len(obs), 3))(torch.zeros(2, 1)).tolist() == [2, 2]


def test_stacked_networks_have_temperatures_of_their_own():
    policy = SoftmaxPolicy(
        lambda obs: torch.tensor([0.0, 1.0]).expand(*obs.shape[:-1], 2), torch.tensor([0.01, 100.0])
    )
    share = policy(torch.zeros(2, 4000, 1)).float().mean(-1)
    assert share[0] == 1
    assert share[1] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_above_zero_is_refused(temperature):
    with pytest.raises(InputError, match="temperature"):
        SoftmaxPolicy(lambda obs: obs, temperature)


# --- learning -----------------------------------------------------------------------------------


def linear(weights):
    net = nn.Linear(len(weights[0]), len(weights), bias=False)
    net.weight.data = torch.tensor(weights)
    return net


def test_targets_bootstrap_with_the_continuation():
    learner = DQNLearner(linear([[1.0], [2.0]]), gamma=0.5)
    batch = transitions(
        2,
        1,
        reward=torch.tensor([1.0, 1.0]),
        next_obs=torch.ones(2, 1),
        continuation=torch.tensor([1.0, 0.25]),
    )
    assert learner.targets(batch).tolist() == [1 + 0.5 * 2, 1 + 0.5 * 0.25 * 2]


def test_double_dqn_lets_the_online_network_choose():
    learner = DQNLearner(linear([[1.0], [2.0]]), gamma=0.5, double=True)
    learner.q_net.weight.data = torch.tensor([[3.0], [0.0]])
    batch = transitions(1, 1, reward=torch.tensor([0.0]), next_obs=torch.ones(1, 1))
    assert learner.targets(batch).item() == 0.5 * 1


def test_the_loss_is_a_weighted_mean_of_plain_squares():
    learner = DQNLearner(linear([[0.0], [0.0]]), gamma=0.9)
    batch = transitions(2, 1, reward=torch.tensor([3.0, 5.0]), weight=torch.tensor([1.0, 0.5]))
    assert learner.loss(batch).item() == pytest.approx((9 + 12.5) / 2)


def test_weights_of_zeros_and_ones_are_the_masked_returns():
    batch = transitions(
        6, continuation=torch.tensor([1.0, 1, 0, 1, 1, 1]), weight=torch.tensor([1.0, 1, 1, 0, 0, 0])
    )
    net = DenseNet(3, 2, (4,))
    kept = batch.part(slice(3))
    learner = DQNLearner(net)
    assert learner.loss(batch).item() == pytest.approx(learner.loss(kept).item() / 2)


def test_stacked_networks_learn_as_single_ones():
    sets = [transitions(5, seed=number) for number in range(2)]
    stack = DenseNet(3, 2, (4,), (2,))
    singles = []
    for number in range(2):
        net = DenseNet(3, 2, (4,))
        net.load_state_dict({name: values[number] for name, values in stack.state_dict().items()})
        singles.append(DQNLearner(net, learning_rate=1e-2))
    together = DQNLearner(stack, learning_rate=1e-2)
    for _ in range(3):
        together.update(stacked(sets))
        for learner, batch in zip(singles, sets, strict=True):
            learner.update(batch)
    for number, learner in enumerate(singles):
        for name, values in learner.q_net.state_dict().items():
            torch.testing.assert_close(stack.state_dict()[name][number], values)


def test_one_step_of_adam_with_decoupled_decay():
    x = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    optimizer = decoupled_adam([x], 2e-4, 1e-6)
    (x * 0.7).sum().backward()
    optimizer.step()
    mean, square = 0.1 * 0.7 / (1 - 0.9), 0.01 * 0.49 / (1 - 0.99)
    expected = 3.0 - 2e-4 * mean / (math.sqrt(square) + 1e-5) - 1e-6 * 3.0
    assert x.item() == pytest.approx(expected, abs=1e-12)


def test_networks_start_like_haikus():
    torch.manual_seed(0)
    net = DenseNet(400, 7, (300,))
    weight = net.weights[0]
    assert weight.abs().max() <= 2 / 20
    assert weight.std().item() == pytest.approx(0.8796 / 20, rel=0.02)  # of a normal cut at 2 deviations
    assert all((bias == 0).all() for bias in net.biases)


def test_the_users_network_learns():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    learner, batch = DQNLearner(net, learning_rate=1e-2), transitions(30)
    first = learner.update(batch)
    assert min(learner.update(batch) for _ in range(50)) < first / 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"gamma": 1.0, "continuing": True}, "gamma is 1.0"),
        ({"gamma": 1.1}, "gamma is 1.1"),
        ({"learning_rate": 0.0}, "learning rate"),
    ],
)
def test_settings_that_cannot_work_are_refused(arguments, text):
    with pytest.raises(InputError, match=text):
        DQNLearner(linear([[1.0]]), **arguments)


def test_a_discount_of_one_is_fine_where_episodes_end():
    assert DQNLearner(linear([[1.0]]), gamma=1.0).gamma == 1.0
