"""From the user's table to what the models are given: drawn, split, and turned into prompts or numbers."""

from __future__ import annotations

from dataclasses import dataclass

import datasets
import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from assay.data import LoadedTable, require_classes
from assay.errors import InputError
from assay.papers.language.elang.config import Route
from assay.trial import Split, Trial


@dataclass(frozen=True)
class LabelledRows:
    """Raw inputs of the models, and class numbers."""

    inputs: list[str] | Tensor
    """Prompts, or features [n, d]."""
    labels: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Task:
    """The rows of a trial, split in three, and the names of their classes."""

    rows: Split[LabelledRows]
    """`validation` calibrates; `train` is empty where nothing is trained."""
    label_names: tuple[str, ...]
    columns: tuple[str, ...]
    """Names of the features, or of the text's column."""


def read(config: Route, trial: Trial) -> Task:
    """Load the table and split it.

    Raises:
        InputError: There are too few rows or classes, or not what the models or the prompt need.
    """
    table = config.data.load()
    require_classes(table, least_rows=8)
    parts = split(table, config, trial)
    rows = (labelled_rows(table, part, config) for part in (parts.train, parts.validation, parts.test))
    text = "text" in table.rows.column_names
    columns = (config.data.text or "text",) if text else table.feature_names
    return Task(Split(*rows), table.label_names, columns)


def split(table: LoadedTable, config: Route, trial: Trial) -> Split[datasets.Dataset]:
    """Return train, calibration (as `validation`) and test rows; rows of one group stay together."""
    rows, fresh = table.rows, False
    size = config.max_texts
    if size is not None and "text" in rows.column_names and len(rows) > size:
        hand, fresh = trial.deal(len(rows), size)
        rows = rows.select(hand)
    group = "group" if "group" in rows.column_names else None
    if table.test is None:
        parts = trial.split(rows, config.test, config.calibration, group, stratify="label", fresh=fresh)
    else:  # a published test split stays as it is
        cut = trial.split(rows, config.calibration, group=group, stratify="label", fresh=True)
        parts = Split(train=cut.train, validation=cut.test, test=table.test)
    if config.swift.source is None or config.finetuning.epochs or config.read_from == "encoder":
        return parts
    together = datasets.concatenate_datasets([parts.train, parts.validation])
    return Split(parts.train.select([]), together, parts.test)


def labelled_rows(table: LoadedTable, rows: datasets.Dataset, config: Route) -> LabelledRows:
    """Return what the models are given (prompts, grey pixels or features), and the class numbers."""
    labels = torch.tensor(table.labels(rows).tolist(), dtype=torch.long)
    if "text" in rows.column_names:
        return LabelledRows(prompts(rows, config.prompt), labels)
    if config.swift.source is not None:
        raise InputError(
            f"{table.source} has no text, which the given models need. Name it with --data.text."
        )
    if "image" in rows.column_names and not table.num_features:
        return LabelledRows(grey_pixels(rows, config.pair.image_size), labels)
    return LabelledRows(torch.from_numpy(table.matrix(rows)).float(), labels)


def prompts(rows: datasets.Dataset, prompt: str) -> list[str]:
    """Return the prompt of each row, with its columns filled in."""
    if prompt == "{text}":
        return list(rows["text"])
    try:
        return [prompt.format_map(row) for row in rows]
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"--prompt {prompt!r} cannot be filled in ({error}). Columns: {', '.join(rows.column_names)}."
        ) from error


def grey_pixels(rows: datasets.Dataset, size: int) -> Tensor:
    """Return pictures as rows of size² grey values between 0 and 1."""
    pixels = [np.asarray(row["image"].convert("L").resize((size, size)), dtype=np.float32) for row in rows]
    return torch.from_numpy(np.stack(pixels).reshape(len(pixels), -1) / 255)
