"""Chips cut in two ways from the same raw data, and how far they agree."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from assay.papers.vision.instageo.config import Fidelity, SmallRegion
from assay.papers.vision.instageo.landcover import CLASSES
from assay.papers.vision.instageo.method import ChipCreator, StacTree
from assay.papers.vision.instageo.method.dataset import to_steps
from assay.papers.vision.instageo.region import Region, cut_oracle, fully_labelled, make_region, write_region
from assay.trial import Trial, derive_seed

Pair = tuple[np.ndarray, np.ndarray]
"""A chip [steps * bands, h, w] and its label map [h, w]."""
CLOUD_COVERAGE = 60.0


@dataclass(frozen=True)
class Made:
    """What is learnt, what the oracle cut, and the truth of another region."""

    cut: list[Pair]
    oracle: list[Pair]
    learnt: tuple[Tensor, Tensor]
    truth: tuple[Tensor, Tensor]
    class_names: tuple[str, ...] = CLASSES


def cut_for_training(config: Fidelity, trial: Trial) -> Made:
    """Cut the chips of a region in the way that the arm asks for, in an order that does not depend on it.

    The region to learn from and the one to test on have other parcels and other pixels of photographs.
    """
    seeds = {part: derive_seed(trial.seed, f"region/{part}") for part in ("train", "test")}
    drawn, size, dates = config.region, config.chip_size, config.dates
    known = trial.once("oracle", cut_from_arrays, drawn, size, dates, seeds["train"])
    oracle = list(zip(known["chips"], known["labels"], strict=True))
    if config.cut == "oracle":
        cut = oracle
    elif config.cut == "misplaced":
        patch = config.vit.patch_size
        cut = [(chip, np.roll(labels, (patch, patch), axis=(0, 1))) for chip, labels in oracle]
    else:
        cut = ordered(cut_from_files(config, draw(drawn, seeds["train"], "train")))
    truth = trial.once("truth", cut_truth, drawn, size, dates, seeds["test"])
    return Made(
        cut,
        oracle,
        as_tensors(cut, dates),
        as_tensors(list(zip(truth["chips"], truth["labels"], strict=True)), dates),
    )


def draw(drawn: SmallRegion, seed: int, part: str) -> Region:
    """Draw a region with the pixels of one part of the photographs."""
    return make_region(drawn.side, drawn.parcel, drawn.points, np.random.default_rng(seed), part)


def cut_from_arrays(drawn: SmallRegion, chip_size: int, dates: int, seed: int) -> dict[str, np.ndarray]:
    """Cut the chips of the region to learn from with numpy, and return them in order."""
    region = draw(drawn, seed, "train")
    pairs = ordered(list(cut_oracle(region, chip_size, dates, CLOUD_COVERAGE).chips.values()))
    chips, labels = zip(*pairs, strict=True)
    return {"chips": np.stack(chips), "labels": np.stack(labels)}


def cut_truth(drawn: SmallRegion, chip_size: int, dates: int, seed: int) -> dict[str, np.ndarray]:
    """Return the chips of the region to test on, with the label of each pixel."""
    chips, labels = fully_labelled(draw(drawn, seed, "test"), chip_size, dates)
    return {"chips": chips, "labels": labels}


def cut_from_files(config: Fidelity, region: Region) -> list[Pair]:
    """Write the region to files and cut its chips with ChipCreator."""
    with tempfile.TemporaryDirectory() as folder:
        catalog = write_region(region, Path(folder) / "raw")
        creator = ChipCreator(
            StacTree(catalog),
            chip_size=config.chip_size,
            num_steps=config.dates,
            mask_types=("cloud",),
            cloud_coverage=CLOUD_COVERAGE,
            workers=1,
        )
        chips = creator.create(Path(folder) / "raw" / "points.csv", Path(folder) / "chips")
        return [(chips.chip(row).astype(np.uint16), chips.label(row)) for row in range(len(chips))]


def ordered(pairs: list[Pair]) -> list[Pair]:
    """Return pairs in the order of the chips' content."""
    return sorted(pairs, key=lambda pair: (pair[0].tobytes(), pair[1].astype(np.int64).tobytes()))


def as_tensors(pairs: list[Pair], dates: int) -> tuple[Tensor, Tensor]:
    """Return chips float [n, bands, dates, h, w] and labels int64 [n, h, w]."""
    chips = np.stack([to_steps(chip.astype(np.float32), dates) for chip, _ in pairs])
    return torch.from_numpy(chips), torch.from_numpy(np.stack([label for _, label in pairs]).astype(np.int64))


def agreement(made: Made) -> dict[str, float]:
    """Return the share of the oracle's labelled pixels that the cut chips have too, in equal chips.

    A chip that is missing, or too many, or in which a pixel differs, has no pixel that agrees. Chips of the
    same pixels are compared in the order of their labels, in which both lists are sorted.
    """
    theirs: dict[bytes, list[np.ndarray]] = {}
    for chip, labels in made.cut:
        theirs.setdefault(chip.tobytes(), []).append(labels)
    agreed = total = 0
    for chip, labels in made.oracle:
        known = labels != -1
        total += int(known.sum())
        same = theirs.get(chip.tobytes())
        if same:
            mine = same.pop(0)
            agreed += int((mine[known] == labels[known]).sum())
            total += int((mine[~known] != -1).sum())
    total += sum(int((labels != -1).sum()) for rest in theirs.values() for labels in rest)
    return {"label_agreement": agreed / total, "chips_cut": float(len(made.cut))}
