"""Aggregators that users of such libraries expect beside ABMILX: CLAM, DSMIL and TransMIL."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional

from assay.papers.vision.abmilx.method.aggregators import (
    Aggregated,
    Aggregator,
    Features,
    Mask,
    MultiHeadLocalAttention,
    Shared,
    initialise,
    masked_softmax,
)
from assay.papers.vision.abmilx.method.losses import bag_cross_entropy


class CLAM(Aggregator):
    """Clustering-constrained attention (Lu et al. 2021): gated attention, and a loss on single instances.

    In training, the instance classifier of the bag's class learns to separate the instances with the most
    attention from those with the least; in every other class, those with the most count as negative. The loss
    is 0.7 of the bag's and 0.3 of theirs, both cross-entropies.

    Args:
        in_dim, num_classes, shared: see `Aggregator`.
        multi_branch: one attention for each class (CLAM-MB) instead of one for all (CLAM-SB).
        attn_hidden: width of the gated score perceptron.
        num_instances: instances with the most, and with the least attention that count.
        bag_weight: share of the bag's loss.
    """

    def __init__(
        self,
        in_dim: int,
        num_classes: int,
        *,
        multi_branch: bool = False,
        attn_hidden: int = 256,
        num_instances: int = 8,
        bag_weight: float = 0.7,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(in_dim, **shared)
        self.num_instances, self.bag_weight, self.multi_branch = num_instances, bag_weight, multi_branch
        branches = num_classes if multi_branch else 1
        self.attention = nn.ModuleList(
            MultiHeadLocalAttention(self.embed_dim, attn_hidden, True, True, "tanh") for _ in range(branches)
        )
        self.instance_classifiers = nn.ModuleList(nn.Linear(self.embed_dim, 2) for _ in range(num_classes))
        self.classify_with(num_classes)

    def aggregate(self, x: Features, mask: Mask | None) -> Aggregated:
        embedded = self.embed(x, mask)
        scores = torch.stack([branch(embedded) for branch in self.attention], dim=1)
        attention = masked_softmax(scores, mask)
        z = self.norm1((attention @ embedded).flatten(0, 1)).unflatten(0, attention.shape[:2])
        logits = self.classifier(z)  # with several branches each class reads its own
        logits = logits.diagonal(dim1=1, dim2=2) if self.multi_branch else logits.squeeze(1)
        return Aggregated(logits, attention, None if self.multi_branch else z.squeeze(1), embedded)

    def loss(self, found: Aggregated, labels: Int[Tensor, " bags"], mask: Mask | None = None) -> Tensor:
        """Return the weighted sum of the bags' and the instances' cross-entropies."""
        assert found.instances is not None
        there = torch.ones_like(found.instances[..., 0], dtype=torch.bool) if mask is None else mask
        of_instances = [
            self._instance_loss(embedded[kept], attention[:, kept], int(label))
            for embedded, attention, kept, label in zip(
                found.instances, found.attention, there, labels, strict=True
            )
        ]
        of_bags = bag_cross_entropy(found.logits, labels)
        return self.bag_weight * of_bags + (1 - self.bag_weight) * torch.stack(of_instances).mean()

    def _instance_loss(self, embedded: Tensor, attention: Tensor, label: int) -> Tensor:
        """Return the mean loss of the instance classifiers on one bag."""
        count = min(self.num_instances, len(embedded))
        losses = []
        for number, classifier in enumerate(self.instance_classifiers):
            weights = attention[number if self.multi_branch else 0]
            most = embedded[weights.topk(count).indices]
            chosen, targets = most, torch.zeros(count, dtype=torch.long, device=most.device)
            if number == label:
                least = embedded[weights.topk(count, largest=False).indices]
                chosen, targets = torch.cat([most, least]), torch.cat([targets + 1, targets])
            losses.append(functional.cross_entropy(classifier(chosen), targets))
        return torch.stack(losses).mean()


class DSMIL(Aggregator):
    """Dual-stream MIL (Li et al. 2021): attention by likeness to each class's most critical instance.

    One stream classifies each instance and takes the largest logit; the other weighs instances by the product
    of their query with that of the instance so found. The loss is the mean of both streams'.
    The queries have the width `query_dim`; the only norm is in front. See `Aggregator` for the others.
    """

    def __init__(
        self, in_dim: int, num_classes: int, *, query_dim: int = 128, **shared: Unpack[Shared]
    ) -> None:
        super().__init__(in_dim, **shared)
        self.classifier = nn.Linear(self.embed_dim, num_classes)
        self.query = nn.Sequential(
            nn.Linear(self.embed_dim, query_dim), nn.ReLU(), nn.Linear(query_dim, query_dim), nn.Tanh()
        )
        self.bag_classifier = nn.Conv1d(num_classes, num_classes, kernel_size=self.embed_dim)
        initialise(self)

    def aggregate(self, x: Features, mask: Mask | None) -> Aggregated:
        embedded = self.embed(x, mask)
        logits = self.classifier(embedded)
        if mask is not None:
            logits = logits.masked_fill(~mask[..., None], -math.inf)
        queries = self.query(embedded)
        critical = logits.argmax(dim=1)[..., None].expand(-1, -1, queries.shape[-1])
        products = queries.gather(1, critical) @ queries.mT / math.sqrt(queries.shape[-1])
        attention = masked_softmax(products, mask)
        bag_logits = self.bag_classifier(attention @ embedded).squeeze(-1)
        return Aggregated(bag_logits, attention, instances=logits)

    def loss(self, found: Aggregated, labels: Int[Tensor, " bags"], mask: Mask | None = None) -> Tensor:
        """Return the mean of the two streams' cross-entropies."""
        assert found.instances is not None
        streams = (found.logits, found.instances.amax(dim=1))
        return torch.stack([bag_cross_entropy(logits, labels) for logits in streams]).mean()


