"""The parts of classifiers below their last layer, each from rows to one vector a row."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import relu

from assay import files
from assay.errors import InputError
from assay.models.pretrained import _explained, _rules
from assay.models.source import ModelSource


class Standardise(nn.Module):
    """Brings each feature to mean 0 and deviation 1, as measured on training rows; the identity until then.

    Args:
        features: how many there are; 1 for one mean and deviation of all.
        mean, deviation: fixed ones, such as 127.5 for pixels from 0 to 255.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: int, mean: float = 0.0, deviation: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((features,), mean))
        self.register_buffer("deviation", torch.full((features,), deviation))

    def fit(self, rows: Float[Tensor, "n d"], correction: int = 0, constant: float = 1e-6) -> Standardise:
        """Measure training rows.

        Args:
            rows: on which the network will be trained.
            correction: the deviation divides by n less this.
            constant: stands for the deviation of a feature that does not vary.
        """
        self.mean.copy_(rows.mean(0))
        deviation = rows.std(0, correction=correction)
        self.deviation.copy_(deviation.where(deviation > 1e-6, constant))
        return self

    def forward(self, rows: Tensor) -> Tensor:
        """Give (x - mean) / deviation."""
        return (rows - self.mean) / self.deviation


class MeanWordBody(nn.Module):
    """The mean embedding of hashed words and hidden layers above it; words drop out while training."""

    def __init__(self, embedding: nn.EmbeddingBag, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.embedding = embedding
        self.dropout = dropout
        self.layers = nn.Sequential()
        for size_in, size_out in zip((embedding.embedding_dim, *hidden), hidden, strict=False):
            self.layers.extend([nn.ReLU(), nn.Linear(size_in, size_out), nn.ReLU()])

    def forward(self, words: Int[Tensor, "n w"]) -> Float[Tensor, "n f"]:
        """Give one vector a text."""
        if self.training and self.dropout:
            words = words.masked_fill(torch.rand(words.shape, device=words.device) < self.dropout, 0)
        features: Tensor = self.layers(self.embedding(words))
        return features


class PositionMean(nn.Module):
    """The mean of each channel over all positions, so that pictures of any size fit."""

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
        """Give one vector a picture."""
        return maps.mean((-2, -1))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut; the last widens four times."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_normed(nn.Conv2d(channels, width, 1, bias=False)),
            nn.ReLU(),
            *_normed(nn.Conv2d(width, width, 3, stride, padding=1, bias=False)),
            nn.ReLU(),
            *_normed(nn.Conv2d(width, 4 * width, 1, bias=False)),
        )
        changes = stride != 1 or channels != 4 * width
        projection = _normed(nn.Conv2d(channels, 4 * width, 1, stride, bias=False))
        self.shortcut = nn.Sequential(*projection) if changes else nn.Identity()

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """Give relu(layers(x) + shortcut(x))."""
        return relu(self.layers(maps) + self.shortcut(maps))


def cifar_resnet(channels: int, depth: int) -> nn.Sequential:
    """Build a ResNet for small pictures: three stages of bottlenecks, 16, 32 and 64 wide; gives 256 numbers.

    He, Zhang, Ren, Sun 2016. `depth` is 9 n + 2 layers: 56, 92.
    """
    blocks, rest = divmod(depth - 2, 9)
    if rest or blocks < 1:
        raise InputError(f"A ResNet with bottlenecks has 9 n + 2 layers (11, 56, 92), not {depth}.")
    layers: list[nn.Module] = [*_normed(nn.Conv2d(channels, 16, 3, padding=1, bias=False)), nn.ReLU()]
    size_in = 16
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        for block in range(blocks):
            layers.append(Bottleneck(size_in, width, stride if block == 0 else 1))
            size_in = 4 * width
    return nn.Sequential(*layers, PositionMean())


class TransformerBody(nn.Module):
    """A transformers encoder; gives its pooled output, or else the mean over tokens.

    Rows are token ids and masks side by side: [n, 2, tokens].

    Args:
        model: such as `AutoModel.from_pretrained(...)` returns.
        tokenizer: its tokenizer.
        max_tokens: the most tokens of a text, if the model can take so many.
    """

    def __init__(self, model: Any, tokenizer: Any, max_tokens: int) -> None:
        super().__init__()
        self.model: nn.Module = model.requires_grad_(True)
        self.tokenizer = tokenizer
        self.max_tokens = min(max_tokens, longest_input(model.config, tokenizer))
        self.width = int(model.config.hidden_size)

    def forward(self, tokens: Int[Tensor, "n 2 t"]) -> Float[Tensor, "n f"]:
        """Give one vector a text."""
        ids, mask = tokens[:, :, tokens[:, 1].any(0)].unbind(1)  # padding that no row needs costs time
        output = self.model(input_ids=ids, attention_mask=mask)
        pooled: Tensor | None = getattr(output, "pooler_output", None)
        if pooled is not None:
            return pooled
        weight = mask.unsqueeze(-1).to(output.last_hidden_state.dtype)
        mean: Tensor = (output.last_hidden_state * weight).sum(1) / weight.sum(1).clamp(min=1)
        return mean

    def to_files(self) -> dict[str, bytes]:
        """Return the configuration and the tokenizer as transformers writes them, without the weights."""
        with tempfile.TemporaryDirectory() as folder:
            self.model.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
            self.tokenizer.save_pretrained(folder)
            return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}

    @classmethod
    def from_files(cls, written: dict[str, bytes], max_tokens: int) -> TransformerBody:
        """Build what `to_files` described, with random weights."""
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        with tempfile.TemporaryDirectory() as folder:
            for name, content in written.items():
                files.inside(Path(folder), name).write_bytes(content)
            local = {"local_files_only": True, "trust_remote_code": False}
            config = AutoConfig.from_pretrained(folder, **local)
            tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        return cls(AutoModel.from_config(config), tokenizer, max_tokens)


def tokenize(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> Int[Tensor, "n 2 t"]:
    """Return token ids and masks side by side, as `TransformerBody` reads them."""
    tokens = tokenizer(list(texts), truncation=True, max_length=max_tokens, padding=True, return_tensors="pt")
    return torch.stack([tokens["input_ids"], tokens["attention_mask"]], dim=1)


def longest_input(config: Any, tokenizer: Any) -> int:
    """Return how many tokens the tokenizer and the position embeddings allow; 512 where neither says."""
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    return int(min(tokenizer.model_max_length, positions or 512))


def load_config(source: ModelSource) -> Any:
    """Load a model's transformers configuration; errors as in `load_model`."""
    from transformers import AutoConfig

    with _explained(source):
        return AutoConfig.from_pretrained(source.weights(), **_rules(source))


def _normed(convolution: nn.Conv2d) -> tuple[nn.Module, nn.Module]:
    return convolution, nn.BatchNorm2d(convolution.out_channels)
