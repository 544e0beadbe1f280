"""The pair that is trained where no models are given, and the artefact that keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import safetensors.torch
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from assay.models import BagOfEmbeddings, ModelSource, SentenceEncoder, hash_words, mlp
from assay.papers.language.elang.config import Pair
from assay.papers.language.elang.method import EnergyRouter, RoutedOutput, RoutingPolicy
from assay.training import Compute, batches, fit

Inputs = Float[Tensor, "rows features"] | Sequence[str]


# --- networks on raw inputs ---------------------------------------------------------------------


class FeatureClassifier(nn.Module):
    """A perceptron on features that it brings to mean 0 and deviation 1 itself."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: int, hidden: Sequence[int], classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.network = mlp(features, tuple(hidden), classes)

    def prepare(self, inputs: Float[Tensor, "rows features"]) -> Float[Tensor, "rows features"]:
        """Return what the network is trained on."""
        return (inputs - self.mean) / self.deviation

    def forward(self, inputs: Float[Tensor, "rows features"]) -> Float[Tensor, "rows classes"]:
        """Return the logits."""
        logits: Tensor = self.network(self.prepare(inputs))
        return logits


class HashedWordsClassifier(nn.Module):
    """A bag of hashed words with a linear layer on top: no tokenizer, no word order, next to no cost."""

    def __init__(self, buckets: int, width: int, classes: int, max_words: int = 128) -> None:
        super().__init__()
        self.buckets, self.max_words = buckets, max_words
        self.network = BagOfEmbeddings(buckets, width, classes)

    def prepare(self, inputs: Sequence[str]) -> Int[Tensor, "rows words"]:
        """Return what the network is trained on."""
        return hash_words(inputs, self.buckets, self.max_words)

    def forward(self, inputs: Sequence[str]) -> Float[Tensor, "rows classes"]:
        """Return the logits."""
        words = self.prepare(inputs).to(self.network.head.weight.device)
        logits: Tensor = self.network(words)
        return logits


class SentenceClassifier(nn.Module):
    """A perceptron on the embeddings of a frozen sentence encoder."""

    def __init__(self, encoder: ModelSource, hidden: Sequence[int], classes: int) -> None:
        super().__init__()
        self.encoder = SentenceEncoder(encoder)
        self.network = mlp(self.encoder.dimension, tuple(hidden), classes)

    def prepare(self, inputs: Sequence[str]) -> Float[Tensor, "rows width"]:
        """Return what the network is trained on."""
        return self.encoder.encode(inputs).clone()  # the clone can be used in training

    def forward(self, inputs: Sequence[str]) -> Float[Tensor, "rows classes"]:
        """Return the logits."""
        logits: Tensor = self.network(self.prepare(inputs))
        return logits


Network = FeatureClassifier | HashedWordsClassifier | SentenceClassifier


@dataclass(frozen=True)
class PairShape:
    """What it takes to build a pair."""

    pair: Pair
    """Sizes of the networks."""
    features: int | None
    """Features a row; None for texts."""
    classes: int
    """Number of classes."""

    def build(
        self, swift_weights: dict[str, Tensor] | None = None, super_weights: dict[str, Tensor] | None = None
    ) -> tuple[Network, Network]:
        """Return Swift and Super, untrained or with the weights that `trained_weights` gave."""
        pair = self.pair
        swift: Network
        super_: Network
        if self.features is not None:
            swift = FeatureClassifier(self.features, pair.swift_hidden, self.classes)
            super_ = FeatureClassifier(self.features, pair.super_hidden, self.classes)
        else:
            swift = HashedWordsClassifier(pair.word_buckets, pair.word_width, self.classes)
            super_ = SentenceClassifier(pair.encoder, pair.head_hidden, self.classes)
        for model, weights in ((swift, swift_weights), (super_, super_weights)):
            if weights is not None:
                model.load_state_dict(weights, strict=False)
        return swift.eval(), super_.eval()


def trained_weights(model: Network) -> dict[str, Tensor]:
    """Return the weights without those of a frozen encoder, which its own source keeps."""
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("encoder.")}
    return {name: value.cpu().contiguous() for name, value in state.items()}


def train_network(
    model: Network, inputs: Inputs, labels: Int[Tensor, " rows"], pair: Pair, device: str
) -> int:
    """Train one model of the pair with cross entropy; return its gradient steps."""
    if isinstance(model, FeatureClassifier):
        assert isinstance(inputs, Tensor)
        model.mean.copy_(inputs.mean(dim=0))
        model.deviation.copy_(inputs.std(dim=0).clamp_min(1e-6))
    model.to(device)
    prepared = model.prepare(inputs)  # type: ignore[arg-type]
    history = fit(
        model.network,
        batches(
            prepared.cpu(),
            labels,
            batch_size=pair.batch_size,
            generator=torch.Generator().manual_seed(torch.initial_seed()),
        ),
        classification_loss,
        optimizer=torch.optim.AdamW(model.network.parameters(), lr=pair.learning_rate),
        epochs=pair.epochs,
        compute=compute_on(device),
    )
    model.eval()
    return history.gradient_steps


def compute_on(device: str) -> Compute:
    """Return the training loop's name of a device."""
    return Compute(accelerator="cuda" if device.startswith("cuda") else "cpu")


def classification_loss(model: nn.Module, batch: tuple[Any, Tensor]) -> Tensor:
    """Return the cross entropy of a batch of inputs and labels."""
    inputs, labels = batch
    return cross_entropy(model(inputs), labels)


# --- the artefact -------------------------------------------------------------------------------


@dataclass(frozen=True)
class RoutedPair:
    """A pair that was trained here, with its policy: answers rows, or routes logits."""

    policy: RoutingPolicy
    """When Super answers."""
    swift: Network
    """The cheap model."""
    super_: Network
    """The accurate model."""
    shape: PairShape
    """What it takes to build the models again."""

    @classmethod
    def build(
        cls, policy: RoutingPolicy, shape: PairShape, weights: dict[str, dict[str, Tensor]]
    ) -> RoutedPair:
        """Build the models again from what `trained_weights` gave of both."""
        return cls(policy, *shape.build(weights["swift"], weights["super"]), shape)

    @property
    def router(self) -> EnergyRouter:
        """Return the router of the pair, which checks that the policy is for these weights."""
        return EnergyRouter(self.swift, self.super_, policy=self.policy)

    def predict(self, inputs: Inputs) -> RoutedOutput:
        """Answer rows: a tensor of features, or texts."""
        return self.router.predict(inputs)

    def route(self, logits: Float[Tensor, "batch classes"]) -> Bool[Tensor, " batch"]:
        """Return True for the rows that Super should answer, from Swift's logits."""
        return self.policy.route(logits)

    def save(self, folder: str | Path) -> None:
        """Write the policy, the shape as JSON and the trained weights as safetensors."""
        path = Path(folder)
        self.policy.save(path)
        shape = pydantic.TypeAdapter(PairShape).dump_json(self.shape, indent=1)
        (path / "pair.json").write_bytes(shape)
        for name, model in (("swift", self.swift), ("super", self.super_)):
            safetensors.torch.save_file(trained_weights(model), path / f"{name}.safetensors")

    @classmethod
    def load(cls, folder: str | Path) -> RoutedPair:
        """Read what `save` wrote."""
        path = Path(folder)
        shape = pydantic.TypeAdapter(PairShape).validate_json((path / "pair.json").read_bytes())
        weights = {
            name: safetensors.torch.load_file(path / f"{name}.safetensors") for name in ("swift", "super")
        }
        return cls.build(RoutingPolicy.load(path), shape, weights)
