"""From a table of pictures to those that are protected, those that are learnt from, and those that test."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from assay.papers.privacy.bayes_unlearnable.config import Protect
from assay.papers.privacy.pictures import Pictures, read_picture_table
from assay.trial import Trial


@dataclass(frozen=True)
class PictureSplit:
    """Pictures by what they are for."""

    pictures: Pictures
    """To be protected."""
    train: Bool[Tensor, " n"]
    """Which of them victims may learn from."""
    test: Pictures
    """Clean pictures that test."""
    label_names: tuple[str, ...]
    """The classes in the order of their numbers."""


def read_split(config: Protect, trial: Trial) -> PictureSplit:
    """Read the pictures; without a published test split, some are held out.

    Raises:
        InputError: there are no pictures, too few of a class, or they have several sizes.
    """
    table = trial.once("pictures", read_picture_table, config.data, config.size, 2, seedless=True)
    pictures = table.learn
    if config.max_pictures is not None and config.max_pictures < len(pictures):
        pictures = pictures.select(torch.from_numpy(trial.deal(len(pictures), config.max_pictures)[0]))
    train = torch.ones(len(pictures), dtype=torch.bool)
    if table.test is not None:
        return PictureSplit(pictures, train, table.test, table.label_names)
    split = trial.split(
        len(pictures), test=config.test, stratify=pictures.labels.tolist(), group=pictures.groups
    )
    held_out = torch.from_numpy(split.test)
    test = pictures.select(held_out)
    train[held_out] = False
    if not config.protect_held_out:
        pictures, train = pictures.select(train), train[train]
    return PictureSplit(pictures, train, test, table.label_names)
