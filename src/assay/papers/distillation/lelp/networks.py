"""Teachers and students: a body that reads rows, and a linear head with S logits a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from assay.errors import InputError
from assay.models import BagOfEmbeddings, ConvNet, ModelSource, hash_words, load_model, load_tokenizer, mlp

from .method import SubclassHead, class_log_probs

Raw = Sequence[str] | Tensor
"""Rows as they come: texts, features (n, d), or pictures (n, channels, height, width)."""


@dataclass(frozen=True)
class BodySpec:
    """All that is needed to build a body again."""

    kind: Literal["mlp", "words", "conv", "resnet", "transformer"]
    """What it is."""
    inputs: int = 0
    """Features a row, or channels of a picture."""
    hidden: tuple[int, ...] = ()
    """Hidden units of each layer."""
    dropout: float = 0.0
    """Of hidden units; of words where the kind is words."""
    buckets: int = 0
    """Word ids."""
    width: int = 16
    """Numbers a word embedding, or channels of the first block."""
    depth: int = 0
    """Blocks or layers."""
    max_words: int = 32
    """Words or tokens that are read of a text."""
    source: str | None = None
    """Where a transformer comes from."""


class FeatureBody(nn.Module):
    """A perceptron on features that it brings to mean 0 and deviation 1 itself."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, spec: BodySpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(spec.inputs))
        self.register_buffer("deviation", torch.ones(spec.inputs))
        self.layers = mlp(spec.inputs, spec.hidden, 1, spec.dropout).body
        self.features = spec.hidden[-1] if spec.hidden else spec.inputs

    def adapt(self, rows: Float[Tensor, "n d"]) -> None:
        """Take the mean and the deviation of training rows."""
        self.mean.copy_(rows.mean(0))
        self.deviation.copy_(rows.std(0, correction=0).clamp_min(1e-6))

    def forward(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n f"]:
        """Give the input of the head."""
        features: Tensor = self.layers((rows - self.mean) / self.deviation)
        return features


class WordBody(nn.Module):
    """The mean embedding of hashed words, then one hidden layer; words drop out while training."""

    def __init__(self, spec: BodySpec) -> None:
        super().__init__()
        self.bag = BagOfEmbeddings(spec.buckets, spec.width, 1).embedding
        self.layers = nn.Sequential(nn.ReLU(), nn.Linear(spec.width, spec.hidden[0]), nn.ReLU())
        self.dropout = spec.dropout
        self.features = spec.hidden[0]

    def forward(self, words: Int[Tensor, "n w"]) -> Float[Tensor, "n f"]:
        """Give the input of the head."""
        if self.training and self.dropout:
            words = words.masked_fill(torch.rand(words.shape, device=words.device) < self.dropout, 0)
        features: Tensor = self.layers(self.bag(words))
        return features


class ConvBody(nn.Module):
    """The library's small convolutional network without its head."""

    def __init__(self, spec: BodySpec) -> None:
        super().__init__()
        self.layers = ConvNet(spec.inputs, 1, spec.width, spec.depth).body
        self.features = spec.width << (spec.depth - 1)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
        """Give the input of the head."""
        maps: Tensor = self.layers(images)
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

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        """Give the block's output."""
        output: Tensor = functional.relu(self.layers(maps) + self.shortcut(maps))
        return output


class ResNetBody(nn.Module):
    """A CIFAR ResNet of 9 n + 2 layers: three stages of n bottlenecks, 16, 32 and 64 wide, so D = 256.

    He, Zhang, Ren, Sun 2016. Depth 92 and 56 are the paper's teacher and student.
    """

    def __init__(self, spec: BodySpec) -> None:
        super().__init__()
        blocks, rest = divmod(spec.depth - 2, 9)
        if rest or blocks < 1:
            raise InputError(f"A ResNet with bottlenecks has 9 n + 2 layers (11, 56, 92), not {spec.depth}.")
        layers: list[nn.Module] = [*_normed(nn.Conv2d(spec.inputs, 16, 3, padding=1, bias=False)), nn.ReLU()]
        channels = 16
        for width, stride in ((16, 1), (32, 2), (64, 2)):
            for block in range(blocks):
                layers.append(Bottleneck(channels, width, stride if block == 0 else 1))
                channels = 4 * width
        self.layers = nn.Sequential(*layers)
        self.features = channels

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
        """Give the input of the head."""
        maps: Tensor = self.layers(images)
        return maps.mean((-2, -1))


class TransformerBody(nn.Module):
    """A transformers encoder; features are its pooled output, or else the mean over tokens.

    Rows are token ids and masks side by side, (n, 2, tokens).
    """

    def __init__(self, spec: BodySpec) -> None:
        super().__init__()
        from transformers import AutoModel

        self.model: Any = load_model(ModelSource(str(spec.source)), AutoModel, dtype="float32")
        self.model.requires_grad_(True)
        self.features = int(self.model.config.hidden_size)

    def forward(self, tokens: Int[Tensor, "n 2 t"]) -> Float[Tensor, "n f"]:
        """Give the input of the head."""
        ids, mask = tokens[:, 0], tokens[:, 1]
        output = self.model(input_ids=ids, attention_mask=mask)
        pooled: Tensor | None = getattr(output, "pooler_output", None)
        if pooled is not None:
            return pooled
        weight = mask.unsqueeze(-1).to(output.last_hidden_state.dtype)
        mean: Tensor = (output.last_hidden_state * weight).sum(1) / weight.sum(1).clamp(min=1)
        return mean


class Classifier(nn.Module):
    """A body and a `SubclassHead`: with one subclass a class, an ordinary classifier.

    Args:
        spec: of the body.
        n_classes: C.
        n_subclasses: S.
    """

    def __init__(self, spec: BodySpec, n_classes: int, n_subclasses: int = 1) -> None:
        super().__init__()
        self.spec = spec
        self.body = build_body(spec)
        self.head = SubclassHead(self.body.features, n_classes, n_subclasses)

    def forward(self, rows: Tensor) -> tuple[Float[Tensor, "n f"], Float[Tensor, "n cs"]]:
        """Give the input of the head and its C * S logits."""
        features = self.body(rows)
        return features, self.head(features)

    def adapt(self, rows: Tensor) -> None:
        """Let the body take from training rows what it needs to scale them."""
        if isinstance(self.body, FeatureBody):
            self.body.adapt(rows)

    def class_log_probs(self, rows: Tensor) -> Float[Tensor, "n c"]:
        """Give log p(c | x)."""
        return class_log_probs(self(rows)[1], self.head.n_subclasses)


Body = FeatureBody | WordBody | ConvBody | ResNetBody | TransformerBody


def build_body(spec: BodySpec) -> Body:
    """Build the body that the spec describes."""
    bodies: dict[str, type[Body]] = {
        "mlp": FeatureBody,
        "words": WordBody,
        "conv": ConvBody,
        "resnet": ResNetBody,
        "transformer": TransformerBody,
    }
    return bodies[spec.kind](spec)


def prepare(spec: BodySpec, rows: Raw) -> Tensor:
    """Turn raw rows into the tensor that a body reads."""
    if isinstance(rows, Tensor):
        return rows
    if spec.kind == "words":
        return hash_words(rows, spec.buckets, spec.max_words)
    return tokenize(ModelSource(str(spec.source)), rows, spec.max_words)


def tokenize(source: ModelSource, texts: Sequence[str], max_tokens: int) -> Int[Tensor, "n 2 t"]:
    """Return token ids and masks side by side, as `TransformerBody` reads them."""
    tokens = load_tokenizer(source)(
        list(texts), truncation=True, max_length=max_tokens, padding=True, return_tensors="pt"
    )
    return torch.stack([tokens["input_ids"], tokens["attention_mask"]], dim=1)


def crop_and_flip(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Shift each picture by up to an eighth, edges filled with zeros, and mirror half of them."""
    n, _, height, width = images.shape
    pad = max(height // 8, 1)
    padded = functional.pad(images, (pad, pad, pad, pad))
    rows = torch.randint(2 * pad + 1, (n, 1), device=images.device) + torch.arange(
        height, device=images.device
    )
    columns = torch.randint(2 * pad + 1, (n, 1), device=images.device) + torch.arange(
        width, device=images.device
    )
    mirrored = torch.rand(n, 1, device=images.device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    index = torch.arange(n, device=images.device)[:, None, None]
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _normed(convolution: nn.Conv2d) -> tuple[nn.Module, nn.Module]:
    return convolution, nn.BatchNorm2d(convolution.out_channels)
