"""The provider's work as stages that arms share: text embeddings, the surrogate, the generator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from assay import files
from assay.errors import InputError
from assay.models import ConvNet, ModelSource, SentenceEncoder, load_model, load_tokenizer
from assay.papers.privacy.t2ue.config import Generating, Towers
from assay.papers.privacy.t2ue.method import (
    CLIPSurrogate,
    Kind,
    NoiseFolder,
    Surrogate,
    T2UETrainer,
    TextConditionedNoiseGenerator,
    Texts,
    TwoTowers,
    excess_loss,
    export_noise,
    train_surrogate,
    warn_of_long_captions,
)
from assay.papers.privacy.t2ue.pairs import FilesOfPictures, batches_of
from assay.training import Compute

MEASURED = 8
"""Batches on which the surrogate's loss is measured."""
DESCRIPTION = "provider.json"

EncoderKind = Literal["sentence", "clip"]


# --- text encoders ------------------------------------------------------------------------------


def text_encoder(source: ModelSource, kind: EncoderKind, device: str) -> Texts:
    """Load a frozen text encoder: a sentence encoder, or the text tower of a CLIP or SigLIP."""
    if kind == "clip":
        return load_surrogate(source, device).encode_text
    encoder = SentenceEncoder(source, device)

    def embed(texts: Sequence[str]) -> Tensor:
        warn_of_long_captions(texts, encoder.tokenizer, 128)
        return encoder.encode(list(texts))

    return embed


def embed_texts(source: ModelSource, kind: EncoderKind, texts: list[str], device: str) -> Tensor:
    """Return the embeddings of texts, as a stage."""
    return text_encoder(source, kind, device)(texts).cpu().clone()


class Lookup:
    """Embeddings of known texts in the place of an encoder."""

    def __init__(self, texts: Sequence[str], embeddings: Tensor) -> None:
        self.rows = {text: row for row, text in enumerate(texts)}
        self.embeddings = embeddings

    def __call__(self, texts: Sequence[str]) -> Tensor:
        return self.embeddings[[self.rows[text] for text in texts]]


# --- surrogates ---------------------------------------------------------------------------------


def load_surrogate(source: ModelSource, device: str) -> CLIPSurrogate:
    """Load a CLIP or SigLIP with its tokenizer and the normalisation that it was saved with.

    Raises:
        InputError: it is no model of this kind.
    """
    from transformers import AutoModel

    model = load_model(source, AutoModel, device=device, dtype="float32")
    if not hasattr(model, "get_image_features") or not hasattr(model, "logit_scale"):
        raise InputError(
            f"{source} is a {type(model).__name__}, not an image-text model such as CLIP or SigLIP."
        )
    statistics = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    clip = model.config.model_type == "clip"
    return CLIPSurrogate(model, load_tokenizer(source), **({} if clip else statistics)).to(device)


def build_towers(towers: Towers, embed: Texts, text_dim: int) -> TwoTowers:
    """Build the small surrogate from the global random state."""
    image = ConvNet(3, towers.dimension, towers.width)
    return TwoTowers(image, nn.Linear(text_dim, towers.dimension), embed)


def train_towers(
    pixels: Tensor, captions: list[str], texts: list[str], embeddings: Tensor, towers: Towers, device: str
) -> dict[str, Any]:
    """Train the small surrogate, as a stage: its weights, and how many steps they took."""
    lookup = Lookup(texts, embeddings)
    surrogate = build_towers(towers, lookup, embeddings.shape[1])
    order = torch.Generator().manual_seed(torch.initial_seed())
    history = train_surrogate(
        surrogate,
        batches_of(pixels, towers.batch_size, order),
        [[caption] for caption in captions],
        lookup,
        epochs=towers.epochs,
        learning_rate=towers.learning_rate,
        compute=compute_on(device),
    )
    return {"weights": surrogate.cpu().state_dict(), "losses": history.losses}


@dataclass(frozen=True)
class SurrogateSpec:
    """What it takes to have a surrogate: the source of a model, or weights of small towers."""

    source: str | None
    """folder:DIR or hub:NAME."""
    towers: Towers
    """Sizes of the small towers."""
    weights: dict[str, Any] | None
    """Their state dict."""

    def build(self, texts: list[str], embeddings: Tensor, device: str) -> Surrogate:
        """Return the surrogate, frozen."""
        if self.source is not None:
            return load_surrogate(ModelSource(self.source), device)
        towers = build_towers(self.towers, Lookup(texts, embeddings), embeddings.shape[1])
        towers.load_state_dict(self.weights or {})
        return towers.eval().requires_grad_(False).to(device)