class TransMIL(Aggregator):
    """A transformer over the instances (Shao et al. 2021): a class token, two layers, convolved positions.

    The bag is filled up to a square with its first instances; depth-wise convolutions of three sizes over the
    square encode positions, so the order of the instances counts. Attention is exact where the authors
    approximate it (Nystrom). The attention given is that of the class token in the second layer.

    See `Aggregator` for its arguments.

    Raises:
        ValueError: `embed_dim` is not divisible by `num_heads`.
    """

    def __init__(
        self, in_dim: int, num_classes: int, *, num_heads: int = 8, **shared: Unpack[Shared]
    ) -> None:
        super().__init__(in_dim, **shared)
        dim = self.embed_dim
        if num_heads < 1 or dim % num_heads:
            raise ValueError(
                f"embed_dim={dim} is not divisible by num_heads={num_heads}. Change one of them."
            )
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.layer1, self.layer2 = _AttentionLayer(dim, num_heads), _AttentionLayer(dim, num_heads)
        self.positions = nn.ModuleList(
            nn.Conv2d(dim, dim, size, padding=size // 2, groups=dim) for size in (7, 5, 3)
        )
        self.final_norm = nn.LayerNorm(dim)
        self.classify_with(num_classes)

    def aggregate(self, x: Features, mask: Mask | None) -> Aggregated:
        embedded = self.embed(x, mask)
        if mask is None:
            return self._transform(embedded)
        found = [self._transform(bag[there][None]) for bag, there in zip(embedded, mask, strict=True)]
        attention = x.new_zeros(len(x), found[0].attention.shape[1], x.shape[1])
        for row, one in enumerate(found):
            attention[row, :, mask[row]] = one.attention[0].to(attention.dtype)
        z = torch.cat([one.embedding for one in found if one.embedding is not None])
        return Aggregated(self.classifier(z), attention, z)

    def _transform(self, embedded: Tensor) -> Aggregated:
        """Return the result for bags of one size."""
        count = embedded.shape[1]
        side = math.ceil(math.sqrt(count))
        square = torch.cat([embedded, embedded[:, : side * side - count]], dim=1)
        tokens, _ = self.layer1(torch.cat([self.cls_token.expand(len(square), -1, -1), square], dim=1))
        token, plane = tokens[:, :1], tokens[:, 1:].mT.unflatten(-1, (side, side))
        plane = plane + torch.stack([convolution(plane) for convolution in self.positions]).sum(dim=0)
        tokens, weights = self.layer2(torch.cat([token, plane.flatten(2).mT], dim=1))
        weights = weights[..., 1:]
        attention = weights[..., :count].clone()
        attention[..., : side * side - count] += weights[..., count:]  # those that fill up are its first
        z = self.norm1(self.final_norm(tokens)[:, 0])
        return Aggregated(self.classifier(z), attention / attention.sum(dim=-1, keepdim=True), z)


class _AttentionLayer(nn.Module):
    """x + attention(norm(x)), with a convolution of the values over neighbours beside the attention."""

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.neighbours = nn.Conv2d(
            num_heads, num_heads, (33, 1), padding=(16, 0), groups=num_heads, bias=False
        )
        self.out = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(dropout))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens, and the attention of the first one on all: [bags, heads, tokens]."""
        parts = self.qkv(self.norm(tokens)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(q, k, v) + self.neighbours(v)
        first = (q[:, :, :1] @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1).squeeze(2)
        return tokens + self.out(mixed.transpose(1, 2).flatten(2)), first
