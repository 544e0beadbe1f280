"""Encoder and aggregator as one module that is trained from one label a bag."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from assay.errors import DivergedError
from assay.papers.vision.abmilx.method.aggregators import Aggregated, Aggregator, Mask
from assay.papers.vision.abmilx.method.bags import check_mask, pad_bags


class EndToEndMIL(nn.Module):
    """A patch encoder and an aggregator, trained together.

    Only the instances that are there go through the encoder; padding costs nothing.

    Args:
        encoder: any module from instances [n, ...] to vectors [n, d].
        aggregator: from vectors [B, N, d] with a mask to logits.
        chunk_size: instances that go through the encoder at once; all by default. Chunks are about equal.
            Batch norm in the encoder is over a chunk.
        checkpoint_encoder: forget the encoder's activations and compute them again for the gradient, chunk by
            chunk: the memory of one chunk for about a third more time.
    """

    def __init__(
        self,
        encoder: nn.Module,
        aggregator: Aggregator,
        chunk_size: int | None = None,
        checkpoint_encoder: bool = False,
    ) -> None:
        super().__init__()
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"chunk_size={chunk_size} must be at least 1.")
        self.encoder, self.aggregator = encoder, aggregator
        self.chunk_size, self.checkpoint_encoder = chunk_size, checkpoint_encoder

    def forward(
        self,
        instances: Tensor | Sequence[Tensor],
        mask: Mask | None = None,
        labels: Int[Tensor, " bags"] | None = None,
    ) -> Tensor:
        """Return the logits [B, C] of bags [B, N, ...] with a mask, or of a list of bags [n_b, ...].

        With labels, return the aggregator's loss instead.

        Raises:
            ValueError: a bag is empty or fully masked, values are not finite, or batch norm has one instance.
            DivergedError: of finite instances the model makes what is not finite.
        """
        if not isinstance(instances, Tensor):
            instances, mask = pad_bags(instances)
        found = self.explain(instances, mask)
        return found.logits if labels is None else self.aggregator.loss(found, labels, mask)

    def explain(self, instances: Tensor | Sequence[Tensor], mask: Mask | None = None) -> Aggregated:
        """Return logits, attention [B, H, N] and embedding; see `forward`."""
        if not isinstance(instances, Tensor):
            instances, mask = pad_bags(instances)
        check_mask(instances, mask)
        given = instances.flatten(0, 1) if mask is None else instances[mask]
        flat = self.encode(given)
        if mask is None:
            features = flat.unflatten(0, instances.shape[:2])
        else:
            features = flat.new_zeros(*mask.shape, flat.shape[-1])
            features[mask] = flat
        try:
            return self.aggregator.explain(features, mask)
        except ValueError as error:
            if flat.isfinite().all() or not given.isfinite().all():
                raise
            raise DivergedError(
                "The encoder makes NaN or infinity of finite instances: its weights have diverged. A lower"
                " learning rate often helps."
            ) from error

    def encode(self, instances: Tensor) -> Tensor:
        """Return the vector of each instance [n, d]."""
        count = 1 if self.chunk_size is None else -(-len(instances) // self.chunk_size)
        chunks = instances.tensor_split(count)
        self._check_batch_norm(min(map(len, chunks)))
        return torch.cat([self._encode(chunk) for chunk in chunks])

    def _encode(self, chunk: Tensor) -> Tensor:
        if not (self.checkpoint_encoder and torch.is_grad_enabled()):
            encoded: Tensor = self.encoder(chunk)
            return encoded
        recomputed: Tensor = checkpoint(
            self.encoder,
            chunk,
            use_reentrant=False,
            context_fn=lambda: (contextlib.nullcontext(), statistics_kept(self.encoder)),
        )
        return recomputed

    def _check_batch_norm(self, instances: int) -> None:
        if instances < 2 and any(norm.training for norm in batch_norms(self.encoder)):
            raise ValueError(
                "The encoder's batch norm cannot be trained on a single instance. Use larger bags, batches or"
                " chunks, or put the norms into evaluation mode."
            )


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms of a model."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@contextlib.contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Keep batch norms from counting a batch a second time when it is computed again."""
    norms = [norm for norm in batch_norms(model) if norm.track_running_stats]
    before = [(norm.momentum, torch.as_tensor(norm.num_batches_tracked).clone()) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0  # running statistics stay what they are
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
