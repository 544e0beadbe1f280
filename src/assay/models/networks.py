"""Small reference networks: a perceptron, a convolutional network, a bag of word embeddings.

Each has a linear last layer named `head` and a method `features` that gives its input, so that methods which
read or replace the last layer work with all of them: `network(x) == network.head(network.features(x))`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_WORD = re.compile(r"\w+|[^\w\s]")


class MLP(nn.Module):
    """Linear layers with ReLU between; see `mlp`.

    Shapes: [n, in_features] to [n, out_features]; `features` gives [n, hidden[-1]], or its input where there
    is no hidden layer.
    """

    def __init__(
        self, in_features: int, hidden: Sequence[int], out_features: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        sizes = [in_features, *hidden]
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.ReLU()]
            layers += [nn.Dropout(dropout)] if dropout else []
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], out_features)

    def features(self, x: Float[Tensor, "n in_features"]) -> Float[Tensor, "n f"]:
        """Give the input of the last layer."""
        hidden: Tensor = self.body(x)
        return hidden

    def forward(self, x: Float[Tensor, "n in_features"]) -> Float[Tensor, "n out_features"]:
        """Give the logits or the regressed values."""
        logits: Tensor = self.head(self.features(x))
        return logits


def mlp(in_features: int, hidden: tuple[int, ...], out_features: int, dropout: float = 0.0) -> MLP:
    """Build a perceptron with ReLU.

    Args:
        in_features: size of the input.
        hidden: size of each hidden layer; () is a linear model.
        out_features: number of classes or values.
        dropout: probability of dropping each hidden unit while training.
    """
    return MLP(in_features, hidden, out_features, dropout)


class ConvNet(nn.Module):
    """A plain convolutional network: `depth` times (3x3 convolution, batch norm, ReLU, 2x2 max pooling).

    The width doubles with each block. After the last block, which has no pooling, the mean over all positions
    is taken, so that images of any size fit.

    Args:
        channels: of the images.
        classes: number of outputs.
        width: channels of the first block.
        depth: number of blocks.

    Shapes: [n, channels, h, w] to [n, classes]; `features` gives [n, width * 2 ** (depth - 1)].
    """

    def __init__(self, channels: int, classes: int, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        layers: list[nn.Module] = []
        for block in range(depth):
            size_in, size_out = (channels if block == 0 else width << (block - 1)), width << block
            layers += [nn.MaxPool2d(2, ceil_mode=True)] if block else []
            layers += [
                nn.Conv2d(size_in, size_out, 3, padding=1, bias=False),
                nn.BatchNorm2d(size_out),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width << (depth - 1), classes)

    def features(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
        """Give the input of the last layer: each channel's mean over the positions."""
        maps: Tensor = self.body(images)
        return maps.mean((-2, -1))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Give the logits."""
        logits: Tensor = self.head(self.features(images))
        return logits


class BagOfEmbeddings(nn.Module):
    """A text classifier without word order: the mean of the words' embeddings, then a linear layer.

    Args:
        vocabulary_size: number of word ids, 0 (padding, not counted) included; the `buckets` of `hash_words`.
        dimension: of the embeddings.
        classes: number of outputs.

    Shapes: [n, words] to [n, classes]; `features` gives [n, dimension], zeros for a text without words.
    """

    def __init__(self, vocabulary_size: int, dimension: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocabulary_size, dimension, mode="mean", padding_idx=0)
        self.head = nn.Linear(dimension, classes)

    def features(self, words: Int[Tensor, "n w"]) -> Float[Tensor, "n dimension"]:
        """Give the input of the last layer."""
        mean: Tensor = self.embedding(words)
        return mean

    def forward(self, words: Int[Tensor, "n w"]) -> Float[Tensor, "n classes"]:
        """Give the logits."""
        logits: Tensor = self.head(self.features(words))
        return logits


def hash_words(texts: Iterable[str], buckets: int, max_words: int) -> Int[Tensor, "n w"]:
    """Turn texts into word ids without a vocabulary.

    A word is a run of letters, digits and underscores, or one other sign; case is ignored. Its id is
    1 + hash(word) mod (buckets - 1) with BLAKE2b, the same in every process and on every machine. 0 fills up
    texts that are shorter than the longest.

    Args:
        texts: any number of texts.
        buckets: number of ids, 0 included; at least 2.
        max_words: words of a text that are kept, from its start.

    Returns:
        Ids of shape [n, w], w = the most words kept of any text, at least 1.
    """
    if buckets < 2 or max_words < 1:
        raise ValueError(
            f"buckets must be at least 2 and max_words at least 1, got {buckets} and {max_words}"
        )
    known: dict[str, int] = {}

    def word_id(word: str) -> int:
        if word not in known:
            value = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
            known[word] = 1 + value % (buckets - 1)
        return known[word]

    rows = [[word_id(word) for word in _WORD.findall(text.lower())[:max_words]] for text in texts]
    ids = torch.zeros(len(rows), max((len(row) for row in rows), default=0) or 1, dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row, dtype=torch.long)
    return ids
