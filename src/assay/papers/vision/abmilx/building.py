"""From options to a model: the encoder, the aggregator and both as one module; all of it goes into JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from assay.models import ConvNet, ModelSource, load_model
from assay.papers.vision.abmilx.config import Layers
from assay.papers.vision.abmilx.method import (
    ABMIL,
    ABMILX,
    EndToEndMIL,
    GatedABMIL,
    MaxMIL,
    MeanMIL,
    RandomCropFlip,
    VisionEncoder,
)
from assay.papers.vision.abmilx.method.aggregators import Aggregator

Kind = Literal["none", "perceptron", "convolutional", "transformers"]
HIDDEN, WIDTH = 128, 64
"""Units of the perceptron, and numbers an instance that the encoders made here give."""


@dataclass(frozen=True)
class EncoderSpec:
    """What it takes to build an encoder."""

    kind: Kind
    shape: tuple[int, ...]
    """Of an instance: (channels, height, width) or (features,)."""
    stages: int | None = None
    """Stages that are kept of a transformers model."""
    config: dict[str, Any] | None = None
    """That of a transformers model."""
    smallest_crop: float = 1.0
    flips: bool = False


@dataclass(frozen=True)
class ModelSpec:
    """What it takes to build a model."""

    encoder: EncoderSpec
    aggregator: str
    outputs: int
    layers: Layers
    chunk: int | None = None
    checkpointing: bool = False


class PatchEncoder(nn.Module):
    """An encoder of pixels from 0 to 255, or of features, which it brings to mean 0 and deviation 1."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        pictures = len(spec.shape) == 3
        size = 1 if pictures else spec.shape[0]
        self.register_buffer("mean", torch.full((size,), 127.5) if pictures else torch.zeros(size))
        self.register_buffer("deviation", torch.full((size,), 127.5) if pictures else torch.ones(size))
        self.augment = RandomCropFlip(spec.smallest_crop, spec.flips) if pictures else nn.Identity()
        self.network, self.out_dim = build_network(spec)

    def forward(self, instances: Tensor) -> Tensor:
        """Return one vector an instance."""
        encoded: Tensor = self.network(self.augment((instances.float() - self.mean) / self.deviation))
        return encoded

    def standardise(self, instances: Tensor) -> None:
        """Take mean and deviation of features from the training instances."""
        if instances.ndim == 2:
            self.mean.copy_(instances.mean(dim=0))
            deviation = instances.std(dim=0, correction=0)
            self.deviation.copy_(deviation.where(deviation > 0, 1.0))


class GivenNetwork(nn.Module):
    """A vision model of transformers on pixels between -1 and 1."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel

        settings = dict(spec.config or {})
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        self.encoder = VisionEncoder(AutoModel.from_config(config), spec.stages)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return one vector a picture; grey pictures become RGB."""
        if pictures.shape[1] == 1:
            pictures = pictures.expand(-1, 3, -1, -1)
        encoded: Tensor = self.encoder((pictures + 1) / 2)
        return encoded


class Convolutions(nn.Module):
    """Three convolutional blocks of 16, 32 and 64 channels and the mean over all positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = ConvNet(channels, 1, width=WIDTH // 4, depth=3).body

    def forward(self, pictures: Tensor) -> Tensor:
        """Return one vector a picture."""
        maps: Tensor = self.body(pictures)
        return maps.mean((-2, -1))


def build_network(spec: EncoderSpec) -> tuple[nn.Module, int]:
    """Return the network behind the normalisation, and the width of what it gives."""
    if spec.kind == "none":
        return nn.Flatten(), int(torch.Size(spec.shape).numel())
    if spec.kind == "perceptron":
        size = int(torch.Size(spec.shape).numel())
        layers = (nn.Linear(size, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, WIDTH), nn.ReLU())
        return nn.Sequential(nn.Flatten(), *layers), WIDTH
    if spec.kind == "convolutional":
        return Convolutions(spec.shape[0]), WIDTH
    given = GivenNetwork(spec)
    return given, given.encoder.out_dim


def build_aggregator(spec: ModelSpec, in_dim: int) -> Aggregator:
    """Return the aggregator on features of a width.

    Raises:
        ValueError: heads do not divide the width of the embeddings.
    """
    layers = spec.layers
    shared: dict[str, Any] = {
        "embed_dim": layers.embed_dim,
        "norm": None if layers.norm == "none" else layers.norm,
        "bias": layers.bias,
        "dropout": layers.dropout,
    }
    if spec.aggregator in ("abmilx", "mhla"):
        return ABMILX(
            in_dim,
            spec.outputs,
            num_heads=layers.num_heads,
            ffn=layers.ffn,
            refine=spec.aggregator == "abmilx",
            alpha_init="xavier" if layers.alpha_init is None else layers.alpha_init,
            attn_bias=layers.attn_bias,
            **shared,
        )
    baselines: dict[str, type[ABMIL | MeanMIL]] = {
        "abmil": ABMIL,
        "gated": GatedABMIL,
        "mean": MeanMIL,
        "max": MaxMIL,
    }
    return baselines[spec.aggregator](in_dim, spec.outputs, **shared)


def build_model(spec: ModelSpec) -> EndToEndMIL:
    """Return encoder and aggregator as one module, with random weights."""
    encoder = PatchEncoder(spec.encoder)
    aggregator = build_aggregator(spec, encoder.out_dim)
    return EndToEndMIL(encoder, aggregator, spec.chunk, spec.checkpointing)


def given_encoder(
    source: ModelSource, shape: tuple[int, ...], stages: int, crop: float, flips: bool
) -> tuple[EncoderSpec, dict[str, Tensor]]:
    """Load a vision model; return how to build its encoder, and the encoder's weights.

    Raises:
        InputError: it cannot be loaded.
        ValueError: it has fewer stages.
    """
    from transformers import AutoModel

    model = load_model(source, AutoModel, dtype="float32")
    cut = stages if hasattr(getattr(model, "encoder", None), "stages") else None
    spec = EncoderSpec("transformers", shape, cut, model.config.to_diff_dict(), crop, flips)
    encoder = PatchEncoder(spec)
    kept = {name for name, _ in encoder.network.encoder.model.named_parameters()}  # type: ignore[union-attr]
    kept |= {name for name, _ in encoder.network.encoder.model.named_buffers()}  # type: ignore[union-attr]
    weights = {name: tensor for name, tensor in model.state_dict().items() if name in kept}
    encoder.network.encoder.model.load_state_dict(weights)  # type: ignore[union-attr]
    return spec, encoder.state_dict()
