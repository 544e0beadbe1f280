"""From the user's table to rows that teachers and students read: few classes, and subclasses where known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import datasets
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.data import LoadedTable, require_classes
from assay.errors import InputError, unknown
from assay.papers.distillation.lelp.config import Distil
from assay.papers.distillation.lelp.method import known_subclasses
from assay.trial import Split, Trial

Kind = Literal["text", "features", "images"]
LEAST_ROWS = 8
MANY_CLASSES = 20


@dataclass(frozen=True)
class TransferSet:
    """Rows of one kind with few classes, split in three."""

    kind: Kind
    """What the rows are."""
    rows: list[str] | Tensor
    """All rows: texts, features (n, d) or pictures (n, 3, h, w)."""
    columns: tuple[str, ...]
    """Names of the features, or of the text's column."""
    labels: Int[Tensor, " n"]
    """Their classes."""
    names: tuple[str, ...]
    """Names of the classes."""
    groups: Int[Tensor, " n"] | None
    """Known subclasses, numbered over all classes; None where there are none."""
    train: Int[Tensor, " a"]
    """Row numbers to learn from; the first `labelled` of them have labels."""
    validation: Int[Tensor, " b"]
    """Row numbers on which the candidate is chosen."""
    test: Int[Tensor, " c"]
    """Row numbers for testing."""
    labelled: int
    """How many training rows have a label."""

    def take(self, numbers: Int[Tensor, " k"]) -> list[str] | Tensor:
        """Return some rows."""
        if isinstance(self.rows, Tensor):
            return self.rows[numbers]
        return [self.rows[number] for number in numbers.tolist()]

    def oracle(self) -> tuple[Int[Tensor, " a"], int] | None:
        """Return the known subclass of each training row and S, or None where no class has two."""
        if self.groups is None:
            return None
        try:
            return known_subclasses(self.groups[self.train], self.labels[self.train])
        except ValueError:
            return None


def read(config: Distil, trial: Trial) -> TransferSet:
    """Load the table, merge classes if asked, and split it.

    Raises:
        InputError: there is no label, no input, too many classes, too few rows of one, or an option that
            these rows have no use for.
    """
    table = config.data.load()
    require_classes(table, least_rows=LEAST_ROWS)
    kind = kind_of(table)
    tables = [table.rows] if table.test is None else [table.rows, table.test]
    classes = np.concatenate([table.labels(rows) for rows in tables])
    groups = _groups(config, table, tables)
    labels, names = classes, table.label_names
    if config.merge != "no":
        labels, names = merge_classes(classes, table.label_names, config.merge)
        groups = torch.from_numpy(classes)
    if len(names) > MANY_CLASSES:
        raise InputError(
            f"{table.source} has {len(names)} classes; pseudo-subclasses are for few (2 to 5). Merge classes"
            " (--merge halves), or use vanilla distillation."
        )
    parts = _split(config, table, labels[: len(table.rows)], trial)
    train = trial.numpy("rows").permutation(parts.train)[: config.max_train]
    text = (config.data.text or "text",)
    found = TransferSet(
        kind=kind,
        rows=_rows(kind, table, tables, config.image_size),
        columns=text if kind == "text" else table.feature_names if kind == "features" else (),
        labels=torch.from_numpy(labels),
        names=names,
        groups=groups,
        train=torch.from_numpy(train),
        validation=torch.from_numpy(parts.validation),
        test=torch.from_numpy(parts.test),
        labelled=_labelled(config, labels[train]),
    )
    _refuse_misfits(config, found)
    return found


def kind_of(table: LoadedTable) -> Kind:
    """Return what the rows are; features win over pictures of the same rows."""
    if "text" in table.rows.column_names:
        return "text"
    if table.num_features:
        return "features"
    if "image" in table.rows.column_names:
        return "images"
    raise InputError(
        f"{table.source} has neither a text, nor features, nor pictures. Name a column with --data.text,"
        " --data.features or --data.image."
    )


def merge_classes(
    classes: np.ndarray, names: Sequence[str], by: Literal["halves", "parity"]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return 0 for classes below C / 2 (or of even number) and 1 for the others, and names for both."""
    numbers = np.arange(len(names))
    second = numbers >= (len(names) + 1) // 2 if by == "halves" else numbers % 2 == 1
    merged = tuple("+".join(np.asarray(names)[second == side].tolist()) for side in (False, True))
    return second[classes].astype(np.int64), merged


def _refuse_misfits(config: Distil, data: TransferSet) -> None:
    for name, model in (("teacher", config.teacher), ("student", config.student)):
        if model.source is not None and data.kind != "text":
            raise InputError(
                f"--{name} is a model of texts, and this table has none. Name it with --data.text."
            )
    if config.augment and data.kind != "images":
        raise InputError("--augment crops and flips pictures; this table has none.")
    if config.label_weight and data.labelled < len(data.train):
        raise InputError("--label-weight above 0 needs the labels of all training rows: give --labelled 1.")
    if config.teaching.epochs and config.teacher.source is None:
        raise InputError("--teaching.epochs fine-tunes a given teacher: give --teacher, or --teaching.steps.")
    as_it_is = config.teacher.source is not None and not config.teaching.epochs
    if as_it_is and config.objective == "subclass_distillation":
        raise InputError("Subclass Distillation trains its teacher: give --teaching.epochs with --teacher.")


def _groups(config: Distil, table: LoadedTable, tables: list[datasets.Dataset]) -> Tensor | None:
    """Number the values of the column that the user named as subclass."""
    if config.subclass is None:
        return None
    if config.subclass not in table.rows.column_names:
        raise unknown(f"column of {table.source}", config.subclass, table.rows.column_names)
    values = [
        str(value)
        for rows in tables
        if config.subclass in rows.column_names
        for value in rows[config.subclass]
    ]
    values += [""] * (sum(map(len, tables)) - len(values))  # a test table without the column: it is not read
    return torch.from_numpy(np.unique(values, return_inverse=True)[1].astype(np.int64))


def _split(config: Distil, table: LoadedTable, labels: np.ndarray, trial: Trial) -> Split[np.ndarray]:
    n = len(table.rows)
    group = list(table.rows["group"]) if config.data.group is not None else None
    if table.test is None:
        return trial.split(n, config.test, config.validation, group, stratify=labels.tolist())
    # The test rows are published, so the seeds do not share them by chance: fresh.
    cut = trial.split(n, config.validation, group=group, stratify=labels.tolist(), fresh=True)
    return Split(cut.train, cut.test, np.arange(n, n + len(table.test)))


def _labelled(config: Distil, labels: np.ndarray) -> int:
    """Return how many training rows have a label: the share asked for, but at least a row of every class."""
    first_of_each = [int(np.flatnonzero(labels == c)[0]) for c in np.unique(labels)]
    return max(round(config.labelled * len(labels)), max(first_of_each) + 1)


def _rows(kind: Kind, table: LoadedTable, tables: list[datasets.Dataset], size: int) -> list[str] | Tensor:
    if kind == "text":
        return [text for rows in tables for text in rows["text"]]
    if kind == "features":
        return torch.from_numpy(np.concatenate([table.matrix(rows) for rows in tables])).float()
    return torch.cat([_pixels(rows, size) for rows in tables])


def _pixels(rows: datasets.Dataset, size: int) -> Float[Tensor, "n 3 h w"]:
    pictures = [np.asarray(row["image"].convert("RGB").resize((size, size)), dtype=np.uint8) for row in rows]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
