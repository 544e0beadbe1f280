"""Training: a generator learns noise that makes a frozen surrogate see a picture and its caption match."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from assay.training import Compute, History, fit

from .generator import TextConditionedNoiseGenerator
from .loss import contrastive_logits, entropy_floor, info_nce
from .surrogate import Surrogate, Texts

LARGEST_SCALE = 4.6052
"""The logarithm of 100, as in CLIP."""


class CaptionBank(nn.Module):
    """Every distinct caption of a data set, embedded once, and which captions each picture has.

    Args:
        captions: the captions of each picture; one is drawn at each visit.
        embed: embeds texts for the loss: the surrogate's text tower.
        condition: embeds texts for the generator; by default `embed`.

    Raises:
        ValueError: there are no pictures, a picture has no caption, or a caption is empty.
    """

    conditions: Tensor
    features: Tensor
    numbers: Tensor
    starts: Tensor
    counts: Tensor

    def __init__(
        self, captions: Sequence[Sequence[str]], embed: Texts, condition: Texts | None = None
    ) -> None:
        super().__init__()
        if not captions:
            raise ValueError("There are no captions: give at least one for each picture.")
        for row, own in enumerate(captions):
            if isinstance(own, str) or not own:
                raise ValueError(f"Picture {row} needs a list of at least one caption, got {own!r}.")
        check_captions([text for own in captions for text in own])
        distinct = list(dict.fromkeys(text for own in captions for text in own))
        number = {text: place for place, text in enumerate(distinct)}
        with torch.no_grad():
            features = embed(distinct).detach().clone()
            conditions = features if condition is None else condition(distinct).detach().clone()
        self.register_buffer("features", features)
        self.register_buffer("conditions", conditions.to(features.device))
        counts = torch.tensor([len(own) for own in captions])
        self.register_buffer("numbers", torch.tensor([number[text] for own in captions for text in own]))
        self.register_buffer("counts", counts)
        self.register_buffer("starts", counts.cumsum(0) - counts)

    def draw(self, rows: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Draw one caption of each picture; return their numbers."""
        rows = rows.to(self.counts.device)
        counts = self.counts[rows]
        chosen = (torch.rand(len(rows), device=counts.device) * counts).long().clamp(max=counts - 1)
        return self.numbers[self.starts[rows] + chosen]


