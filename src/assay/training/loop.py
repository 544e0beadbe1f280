"""The one training loop. It knows about steps, devices and processes, and nothing about what is learnt."""

from __future__ import annotations

import math
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from assay.errors import DivergedError
from assay.training.compute import Compute
from assay.training.evaluation import mode
from assay.training.loader import TensorBatches

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Loss = Callable[[nn.Module, Any], Tensor]

FETCH_EVERY = 50
"""Gradient steps between two looks at the losses where each look would make the device wait."""


@dataclass
class History:
    """What happened in training."""

    losses: list[float] = field(default_factory=list)
    """The loss of each gradient step: the mean over its batches and processes, before the step."""
    examples: int = 0
    """How many rows were trained on, repetitions included, in all processes together."""

    @property
    def gradient_steps(self) -> int:
        """How many steps the optimizer made."""
        return len(self.losses)


def fit(
    model: nn.Module,
    batches: Iterable[Any],
    loss: Loss,
    *,
    optimizer: Optimizer,
    steps: int | None = None,
    epochs: int | None = None,
    scheduler: LRScheduler | None = None,
    compute: Compute | None = None,
    clip: float | None = None,
    on_step: Callable[[int, Tensor], object] | None = None,
) -> History:
    """Train `model` in place for so many gradient steps, or so many passes over the batches.

        train = batches(inputs, labels, batch_size=32, generator=trial.generator("batches"))
        history = fit(model, train, loss, optimizer=optimizer, steps=500)

    The model trains in training mode; afterwards every module is back in the mode in which it was found. It
    stays on the device on which it was trained, and so does `loss` when it is a module; with `fsdp` it stays
    where it was, and has its new weights only after the last step.

    Several processes each train on their own part of a `DataLoader` or of what `batches` returns; any other
    iterable has to give each process its own part. The batch size is that of one process. The optimizer may
    then hold parameters of the model only, and with `ddp_spawn` all that is given here is pickled: `loss` and
    `on_step` are modules or functions at module level.

    Args:
        model: what is trained. `loss` calls it as `model(...)`: precision and processes hook in there.
        batches: a `DataLoader`, what `batches` returns, or anything that can be iterated again and again.
        loss: `loss(model, batch)` gives the scalar to minimise.
        optimizer: over the parameters that train.
        steps: how many gradient steps; the batches repeat as needed. Either this or `epochs`.
        epochs: how many passes over the batches.
        scheduler: advanced after each gradient step.
        compute: devices, precision and how many batches give one gradient step.
        clip: the largest norm of the gradient; a longer one is scaled down to it.
        on_step: called as `on_step(step, loss)` after each gradient step, counted from 1, in every process.
            Training ends when it returns `True`.

    Raises:
        ValueError: steps and epochs are both given or both missing, or there are no batches.
        DivergedError: the loss is not finite; names the step.
    """
    compute = compute or Compute()
    if (steps is None) == (epochs is None):
        raise ValueError(f"Give either steps or epochs, not steps={steps} and epochs={epochs}.")
    plan = _Plan(batches, loss, steps, epochs, compute.accumulate, clip, on_step)
    if _is_plain(compute):
        return _train(_Plain(), model, optimizer, scheduler, plan)
    fabric = compute.fabric()
    if compute.resolve_strategy() == "ddp_spawn":
        return _train_in_new_processes(fabric, model, optimizer, scheduler, plan)
    fabric.launch()
    if compute.strategy == "fsdp":
        from assay.training import sharding

        with sharding.copied(model, optimizer, scheduler) as copies:
            return _train(fabric, *copies, plan, setup=partial(sharding.set_up, fabric))
    return _train(fabric, model, optimizer, scheduler, plan)


