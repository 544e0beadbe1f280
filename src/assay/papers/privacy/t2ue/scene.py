"""What the check is played with: the provider's pairs, the published pictures, the test ones, the noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from assay.models import ModelSource
from assay.paper import Value
from assay.papers.privacy.noise import error_minimising_noise, random_sign_noise
from assay.papers.privacy.pictures import Pictures
from assay.papers.privacy.t2ue.config import Learn, Train
from assay.papers.privacy.t2ue.method import make_noise, resize_noise
from assay.papers.privacy.t2ue.pairs import (
    FilesOfPictures,
    captions_of,
    find_pairs,
    from_plain,
    prompts_of,
    read_table,
)
from assay.papers.privacy.t2ue.provider import (
    EncoderKind,
    NoiseProvider,
    SurrogateSpec,
    build_generator,
    embed_texts,
    picture_size,
    provider_folder,
    train_generator,
    train_towers,
)
from assay.trial import Trial

LEAST_ROWS = 8
"""Rows that each class needs."""


@dataclass(frozen=True)
class Scene:
    """Three disjoint sets of pictures."""

    public: Pictures | None
    """The provider's; None where it has pairs of its own."""
    published: Pictures
    """The user's."""
    test: Pictures
    """Clean pictures that test the victim."""
    label_names: tuple[str, ...]
    """The classes."""
    source: str
    """Where the pictures are from."""

    def captions(self, pictures: Pictures, seed: int) -> list[str]:
        """Return a caption for each picture."""
        return captions_of(pictures, self.label_names, seed, self.source)


def read_scene(config: Learn, trial: Trial) -> Scene:
    """Read the pictures and divide them; crops of one tile stay together.

    The test rows are a published split, or split off first. What is left is divided anew for each seed into
    the provider's and the user's, which is a part of the randomness of training, as the first weights are.
    """
    read = trial.once("pictures", read_table, config.data, config.image_size, LEAST_ROWS, seedless=True)
    pictures, names = from_plain(read["train"]), tuple(read["label_names"])
    rows = np.arange(len(pictures))
    if config.max_pictures is not None and config.max_pictures < len(pictures):
        rows = trial.deal(len(pictures), config.max_pictures)[0]
    if read["test"] is not None:
        test = from_plain(read["test"])
    else:
        parts = divide(trial, pictures, rows, config.test, fresh=False)
        rows, test = parts[0], pictures.select(torch.from_numpy(parts[1]))
    own_pairs = config.pairs.captions is not None or config.provider.source is not None
    public = None
    if not own_pairs:
        rows, provided = divide(trial, pictures, rows, config.public, fresh=True)
        public = pictures.select(torch.from_numpy(provided))
    return Scene(public, pictures.select(torch.from_numpy(rows)), test, names, config.data.source)


