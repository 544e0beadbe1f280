"""The artefact: the Q-network and the model that it learned with, as safetensors and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay import files
from assay.errors import InputError
from assay.papers.agents.model_generalization.method import (
    BernoulliFactoredModel,
    CategoricalLatentModel,
    DenseNet,
    DynaTrainer,
    GaussianLatentModel,
    GaussianModel,
    Sizes,
    TransitionModel,
)

KINDS: dict[str, type[Any]] = {
    "bernoulli": BernoulliFactoredModel,
    "gaussian": GaussianModel,
    "categorical-latent": CategoricalLatentModel,
    "gaussian-latent": GaussianLatentModel,
}


@dataclass
class Agent:
    """A trained Q-network, the world model if one was learned, and how the training went.

    `curves` has one row for each score; `model_error` the model's errors after 1, 2, ... steps.
    """

    q_net: DenseNet
    model: TransitionModel | None
    description: dict[str, Any]
    curves: pd.DataFrame
    model_error: dict[str, Any] | None = None

    @classmethod
    def of(
        cls,
        trainer: DynaTrainer,
        world: Sizes,
        curve: list[dict[str, float]],
        model_error: dict[str, Any] | None = None,
    ) -> Agent:
        """Take a trainer's networks."""
        q_net, source = trainer.learner.q_net, trainer.source
        assert isinstance(q_net, DenseNet)
        model = source if isinstance(source, TransitionModel) else None
        description: dict[str, Any] = {
            "observation_size": world.observation_size,
            "num_actions": world.num_actions,
            "continuing": world.continuing,
            "gamma": trainer.learner.gamma,
            "q_hidden": hidden_of(q_net),
            "model": None if model is None else described(model),
        }
        return cls(q_net, model, description, pd.DataFrame(curve), model_error)

    @torch.no_grad()
    def values(self, obs: Float[Tensor, "n d"]) -> Float[Tensor, "n actions"]:
        """Return Q of every action; a latent model draws the latent state first."""
        size = self.description["observation_size"]
        if obs.shape[1] != size:
            raise InputError(f"the observations have {obs.shape[1]} numbers; the agent learned on {size}.")
        features = obs.float() if self.model is None else self.model.encode(obs.float())
        values: Tensor = self.q_net(features)
        return values

    def act(self, obs: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """Return the greedy actions."""
        return self.values(obs).argmax(-1)

    def save(self, folder: Path) -> None:
        """Write q_net.safetensors, model.safetensors, agent.json, curves.csv and model_error.json."""
        safetensors.torch.save_file(self.q_net.state_dict(), folder / "q_net.safetensors")
        if self.model is not None:
            safetensors.torch.save_file(self.model.state_dict(), folder / "model.safetensors")
        files.write_json(folder / "agent.json", self.description)
        files.write_atomic(folder / "curves.csv", self.curves.to_csv(index=False))
        if self.model_error is not None:
            files.write_json(folder / "model_error.json", self.model_error)

    @classmethod
    def load(cls, folder: Path) -> Agent:
        """Read what `save` wrote."""
        about = files.read_json(folder / "agent.json")
        model, features = None, about["observation_size"]
        if about["model"] is not None:
            model = built(about["model"], about)
            model.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
            features = model.feature_size
        q_net = DenseNet(features, about["num_actions"], about["q_hidden"])
        q_net.load_state_dict(safetensors.torch.load_file(folder / "q_net.safetensors"))
        errors = folder / "model_error.json"
        curves = folder / "curves.csv"
        return cls(
            q_net,
            model,
            about,
            pd.read_csv(curves) if curves.stat().st_size > 1 else pd.DataFrame(),
            files.read_json(errors) if errors.exists() else None,
        )


def hidden_of(net: DenseNet) -> list[int]:
    """Return the units of the hidden layers."""
    return [bias.shape[-1] for bias in list(net.biases)[:-1]]


def described(model: TransitionModel) -> dict[str, Any]:
    """Return what it takes to build the model again."""
    kind = next(name for name, cls in KINDS.items() if type(model) is cls)
    latent = isinstance(model, CategoricalLatentModel | GaussianLatentModel)
    about: dict[str, Any] = {
        "kind": kind,
        "hidden": hidden_of(model.encoder if latent else model.heads.nets),  # type: ignore[arg-type,union-attr]
    }
    if isinstance(model, BernoulliFactoredModel):
        about["next_obs_sampling"] = model.next_obs_sampling
    if latent:
        about["binary"] = model.binary
    return about


def built(about: dict[str, Any], agent: dict[str, Any]) -> TransitionModel:
    """Build a model as it was described."""
    rest = {name: value for name, value in about.items() if name != "kind"}
    model: TransitionModel = KINDS[about["kind"]](
        agent["observation_size"], agent["num_actions"], continuing=agent["continuing"], **rest
    )
    return model
