"""The provider's work as stages that arms share: text embeddings, the surrogate, the generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.errors import refusals
from assay.models import ConvNet, ModelSource
from assay.papers.privacy.t2ue.config import Generator
from assay.papers.privacy.t2ue.inputs import CaptionedPictures
from assay.papers.privacy.t2ue.method import (
    CaptionBank,
    EncoderKind,
    Surrogate,
    T2UETrainer,
    TextConditionedNoiseGenerator,
    TwoTowers,
    excess_loss,
    load_surrogate,
    text_encoder,
    train_surrogate,
)
from assay.training import Compute

WIDTH, DIMENSION = 16, 32
"""Channels of the first of three blocks of the small surrogate's picture tower, and its embedding's size."""
MEASURED = 8
"""Batches on which the surrogate's loss is measured."""


@dataclass(frozen=True)
class EmbeddedTexts:
    """Embeddings of known texts, in the place of an encoder."""

    texts: list[str]
    """All different."""
    embeddings: Float[Tensor, "n d"]
    """Of each."""

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "m d"]:
        """Return the embeddings of some of the texts."""
        rows = {text: row for row, text in enumerate(self.texts)}
        return self.embeddings[[rows[text] for text in texts]]


def embed_texts(source: ModelSource, kind: EncoderKind, texts: list[str], compute: Compute) -> EmbeddedTexts:
    """Embed texts, all different."""
    return EmbeddedTexts(texts, text_encoder(source, kind, compute.accelerator)(texts).cpu().clone())


@dataclass(frozen=True)
class SurrogateSpec:
    """What it takes to have a surrogate: the source of a model, or weights of small towers."""

    source: str | None = None
    """folder:DIR or hub:NAME."""
    weights: dict[str, Tensor] | None = None
    """The towers' state dict."""
    steps: int = 0
    """Gradient steps that they took."""

    def build(self, embedded: EmbeddedTexts, device: str) -> Surrogate:
        """Return the surrogate, frozen."""
        if self.source is not None:
            return load_surrogate(ModelSource(self.source), device)
        towers = build_towers(embedded)
        towers.load_state_dict(self.weights or {})
        return towers.eval().requires_grad_(False).to(device)


def build_towers(embedded: EmbeddedTexts) -> TwoTowers:
    """Build the small surrogate from the global random state."""
    image = ConvNet(3, DIMENSION, WIDTH)
    return TwoTowers(image, nn.Linear(embedded.embeddings.shape[1], DIMENSION), embedded)


def train_towers(
    data: CaptionedPictures, embedded: EmbeddedTexts, epochs: int, compute: Compute
) -> SurrogateSpec:
    """Train the small surrogate, on the first caption of each picture."""
    surrogate = build_towers(embedded)
    order = torch.Generator().manual_seed(torch.initial_seed())
    bank = CaptionBank([own[:1] for own in data.captions], embedded)
    history = train_surrogate(surrogate, data.batches(128, order), bank, epochs=epochs, compute=compute)
    return SurrogateSpec(weights=surrogate.cpu().state_dict(), steps=history.gradient_steps)


@dataclass(frozen=True)
class TrainedGenerator:
    """The generator after training."""

    generator: TextConditionedNoiseGenerator
    """In evaluation mode."""
    steps: int
    """Gradient steps."""
    surrogate_loss: float
    """The surrogate's loss on clean pairs above the least that their captions allow."""


def train_generator(
    data: CaptionedPictures,
    embedded: EmbeddedTexts,
    spec: SurrogateSpec,
    network: Generator,
    eps: float,
    compute: Compute,
) -> TrainedGenerator:
    """Train the generator against the surrogate.

    Raises:
        InputError: it has too few blocks for the size.
    """
    surrogate = spec.build(embedded, compute.accelerator)
    with refusals():
        generator = TextConditionedNoiseGenerator(
            embedded.embeddings.shape[1],
            base_channels=network.base_channels,
            out_size=data.size,
            eps=eps,
            blocks=network.blocks,
        )
    loader = data.batches(network.batch_size, torch.Generator().manual_seed(torch.initial_seed()))
    trainer = T2UETrainer(
        generator,
        surrogate,
        embedded,
        learning_rate=network.learning_rate,
        epochs=network.epochs,
        compute=compute,
    )
    history = trainer.fit(loader, data.captions)
    first = [batch for batch, _ in zip(loader, range(MEASURED), strict=False)]
    gain = excess_loss(surrogate, first, [own[0] for own in data.captions])
    return TrainedGenerator(generator.cpu().eval(), history.gradient_steps, gain)
