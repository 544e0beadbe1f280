"""Aggregators: a bag of instance features in, class logits and the attention on each instance out.

All have one interface: `aggregator(x, mask)` gives the logits, `aggregator.explain(x, mask)` the attention
too. `x` is one padded tensor [B, N, D] with an optional mask [B, N] (True where there is an instance), or a
list of bags [n_b, D] of any sizes. Padding never changes a result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypedDict, Unpack

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from assay.errors import DivergedError
from assay.papers.vision.abmilx.method.bags import check_mask, pad_bags
from assay.papers.vision.abmilx.method.column_attention import attend_column
from assay.papers.vision.abmilx.method.losses import bag_cross_entropy

Activation = Literal["gelu", "relu", "tanh"]
Norm = Literal["layer", "batch"]
Features = Float[Tensor, "bags instances in_dim"]
Mask = Bool[Tensor, "bags instances"]
"""True where there is an instance."""

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "tanh": nn.Tanh}
GATE_DROPOUT = 0.25
"""On both branches of gated attention, as in the authors' code."""


class Aggregated(NamedTuple):
    """What an aggregator makes of some bags."""

    logits: Float[Tensor, "bags classes"]
    attention: Float[Tensor, "bags heads instances"]
    """Sums to 1 over the instances of each bag, in each head; 0 where there is none."""
    embedding: Float[Tensor, "bags dim"] | None = None
    """What the logits are a linear function of; None where instances are classified one by one."""
    instances: Float[Tensor, "bags instances _"] | None = None
    """What an aggregator's own loss reads of single instances."""


class Shared(TypedDict, total=False):
    """The options of all aggregators; see `Aggregator`."""

    embed_dim: int
    norm: Norm | None
    activation: Activation
    bias: bool
    dropout: float


