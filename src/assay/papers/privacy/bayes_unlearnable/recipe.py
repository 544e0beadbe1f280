"""How Bayes Error Optimisation is run: pictures are protected, published, and learnt from by victims."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from assay.paper import Value
from assay.papers.privacy.bayes_unlearnable.artefact import PublishedPictures
from assay.papers.privacy.bayes_unlearnable.config import Protect
from assay.papers.privacy.bayes_unlearnable.inputs import read_split
from assay.papers.privacy.bayes_unlearnable.method import FeatureMap
from assay.papers.privacy.bayes_unlearnable.stages import estimator, protect_pixels, protection_of
from assay.papers.privacy.mixing import mix_rows
from assay.papers.privacy.victims import SGD, build_network, test_accuracy, train_network
from assay.trial import Trial


def protect(config: Protect, trial: Trial) -> dict[str, Value]:
    """Protect pictures, publish them, and measure what victims learn from them."""
    split = read_split(config, trial)
    pictures = split.pictures
    protection = protection_of(config, pictures, len(split.label_names), trial.compute)
    protected = trial.once("protect", protect_pixels, pictures.pixels, pictures.labels, protection)
    trial.progress("victims learn")

    mixed = mix_rows(len(pictures), config.ratio, config.mixing, trial.generator("mix"))
    published = {
        "all": protected.pixels,
        "mix": torch.where(mixed.view(-1, 1, 1, 1), protected.pixels, pictures.pixels),
        "clean_part": pictures.pixels,
    }[config.training]
    learnt = split.train & ~mixed if config.training == "clean_part" else split.train
    images = (published[learnt].float() / 255).to(trial.device)
    labels = pictures.labels[learnt].to(trial.device)
    change = (published.int() - pictures.pixels.int()).abs().max()
    metrics: dict[str, Value] = {"largest_change": float(change)}
    victims = {"": (config.victim, SGD.learning_rate)}
    if config.transfer:
        victims["_second"] = config.second_victim, config.second_learning_rate
    for suffix, (victim, rate) in victims.items():
        # As many gradient steps as on all pictures, so that the clean part is not merely under-trained.
        steps = victim.epochs * -(-int(split.train.sum()) // config.batch_size)
        training = replace(SGD, epochs=None, steps=steps, batch_size=config.batch_size, learning_rate=rate)
        trial.count(f"gradient_steps{suffix}", steps)
        build = partial(build_network, victim, images.shape[1], len(split.label_names))
        stream = trial.generator(f"victim/{victim.network}")
        network = train_network(build, training, (images, labels), stream, trial.compute)
        found = {
            "accuracy": test_accuracy(network, split.test.float(), split.test.labels),
            "train_accuracy": test_accuracy(network, images, labels),
            "bayes_error": estimator(config.ascent).mean(FeatureMap(network).all(images), labels),
        }
        metrics |= {f"{name}{suffix}": value for name, value in found.items()}
    for number, value in enumerate(protected.bayes_errors):
        trial.log(number, bayes_error_climbed=value)
    about = {"protection": config.protection, "eps": config.eps, "norm": config.norm, "metrics": metrics}
    kept = PublishedPictures(protected.pixels, pictures.labels, pictures.names, split.label_names, about)
    trial.save("pictures", kept)
    return metrics