def divide(
    trial: Trial, pictures: Pictures, rows: np.ndarray, share: float, fresh: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a share of the rows off; groups stay together, classes keep their shares."""
    labels = pictures.labels.numpy()[rows]
    groups = None if pictures.groups is None else [pictures.groups[row] for row in rows]
    parts = trial.split(len(rows), test=share, group=groups, stratify=labels.tolist(), fresh=fresh)
    return rows[parts.train], rows[parts.test]


# --- the provider -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Provided:
    """A generator, and what its surrogate left to gain."""

    provider: NoiseProvider
    """The generator with its text encoder."""
    surrogate_loss: float | None
    """The surrogate's loss on clean pairs above the least that their captions allow; None for a given one."""


def provide(
    config: Train | Learn, public: Pictures | None, captions: Sequence[str], trial: Trial
) -> Provided:
    """Return the generator: the given one, or one trained on the provider's pairs."""
    if isinstance(config, Learn) and config.provider.source is not None:
        return Provided(NoiseProvider.load(provider_folder(config.provider.source)), None)
    source: Tensor | FilesOfPictures
    if config.pairs.captions is not None:
        source, pairs = find_pairs(config.pairs)
    else:
        assert public is not None
        source, pairs = public.pixels, [[caption] for caption in captions]
    return train_provider(config, source, pairs, trial)


def train_provider(
    config: Train | Learn, source: Tensor | FilesOfPictures, pairs: list[list[str]], trial: Trial
) -> Provided:
    """Train the surrogate, unless one is given, and the generator, once for all arms of a seed."""
    device = str(trial.device)
    texts = list(dict.fromkeys(caption for own in pairs for caption in own))
    encoder, kind = encoder_of(config)
    embeddings = trial.once("captions", embed_texts, encoder, kind, texts, device, seedless=True)
    weights = None
    if config.surrogate.source is None:
        captions = [own[0] for own in pairs]
        trained = trial.once(
            "surrogate", train_towers, source, captions, texts, embeddings, config.towers, device
        )
        weights = trained["weights"]
        trial.count("provider_steps", len(trained["losses"]))
    spec = SurrogateSpec(config.surrogate.source, config.towers, weights)
    made = trial.once(
        "generator",
        train_generator,
        source,
        pairs,
        texts,
        embeddings,
        spec,
        config.network,
        config.eps,
        device,
    )
    trial.count("provider_steps", len(made["losses"]))
    generator = build_generator(config.network, embeddings.shape[1], picture_size(source), config.eps)
    generator.load_state_dict(made["weights"])
    provider = NoiseProvider(generator.eval(), encoder, kind, encoder.fingerprint())
    return Provided(provider, made["surrogate_loss"])


def encoder_of(config: Train | Learn) -> tuple[ModelSource, EncoderKind]:
    """Return the text encoder: the given surrogate's own, or else a sentence encoder."""
    if config.surrogate.source is not None:
        return ModelSource(config.surrogate.source), "clip"
    return config.encoder, "sentence"


# --- the noise of an arm ------------------------------------------------------------------------


def noise_for(config: Learn, scene: Scene, trial: Trial) -> tuple[Tensor, dict[str, Value]]:
    """Return the noise of each published picture [n, 3, h, w], and what was measured on the way."""
    pictures, shape = scene.published, tuple(scene.published.pixels.shape[1:])
    classes, stream = len(scene.label_names), trial.generator("noise")
    if config.protection == "none":
        return torch.zeros(pictures.pixels.shape), {}
    if config.protection == "random-class":
        return random_sign_noise(classes, shape, config.eps, stream)[pictures.labels], {}
    if config.protection == "random-sample":
        return random_sign_noise(len(pictures), shape, config.eps, stream), {}
    if config.protection == "em":
        images, labels = pictures.float(), pictures.labels
        found = error_minimising_noise(
            images, labels, classes, config.eps, stream, em=config.em, victim=config.victim
        )
        return found[labels] if config.em.class_wise else found, {}
    return text_noise(config, scene, trial)


def text_noise(config: Learn, scene: Scene, trial: Trial) -> tuple[Tensor, dict[str, Value]]:
    """Return noise from captions or from the prompts of classes; here alone the generator is used."""
    pictures = scene.published
    captions = [] if scene.public is None else scene.captions(scene.public, trial.seed)
    made = provide(config, scene.public, captions, trial)
    provider, device = made.provider, str(trial.device)
    by_class = config.protection == "class-wise"
    if by_class:
        texts = prompts_of(scene.label_names, config.template)
        rows = pictures.labels
    else:
        texts = scene.captions(pictures, trial.seed + 1)
        rows = torch.arange(len(pictures))
    if config.protection == "shuffled":
        rows = torch.randperm(len(pictures), generator=trial.generator("shuffle"))
    distinct = list(dict.fromkeys(texts))
    embeddings = trial.once(
        "captions", embed_texts, provider.encoder, provider.kind, distinct, device, seedless=True
    )
    number = {text: row for row, text in enumerate(distinct)}
    conditions = embeddings[[number[text] for text in texts]]
    noise = make_noise(provider.generator, conditions, trial.seed, one_vector=by_class)
    noise = resize_noise(noise, (config.image_size, config.image_size), config.eps)[rows]
    measured: dict[str, Value] = {"noise_size": noise.abs().mean().item() / config.eps if config.eps else 0.0}
    return noise, measured | {"surrogate_loss": made.surrogate_loss}
