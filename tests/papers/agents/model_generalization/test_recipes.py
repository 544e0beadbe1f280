"""The recipes: arms, artefacts, the user's own environments and transitions, and what is refused."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch

import assay
from assay import catalogue, options
from assay.cli import running
from assay.data import Table
from assay.errors import InputError
from assay.papers.agents.model_generalization import GaussianModel, UniformPolicy, collect
from assay.papers.agents.model_generalization.config import (
    PAN_FLUTE,
    Fit,
    Learn,
    Offline,
    Online,
    Theorem,
    WorldModel,
)
from assay.papers.agents.model_generalization.evaluation import drawn_bits, unexplained
from assay.papers.agents.model_generalization.recipes.fit import fit
from assay.papers.agents.model_generalization.recipes.learn import learn
from assay.papers.agents.model_generalization.recipes.offline import across, offline
from assay.papers.agents.model_generalization.recipes.online import TUNED, online, tuned
from assay.papers.agents.model_generalization.recipes.theorem import theorem
from assay.papers.agents.model_generalization.training import Candidate
from assay.papers.agents.options import Arrays, Environment
from assay.papers.agents.worlds import open_environment
from assay.trial import Trial

ENTRY = catalogue.entry("model_generalization")
TINY = {
    name: recipe.presets["tiny"].settings for name, recipe in ENTRY.paper.recipes.items() if recipe.presets
}
OWN = """
import gymnasium
import numpy as np
from gymnasium import spaces


