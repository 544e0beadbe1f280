"""Where and how a model trains: devices, processes and precision."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from assay.errors import InputError, nearest

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.model_parallel import ModelParallelStrategy

Accelerator = Literal["auto", "cpu", "cuda", "mps"]
Strategy = Literal["auto", "ddp", "ddp_spawn", "fsdp"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true"]


@dataclass(frozen=True)
class Compute:
    """Where and how a model trains."""

    accelerator: Accelerator = "auto"
    """The kind of device; `auto` takes a GPU when there is one."""
    devices: int = 1
    """How many devices, each with its own process; -1 takes all."""
    strategy: Strategy = "auto"
    """How several devices share the work.

    `ddp_spawn` starts the processes for the training alone, `ddp` and `fsdp` start the whole command once for
    each device, or run under `torchrun`. `auto` takes `ddp` under `torchrun` and `ddp_spawn` elsewhere.
    With `fsdp` each device holds a part of the weights and of the optimizer's state; a whole copy stays in
    the main memory of each process and gets the trained weights at the end.
    """
    precision: Precision = "32-true"
    """The number format of weights and activations."""
    accumulate: int = 1
    """How many batches give one gradient step."""

    def __post_init__(self) -> None:
        for name, kind in (("accelerator", Accelerator), ("strategy", Strategy), ("precision", Precision)):
            _check_choice(name, getattr(self, name), get_args(kind))
        if self.devices < 1 and self.devices != -1:
            raise InputError(f"compute.devices must be a positive number or -1 for all, not {self.devices}.")
        if self.accumulate < 1:
            raise InputError(f"compute.accumulate must be at least 1, not {self.accumulate}.")

    def fabric(self) -> Fabric:
        """Return the Fabric that carries this out, not launched yet.

        Raises:
            InputError: this machine does not have the devices, or the strategy cannot start here.
        """
        from lightning_fabric import Fabric
        from lightning_fabric.utilities.exceptions import MisconfigurationException

        strategy: Any = self.resolve_strategy()
        if strategy in ("ddp", "fsdp") and not _under_torchrun() and multiprocessing.parent_process():
            raise InputError(
                f"compute.strategy {strategy!r} starts the whole command once for each device, which a "
                "worker process cannot do. Use 'ddp_spawn', or start the command with torchrun."
            )
        try:
            if strategy == "fsdp":
                strategy = self._sharded()
            return Fabric(
                accelerator=self.accelerator,
                devices=self.devices,
                strategy=strategy,
                precision=self.precision,
            )
        except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"This machine cannot train with {self}: {error}") from error

    def _sharded(self) -> ModelParallelStrategy:
        import torch
        from lightning_fabric.strategies.model_parallel import ModelParallelStrategy

        from assay.training.sharding import shard

        processes = int(os.environ["WORLD_SIZE"]) if _under_torchrun() else self.devices
        if processes == -1:
            processes = torch.cuda.device_count() or 1
        return ModelParallelStrategy(shard, data_parallel_size=processes, tensor_parallel_size=1)

    def resolve_strategy(self) -> Strategy:
        """Return the strategy that `auto` stands for here; with one device it stays `auto`."""
        if self.strategy != "auto" or self.devices == 1:
            return self.strategy
        return "ddp" if _under_torchrun() else "ddp_spawn"


def _under_torchrun() -> bool:
    from torch.distributed import is_torchelastic_launched

    return is_torchelastic_launched()


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(
            f"compute.{name} is {value!r}; use one of {', '.join(choices)}.{nearest(str(value), choices)}"
        )