# --- the generator ------------------------------------------------------------------------------


def train_generator(
    source: Tensor | FilesOfPictures,
    captions: list[list[str]],
    texts: list[str],
    embeddings: Tensor,
    spec: SurrogateSpec,
    network: Generating,
    eps: float,
    device: str,
) -> dict[str, Any]:
    """Train the generator against the surrogate, as a stage: weights, losses, and what there was to gain."""
    surrogate = spec.build(texts, embeddings, device)
    lookup = Lookup(texts, embeddings)
    generator = build_generator(network, embeddings.shape[1], picture_size(source), eps)
    order = torch.Generator().manual_seed(torch.initial_seed())
    loader = batches_of(source, network.batch_size, order)
    trainer = T2UETrainer(
        generator,
        surrogate,
        lookup,
        learning_rate=network.learning_rate,
        weight_decay=network.weight_decay,
        epochs=network.epochs,
        compute=compute_on(device, network.precision),
    )
    history = trainer.fit(loader, captions)
    first = [batch for batch, _ in zip(loader, range(MEASURED), strict=False)]
    return {
        "weights": generator.cpu().state_dict(),
        "losses": history.losses,
        "surrogate_loss": excess_loss(surrogate, first, [own[0] for own in captions]),
    }


def build_generator(
    network: Generating, text_dim: int, size: int, eps: float
) -> TextConditionedNoiseGenerator:
    """Build a generator from the global random state.

    Raises:
        InputError: it has too few blocks for the size.
    """
    try:
        return TextConditionedNoiseGenerator(
            text_dim,
            network.z_dim,
            network.base_channels,
            size,
            eps,
            network.blocks,
            network.spatial_mask,
        )
    except ValueError as error:
        raise InputError(f"--network.blocks: {error}") from None


def picture_size(source: Tensor | FilesOfPictures) -> int:
    """Return the pixels of a side."""
    return source.shape[-1] if isinstance(source, Tensor) else source.size


def compute_on(device: str, precision: Literal["32-true", "bf16-mixed"] = "32-true") -> Compute:
    """Return the training loop's name of a device."""
    return Compute(accelerator="cuda" if device.startswith("cuda") else "cpu", precision=precision)


# --- the artefact -------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoiseProvider:
    """A trained generator with the text encoder that it was trained with: from captions to noise."""

    generator: TextConditionedNoiseGenerator
    """The generator, in evaluation mode."""
    encoder: ModelSource
    """Its text encoder."""
    kind: EncoderKind
    """Whether that is a sentence encoder or a text tower."""
    fingerprint: str
    """Identifies the encoder's weights."""

    @cached_property
    def embed(self) -> Texts:
        """Return the text encoder, loaded at first use.

        Raises:
            InputError: it is another one than the generator was trained with.
        """
        if self.encoder.fingerprint() != self.fingerprint:
            raise InputError(
                f"The generator was trained with another text encoder than {self.encoder} is now"
                f" ({self.fingerprint}, not {self.encoder.fingerprint()}). Train a generator with this one."
            )
        return text_encoder(self.encoder, self.kind, "cpu")

    def export(
        self, captions: Sequence[str], out: str | Path, names: Sequence[str], seed: int, kind: Kind
    ) -> NoiseFolder:
        """Write noise for captions; see `export_noise`."""
        return export_noise(self.generator, self.embed, captions, out, names=names, seed=seed, kind=kind)

    def save(self, folder: str | Path) -> None:
        """Write the generator, and which encoder it needs."""
        self.generator.save(folder)
        plain = {"encoder": self.encoder.source, "kind": self.kind, "fingerprint": self.fingerprint}
        (Path(folder) / DESCRIPTION).write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> NoiseProvider:
        """Read what `save` wrote.

        Raises:
            InputError: the folder holds no generator.
        """
        path = Path(folder) / DESCRIPTION
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            generator = TextConditionedNoiseGenerator.load(folder)
            return cls(generator, ModelSource(plain["encoder"]), plain["kind"], plain["fingerprint"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder} holds no generator: {error}. Give a folder that `assay run t2ue train` wrote."
            ) from None


def provider_folder(path: str | Path) -> Path:
    """Return the folder with the generator in what `assay run t2ue train` wrote."""
    return inner_folder(files.user_path(path), "provider", DESCRIPTION)


def inner_folder(path: Path, name: str, file: str) -> Path:
    """Return `path/name` where that holds the file and `path` itself does not."""
    return path / name if not (path / file).exists() and (path / name / file).exists() else path
