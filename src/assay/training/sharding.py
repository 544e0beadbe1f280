"""Fully sharded training (FSDP2): each process holds a part of every weight and of the optimizer's state.

The caller's model stays whole: a copy of it is cut up and trained, and what it learnt is brought back.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Training = tuple[nn.Module, Optimizer, LRScheduler | None]


def shard(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Cut the weights up among the processes: those of each block of a `ModuleList` together, then the rest.

    All processes start from the weights of the first.
    """
    data = mesh["data_parallel"]
    device = torch.device(data.device_type)
    for weight in chain(model.parameters(), model.buffers()):
        sent = weight.detach().to(device)
        distributed.broadcast(sent, 0)
        weight.data.copy_(sent)
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    for block in dict.fromkeys(block for stack in reversed(stacks) for block in stack):
        if any(True for _ in block.parameters()):
            fully_shard(block, mesh=data)
    fully_shard(model, mesh=data)
    return model


@contextmanager
def copied(model: nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None) -> Iterator[Training]:
    """Give copies to train, and bring back what they became, in every process."""
    training: Training = copy.deepcopy((model, optimizer, scheduler))
    with warnings.catch_warnings():
        # The scheduler's mark on `step` is not copied.
        warnings.filterwarnings("ignore", "Seems like `optimizer.step", UserWarning)
        yield training
    model.load_state_dict(_whole(training[0].state_dict()))
    optimizer.load_state_dict(_whole(training[1].state_dict()))
    if scheduler is not None and training[2] is not None:
        scheduler.load_state_dict(training[2].state_dict())


def set_up(fabric: Fabric, model: nn.Module, optimizer: Optimizer) -> tuple[Any, Any]:
    """Cut up the model, and give the optimizer the parts in place of the whole weights."""
    names: dict[Tensor, str] = {weight: name for name, weight in model.named_parameters()}
    network = fabric.setup_module(model)
    parts = dict(model.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [parts[names[weight]] for weight in group["params"]]
    for weight in list(optimizer.state):
        part = parts[names[weight]]
        state = optimizer.state.pop(weight)
        optimizer.state[part] = {name: _like(value, part) for name, value in state.items()}
    return network, fabric.setup_optimizers(optimizer)


def _like(value: Any, part: nn.Parameter) -> Any:
    """Cut a state up as its weight is."""
    if not isinstance(value, Tensor) or value.shape != part.shape or not isinstance(part, DTensor):
        return value
    return distribute_tensor(value.to(part.device), part.device_mesh, part.placements)


def _whole(state: Any) -> Any:
    """Put tensors together again, wherever they are in nested containers."""
    if isinstance(state, DTensor):
        return state.full_tensor()
    if isinstance(state, dict):
        return {key: _whole(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_whole(value) for value in state]
    return state
