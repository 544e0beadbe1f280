"""Training the provider's generator and what it gives each arm, and training a CLIP on protected pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.errors import InputError
from assay.models import ModelSource, load_config, load_tokenizer
from assay.papers.privacy.noise import ErrorMinimising, error_minimising_noise, random_sign_noise
from assay.papers.privacy.t2ue.artefact import NoiseProvider, inner_folder
from assay.papers.privacy.t2ue.config import Learn, Retrieve, Train
from assay.papers.privacy.t2ue.inputs import (
    CaptionedPictures,
    PictureFiles,
    PictureSplit,
    find_pairs,
)
from assay.papers.privacy.t2ue.method import (
    CLIPSurrogate,
    EncoderKind,
    NoiseFolder,
    add_noise,
    as_unit,
    class_prompts,
    make_noise,
    match_names,
    resize_noise,
)
from assay.papers.privacy.t2ue.stages import SurrogateSpec, embed_texts, train_generator, train_towers
from assay.papers.privacy.victims import build_network
from assay.training import fit
from assay.trial import Trial

# --- the provider -------------------------------------------------------------------------------


def provide(config: Learn, split: PictureSplit, trial: Trial) -> tuple[NoiseProvider, float | None]:
    """Return the given generator, or one trained on the provider's pairs; see `train_provider`."""
    if config.provider.source is not None:
        return NoiseProvider.of_run(config.provider.source), None
    if split.public is None:
        return train_provider(config, find_pairs(config.pairs), trial)
    captions = [[caption] for caption in split.captions(split.public, trial.seed)]
    return train_provider(config, CaptionedPictures(split.public.pixels, captions), trial)


def train_provider(
    config: Train | Learn, data: CaptionedPictures, trial: Trial
) -> tuple[NoiseProvider, float]:
    """Train the surrogate, unless one is given, and the generator, once for all arms of a seed.

    Returns:
        The generator with its text encoder, and the surrogate's loss on clean pairs above the least that
        their captions allow: what there is to gain.
    """
    own, compute = config.surrogate.source, trial.compute
    kind: EncoderKind = "sentence" if own is None else "clip"
    encoder = config.encoder if own is None else ModelSource(own)
    embedded = trial.once("captions", embed_texts, encoder, kind, data.texts, compute, seedless=True)
    spec = SurrogateSpec(own)
    if own is None:
        spec = trial.once("surrogate", train_towers, data, embedded, config.surrogate_epochs, compute)
    trained = trial.once(
        "generator", train_generator, data, embedded, spec, config.network, config.eps, compute
    )
    trial.count("provider_steps", spec.steps + trained.steps)
    provider = NoiseProvider(trained.generator, encoder, kind, encoder.fingerprint())
    return provider, trained.surrogate_loss


# --- the noise of an arm ------------------------------------------------------------------------


@dataclass(frozen=True)
class PictureNoise:
    """The noise of each published picture."""

    noise: Float[Tensor, "n 3 h w"]
    """Within eps."""
    size: float | None = None
    """Its mean absolute value, as a share of eps; None for noise that is not of a generator."""
    surrogate_loss: float | None = None
    """What the generator's surrogate left to gain, where it was trained here."""


def noise_for(config: Learn, split: PictureSplit, trial: Trial) -> PictureNoise:
    """Return what the protection of an arm adds to the published pictures."""
    pictures, shape = split.published, tuple(split.published.pixels.shape[1:])
    classes, stream = len(split.label_names), trial.generator("noise")
    if config.protection == "none":
        return PictureNoise(torch.zeros(pictures.pixels.shape))
    if config.protection == "random-class":
        return PictureNoise(random_sign_noise(classes, shape, config.eps, stream)[pictures.labels])
    if config.protection == "random-sample":
        return PictureNoise(random_sign_noise(len(pictures), shape, config.eps, stream))
    if config.protection == "em":
        build = partial(build_network, config.victim, shape[0], classes)
        images, labels = pictures.float().to(trial.device), pictures.labels.to(trial.device)
        em = ErrorMinimising(class_wise=True, rounds=config.em_rounds)
        found = error_minimising_noise(build, images, labels, config.eps, stream, em)
        return PictureNoise(found[labels].cpu())
    return text_noise(config, split, trial)