class Aggregator(nn.Module):
    """What all aggregators share: bags are padded and checked at the door, embedded, and so is the result.

    Each is called as `Name(in_dim, num_classes, **options)`: the width of the instance features, the number
    of logits, its own options and those of all.

    Args:
        in_dim: width of the instance features.
        embed_dim: width of the embeddings.
        norm: `layer`, `batch` (over all instances of the batch) or None, before and after.
        activation: of the embeddings; the authors take `relu` on features of frozen encoders.
        bias: biases in layers and layer norms (False in the authors' end-to-end settings).
        dropout: on the embeddings, while training.
    """

    def __init__(
        self,
        in_dim: int,
        *,
        embed_dim: int = 512,
        norm: Norm | None = None,
        activation: Activation = "gelu",
        bias: bool = True,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.in_dim, self.embed_dim, self.bias, self.output_norm = in_dim, embed_dim, bias, norm
        self.norm = InstanceNorm(in_dim, norm, bias)
        self.feature = nn.Sequential(
            nn.Linear(in_dim, embed_dim, bias=bias), ACTIVATIONS[activation](), nn.Dropout(dropout)
        )

    def classify_with(self, num_classes: int) -> None:
        """Add the norm of the bag's embedding and the classifier, and draw all weights."""
        norms = {
            "layer": lambda: nn.LayerNorm(self.embed_dim, bias=self.bias),
            "batch": lambda: BagBatchNorm(self.embed_dim),
        }
        self.norm1: nn.Module = norms[self.output_norm]() if self.output_norm else nn.Identity()
        self.classifier = nn.Linear(self.embed_dim, num_classes, bias=self.bias)
        initialise(self)

    def embed(self, x: Features, mask: Mask | None) -> Float[Tensor, "bags instances dim"]:
        """Return the embeddings of the instances."""
        embedded: Tensor = self.feature(self.norm(x, mask))
        return embedded

    def forward(self, x: Tensor | Sequence[Tensor], mask: Bool[Tensor, "_ _"] | None = None) -> Tensor:
        """Return the logits [B, C].

        Raises:
            ValueError: a bag is empty or fully masked, features have the wrong width or are not finite.
            DivergedError: the logits are not finite although the features are.
        """
        return self.explain(x, mask).logits

    def explain(self, x: Tensor | Sequence[Tensor], mask: Bool[Tensor, "_ _"] | None = None) -> Aggregated:
        """Return logits, attention [B, H, N] and the bag's embedding; raises what `forward` raises."""
        if not isinstance(x, Tensor):
            if mask is not None:
                raise ValueError("A list of bags needs no mask: give the bags as they are.")
            x, mask = pad_bags(x)
        check_mask(x, mask)
        if x.shape[-1] != self.in_dim:
            raise ValueError(f"The features have width {x.shape[-1]}; this aggregator takes {self.in_dim}.")
        if mask is not None:
            x = x.masked_fill(~mask[..., None], 0.0)  # whatever stands in the padding, NaN too
        found = self.aggregate(x, mask)
        if not torch.compiler.is_compiling() and not found.logits.isfinite().all():
            _explain_infinite(x)
        return found

    def aggregate(self, x: Features, mask: Mask | None) -> Aggregated:
        """Return what `explain` returns, for input that was checked."""
        raise NotImplementedError

    def loss(self, found: Aggregated, labels: Int[Tensor, " bags"], mask: Mask | None = None) -> Tensor:
        """Return what the aggregator is trained with: the cross-entropy of the bags' classes."""
        return bag_cross_entropy(found.logits, labels)


def _explain_infinite(x: Tensor) -> None:
    broken = (~x.isfinite()).any(dim=-1).any(dim=-1).nonzero().flatten().tolist()
    if broken:
        raise ValueError(
            f"The features of bag {broken[0]} ({len(broken)} of {len(x)} bags) are NaN or infinite."
            " Remove such instances, or mask them."
        )
    raise DivergedError(
        "The logits are not finite although the features are: the weights have diverged. A lower learning"
        " rate often helps."
    )


# --- ABMILX -------------------------------------------------------------------------------------


class MultiHeadLocalAttention(nn.Module):
    """Score each instance in each head with one perceptron that all heads share (MHLA).

        A^j_i = MLP(x^j_i),    MLP = Linear(h, m) -> activation -> Linear(m, 1)

    Args:
        head_dim: h, the width of a head.
        hidden_dim: m; as wide as a head by default.
        bias: whether its layers have biases.
        gated: multiply the activated hidden units by a sigmoid gate, with dropout on both.
        activation: `tanh` in classical ABMIL.

    Shapes: [B, H, N, h] to scores [B, H, N].
    """

    def __init__(
        self,
        head_dim: int,
        hidden_dim: int | None = None,
        bias: bool = False,
        gated: bool = False,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        hidden_dim = hidden_dim or head_dim
        self.fc1 = nn.Linear(head_dim, hidden_dim, bias=bias)
        self.gate = nn.Linear(head_dim, hidden_dim, bias=bias) if gated else None
        self.activation = ACTIVATIONS[activation]()
        self.fc2 = nn.Linear(hidden_dim, 1, bias=bias)

    def forward(self, x: Float[Tensor, "*heads instances head_dim"]) -> Float[Tensor, "*heads instances"]:
        """Return the scores before the softmax."""
        hidden = self.activation(self.fc1(x))
        if self.gate is not None:
            branches = (hidden, self.gate(x).sigmoid())
            hidden, gate = (functional.dropout(branch, GATE_DROPOUT, self.training) for branch in branches)
            hidden = hidden * gate
        scores: Tensor = self.fc2(hidden).squeeze(-1)
        return scores


class GlobalAttentionRefinement(nn.Module):
    """Let instances that look alike share their scores, before the softmax (A+).

        G(A)^j = A^j + softmax(q^j k^jT / sqrt(h)) (alpha A^j)

    with queries and keys from one linear layer on the normalised embeddings, shared by the heads. The N x N
    matrix is never in memory: see `attend_column`.

    Args:
        head_dim: h, the width of a head.
        alpha_init: where the trained scalar alpha starts; `xavier` draws it from N(0, 1), sign included, as
            the authors' code does. 1.0 starts with sharing switched on.
        bias: whether the layer norm is followed by queries and keys with biases; the authors' have none.

    Shapes: embeddings [B, H, N, h] and scores [B, H, N] to scores [B, H, N].
    """

    def __init__(
        self, head_dim: int, alpha_init: float | Literal["xavier"] = "xavier", bias: bool = False
    ) -> None:
        super().__init__()
        self.norm_x = nn.LayerNorm(head_dim)
        self.qk = nn.Linear(head_dim, 2 * head_dim, bias=bias)
        start = torch.randn(()) if alpha_init == "xavier" else torch.tensor(float(alpha_init))
        self.alpha = nn.Parameter(start)

    def forward(
        self,
        x: Float[Tensor, "bags heads instances head_dim"],
        scores: Float[Tensor, "bags heads instances"],
        mask: Mask | None = None,
    ) -> Float[Tensor, "bags heads instances"]:
        """Return the refined scores."""
        queries, keys = self.qk(self.norm_x(x)).chunk(2, dim=-1)
        values = (self.alpha * scores).to(queries.dtype)
        return scores + attend_column(queries, keys, values, mask).to(scores.dtype)


class ABMILX(Aggregator):
    """ABMILX: attention in several heads, refined by the similarity of instances (section 3).

    1. `x <- Dropout(GELU(Linear(norm(x))))`, split into H heads of width h = embed_dim / H
    2. local attention A (`MultiHeadLocalAttention`), refined to G(A) (`GlobalAttentionRefinement`)
    3. `a^j = softmax(G(A)^j)` over the instances, `z = concat_j sum_i a^j_i x^j_i`
    4. `logits = Linear(norm(Linear(z)))`, with a residual feed-forward block before the norm if `ffn`

    When it is trained together with its encoder use `norm="layer"`, as all of the authors' end-to-end
    settings do.

    Args:
        in_dim, num_classes, shared: see `Aggregator`.
        num_heads: H; divides `embed_dim`.
        ffn: add the feed-forward block (the authors' PANDA settings); its layers always have biases.
        refine: False leaves the global refinement out: multi-head local attention only.
        alpha_init: see `GlobalAttentionRefinement`.
        attn_bias: biases in the score perceptron (the authors' survival settings).
        attn_hidden: width of the score perceptron; that of a head by default.
        gated: a gated score perceptron.
        attn_activation: of the score perceptron.

    Raises:
        ValueError: `embed_dim` is not divisible by `num_heads`.
    """

    def __init__(
        self,
        in_dim: int,
        num_classes: int,
        *,
        num_heads: int = 8,
        ffn: bool = False,
        refine: bool = True,
        alpha_init: float | Literal["xavier"] = "xavier",
        attn_bias: bool = False,
        attn_hidden: int | None = None,
        gated: bool = False,
        attn_activation: Activation = "gelu",
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(in_dim, **shared)
        if num_heads < 1 or self.embed_dim % num_heads:
            raise ValueError(
                f"embed_dim={self.embed_dim} is not divisible by num_heads={num_heads}. Change one of them."
            )
        self.num_heads = num_heads
        head_dim = self.embed_dim // num_heads
        self.attention = MultiHeadLocalAttention(head_dim, attn_hidden, attn_bias, gated, attn_activation)
        self.attn_plus_fn = GlobalAttentionRefinement(head_dim, alpha_init) if refine else None
        self.proj = nn.Linear(self.embed_dim, self.embed_dim, bias=self.bias)
        self.ffn = FeedForward(self.embed_dim, normalised=self.output_norm is None) if ffn else None
        self.classify_with(num_classes)

    def aggregate(self, x: Features, mask: Mask | None) -> Aggregated:
        heads = self.embed(x, mask).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, H, N, h]
        scores = self.attention(heads)
        if self.attn_plus_fn is not None:
            scores = self.attn_plus_fn(heads, scores, mask)
        attention = masked_softmax(scores, mask)
        z = self.proj((attention[:, :, None] @ heads).flatten(1))
        if self.ffn is not None:
            z = z + self.ffn(z)
        z = self.norm1(z)
        return Aggregated(self.classifier(z), attention, z)


# --- baselines ----------------------------------------------------------------------------------


class ABMIL(Aggregator):
    """Attention-based MIL: one head, a tanh perceptron of width `attn_hidden` scores the instances.

    With `gated` it is multiplied by a sigmoid gate; see `GatedABMIL`, and `Aggregator` for the others.
    """

    def __init__(
        self,
        in_dim: int,
        num_classes: int,
        *,
        attn_hidden: int = 128,
        gated: bool = False,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(in_dim, **shared)
        self.attention = MultiHeadLocalAttention(self.embed_dim, attn_hidden, self.bias, gated, "tanh")
        self.classify_with(num_classes)

    def aggregate(self, x: Features, mask: Mask | None) -> Aggregated:
        embedded = self.embed(x, mask)
        attention = masked_softmax(self.attention(embedded)[:, None], mask)
        z = self.norm1((attention @ embedded).squeeze(1))
        return Aggregated(self.classifier(z), attention, z)


class GatedABMIL(ABMIL):
    """Gated attention-based MIL: tanh(V x) times sigmoid(U x) scores the instances."""

    def __init__(
        self, in_dim: int, num_classes: int, *, attn_hidden: int = 384, **shared: Unpack[Shared]
    ) -> None:
        super().__init__(in_dim, num_classes, attn_hidden=attn_hidden, gated=True, **shared)


class MeanMIL(Aggregator):
    """Classify each instance with a perceptron and take the mean of the logits; attention is uniform.

    The only norm is in front of the perceptron. See `Aggregator`.
    """

    def __init__(self, in_dim: int, num_classes: int, **shared: Unpack[Shared]) -> None:
        super().__init__(in_dim, **shared)
        self.classifier = nn.Linear(self.embed_dim, num_classes, bias=self.bias)
        initialise(self)

    def instance_logits(
        self, x: Features, mask: Mask | None = None
    ) -> Float[Tensor, "bags instances classes"]:
        """Return the logits of each instance."""
        logits: Tensor = self.classifier(self.embed(x, mask))
        return logits

    def aggregate(self, x: Features, mask: Mask | None) -> Aggregated:
        logits = self.instance_logits(x, mask)
        attention = masked_softmax(logits.new_zeros(logits.shape[0], 1, logits.shape[1]), mask)
        return Aggregated((attention @ logits).squeeze(1), attention)


class MaxMIL(MeanMIL):
    """Classify each instance with a perceptron and take each class's largest logit.

    The attention has one head for each class: 1 on the instance whose logit was taken.
    """

    def aggregate(self, x: Features, mask: Mask | None) -> Aggregated:
        logits = self.instance_logits(x, mask)
        if mask is not None:
            logits = logits.masked_fill(~mask[..., None], -math.inf)
        largest, where = logits.max(dim=1)
        return Aggregated(largest, functional.one_hot(where, logits.shape[1]).to(logits.dtype))


# --- parts --------------------------------------------------------------------------------------


class InstanceNorm(nn.Module):
    """Normalise instance features: per instance, over all instances of a batch, or not at all."""

    def __init__(self, dim: int, norm: Norm | None, bias: bool) -> None:
        super().__init__()
        self.layer = nn.LayerNorm(dim, bias=bias) if norm == "layer" else None
        self.batch = nn.BatchNorm1d(dim) if norm == "batch" else None

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return the normalised features; padding does not count."""
        if self.layer is not None:
            normalised: Tensor = self.layer(x)
            return normalised
        if self.batch is None:
            return x
        there = torch.ones_like(x[..., 0], dtype=torch.bool) if mask is None else mask
        if self.training and int(there.sum()) < 2:
            raise ValueError(
                "Batch norm cannot be trained on a single instance: use larger bags or norm='layer'."
            )
        result = torch.zeros_like(x)
        result[there] = self.batch(x[there])
        return result


class FeedForward(nn.Module):
    """Linear(4d, d) of GELU of Linear(d, 4d), behind a layer norm where there is no other norm."""

    def __init__(self, dim: int, normalised: bool) -> None:
        super().__init__()
        self.norm: nn.Module = nn.LayerNorm(dim) if normalised else nn.Identity()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, z: Tensor) -> Tensor:
        """Return what is added to the bag's embedding."""
        change: Tensor = self.fc2(functional.gelu(self.fc1(self.norm(z))))
        return change


class BagBatchNorm(nn.BatchNorm1d):
    """Batch norm over bags, with an error of its own for a single bag."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised embeddings."""
        if self.training and len(x) < 2:
            raise ValueError(
                "Batch norm cannot be trained on a single bag: use larger batches or norm='layer'."
            )
        return super().forward(x)


def masked_softmax(
    scores: Float[Tensor, "bags heads instances"], mask: Mask | None
) -> Float[Tensor, "bags heads instances"]:
    """Return the softmax over the instances that are there; 0 elsewhere."""
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None], -math.inf)
    return scores.softmax(dim=-1)


def initialise(model: nn.Module) -> None:
    """Draw all linear weights from Xavier's normal distribution and set the biases to 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