@dataclass(frozen=True)
class _Plan:
    """What `fit` was asked to do."""

    batches: Iterable[Any]
    loss: Loss
    steps: int | None
    epochs: int | None
    accumulate: int
    clip: float | None
    on_step: Callable[[int, Tensor], object] | None

    def groups(self, batches: Iterable[Any]) -> Iterator[list[Any]]:
        """Yield the batches of each gradient step. A group runs on into the next pass."""
        stream = _repeat(batches, self.epochs)
        count = 0
        while self.steps is None or count < self.steps:
            group = list(islice(stream, self.accumulate))
            if not group:
                return
            yield group
            count += 1


def _train(
    fabric: Fabric | _Plain,
    model: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
    plan: _Plan,
    setup: Callable[..., tuple[Any, Any]] | None = None,
) -> History:
    _check_optimizer(fabric, model, optimizer)
    network, stepper = (setup or fabric.setup)(model, optimizer)
    if isinstance(plan.loss, nn.Module):
        plan.loss.to(fabric.device)
    losses = _Losses(fabric)
    examples = 0
    with mode(model, training=True), _own_stream(fabric):
        for step, group in enumerate(plan.groups(_distribute(fabric, plan.batches)), 1):
            stepper.zero_grad()
            mean = _backward(fabric, network, group, plan.loss)
            if plan.clip is not None:
                fabric.clip_gradients(network, stepper, max_norm=plan.clip, error_if_nonfinite=False)
            stepper.step()
            if scheduler is not None:
                scheduler.step()
            losses.add(mean)
            examples += sum(map(_rows, group))
            if plan.on_step is not None and plan.on_step(step, mean) is True:
                break
    return History(losses.fetch(), examples * fabric.world_size)


def _backward(fabric: Fabric | _Plain, network: Any, group: list[Any], loss: Loss) -> Tensor:
    """Add up the gradient of the mean loss over a group of batches, and return that mean."""
    if len(group) == 1:
        value = loss(network, fabric.to_device(group[0]))
        fabric.backward(value)
        return value.detach()
    total = torch.zeros((), device=fabric.device)
    for number, batch in enumerate(group, 1):
        with fabric.no_backward_sync(network, enabled=number < len(group)):
            value = loss(network, fabric.to_device(batch)) / len(group)
            fabric.backward(value)
        total += value.detach()
    return total


class _Losses:
    """The losses so far. They stay on the device until enough are there to be worth the wait."""

    def __init__(self, fabric: Fabric | _Plain) -> None:
        self._fabric = fabric
        self._free = fabric.device.type == "cpu" and fabric.world_size == 1
        self._waiting: list[Tensor] = []
        self._fetched: list[float] = []

    def add(self, loss: Tensor) -> None:
        if self._free:
            self._keep(loss.item())
            return
        self._waiting.append(loss)
        if len(self._waiting) >= FETCH_EVERY:
            self.fetch()

    def fetch(self) -> list[float]:
        """Return all losses, averaged over the processes."""
        if self._waiting:
            mean = cast(Tensor, self._fabric.all_reduce(torch.stack(self._waiting).float(), reduce_op="mean"))
            self._waiting = []
            for value in mean.tolist():
                self._keep(value)
        return self._fetched

    def _keep(self, value: float) -> None:
        self._fetched.append(value)
        if not math.isfinite(value):
            raise DivergedError(
                f"The loss is {value} at gradient step {len(self._fetched)}. "
                "A lower learning rate or clipping the gradient often helps."
            )