class MinMinLoss(nn.Module):
    """The paper's Eq. 4 for one batch: InfoNCE(f_I(clip(I + G(e, z), 0, 1)), f_T(T)), to be minimised.

    The surrogate is frozen and in evaluation mode; gradients reach the generator alone. z is drawn for every
    picture at each visit. With precision "bf16-mixed" the surrogate's picture tower computes in bfloat16.
    """

    def __init__(self, surrogate: Surrogate, captions: CaptionBank, precision: str = "32-true") -> None:
        super().__init__()
        self.precision = precision
        if isinstance(surrogate, nn.Module):
            surrogate.eval().requires_grad_(False)
        self.surrogate, self.captions = surrogate, captions

    def forward(self, generator: nn.Module, batch: Sequence[Tensor]) -> Float[Tensor, ""]:
        """Return the loss of pictures (uint8, or floats in [0, 1]) and their row numbers."""
        pixels, rows = batch
        numbers = self.captions.draw(rows)
        condition = self.captions.conditions[numbers]
        inner: Any = getattr(generator, "module", generator)  # Fabric may have wrapped it
        z = torch.randn(len(rows), inner.z_dim, device=condition.device)
        noisy = (as_unit(pixels) + generator(condition, z)).clamp(0, 1)
        with torch.autocast(noisy.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed"):
            image = self.surrogate.encode_image(noisy)
        text = self.captions.features[numbers]
        return info_nce(contrastive_logits(image, text, self.surrogate.logit_scale.detach()), numbers)


@dataclass
class T2UETrainer:
    """Trains a generator against a frozen surrogate, with AdamW and a cosine schedule for each step."""

    generator: TextConditionedNoiseGenerator
    """What is trained."""
    surrogate: Surrogate
    """A frozen image-text model."""
    condition: Texts | None = None
    """Embeds texts for the generator; by default the surrogate's text tower."""
    learning_rate: float = 1e-4
    """Of AdamW."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    epochs: int = 500
    """Passes over the pairs."""
    compute: Compute | None = None
    """Device and precision."""

    def fit(self, batches: Iterable[Any], captions: Sequence[Sequence[str]]) -> History:
        """Train the generator in place.

        Args:
            batches: pairs (pictures [n, 3, h, w], row numbers [n]) that can be iterated again and again and
                have a length, such as a `DataLoader` or `assay.training.batches`. Pictures are uint8, or
                floats in [0, 1], and as large as the generator's noise.
            captions: the captions of each row.
        """
        bank = CaptionBank(captions, self.surrogate.encode_text, self.condition)
        loss = MinMinLoss(self.surrogate, bank, self.compute.precision if self.compute else "32-true")
        optimizer = torch.optim.AdamW(
            self.generator.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        steps = self.epochs * len(batches)  # type: ignore[arg-type]
        return fit(
            self.generator,
            batches,
            loss,
            optimizer=optimizer,
            epochs=self.epochs,
            scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1)),
            compute=self.compute,
        )


def train_surrogate(
    surrogate: nn.Module,
    batches: Iterable[Any],
    captions: CaptionBank,
    *,
    epochs: int,
    learning_rate: float = 1e-3,
    compute: Compute | None = None,
) -> History:
    """Train a small `TwoTowers` surrogate with the same contrastive loss, over frozen text embeddings.

    Its scale is kept at most 100, as in CLIP. Afterwards it is frozen and in evaluation mode.

    Args:
        surrogate: has `image`, `text` and `logit_scale`.
        batches: pairs (pictures, row numbers).
        captions: the captions of each row, embedded by what the text tower stands on.
        epochs: passes over the pairs.
        learning_rate: of AdamW.
        compute: device and precision.
    """
    optimizer = torch.optim.AdamW(surrogate.parameters(), lr=learning_rate)
    loss = _ContrastiveLoss(captions)
    history = fit(surrogate, batches, loss, optimizer=optimizer, epochs=epochs, compute=compute)
    surrogate.eval().requires_grad_(False)
    return history


class _ContrastiveLoss(nn.Module):
    def __init__(self, captions: CaptionBank) -> None:
        super().__init__()
        self.captions = captions

    def forward(self, surrogate: Any, batch: Sequence[Tensor]) -> Tensor:
        pixels, rows = batch
        numbers = self.captions.draw(rows)
        image = surrogate.image(as_unit(pixels))
        text = surrogate.text(self.captions.features[numbers])
        scale = surrogate.logit_scale.clamp(max=LARGEST_SCALE)
        return info_nce(contrastive_logits(image, text, scale), numbers)


@torch.no_grad()
def excess_loss(surrogate: Surrogate, batches: Iterable[Any], captions: Sequence[str]) -> float:
    """Return how far the surrogate's loss on given pairs is above the least that their captions allow.

    This is what a generator can gain: 0 for a surrogate that is sure of every pair. Batches are pairs
    (pictures, row numbers); each row has one caption.
    """
    bank = CaptionBank([[text] for text in captions], surrogate.encode_text)
    total, rows_seen = 0.0, 0
    for pixels, rows in batches:
        numbers = bank.draw(rows)
        image = surrogate.encode_image(as_unit(pixels).to(bank.features.device))
        found = info_nce(contrastive_logits(image, bank.features[numbers], surrogate.logit_scale), numbers)
        total += (found - entropy_floor(numbers)).item() * len(rows)
        rows_seen += len(rows)
    return total / rows_seen


def as_unit(pixels: Shaped[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Return pictures with values in [0, 1]; uint8 is divided by 255."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def check_captions(captions: Sequence[str]) -> None:
    """Refuse empty captions.

    Raises:
        ValueError: names the first of them.
    """
    if not captions:
        raise ValueError("There are no captions.")
    empty = [number for number, text in enumerate(captions, start=1) if not text.strip()]
    if empty:
        raise ValueError(
            f"{len(empty)} of {len(captions)} captions are empty, the first is number {empty[0]}:"
            " describe the picture, or leave the row out."
        )
