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


class Tower(nn.Module):
    """Blocks between a first and a last layer, with a weight that no block has and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.first = nn.Linear(3, 4)
            self.blocks = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])
            self.last = nn.Linear(4, 1)
        self.scale = nn.Parameter(torch.ones(4))
        self.register_buffer("shift", torch.full((4,), 0.1))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs)
        for block in self.blocks:
            hidden = hidden + block(hidden).tanh()
        return self.last(hidden * self.scale + self.shift)


def tower(batch_size: int, compute: Compute) -> tuple[nn.Module, list[float], float]:
    """Train a tower in two calls, of which the second goes on with the optimizer of the first."""
    model, rows = Tower(), loader(batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    decay = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    losses: list[float] = []
    for steps in (3, 2):
        history = fit(
            model,
            rows,
            loss,
            optimizer=optimizer,
            scheduler=decay,
            steps=steps,
            clip=0.5,
            compute=compute,
        )
        losses += history.losses
    return model, losses, optimizer.param_groups[0]["lr"]


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

    sharded, sharded_losses, rate = tower(4, Compute(accelerator="cpu", devices=2, strategy="fsdp"))

    outside = torch.optim.SGD([*other.parameters(), nn.Parameter(torch.ones(1))], lr=0.1)
    try:
        fit(other, rows, loss, optimizer=outside, steps=1, compute=compute)
        refused = ""
    except ValueError as error:
        refused = str(error)

    if torch.distributed.get_rank() == 0:
        found = {"weights": weights(model), "losses": history.losses, "examples": history.examples}
        found |= {"epoch": (epoch.gradient_steps, epoch.examples), "refused": refused}
        found |= {"sharded": weights(sharded), "sharded_losses": sharded_losses, "rate": rate}
        torch.save(found, path)
    torch.distributed.destroy_process_group()
