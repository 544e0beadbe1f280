"""The rows of the recipe: drawn, split, and turned into what models are given."""

from __future__ import annotations

import datasets
import numpy as np
import torch
from torch import Tensor

from assay.data import LoadedTable
from assay.errors import InputError
from assay.papers.language.elang.config import Route
from assay.papers.language.elang.readings import Rows
from assay.trial import Split, Trial


def needs_training(config: Route) -> bool:
    """Return whether something is trained: the pair, the given models, or a head on Swift's encoder."""
    return config.swift.source is None or config.finetuning.epochs > 0 or config.read_from == "encoder"


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
    if needs_training(config):
        return parts
    together = datasets.concatenate_datasets([parts.train, parts.validation])
    return Split(parts.train.select([]), together, parts.test)


def raw_rows(table: LoadedTable, rows: datasets.Dataset, config: Route) -> Rows:
    """Return what the models are given (prompts, grey pixels or features), and the class numbers."""
    labels = torch.from_numpy(table.labels(rows))
    if "text" in rows.column_names:
        return prompts(rows, config.prompt), labels
    if config.swift.source is not None:
        raise InputError(
            f"{table.source} has no text, which the given models need. Name it with --data.text."
        )
    if "image" in rows.column_names and not table.num_features:
        return grey_pixels(rows, config.pair.image_size), labels
    return torch.from_numpy(table.matrix(rows)).float(), labels


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
