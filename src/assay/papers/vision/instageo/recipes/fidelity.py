"""Chips cut from files against chips cut by an independent oracle."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from assay.errors import refusals
from assay.paper import Value
from assay.papers.vision.instageo.artefact import Segmenter
from assay.papers.vision.instageo.config import Backbone, Fidelity
from assay.papers.vision.instageo.evaluation import agreement, score
from assay.papers.vision.instageo.inputs import ChipSplit, LabelledChips
from assay.papers.vision.instageo.method import ChipCreator, StacTree, to_steps
from assay.papers.vision.instageo.stages import (
    CLOUD_COVERAGE,
    CutChips,
    cut_from_arrays,
    cut_fully_labelled,
    draw_region,
)
from assay.papers.vision.instageo.synthetic.landscapes import CLASSES
from assay.papers.vision.instageo.synthetic.region import Region, write_region
from assay.papers.vision.instageo.training import TrainingPlan, shared_model
from assay.trial import Trial, derive_seed


def fidelity(config: Fidelity, trial: Trial) -> dict[str, Value]:
    """Train on chips that ChipCreator, or numpy, has cut, and test on another region with all its labels.

    The region to learn from and the one to test on have other parcels and other pixels of photographs.
    """
    seeds = {part: derive_seed(trial.seed, f"region/{part}") for part in ("train", "test")}
    settings = (config.region, config.chip_size, config.dates)
    with refusals():
        oracle = trial.once("oracle", cut_from_arrays, *settings, seeds["train"])
        if config.cut == "oracle":
            cut = oracle
        elif config.cut == "misplaced":
            patch = config.vit.patch_size
            cut = CutChips(oracle.chips, np.roll(oracle.labels, (patch, patch), axis=(1, 2)))
        else:
            cut = cut_from_files(config, draw_region(config.region, seeds["train"], "train"))
        whole = trial.once("truth", cut_fully_labelled, *settings, seeds["test"])
    train, test = (as_tensors(chips, config.dates) for chips in (cut, whole))
    split = ChipSplit(train, test, test, CLASSES)
    plan = TrainingPlan(config.finetune, config.vit, Backbone())
    model, _ = shared_model(plan, split, trial, "model")
    trial.count("gradient_steps", plan.steps(len(train)))
    trial.count("labelled_pixels", int((train.labels >= 0).sum()))
    trial.save("student", Segmenter(model, CLASSES))
    return {**score(model.to(trial.device), test, split), **agreement(cut, oracle)}


def cut_from_files(config: Fidelity, region: Region) -> CutChips:
    """Write the region to files and cut its chips with ChipCreator."""
    with tempfile.TemporaryDirectory() as folder:
        creator = ChipCreator(
            StacTree(write_region(region, Path(folder) / "raw")),
            chip_size=config.chip_size,
            num_steps=config.dates,
            mask_types=("cloud",),
            cloud_coverage=CLOUD_COVERAGE,
            workers=1,
        )
        chips = creator.create(Path(folder) / "raw" / "points.csv", Path(folder) / "chips")
        rows = range(len(chips))
        pixels = np.stack([chips.chip(row) for row in rows]).astype(np.uint16)
        return CutChips.ordered(pixels, np.stack([chips.label(row) for row in rows]))


def as_tensors(cut: CutChips, dates: int) -> LabelledChips:
    """Return chips float [n, bands, dates, h, w] and labels int64 [n, h, w]."""
    chips = np.stack([to_steps(chip.astype(np.float32), dates) for chip in cut.chips])
    return LabelledChips(torch.from_numpy(chips), torch.from_numpy(cut.labels.astype(np.int64)))