class Walk(gymnasium.Env):
    def __init__(self, length=4):
        self.length = length
        self.observation_space = spaces.Box(-100, 100, (1, 2), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return self.seen(), {}

    def step(self, action):
        self.at += 2 * int(action) - 1
        return self.seen(), float(action), abs(self.at) >= self.length, False, {}

    def seen(self):
        return np.array([[self.at, self.length]], dtype=np.float32)


class FromOne(Walk):  # actions 1 and 2; the first earns nothing
    def __init__(self):
        super().__init__(3)
        self.action_space = spaces.Discrete(2, start=1)

    def step(self, action):
        assert action in (1, 2)
        return super().step(action - 1)


number = 3
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module of the user in the working folder."""
    (tmp_path / "my_walk.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    yield "my_walk:Walk"
    sys.modules.pop("my_walk", None)


def rows(count=120, seed=0):
    """Transitions in a line of cells, as columns."""
    random = np.random.default_rng(seed)
    at = np.zeros(count + 1, dtype=int)
    action = random.integers(2, size=count)
    for step in range(count):
        at[step + 1] = np.clip(at[step] + 2 * action[step] - 1, 0, 3)
    code = np.eye(4, dtype=np.float32)
    return {
        "obs": code[at[:-1]],
        "action": action,
        "reward": (at[1:] == 3).astype(np.float32),
        "next_obs": code[at[1:]],
        "terminal": np.zeros(count, dtype=bool),
    }


def as_parquet(path, columns):
    pd.DataFrame({name: list(values) for name, values in columns.items()}).to_parquet(path)
    return Table(f"parquet:{path}")


# --- check: arms --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    """Metrics and counters of all arms of `offline` for one seed."""
    stages, found = tmp_path_factory.mktemp("stages"), {}
    for arm in ENTRY.paper.recipes["offline"].arms:
        trial = Trial(1000, stages=stages)
        config = options.resolve(
            Offline, TINY["offline"], {"search.temperatures": (0.1,), "search.tables": 1}, arm.settings
        )
        found[arm.name] = (offline(config, trial), trial)
    return found


def test_all_sources_get_the_same(arms):
    counters = {name: trial.counters for name, (_, trial) in arms.items()}
    for name in ("model", "simulator", "replay-scrambled", "model-scrambled", "simulator-scrambled"):
        for counted in ("environment_steps", "q_updates", "q_rows", "candidates"):
            assert counters[name][counted] == counters["replay"][counted]
    assert counters["replay-plenty"]["environment_steps"] == 20 * counters["replay"]["environment_steps"]
    assert counters["replay"]["q_rows"] == 20 * 4 * 3


def test_metrics_are_declared_and_curves_are_kept(arms):
    declared = {metric.name for metric in ENTRY.paper.metrics}
    for name, (metrics, trial) in arms.items():
        assert set(metrics) <= declared
        if name != "random":
            assert [point["step"] for point in trial.curve()] == [10, 20]
            late = [point["greedy_reward"] for point in trial.curve()][1:]
            assert metrics["greedy_reward"] == pytest.approx(np.mean(late))
    assert len(arms["model"][1].pictures) == 1


def test_the_gain_of_factors_is_a_difference_of_gains():
    found = {"model": 0.2, "replay": 0.05, "model-scrambled": 0.08, "replay-scrambled": 0.06}
    metrics = across({name: {"greedy_reward": value} for name, value in found.items()})
    assert metrics["gain_of_factors"] == pytest.approx(0.13)
    assert across({name: {} for name in found}) == {"gain_of_factors": None}


def test_states_of_real_numbers_are_not_scrambled():
    config = options.resolve(Offline, TINY["offline"], {"env": Environment("CartPole-v1"), "scrambled": True})
    assert offline(config, Trial(1000)) == {"greedy_reward": None}


def test_the_whole_check_runs_on_another_environment(own_module, tmp_path):
    config = options.resolve(
        Offline,
        TINY["offline"],
        {"env.source": own_module, "search.temperatures": (0.1,)},
        {"source": "simulator"},
    )
    metrics = offline(config, Trial(1000))
    assert metrics["greedy_reward"] is not None
    assert metrics["q_error_unseen"] is None


def test_the_theorem_counts_functions(tmp_path):
    found = {}
    for arm in ENTRY.paper.recipes["theorem"].arms:
        config = options.resolve(Theorem, TINY["theorem"], {"draws": 20}, arm.settings)
        found[arm.name] = theorem(config, Trial(1000, stages=tmp_path))
    assert all(metrics["values_outside"] == 0 for metrics in found.values())
    assert found["models-unstructured"]["values_left"] == found["bellman-unstructured"]["values_left"]
    assert found["models"]["values_left"] < found["bellman"]["values_left"]
    assert found["models-unstructured"]["values_apart"] == 0


@pytest.mark.parametrize("arm", ["categorical", "gaussian", "simulator"])
def test_online_with_a_search(arm):
    given = {
        "tuning": "search",
        "search.learning_rates": (1e-3,),
        "search.temperatures": (0.1,),
        "search.tables": 1,
    }
    config = options.resolve(Online, TINY["online"], given, ENTRY.paper.recipes["online"].arm(arm).settings)
    trial = Trial(1000)
    metrics = online(config, trial)
    assert -10 <= metrics["greedy_reward"] <= -1
    assert -10 <= metrics["random_reward"] <= -1
    assert trial.counters["q_updates"] == 21


def test_published_settings_are_found_by_regime():
    assert tuned("PanFlute-v0", "replay", "auto", 1) == Candidate(1e-4, 0.1)
    assert tuned("PanFlute-v0", "replay", "auto", 10) == Candidate(3.125e-6, 0.8)
    assert tuned("ProcMaze-v0", "model", "categorical-latent", 1) == Candidate(2e-4, 1.6)
    assert len(TUNED) == 15
    with pytest.raises(InputError, match="--tuning search"):
        tuned("CartPole-v1", "replay", "auto", 1)


# --- run: artefacts -----------------------------------------------------------------------------


def test_learning_writes_networks_that_load_again(own_module, tmp_path):
    given = {"env": own_module, "env.arguments": ("length=3",), "horizon": 3}
    running.run("model_generalization", out=tmp_path / "out", preset="tiny", overrides=given)
    agent = assay.load(tmp_path / "out")
    obs = torch.tensor([[0.0, 3.0], [2.0, 3.0]])
    assert agent.values(obs).shape == (2, 2)
    assert (agent.act(obs) == agent.values(obs).argmax(-1)).all()
    assert agent.curves["step"].tolist() == [30, 60]
    assert (agent.values(obs.numpy().reshape(2, 1, 2)) == agent.values(obs)).all()
    assert len(agent.model_error.observation) <= 3
    assert agent.model_error.unit == "RMSE"
    with pytest.raises(InputError, match="have 3 numbers"):
        agent.values(torch.zeros(1, 3))


@pytest.mark.parametrize("kind", ["bernoulli", "categorical-latent", "gaussian-latent"])
def test_every_model_is_saved_and_loaded(kind, tmp_path):
    config = options.resolve(Learn, TINY["learn"], {"dynamics.kind": kind})
    trial = Trial(1000, out=tmp_path)
    learn(config, trial)
    trial.artefacts.finish({})
    agent = assay.load(tmp_path)
    again = assay.load(tmp_path)
    again.model.generator = agent.model.generator = None
    obs = torch.zeros(3, 10)
    torch.manual_seed(1)
    values = agent.values(obs)
    torch.manual_seed(1)
    assert (again.values(obs) == values).all()


def small(**given):
    return options.resolve(
        Fit,
        {
            "updates": 40,
            "judging.every": 20,
            "q.hidden": (16,),
            "q.batch_size": 4,
            "q.rollout_length": 3,
            "dynamics.hidden": (16,),
            "dynamics.steps": 60,
            "horizon": 4,
        },
        given,
    )


@pytest.mark.parametrize("source", ["replay", "model"])
def test_fitting_a_table_writes_an_agent(source, tmp_path):
    data = as_parquet(tmp_path / "rows.parquet", rows())
    trial = Trial(1000, out=tmp_path / "out")
    metrics = fit(small(data=data, source=source), trial)
    trial.artefacts.finish({})
    assert metrics["greedy_reward"] is None
    agent = assay.load(tmp_path / "out")
    assert agent.values(torch.eye(4)).shape == (4, 2)
    assert (agent.model is None) == (source == "replay")
    if source == "model":
        assert len(agent.model_error.reward) == 4
        assert 0 <= agent.model_error.observation[0] <= 1


def test_an_agent_acts_with_the_numbers_of_its_environment(own_module, tmp_path):
    given = {"env": "my_walk:FromOne", "source": "replay", "steps": 300, "learning_rate": 1e-2}
    running.run("model_generalization", out=tmp_path / "out", preset="tiny", overrides=given)
    agent = assay.load(tmp_path / "out")
    assert agent.actions == (1, 2)
    obs = torch.tensor([[-1.0, 3.0], [0.0, 3.0], [1.0, 3.0]])
    assert (agent.act(obs) == agent.values(obs).argmax(-1) + 1).all()
    assert agent.act(obs).tolist() == [2, 2, 2]  # the only one that earns


def test_an_agent_acts_with_the_numbers_of_its_table(tmp_path):
    columns = rows(300)
    columns["reward"] = columns["action"].astype(float)
    columns["action"] = columns["action"] + 1
    np.savez(tmp_path / "rows.npz", **columns)
    trial = Trial(1000, out=tmp_path / "out")
    given = {"source": "replay", "learning_rate": 1e-2, "updates": 200}
    fit(small(arrays=Arrays(str(tmp_path / "rows.npz")), **given), trial)
    trial.artefacts.finish({})
    agent = assay.load(tmp_path / "out")
    assert agent.actions == (1, 2)
    assert agent.act(torch.eye(4)).tolist() == [2, 2, 2, 2]


def test_given_transitions_are_scored_in_their_environment(own_module, tmp_path):
    world = open_environment(Environment(own_module))
    found = collect(world, UniformPolicy(2), 100, seed=0)
    columns = {
        "obs": found.obs.numpy(),
        "action": found.action.numpy(),
        "reward": found.reward.numpy(),
        "next_obs": found.next_obs.numpy(),
        "terminal": 1 - found.continuation.numpy(),
    }
    data = as_parquet(tmp_path / "rows.parquet", columns)
    metrics = fit(small(data=data, env=Environment(own_module)), Trial(1000))
    assert 0 <= metrics["greedy_reward"] <= 100
    other = small(data=as_parquet(tmp_path / "other.parquet", rows()), env=Environment(own_module))
    with pytest.raises(InputError, match="give the environment that they are from"):
        fit(other, Trial(1000))


def test_what_a_model_leaves_unexplained():
    class Says(GaussianModel):
        def predict(self, obs, actions):
            return self.says[:, None], torch.zeros(len(obs), 1)

    model = Says(10, 4, (5,))
    table = collect(open_environment(PAN_FLUTE), UniformPolicy(4), 50, seed=0)
    mean = table.next_obs.mean(0).expand(50, 10)
    for says, expected in ((table.next_obs, 0.0), (mean, 1.0)):
        model.says = says
        assert unexplained(model, table) == pytest.approx(expected, abs=1e-6)


def test_wrong_bits_are_drawn_red():
    true, imagined = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    picture = drawn_bits(true, imagined)
    assert picture.shape == (30, 20, 3)
    assert picture[25, 15].tolist() == [220, 60, 50]
    assert picture[25, 5].tolist() == picture[5, 5].tolist() == [40, 40, 40]


# --- bad input ----------------------------------------------------------------------------------


def test_a_table_of_a_task_that_never_ends_needs_a_discount(tmp_path):
    data = as_parquet(tmp_path / "rows.parquet", rows())
    given = {"data": data, "env.continuing": True, "source": "replay"}
    assert fit(small(**given), Trial(1000)) == {"greedy_reward": None}
    with pytest.raises(InputError, match="gamma < 1 in a continuing task"):
        fit(small(**given, **{"q.gamma": 1.0}), Trial(1000))


def test_a_table_smaller_than_a_batch_is_refused(tmp_path):
    data = as_parquet(tmp_path / "rows.parquet", rows(30))
    with pytest.raises(InputError, match="batch of 64 transitions cannot be drawn from a buffer of 23"):
        fit(small(data=data), Trial(1000))


def test_real_numbers_and_the_bernoulli_model(own_module, tmp_path):
    columns = rows() | {"obs": np.full((120, 4), 2.5, np.float32)}
    data = as_parquet(tmp_path / "rows.parquet", columns)
    with pytest.raises(InputError, match=r"these range from 2\.5 to 2\.5"):
        fit(small(data=data, dynamics=WorldModel(kind="bernoulli")), Trial(1000))
    config = options.resolve(Learn, TINY["learn"], {"env.source": own_module, "dynamics.kind": "bernoulli"})
    with pytest.raises(InputError, match="Bernoulli model needs observations of bits"):
        learn(config, Trial(1000))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"env": "CartPol-v1"}, "CartPole"),
        ({"env": "no_such_module:Env"}, "no module 'no_such_module'"),
        ({"env": "my_walk:Wolk"}, "Did you mean 'Walk'"),
        ({"env": "my_walk:number"}, "my_walk:number is 3: name a function"),
        ({"env": "Pendulum-v1"}, "the action space is Box"),
        ({"env": "my_walk:Walk", "env.arguments": ("width=3",)}, "does not take these arguments"),
        ({"env.arguments": ("num_pipes",)}, "write NAME=VALUE"),
        ({"q.gamma": 1.0}, "gamma is 1.0: give 0 <= gamma < 1"),
        ({"steps": 20}, "--steps 20 is below"),
        ({"learning_starts": 2}, "cannot be drawn from a buffer of 2"),
    ],
)
def test_options_that_cannot_work_are_refused(given, text, own_module, tmp_path):
    with pytest.raises(InputError, match=text):
        running.run("model_generalization", out=tmp_path / "out", preset="tiny", overrides=given)
    assert not (tmp_path / "out").exists()


def test_latent_models_are_for_acting_online():
    config = options.resolve(Offline, TINY["offline"], {"dynamics.kind": "gaussian-latent"})
    with pytest.raises(InputError, match="works online only"):
        offline(config, Trial(1000))
