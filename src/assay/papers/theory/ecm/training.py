"""The small language model that solves journeys: how it is trained from scratch, and what it replies.

It learns from whole prompts in the paper's form, each with other unit values, so that a unit's value can only
come from the prompt. Three kinds of drill speed that up: bare equations, values of units, repeated tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from assay.models import SmallLlama
from assay.papers.theory.ecm.config import Small
from assay.papers.theory.ecm.synthetic import (
    END,
    PAD,
    TOKENS,
    copied_rows,
    encode,
    equations_row,
    prompt_row,
    values_row,
)
from assay.training import Compute, fit
from assay.training.language import IGNORED, greedy_decode, next_token_loss, pad_rows, weights_of

COPYING = 0.25
"""Part of the training in which every other batch is of repeated tokens: copying is learned first."""
LONGEST_REPLY = 90
"""Tokens of a reply with reasoning."""
LONGEST_DIRECT = 12
"""Tokens of a reply without."""
SEED = 20250205
"""Of the training: one model serves all seeds, which differ in their problems."""


def shape(small: Small) -> SmallLlama:
    """Return the shape of the model. Wide initial weights help it to find copying."""
    return SmallLlama(
        len(TOKENS),
        small.width,
        small.layers,
        expansion=2,
        initial_spread=0.06,
        pad=PAD,
        start=None,
        end=END,
    )


def train_solver(small: Small, compute: Compute) -> dict[str, Tensor]:
    """Train the model and return its weights. It has its own random stream, whatever the seed."""
    torch.manual_seed(SEED)
    model = shape(small).untrained()
    optimizer = torch.optim.AdamW(
        model.parameters(), small.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, small.steps))
    fit(
        model,
        _batches(small),
        next_token_loss,
        optimizer=optimizer,
        scheduler=schedule,
        steps=small.steps,
        clip=1.0,
        compute=compute,
    )
    return weights_of(model)


def _rate(step: int, steps: int) -> float:
    """Rise for 50 steps, stay until 30 % of the way, then fall to a twentieth."""
    done = step / steps
    return min(1.0, (step + 1) / 50) * (1 - 0.95 * max(0.0, done - 0.3) / 0.7)


def _batches(small: Small) -> Iterator[tuple[Tensor, Tensor]]:
    random = np.random.default_rng(SEED)
    for step in itertools.count():
        if step % 2 == 0 and step < COPYING * small.steps:
            tokens, labels = copied_rows(random)
            yield torch.from_numpy(tokens), torch.from_numpy(labels)
            continue
        shots = int(random.integers(4))  # one number for a batch, so that its rows are of like length
        drawn = [prompt_row(random, shots, small.largest) for _ in range(small.rows)]
        drawn += [equations_row(random) for _ in range(small.rows // 3)]
        drawn += [values_row(random, small.largest) for _ in range(small.rows // 5)]
        yield pad_rows([row for row, _ in drawn], PAD), pad_rows([row for _, row in drawn], IGNORED)


def solve(
    small: Small, weights: dict[str, Tensor], prompts: Sequence[str], direct: Sequence[bool], compute: Compute
) -> list[list[int]]:
    """Return the greedy replies, direct ones and those with reasoning each in their own batches."""
    model = shape(small).trained(weights, compute.accelerator)
    replies: list[list[int]] = [[] for _ in prompts]
    for at_once, longest in ((True, LONGEST_DIRECT), (False, LONGEST_REPLY)):
        places = [place for place, each in enumerate(direct) if each == at_once]
        found = greedy_decode(model, [encode(prompts[place]) for place in places], longest, END, PAD, 128)
        for place, reply in zip(places, found, strict=True):
            replies[place] = reply
    return replies
