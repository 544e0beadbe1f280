"""How T2UE is run: a provider trains a generator, a user protects pictures, a victim learns from them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from assay.data import Folder
from assay.errors import refusals
from assay.paper import Value
from assay.papers.privacy.mixing import mix_rows
from assay.papers.privacy.pictures import read_picture_table
from assay.papers.privacy.t2ue.artefact import NoiseProvider, ProtectedPictures, inner_folder
from assay.papers.privacy.t2ue.config import Learn, Noise, Protect, Retrieve, Train
from assay.papers.privacy.t2ue.evaluation import evaluate_retrieval
from assay.papers.privacy.t2ue.inputs import (
    CaptionedPictures,
    captions_of,
    find_pairs,
    read_captions,
    read_split,
)
from assay.papers.privacy.t2ue.method import (
    NoiseFolder,
    add_noise,
    apply_noise,
    class_prompts,
    export_noise,
)
from assay.papers.privacy.t2ue.training import noise_for, train_clip, train_provider
from assay.papers.privacy.victims import SGD, build_network, test_accuracy, train_network
from assay.trial import Trial


def train(config: Train, trial: Trial) -> dict[str, Value]:
    """Train a surrogate, unless one is given, and a generator against it; keep the generator."""
    if config.pairs.captions is not None:
        pairs = find_pairs(config.pairs)
    else:
        table = trial.once("pictures", read_picture_table, config.data, config.image_size, seedless=True)
        captions = captions_of(table.learn, table.label_names, trial.seed, config.data.source)
        pairs = CaptionedPictures(table.learn.pixels, [[caption] for caption in captions])
    provider, surrogate_loss = train_provider(config, pairs, trial)
    trial.save("provider", provider)
    return {"surrogate_loss": surrogate_loss}


def noise(config: Noise, trial: Trial) -> dict[str, Value]:
    """Make noise from captions or class names alone. No picture is opened."""
    provider = NoiseProvider.of_run(Folder(config.generator).require())
    with refusals():
        if config.classes:
            prompts = class_prompts(config.classes, config.template)
            captions = dict(zip(config.classes, prompts, strict=True))
        else:
            captions = {name: own[0] for name, own in read_captions(config.captions).items()}
        made = export_noise(
            provider.generator,
            provider.embed,
            captions,
            trial.folder("noise"),
            seed=trial.seed,
            kind="class-wise" if config.classes else "sample-wise",
        )
    trial.save("noise", made)
    return {"noises": len(made), "levels": made.manifest.eps * 255}


def protect(config: Protect, trial: Trial) -> dict[str, Value]:
    """Add noise to the pictures of a folder and write PNG files."""
    out = trial.folder("pictures")
    with refusals():
        found = NoiseFolder(inner_folder(Folder(config.noise).require(), "noise", "noise.json"))
        applied = apply_noise(Folder(config.images).require(), found, out, config.resize)
    for note in applied.notes:
        trial.progress(note)
    trial.save("pictures", ProtectedPictures(out, applied.files, applied.notes))
    return {"pictures": len(applied.files), "largest_change": applied.largest_change}


def learn(config: Learn, trial: Trial) -> dict[str, Value]:
    """Protect published pictures, train a victim on them, and test it on clean ones."""
    split = read_split(config, trial)
    pictures, test, device = split.published, split.test, trial.device
    added = noise_for(config, split, trial)
    protected = mix_rows(len(pictures), config.protected, "subset", trial.generator("mix"))
    changed = add_noise(pictures.pixels, added.noise, config.eps)
    shown = torch.where(protected[:, None, None, None], changed, pictures.pixels)
    kept = ~protected if config.drop_others else torch.ones_like(protected)

    victim = config.other if config.on_other else config.victim
    steps = victim.epochs * -(-len(pictures) // SGD.batch_size)
    images, labels = (shown[kept].float() / 255).to(device), pictures.labels[kept].to(device)
    network = train_network(
        partial(build_network, victim, 3, len(split.label_names)),
        replace(SGD, epochs=None, steps=steps),
        (images, labels),
        trial.generator("victim"),
        trial.compute,
    )
    trial.count("gradient_steps", steps)
    trial.count("test_pictures", len(test))
    metrics: dict[str, Value] = {
        "victim_accuracy": test_accuracy(network, test.float().to(device), test.labels.to(device)),
        "fit": test_accuracy(network, images, labels),
    }
    if added.size is not None:
        metrics |= {"noise_size": added.size, "surrogate_loss": added.surrogate_loss}
    return metrics


def retrieve(config: Retrieve, trial: Trial) -> dict[str, Value]:
    """Train a CLIP from scratch on protected or clean pictures, and measure retrieval on clean ones."""
    with refusals():
        clip, held_out = train_clip(config, trial)
        return evaluate_retrieval(clip, held_out)
