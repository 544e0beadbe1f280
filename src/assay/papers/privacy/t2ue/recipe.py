"""How T2UE is run: a provider trains a generator, a user protects pictures, a victim learns from them."""

from __future__ import annotations

from pathlib import Path

import torch

from assay.data import File, Folder
from assay.errors import InputError, refusals
from assay.paper import Value
from assay.papers.privacy.mixing import mix_rows
from assay.papers.privacy.t2ue.config import Learn, Noise, Protect, Retrieve, Train
from assay.papers.privacy.t2ue.method import Kind, NoiseFolder, add_noise, apply_noise
from assay.papers.privacy.t2ue.pairs import (
    captions_of,
    find_pairs,
    from_plain,
    prompts_of,
    read_captions,
    read_table,
)
from assay.papers.privacy.t2ue.protected import ProtectedPictures
from assay.papers.privacy.t2ue.provider import NoiseProvider, inner_folder, provider_folder
from assay.papers.privacy.t2ue.retrieving import measure_retrieval, train_clip
from assay.papers.privacy.t2ue.scene import noise_for, read_scene, train_provider
from assay.papers.privacy.victims import test_accuracy, train_victim
from assay.trial import Trial


def train(config: Train, trial: Trial) -> dict[str, Value]:
    """Train a surrogate, unless one is given, and a generator against it; keep the generator."""
    if config.pairs.captions is not None:
        source, pairs = find_pairs(config.pairs)
        made = train_provider(config, source, pairs, trial)
    else:
        read = trial.once("pictures", read_table, config.data, config.image_size, seedless=True)
        pictures = from_plain(read["train"])
        captions = captions_of(pictures, read["label_names"], trial.seed, config.data.source)
        made = train_provider(config, pictures.pixels, [[caption] for caption in captions], trial)
    trial.save("provider", made.provider)
    return {"surrogate_loss": made.surrogate_loss}


def noise(config: Noise, trial: Trial) -> dict[str, Value]:
    """Make noise from captions or class names alone. No picture is opened."""
    provider = NoiseProvider.load(provider_folder(Folder(config.generator).require()))
    if config.classes:
        names, captions = list(config.classes), prompts_of(config.classes, config.template)
    else:
        found = read_captions(File(config.captions).require())
        names, captions = list(found), [own[0] for own in found.values()]
    kind: Kind = "class-wise" if config.classes else "sample-wise"
    with refusals():
        made = provider.export(captions, folder_of(trial, "noise"), names, trial.seed, kind)
    trial.save("noise", made)
    return {"noises": len(made), "levels": made.manifest.eps * 255}


def protect(config: Protect, trial: Trial) -> dict[str, Value]:
    """Add noise to the pictures of a folder and write PNG files."""
    out = folder_of(trial, "pictures")
    with refusals():
        found = NoiseFolder(inner_folder(Folder(config.noise).require(), "noise", "noise.json"))
        applied = apply_noise(Folder(config.images).require(), found, out, config.resize)
    for note in applied.notes:
        trial.progress(note)
    trial.save("pictures", ProtectedPictures(out, applied.files, applied.notes))
    return {"pictures": len(applied.files), "largest_change": applied.largest_change}


def learn(config: Learn, trial: Trial) -> dict[str, Value]:
    """Protect published pictures, train a victim on them, and test it on clean ones."""
    scene = read_scene(config, trial)
    pictures, test, device = scene.published, scene.test, trial.device
    noise, measured = noise_for(config, scene, trial)
    protected = mix_rows(len(pictures), config.protected, "subset", trial.generator("mix"))
    changed = add_noise(pictures.pixels, noise, config.eps)
    shown = torch.where(protected[:, None, None, None], changed, pictures.pixels)
    kept = ~protected if config.drop_others else torch.ones_like(protected)

    victim = config.other if config.on_other else config.victim
    steps = victim.epochs * -(-len(pictures) // victim.batch_size)
    pixels, labels = (shown[kept].float() / 255).to(device), pictures.labels[kept].to(device)
    classes = len(scene.label_names)
    network = train_victim(victim, pixels, labels, classes, trial.generator("victim"), steps)
    trial.count("gradient_steps", steps)
    trial.count("test_pictures", len(test))
    return measured | {
        "victim_accuracy": test_accuracy(network, test.float().to(device), test.labels.to(device)),
        "fit": test_accuracy(network, pixels, labels),
    }


def retrieve(config: Retrieve, trial: Trial) -> dict[str, Value]:
    """Train a CLIP from scratch on protected or clean pictures, and measure retrieval on clean ones."""
    with refusals():
        model, held_out = train_clip(config, trial)
        return measure_retrieval(model, held_out)


def folder_of(trial: Trial, name: str) -> Path:
    """Return the folder of an artefact that is written as it is made.

    Raises:
        InputError: nothing is to be kept.
    """
    if trial.out is None:
        raise InputError("This writes files: give a folder with --out.")
    return trial.out / name