def text_noise(config: Learn, split: PictureSplit, trial: Trial) -> PictureNoise:
    """Return noise from captions or from the prompts of classes; here alone the generator is used."""
    pictures = split.published
    provider, surrogate_loss = provide(config, split, trial)
    by_class = config.protection == "class-wise"
    if by_class:
        texts, rows = class_prompts(split.label_names), pictures.labels
    else:
        texts, rows = split.captions(pictures, trial.seed + 1), torch.arange(len(pictures))
    if config.protection == "shuffled":
        rows = torch.randperm(len(pictures), generator=trial.generator("shuffle"))
    distinct = list(dict.fromkeys(texts))
    embedded = trial.once(
        "captions", embed_texts, provider.encoder, provider.kind, distinct, trial.compute, seedless=True
    )
    noise = make_noise(provider.generator, embedded(texts), trial.seed, one_vector=by_class)
    noise = resize_noise(noise, (config.image_size, config.image_size), config.eps)[rows]
    size = noise.abs().mean().item() / config.eps if config.eps else 0.0
    return PictureNoise(noise, size, surrogate_loss)


# --- the paper's other victim -------------------------------------------------------------------


@dataclass(frozen=True)
class ProtectedFiles(PictureFiles):
    """Training pictures in files, with their noise, if any."""

    noise: NoiseFolder | None = None
    """Noise for all pictures."""
    rows: tuple[int, ...] = ()
    """The noise of each of these."""

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        pixels, _ = super().__getitem__(row)
        if self.noise is not None:
            eps = self.noise.manifest.eps
            pattern = resize_noise(self.noise[self.rows[row]][None], (self.size, self.size), eps)
            pixels = add_noise(pixels[None], pattern, eps)[0]
        return pixels, row


class ContrastiveLoss(nn.Module):
    """CLIP's own loss for a batch of pictures and one caption of each, drawn at each visit."""

    mean: Tensor
    std: Tensor

    def __init__(self, clip: CLIPSurrogate, captions: Sequence[Sequence[str]]) -> None:
        super().__init__()
        self.captions, self.tokenizer, self.max_tokens = captions, clip.tokenizer, clip.max_tokens
        self.register_buffer("mean", clip.mean)
        self.register_buffer("std", clip.std)

    def forward(self, model: Any, batch: Sequence[Tensor]) -> Tensor:
        """Return the loss of a `CLIPModel`."""
        pixels, rows = batch
        own = [self.captions[row] for row in rows.tolist()]
        texts = [some[int(torch.randint(len(some), ()))] for some in own]
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        ).to(pixels.device)
        output = model(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            pixel_values=(as_unit(pixels) - self.mean) / self.std,
            return_loss=True,
        )
        loss: Tensor = output.loss
        return loss


def train_clip(config: Retrieve, trial: Trial) -> tuple[CLIPSurrogate, CaptionedPictures]:
    """Train a CLIP on a part of the pairs, protected if noise is given; return it and the other part."""
    from transformers import CLIPModel

    if config.surrogate.source is None:
        raise InputError("--surrogate is missing: name the CLIP whose sizes and tokenizer to use.")
    source = ModelSource(config.surrogate.source)
    sizes = load_config(source)
    if sizes.model_type != "clip":
        raise InputError(f"{source} is a {sizes.model_type}; its sizes must be those of a CLIP.")
    clip = CLIPSurrogate(CLIPModel(sizes), load_tokenizer(source))
    pairs = find_pairs(replace(config.pairs, image_size=clip.size))
    files = pairs.pictures
    assert isinstance(files, PictureFiles)
    parts = trial.split(len(files), test=config.test)
    train, test = (tuple(files.paths[row] for row in part) for part in (parts.train, parts.test))
    published = ProtectedFiles(train, files.size, files.names)
    if config.protection is not None:
        noise = NoiseFolder(inner_folder(Path(config.protection), "noise", "noise.json"))
        found = match_names(files.names, noise)
        published = replace(published, noise=noise, rows=tuple(found[row] for row in parts.train))
    loader = published.batches(config.batch_size, trial.generator("batches"))
    model = clip.model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=0.1)
    history = fit(
        model,
        loader,
        ContrastiveLoss(clip, [pairs.captions[row] for row in parts.train]),
        optimizer=optimizer,
        epochs=config.epochs,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs * len(loader)),
        compute=trial.compute,
    )
    trial.count("gradient_steps", history.gradient_steps)
    trial.save("victim", {"weights": model.state_dict(), "losses": history.losses})
    held_out = CaptionedPictures(replace(files, paths=test), [pairs.captions[row] for row in parts.test])
    return CLIPSurrogate(model, clip.tokenizer).to(trial.device), held_out
