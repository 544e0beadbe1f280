"""The world models: losses, rollouts, divergences, and what they get wrong."""

import math

import pytest
import torch
from torch import nn

from assay.errors import InputError
from assay.papers.agents.model_generalization.method import (
    BernoulliFactoredModel,
    CategoricalLatentModel,
    DQNLearner,
    DynaTrainer,
    GaussianLatentModel,
    GaussianModel,
    ModelTraining,
    ReplayBuffer,
    Transitions,
    UniformPolicy,
    check_binary,
    collect,
    fit_model,
    open_world,
    rollout_error,
    rollout_weights,
    sequences,
    stacked,
)

KINDS = (BernoulliFactoredModel, GaussianModel, CategoricalLatentModel, GaussianLatentModel)


def bits(rows=40, size=4, actions=3, seed=0, terminal=0.0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return (torch.rand(*shape, generator=generator) > 0.5).float()

    return Transitions(
        draw(rows, size),
        torch.randint(actions, (rows,), generator=generator),
        torch.rand(rows, generator=generator),
        draw(rows, size),
        (torch.rand(rows, generator=generator) >= terminal).float(),
        torch.ones(rows),
    )


def zeroed(model):
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


# --- losses -------------------------------------------------------------------------------------


def test_the_loss_at_logits_of_zero():
    model = zeroed(BernoulliFactoredModel(4, 3, (5,)))
    batch = bits()
    batch = Transitions(**(vars(batch) | {"reward": torch.zeros(40)}))
    loss = model.loss(batch)
    assert loss["observation"].item() == pytest.approx(4 * math.log(2))
    assert loss["reward"].item() == pytest.approx(0.5 * math.log(2 * math.pi))
    assert loss["continuation"].item() == pytest.approx(math.log(2))
    assert loss["total"].item() == pytest.approx(sum(loss[part].item() for part in loss if part != "total"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_a_terminal_row_does_not_count(kind):
    model = zeroed(kind(4, 3, (5,)))
    batch = bits(terminal=0.5)
    assert 0 < batch.continuation.mean() < 1
    whole = Transitions(**(vars(batch) | {"continuation": torch.ones(40)}))
    share = batch.continuation.mean().item()
    if kind in (
        BernoulliFactoredModel,
        CategoricalLatentModel,
        GaussianLatentModel,
    ):  # the same term each row
        expected = model.loss(whole)["observation"].item() * share
        assert model.loss(batch)["observation"].item() == pytest.approx(expected, rel=1e-5)
    ended = Transitions(**(vars(batch) | {"continuation": torch.zeros(40)}))
    assert model.loss(ended)["observation"].item() == 0


def test_a_gaussian_model_has_unit_variance():
    model = zeroed(GaussianModel(2, 3, (5,)))
    batch = bits(1, 2)
    batch = Transitions(**(vars(batch) | {"next_obs": torch.tensor([[3.0, -1.0]])}))
    assert model.loss(batch)["observation"].item() == pytest.approx(0.5 * (9 + 1) + math.log(2 * math.pi))


# --- latents ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [CategoricalLatentModel, GaussianLatentModel])
def test_balanced_divergences_send_a_fifth_to_the_encoder(kind):
    torch.manual_seed(0)
    model = (
        kind(4, 3, (5,), latents=3) if kind is GaussianLatentModel else kind(4, 3, (5,), latents=3, classes=2)
    )
    posterior = model.posterior(torch.randn(6, 4)).detach().requires_grad_()
    prior = torch.rand(6, 6).requires_grad_()
    balanced = torch.autograd.grad(model.balanced(posterior, prior).sum(), (posterior, prior))
    if kind is GaussianLatentModel:  # the prior's deviations are 2 sigmoid(x / 2)
        mean, raw = prior.chunk(2, -1)
        plain_prior = torch.cat([mean, 2 * torch.sigmoid(raw / 2)], -1)
    else:
        plain_prior = prior
    plain = torch.autograd.grad(model.divergence(posterior, plain_prior).sum(), (posterior, prior))
    torch.testing.assert_close(balanced[0], 0.2 * plain[0])
    torch.testing.assert_close(balanced[1], 0.8 * plain[1])


def test_divergences_are_torchs():
    torch.manual_seed(0)
    model = CategoricalLatentModel(4, 3, (5,), latents=3, classes=2)
    one, two = torch.randn(5, 6), torch.randn(5, 6)
    as_categorical = [torch.distributions.Categorical(logits=part.view(5, 3, 2)) for part in (one, two)]
    expected = torch.distributions.kl_divergence(*as_categorical).sum(-1)
    torch.testing.assert_close(model.divergence(one, two), expected)
    gaussian = GaussianLatentModel(4, 3, (5,), latents=3)
    one, two = (torch.cat([torch.randn(5, 3), torch.rand(5, 3) + 0.1], -1) for _ in range(2))
    as_normal = [torch.distributions.Normal(*part.chunk(2, -1)) for part in (one, two)]
    expected = torch.distributions.kl_divergence(*as_normal).sum(-1)
    torch.testing.assert_close(gaussian.divergence(one, two), expected)


def test_latents_are_one_hot_with_straight_through_gradients():
    model = CategoricalLatentModel(4, 3, (5,), latents=3, classes=2)
    logits = torch.randn(6, 6, requires_grad=True)
    drawn = model.draw(logits)
    torch.testing.assert_close(drawn.view(6, 3, 2).sum(-1), torch.ones(6, 3))
    assert set(drawn.detach().round(decimals=5).unique().tolist()) == {0.0, 1.0}
    assert torch.autograd.grad((drawn * torch.randn(6)).sum(), logits)[0].abs().sum() > 0


def test_latents_are_drawn_by_their_probabilities():
    model = CategoricalLatentModel(4, 3, (5,), latents=2, classes=3)
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.0, 0.0])
    with torch.no_grad():
        drawn = model.draw(logits.expand(40_000, 6)).mean(0)
    torch.testing.assert_close(drawn, logits.view(2, 3).softmax(-1).flatten(), atol=0.01, rtol=0)


def test_the_encoders_deviation_has_a_floor():
    model = zeroed(GaussianLatentModel(4, 3, (5,), latents=3))
    assert model.posterior(torch.zeros(1, 4))[0].tolist() == pytest.approx([0, 0, 0, 1.1, 1.1, 1.1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_learns(kind):
    torch.manual_seed(0)
    batch = bits(60)
    shifted = Transitions(**(vars(batch) | {"next_obs": batch.obs.roll(1, -1)}))
    small = {"latents": 4} if kind in (CategoricalLatentModel, GaussianLatentModel) else {}
    model = kind(4, 3, (16,), generator=torch.Generator().manual_seed(0), **small)
    losses = fit_model(model, shifted, ModelTraining(150, batch_size=30, learning_rate=1e-2))
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_each_network_keeps_the_weights_that_predicted_best():
    torch.manual_seed(0)
    model = BernoulliFactoredModel(4, 3, (16,), stack=(2,))
    sets = [bits(60, seed=number) for number in range(2)]
    rows = stacked(sets)
    held_out, seen, kept = rows.part(slice(51, None)), [], model.scores

    def watched(batch):
        seen.append(kept(batch))
        return seen[-1]

    model.scores = watched
    fit_model(model, rows, ModelTraining(200, check_every=20, batch_size=20, learning_rate=1e-2))
    assert seen[0].shape == (2, 3)
    lowest = torch.stack(seen).amin(0)
    torch.testing.assert_close(kept(held_out), lowest)
    assert (lowest[:, 2] < seen[-1][:, 2]).all()  # random bits: going on only memorises them


# --- rollouts -----------------------------------------------------------------------------------


def test_weights_are_the_probabilities_to_get_there():
    continuations = torch.tensor([1.0, 0.5, 0.2])
    assert rollout_weights(continuations).tolist() == [1.0, 1.0, 0.5]


@pytest.mark.parametrize("continuing", [False, True])
def test_a_rollout_weights_its_steps(continuing):
    torch.manual_seed(0)
    model = BernoulliFactoredModel(4, 3, (5,), continuing=continuing)
    rows = model.rollout(bits(6).obs, UniformPolicy(3), 4)
    assert rows.rows == 24
    if continuing:
        assert (rows.weight == 1).all()
    else:
        torch.testing.assert_close(rows.weight.view(4, 6), rollout_weights(rows.continuation.view(4, 6)))
        assert (rows.weight.view(4, 6)[-1] < 1).all()
    following = rows.next_obs.view(4, 6, 4)[:-1]
    assert (following == rows.obs.view(4, 6, 4)[1:]).all()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [("threshold", (0, 1, 1)), ("official_logit", (0, 0.4, 1)), ("bernoulli", (0.12, 0.6, 0.95))],
)
def test_how_next_bits_are_drawn(sampling, expected):
    model = BernoulliFactoredModel(3, 2, (5,), next_obs_sampling=sampling)
    logits = torch.tensor([-2.0, 0.4, 3.0]).expand(20_000, 3)
    assert model.draw(logits).mean(0).tolist() == pytest.approx(list(expected), abs=0.015)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rollout_of_no_steps_is_refused(kind):
    with pytest.raises(InputError, match="horizon of a rollout is 0"):
        kind(4, 3, (5,)).rollout(bits(6).obs, UniformPolicy(3), 0)


class Memory:
    """A model that has memorised the rows: after an observation comes what came then."""

    def __init__(self, rows):
        self.rows = {row.tolist().__repr__(): number for number, row in enumerate(rows.obs)}
        self.table = rows

    def rollout(self, obs, policy, horizon):
        at = torch.tensor([self.rows[row.tolist().__repr__()] for row in obs])
        return self.table.part(at)


def test_a_model_that_memorises_equals_replay():
    codes = torch.arange(16)
    rows = bits(16)
    rows = Transitions(**(vars(rows) | {"obs": (codes[:, None] >> torch.arange(4) & 1).float()}))
    nets = []
    for source in (None, Memory(rows)):
        torch.manual_seed(0)
        learner = DQNLearner(nn.Linear(4, 3), learning_rate=1e-2)
        generator = torch.Generator().manual_seed(1)
        DynaTrainer(
            learner,
            ReplayBuffer.of(rows),
            source,
            rollout_length=1,
            batch_size=8,
            target_every=10,
            generator=generator,
        ).run_offline(30)
        nets.append(learner.q_net.weight)
    torch.testing.assert_close(nets[0], nets[1])


def test_rollouts_drawn_ahead_are_whole_and_each_is_used_once():
    torch.manual_seed(0)
    model = BernoulliFactoredModel(4, 3, (5,))
    learner, used = DQNLearner(nn.Linear(4, 3)), []
    learner.update = lambda batch: used.append(batch) or 0.0
    trainer = DynaTrainer(
        learner,
        ReplayBuffer.of(bits(40)),
        model,
        rollout_length=3,
        batch_size=5,
        model_learning_rate=None,
        ahead=4,
    )
    drawn = []
    rollout = model.rollout
    model.rollout = lambda *arguments: drawn.append(rollout(*arguments)) or drawn[-1]
    for _ in range(8):
        trainer.update()
    assert len(drawn) == 2
    for batch in used:
        assert batch.rows == 15
        steps = batch.obs.view(3, 5, 4), batch.next_obs.view(3, 5, 4)
        assert (steps[1][:-1] == steps[0][1:]).all()
    rewards = torch.cat([batch.reward for batch in used]).sort().values
    torch.testing.assert_close(rewards, torch.cat([rows.reward for rows in drawn]).sort().values)


# --- errors -------------------------------------------------------------------------------------


def test_the_bit_error_of_a_model_that_says_nothing():
    world = open_world("PanFlute-v0", num_pipes=3)
    rows = collect(world, UniformPolicy(3), 200, seed=0)
    seen = sequences(rows, 5)
    assert seen.next_obs.shape == (196, 5, 6)
    model = zeroed(BernoulliFactoredModel(6, 3, (5,), next_obs_sampling="threshold"))
    found = rollout_error(model, seen, binary=True)
    torch.testing.assert_close(torch.tensor(found.observation), seen.next_obs.mean((0, 2)))
    torch.testing.assert_close(torch.tensor(found.reward), seen.reward.square().mean(0).sqrt())


def test_stretches_stop_where_an_episode_ends():
    rows = bits(6, 2)
    chain = torch.arange(7)[:, None].float().expand(7, 2)
    rows = Transitions(
        **(
            vars(rows)
            | {
                "obs": chain[:-1],
                "next_obs": chain[1:],
                "continuation": torch.tensor([1.0, 1, 0, 1, 1, 1]),
            }
        )
    )
    assert sequences(rows, 3).obs[:, 0].tolist() == [0.0, 3.0]
    with pytest.raises(InputError, match="no 4 rows in a row"):
        sequences(rows, 4)


def test_numbers_that_are_no_bits_are_named():
    check_binary(torch.tensor([[0.0, 1.0]]))
    with pytest.raises(InputError, match=r"range from -0\.5 to 2"):
        check_binary(torch.tensor([[-0.5, 1.0, 2.0]]))
    rows = Transitions(**(vars(bits()) | {"next_obs": torch.full((40, 4), 0.3)}))
    with pytest.raises(InputError, match="Gaussian"):
        fit_model(BernoulliFactoredModel(4, 3, (5,)), rows, ModelTraining(1))