class _Plain:
    """What the loop needs of Fabric, for one CPU in single precision.

    Fabric's wrappers add a third to the time of a step of a small model, and importing it takes a second.
    """

    world_size = 1
    global_rank = 0
    device = torch.device("cpu")

    def setup(self, model: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        return model.to(self.device), optimizer

    def setup_dataloaders(self, loader: DataLoader[Any]) -> DataLoader[Any]:
        return loader

    def to_device(self, batch: Any) -> Any:
        return batch

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def no_backward_sync(self, network: nn.Module, enabled: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def clip_gradients(
        self, network: nn.Module, optimizer: Optimizer, max_norm: float, error_if_nonfinite: bool
    ) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(parameters, max_norm, error_if_nonfinite=error_if_nonfinite)

    def all_reduce(self, tensor: Tensor, reduce_op: str) -> Tensor:
        return tensor


def _is_plain(compute: Compute) -> bool:
    if compute.devices != 1 or compute.strategy != "auto" or compute.precision != "32-true":
        return False
    if compute.accelerator == "auto":
        return not torch.cuda.is_available() and not torch.backends.mps.is_available()
    return compute.accelerator == "cpu"


def _train_in_new_processes(
    fabric: Fabric, model: nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None, plan: _Plan
) -> History:
    """Train copies in processes that live as long as the training, and bring the result back."""
    try:
        # In one piece, so that the optimizer still refers to the parameters of the model.
        job = pickle.dumps((model, optimizer, scheduler, plan))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"'ddp_spawn' sends the model, the batches, loss and on_step to new processes, but: {error}. "
            "Write functions at module level, or use 'ddp' under torchrun."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trained.pt"
        launch: Callable[..., None] = fabric.launch
        launch(_train_and_save, job, path)
        trained = torch.load(path, weights_only=True)
    model.load_state_dict(trained["model"])
    optimizer.load_state_dict(trained["optimizer"])
    if scheduler is not None:
        scheduler.load_state_dict(trained["scheduler"])
    return History(**trained["history"])


def _train_and_save(fabric: Fabric, job: bytes, path: Path) -> None:
    model, optimizer, scheduler, plan = pickle.loads(job)
    history = _train(fabric, model, optimizer, scheduler, plan)
    if fabric.global_rank == 0:
        trained = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "history": vars(history)}
        torch.save(trained | {"scheduler": scheduler.state_dict() if scheduler else None}, path)
    fabric.barrier()
    torch.distributed.destroy_process_group()  # its threads must end before the process does


def _distribute(fabric: Fabric | _Plain, batches: Iterable[Any]) -> Iterable[Any]:
    """Return the batches of this process."""
    if isinstance(batches, DataLoader):
        return fabric.setup_dataloaders(batches)
    if isinstance(batches, TensorBatches) and fabric.world_size > 1:
        return batches.shard(fabric.global_rank, fabric.world_size)
    return batches


def _repeat(batches: Iterable[Any], epochs: int | None) -> Iterator[Any]:
    """Yield the batches of so many passes, or without end."""
    passes = 0
    while epochs is None or passes < epochs:
        count = 0
        for count, batch in enumerate(batches, 1):  # noqa: B007
            yield batch
        if count == 0:
            raise ValueError(
                f"The batches gave nothing in pass {passes + 1}: they are empty, or end after one pass."
            )
        passes += 1


@contextmanager
def _own_stream(fabric: Fabric | _Plain) -> Iterator[None]:
    """Give each of several processes its own random numbers, so that their dropout differs."""
    if fabric.world_size == 1:
        yield
        return
    devices = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(torch.randint(2**40, ()).item()) + fabric.global_rank)
        yield


def _check_optimizer(fabric: Fabric | _Plain, model: nn.Module, optimizer: Optimizer) -> None:
    """Refuse parameters whose gradients several processes would not average."""
    if fabric.world_size == 1:
        return
    known = set(map(id, model.parameters()))
    if any(id(parameter) not in known for group in optimizer.param_groups for parameter in group["params"]):
        raise ValueError("With several processes, all parameters of the optimizer must belong to the model.")


def _rows(batch: Any) -> int:
    """Return how many rows a batch has: those of its first tensor, or the length of its first list."""
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.ndim else 1
    if isinstance(batch, list | tuple) and batch and isinstance(batch[0], Tensor | list | tuple | Mapping):
        return _rows(batch[0])
    if isinstance(batch, Mapping):
        return _rows(next(iter(batch.values())))
    return len(batch) if hasattr(batch, "__len__") else 1
