"""EF21-W as a communication hook of torch's `DistributedDataParallel`.

Every rank is a client: its f_i is the loss that it averages over its own data. Per parameter, each rank keeps
g_i (what the others know of its gradient) and g = sum_i w_i g_i (the same on all ranks), sends
u_i = C(grad f_i / (n w_i) - g_i), and hands g to the optimiser in place of the mean gradient.
"""

# DDP compares a hook's annotations with the types themselves, so they must not become strings here: there is
# no `from __future__ import annotations`. As result it allows torch.futures.Future alone, but what process
# groups hand out is a torch.Future, the base of that, so the hook leaves its result without annotation.
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from .compressors import Compressed, Compressor, float_bits, joined
from .smoothness import SmoothnessProfile, checked_weights


class EF21WState:
    """What the hook remembers between backward passes.

    Memories belong to parameters, by name, not to buckets: DDP rebuilds its buckets after the first pass.
    They are kept in float32 at least, since 1/(n w_i) can be large. Each parameter is compressed by itself.

    Things to know:
        - The hook's result already is the estimate of the mean gradient; clip after `backward`, as usual.
        - With `no_sync`, the accumulated gradient is what gets compressed.
        - A gradient that is infinite or NaN on any rank raises on all of them; with `loss_scale`, all ranks
          hand infinities to the gradient scaler, which skips the step, and the memories stay as they were.
        - Compressors that send positions (Top-K, Rand-K) use one all-gather of (value, int32 position)
          pairs, which pays while n k is far below 2 d. All others use an all-reduce of whole vectors: right,
          but nothing is saved on the wire.

    Args:
        module: the module, wrapped in DDP or not; its parameters' names key the memories.
        compressor: C, the same on all ranks. Fractions suit parameters of different sizes: `TopK(0.01)`.
        weights: w_i for all ranks, [n]; None is 1/n, plain EF21. `gather_weights` makes them of constants.
        init: the first exchange is "full" (not compressed) or "compressed".
        loss_scale: with mixed precision, a function that returns the present scale (`scaler.get_scale`).
        process_group: the group that DDP uses; by default the world.
        seed: for random compressors; each rank and parameter has its own stream.

    Attributes:
        bits_sent: what this rank has sent, in bits.

    Raises:
        ValueError: the weights are none, or compressor, weights or parameters differ between ranks.
    """

    def __init__(
        self,
        module: nn.Module,
        compressor: Compressor,
        *,
        weights: Float[Tensor, " n"] | None = None,
        init: Literal["full", "compressed"] = "full",
        loss_scale: Callable[[], float] | None = None,
        process_group: dist.ProcessGroup | None = None,
        seed: int = 0,
    ) -> None:
        if init not in ("full", "compressed"):
            raise ValueError(f"init is {init!r}: give 'full' or 'compressed'.")
        self.process_group = process_group or _world()
        self.rank, self.world_size = self.process_group.rank(), self.process_group.size()
        self.compressor, self.init, self.loss_scale = compressor, init, loss_scale
        self.weight = float(checked_weights(weights, self.world_size)[self.rank])
        self.bits_sent = 0
        self.memory: dict[str, Tensor] = {}
        self.estimate: dict[str, Tensor] = {}
        self._parameters = {
            name.removeprefix("module."): parameter
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self._generators = {
            name: torch.Generator().manual_seed(zlib.crc32(f"{seed}/{self.rank}/{name}".encode()))
            for name in self._parameters
        }
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in self._parameters.items()}
        self._check_agreement(weights)

    def state_dict(self) -> dict[str, Any]:
        """Return this rank's memories, for `torch.save` beside the model; every rank saves its own."""
        return {
            "rank": self.rank,
            "world_size": self.world_size,
            "bits_sent": self.bits_sent,
            "generators": {name: stream.get_state() for name, stream in self._generators.items()},
            "memory": {name: tensor.clone() for name, tensor in self.memory.items()},
            "estimate": {name: tensor.clone() for name, tensor in self.estimate.items()},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned on this rank (read files with `weights_only=True`).

        Raises ValueError for another rank's or another module's memories.
        """
        place = (saved["rank"], saved["world_size"])
        if place != (self.rank, self.world_size):
            raise ValueError(
                f"the memories are those of rank {place[0]} of {place[1]}, "
                f"this is rank {self.rank} of {self.world_size}."
            )
        known = {name: parameter.numel() for name, parameter in self._parameters.items()}
        for part in ("memory", "estimate"):
            sizes = {name: tensor.numel() for name, tensor in saved[part].items()}
            if sizes and sizes != known:
                raise ValueError(f"the saved {part} has the sizes {sizes}, the module has {known}.")
            held = {name: v.to(self._parameters[name].device, copy=True) for name, v in saved[part].items()}
            setattr(self, part, held)
        self.bits_sent = saved["bits_sent"]
        for name, state in saved["generators"].items():
            self._generators[name].set_state(state)

    def names_of(self, parameters: Sequence[Tensor]) -> list[str]:
        """Return the parameters' names."""
        return [self._names[parameter] for parameter in parameters]

    def innovations(self, names: list[str], gradients: Sequence[Tensor]) -> list[Tensor]:
        """Return grad f_i/(n w_i) - g_i for each parameter, flat.

        All NaN if any gradient is not finite: that reaches every rank through the exchange, so that all of
        them refuse together.
        """
        scale = 1.0 / (self.world_size * self.weight)
        if self.loss_scale is not None:
            scale /= self.loss_scale()
        found = []
        for name, gradient in zip(names, gradients, strict=True):
            wide = torch.promote_types(gradient.dtype, torch.float32)
            scaled = gradient.reshape(-1).to(wide) * scale
            found.append(scaled - self.memory[name] if name in self.memory else scaled)
        if all(bool(torch.isfinite(vector).all()) for vector in found):
            return found
        return [torch.full_like(vector, torch.nan) for vector in found]

    def compress(self, names: list[str], vectors: list[Tensor]) -> list[Compressed]:
        """Compress each parameter's innovation, and count the bits; the first exchange may send all of it."""
        if self.init == "full" and any(name not in self.memory for name in names):
            self.bits_sent += sum(vector.numel() * float_bits(vector) for vector in vectors)
            return [Compressed(vector, None, 0, vector.numel()) for vector in vectors]
        streams = [self._generators[name] for name in names]
        messages = [self.compressor.compress(*pair) for pair in zip(vectors, streams, strict=True)]
        self.bits_sent += sum(int(message.bits) for message in messages)
        return messages

    def advance(self, names: list[str], sent: Tensor, update: Tensor, gradients: Sequence[Tensor]) -> None:
        """Add u_i to the memories and sum_i w_i u_i to the estimates, and write those into `gradients`."""
        if not torch.isfinite(update).all():
            if self.loss_scale is None:
                raise ValueError(
                    "a gradient is not finite on some rank, so nothing was exchanged. "
                    "With a gradient scaler, pass loss_scale=scaler.get_scale to skip such steps."
                )
            for gradient in gradients:
                gradient.fill_(torch.inf)
            return
        sizes = [gradient.numel() for gradient in gradients]
        scale = 1.0 if self.loss_scale is None else self.loss_scale()
        parts = zip(names, sent.split(sizes), update.split(sizes), gradients, strict=True)
        for name, vector, part, gradient in parts:
            self.memory[name] = self.memory.get(name, 0.0) + vector
            self.estimate[name] = self.estimate.get(name, 0.0) + part
            gradient.copy_((self.estimate[name] * scale).view_as(gradient))

    def _check_agreement(self, weights: Tensor | None) -> None:
        """Compare a checksum of the setting over all ranks: another k on one rank would hang the exchange."""
        listed = None if weights is None else weights.tolist()
        sizes = {name: tuple(parameter.shape) for name, parameter in self._parameters.items()}
        setting = f"{self.compressor!r} {self.init} {listed} {sizes}"
        device = next(iter(self._parameters.values())).device
        own = torch.tensor([zlib.crc32(setting.encode())], device=device)
        found = _gathered(own, self.process_group)
        if (found != found[0]).any():
            raise ValueError(
                "compressor, init, weights or parameters differ between ranks: "
                f"rank {self.rank} has {self.compressor!r}, {self.init}, weights {listed}."
            )


def ef21w_hook(state: EF21WState, bucket: dist.GradBucket):  # type: ignore[no-untyped-def, name-defined]
    """Exchange one bucket of gradients; for `DistributedDataParallel.register_comm_hook(state, ef21w_hook)`.

    DDP does not divide gradients by the number of ranks before a hook, so `bucket` holds grad f_i itself, and
    what comes back is the estimate of (1/n) sum_i grad f_i.
    """
    names, gradients = state.names_of(bucket.parameters()), bucket.gradients()
    message = joined(state.compress(names, state.innovations(names, gradients)))

    def finish(received: Any) -> Tensor:
        state.advance(names, message.dense(), received.value(), gradients)
        buffer: Tensor = bucket.buffer()
        return buffer

    return _weighted_sum(state, message).then(finish)


def gather_weights(
    smoothness: float,
    floor: float = 0.0,
    process_group: dist.ProcessGroup | None = None,
    device: torch.device | None = None,
) -> Float[Tensor, " n"]:
    """Return w_i = L_i / sum_j L_j for all ranks, each of which gives its own L_i.

    Args:
        smoothness: this rank's L_i.
        floor: share of 1/n mixed in, so that no 1/(n w_i) exceeds 1/floor.
        process_group: by default the world.
        device: where the group communicates from (a GPU for nccl); by default the CPU.
    """
    own = torch.tensor([smoothness], dtype=torch.float64, device=device)
    constants = _gathered(own, process_group or _world()).cpu()
    return SmoothnessProfile(float(constants.mean()), constants).weights(floor)


def _weighted_sum(state: EF21WState, message: Compressed) -> Any:
    """Return a torch.Future of sum_i w_i u_i over the ranks."""
    weighted = state.weight * message.values
    if message.indices is None:
        work = dist.all_reduce(weighted, group=state.process_group, async_op=True)
        return work.get_future().then(lambda _: weighted)
    words = torch.cat([weighted.view(torch.int32), message.indices.to(torch.int32)])
    received = words.new_empty(state.world_size, len(words))
    work = dist.all_gather_single(received.view(-1), words, group=state.process_group, async_op=True)
    return work.get_future().then(lambda _: _scatter(received, weighted, message.dimension))


def _scatter(received: Tensor, like: Tensor, dimension: int) -> Tensor:
    """Add up what all ranks sent: rows of values (like `like`) and their positions."""
    split = received.shape[1] - len(like)
    values = received[:, :split].contiguous().view(like.dtype)
    return like.new_zeros(dimension).index_add_(0, received[:, split:].flatten(), values.flatten())


def _gathered(own: Tensor, group: dist.ProcessGroup) -> Tensor:
    found = own.new_empty(group.size() * len(own))
    dist.all_gather_single(found, own, group=group)
    return found


def _world() -> dist.ProcessGroup:
    if not dist.is_initialized():
        raise ValueError(
            "torch.distributed is not initialised: call init_process_group (torchrun does) first."
        )
    group = dist.group.WORLD
    assert group is not None
    return group
