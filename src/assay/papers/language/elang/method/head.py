"""A small classifier on Swift's encoder, whose energy is known before the decoder runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import safetensors.torch
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .language import Encoded, Texts

FILE = "head.safetensors"


class EncoderEnergyHead(nn.Module):
    """Linear classifier on the mean-pooled states of a frozen encoder: logits f = W h̄ + b, energy F(f).

    Args:
        width: Size of the encoder's states.
        num_classes: Number of classes C ≥ 2.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(width, num_classes)

    def forward(
        self, hidden: Float[Tensor, "batch tokens width"], mask: Bool[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch classes"]:
        """Return C logits for each row."""
        logits: Tensor = self.classifier(pool(hidden, mask))
        return logits

    def fit(
        self,
        encode: Callable[[Texts], Encoded],
        batches: Iterable[tuple[Texts, Int[Tensor, " batch"]]],
        epochs: int = 3,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        batch_size: int = 32,
        generator: torch.Generator | None = None,
    ) -> EncoderEnergyHead:
        """Train the classifier with cross entropy; the encoder stays frozen and sees each text once.

        Args:
            encode: Swift's encoder, such as `TextGenerator.encode`.
            batches: Texts and class numbers of training rows.
            epochs: Passes over the cached features.
            learning_rate: Of AdamW.
            weight_decay: Of AdamW.
            batch_size: Rows a step.
            generator: Draws the order of rows.
        """
        with torch.no_grad():
            seen = [(encode(texts), labels) for texts, labels in batches]
            features = torch.cat([pool(each.hidden, each.mask) for each, _ in seen])
        labels = torch.cat([labels for _, labels in seen]).to(features.device)
        optimizer = torch.optim.AdamW(self.parameters(), lr=learning_rate, weight_decay=weight_decay)
        for _ in range(epochs):
            for rows in torch.randperm(len(labels), generator=generator).split(batch_size):
                optimizer.zero_grad()
                cross_entropy(self.classifier(features[rows]), labels[rows]).backward()
                optimizer.step()
        return self.eval()

    def save(self, folder: str | Path) -> None:
        """Write the weights as safetensors."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(self.state_dict(), path / FILE)

    @classmethod
    def load(cls, folder: str | Path) -> EncoderEnergyHead:
        """Read what `save` wrote."""
        return cls.of(safetensors.torch.load_file(Path(folder) / FILE))

    @classmethod
    def of(cls, weights: dict[str, Tensor]) -> EncoderEnergyHead:
        """Build a head from its `state_dict()`."""
        classes, width = weights["classifier.weight"].shape
        head = cls(width, classes)
        head.load_state_dict(weights)
        return head.eval()


def has_head(folder: str | Path) -> bool:
    """Return whether a head was saved in a folder."""
    return (Path(folder) / FILE).exists()


def pool(
    hidden: Float[Tensor, "batch tokens width"], mask: Bool[Tensor, "batch tokens"]
) -> Float[Tensor, "batch width"]:
    """Return the mean of each row's states over the tokens in `mask`."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)
