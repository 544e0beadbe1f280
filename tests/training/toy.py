"""A small regression for the tests of training: processes that training starts import it by name."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from assay.training import Compute, History, TensorBatches, batches, fit

ROWS = 24


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(ROWS, 3, generator=generator)
    return inputs, inputs.sin().sum(1, keepdim=True)


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def sgd(model: nn.Module, momentum: float = 0.9) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=momentum)


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    inputs, targets = batch
    return mse_loss(model(inputs), targets)


def loader(batch_size: int) -> TensorBatches:
    return batches(*data(), batch_size=batch_size, generator=torch.Generator().manual_seed(7))


def trained(batch_size: int, steps: int, compute: Compute | None = None) -> tuple[nn.Module, History]:
    model = network()
    history = fit(model, loader(batch_size), loss, optimizer=sgd(model), steps=steps, compute=compute)
    return model, history


def weights(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def under_torchrun(path: str) -> None:
    """What each process of `torchrun` does in the test: process 0 writes what it found to `path`."""
    compute = Compute(accelerator="cpu", devices=2)
    model, history = trained(batch_size=4, steps=5, compute=compute)

    other = network(1)
    rows = DataLoader(TensorDataset(*data()), batch_size=3)
    epoch = fit(other, rows, loss, optimizer=sgd(other), epochs=1, compute=compute)

    outside = torch.optim.SGD([*other.parameters(), nn.Parameter(torch.ones(1))], lr=0.1)
    try:
        fit(other, rows, loss, optimizer=outside, steps=1, compute=compute)
        refused = ""
    except ValueError as error:
        refused = str(error)

    if torch.distributed.get_rank() == 0:
        found = {"weights": weights(model), "losses": history.losses, "examples": history.examples}
        torch.save(found | {"epoch": (epoch.gradient_steps, epoch.examples), "refused": refused}, path)
    torch.distributed.destroy_process_group()
