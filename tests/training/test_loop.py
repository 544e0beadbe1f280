"""The training loop does what a loop written by hand does, on one core, with Fabric and in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from assay.training import Compute, batches, fit

sys.path.insert(0, str(Path(__file__).parent))  # processes that are started get this path too
import toy

ON_CPU = Compute(accelerator="cpu")
WITH_FABRIC = Compute(accelerator="cpu", precision="64-true")
BOTH = pytest.mark.parametrize("compute", [ON_CPU, WITH_FABRIC], ids=["plain", "fabric"])


def by_hand(model: nn.Module, batch_size: int, steps: int) -> list[float]:
    optimizer, losses, passing = toy.sgd(model), [], iter(())
    rows = toy.loader(batch_size)
    for _ in range(steps):
        batch = next(passing, None)
        if batch is None:
            passing = iter(rows)
            batch = next(passing)
        optimizer.zero_grad()
        value = toy.loss(model, batch)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


class Point(nn.Module):
    """A single trainable vector."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(values))

    def forward(self, target: Tensor) -> Tensor:
        return self.at - target


def half_square(model: nn.Module, target: Tensor) -> Tensor:
    """½‖x − t‖², whose gradient is x − t."""
    return model(target).square().sum() / 2


def test_it_equals_a_loop_written_by_hand() -> None:
    model, history = toy.trained(batch_size=5, steps=13)
    expected = toy.network()
    losses = by_hand(expected, batch_size=5, steps=13)
    assert history.losses == losses
    assert torch.equal(toy.weights(model), toy.weights(expected))


def test_fabric_gives_what_the_plain_loop_gives() -> None:
    model, history = toy.trained(batch_size=5, steps=13, compute=WITH_FABRIC)
    plain, expected = toy.trained(batch_size=5, steps=13, compute=ON_CPU)
    assert history.losses == pytest.approx(expected.losses, rel=1e-5)
    torch.testing.assert_close(toy.weights(model).float(), toy.weights(plain))
    assert history.examples == expected.examples == 2 * toy.ROWS + 3 * 5


@BOTH
def test_a_step_follows_the_gradient(compute: Compute) -> None:
    model = Point(3.0, 4.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    history = fit(
        model, [torch.tensor([1.0, 0.0])], half_square, optimizer=optimizer, steps=1, compute=compute
    )
    assert history.losses == [(2**2 + 4**2) / 2]
    assert model.at.tolist() == [2.0, 2.0]


@BOTH
def test_clipping_bounds_the_length_of_the_step(compute: Compute) -> None:
    model = Point(3.0, 4.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    fit(model, [torch.zeros(2)], half_square, optimizer=optimizer, steps=1, clip=0.5, compute=compute)
    torch.testing.assert_close(model.at.detach().float(), torch.tensor([2.7, 3.6]))


@BOTH
def test_accumulated_batches_equal_one_large_batch(compute: Compute) -> None:
    inputs, targets = toy.data()
    parts = [(inputs[i : i + 6], targets[i : i + 6]) for i in range(0, 24, 6)]
    small, large = toy.network(), toy.network()
    accumulating = Compute(accelerator="cpu", precision=compute.precision, accumulate=4)
    history = fit(small, parts, toy.loss, optimizer=toy.sgd(small), steps=3, compute=accumulating)
    expected = fit(large, [(inputs, targets)], toy.loss, optimizer=toy.sgd(large), steps=3, compute=compute)
    assert history.losses == pytest.approx(expected.losses)
    assert (
        (history.gradient_steps, history.examples) == (expected.gradient_steps, expected.examples) == (3, 72)
    )
    torch.testing.assert_close(toy.weights(small), toy.weights(large))


def test_accumulation_runs_on_into_the_next_pass_and_keeps_the_rest() -> None:
    seen: list[float] = []

    def record(model: nn.Module, target: Tensor) -> Tensor:
        seen.append(target.item())
        return half_square(model, target)

    model = Point(0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    targets = [torch.tensor([float(i)]) for i in range(3)]
    history = fit(model, targets, record, optimizer=optimizer, epochs=3, compute=Compute("cpu", accumulate=2))
    assert seen == [0, 1, 2] * 3
    halves = [i * i / 2 for i in seen]
    expected = [sum(halves[i : i + 2]) / len(halves[i : i + 2]) for i in range(0, 9, 2)]
    assert history.losses == pytest.approx(expected)


def test_epochs_count_passes() -> None:
    model = toy.network()
    history = fit(model, toy.loader(5), toy.loss, optimizer=toy.sgd(model), epochs=2, compute=ON_CPU)
    assert (history.gradient_steps, history.examples) == (10, 48)


def test_a_data_loader_is_used_as_it_is() -> None:
    inputs, targets = toy.data()
    expected, _ = toy.trained(batch_size=24, steps=4)
    model = toy.network()
    rows = DataLoader(TensorDataset(inputs, targets), batch_size=24)
    history = fit(model, rows, toy.loss, optimizer=toy.sgd(model), steps=4, compute=ON_CPU)
    assert history.examples == 96
    torch.testing.assert_close(toy.weights(model), toy.weights(expected))


@pytest.mark.parametrize(
    ("batch", "rows"),
    [
        (torch.zeros(5, 2), 5),
        ({"ids": torch.zeros(4, 9), "length": 9}, 4),
        (["a", "b", "c"], 3),
        ((["a", "b"], torch.zeros(2)), 2),
        ([torch.zeros(6, 1), torch.zeros(6)], 6),
    ],
)
def test_examples_are_counted_in_every_kind_of_batch(batch: Any, rows: int) -> None:
    model = Point(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    history = fit(model, [batch], lambda m, _: m(torch.zeros(1)).sum(), optimizer=optimizer, steps=2)
    assert history.examples == 2 * rows


def test_the_scheduler_advances_with_each_gradient_step() -> None:
    model = Point(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    rates: list[float] = []
    fit(
        model,
        [torch.zeros(1)] * 4,
        half_square,
        optimizer=optimizer,
        steps=3,
        scheduler=scheduler,
        compute=Compute("cpu", accumulate=2),
        on_step=lambda step, loss: rates.append(optimizer.param_groups[0]["lr"]),
    )
    assert rates == pytest.approx([1 / 2, 1 / 3, 1 / 4])


def test_on_step_sees_each_loss_and_can_end_the_training() -> None:
    seen: list[tuple[int, float]] = []

    def watch(step: int, loss: Tensor) -> bool:
        seen.append((step, loss.item()))
        return step == 3

    model = toy.network()
    history = fit(model, toy.loader(5), toy.loss, optimizer=toy.sgd(model), steps=9, on_step=watch)
    assert seen == list(enumerate(history.losses, 1))
    assert history.gradient_steps == 3


@BOTH
def test_it_trains_in_training_mode_and_restores_what_it_found(compute: Compute) -> None:
    model = nn.Sequential(nn.Linear(3, 1), nn.Dropout())
    model.eval()
    model[1].train()
    modes: list[bool] = []

    def watch(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        modes.extend(module.training for module in model.modules())
        return toy.loss(network, batch)

    fit(model, toy.loader(8), watch, optimizer=toy.sgd(model), steps=1, compute=compute)
    assert modes == [True] * 3
    assert [module.training for module in model.modules()] == [False, False, True]


@BOTH
def test_a_loss_that_is_not_finite_is_named_with_its_step(compute: Compute) -> None:
    targets = [torch.tensor([value]) for value in (1.0, 2.0, float("inf"), 3.0)]
    model = Point(0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(FloatingPointError, match="The loss is inf at gradient step 3"):
        fit(model, targets, half_square, optimizer=optimizer, epochs=1, compute=compute)


@pytest.mark.parametrize("lengths", [{}, {"steps": 3, "epochs": 1}])
def test_the_length_is_given_once(lengths: dict[str, int]) -> None:
    model = toy.network()
    with pytest.raises(ValueError, match="either steps or epochs"):
        fit(model, toy.loader(4), toy.loss, optimizer=toy.sgd(model), **lengths)


def test_batches_that_cannot_be_repeated_are_refused() -> None:
    model = toy.network()
    with pytest.raises(ValueError, match="gave nothing in pass 2"):
        fit(model, iter([toy.data()]), toy.loss, optimizer=toy.sgd(model), steps=2)


def test_mixed_precision_computes_in_bfloat16_and_keeps_the_weights() -> None:
    dtypes = set()

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 1)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs = self.linear(inputs)
            dtypes.add(outputs.dtype)
            return outputs

    model = Spy()
    compute = Compute(accelerator="cpu", precision="bf16-mixed")
    fit(model, toy.loader(8), toy.loss, optimizer=toy.sgd(model), steps=1, compute=compute)
    assert dtypes == {torch.bfloat16}
    assert model.linear.weight.dtype == torch.float32


def test_two_spawned_processes_equal_one_with_the_batches_together() -> None:
    together, expected = toy.trained(batch_size=8, steps=5, compute=ON_CPU)
    model = toy.network()
    optimizer = toy.sgd(model)
    compute = Compute(accelerator="cpu", devices=2)
    history = fit(model, toy.loader(4), toy.loss, optimizer=optimizer, steps=5, compute=compute)
    torch.testing.assert_close(toy.weights(model), toy.weights(together), rtol=0, atol=1e-6)
    assert history.losses == pytest.approx(expected.losses, abs=1e-6)
    assert history.examples == expected.examples
    momentum = [state["momentum_buffer"].abs().sum() for state in optimizer.state_dict()["state"].values()]
    assert len(momentum) == 4
    assert all(momentum)


def test_spawned_processes_need_functions_that_they_can_import() -> None:
    model = toy.network()
    with pytest.raises(ValueError, match=r"sends the model.*Write functions at module level"):
        fit(
            model,
            toy.loader(4),
            lambda network, batch: toy.loss(network, batch),
            optimizer=toy.sgd(model),
            steps=1,
            compute=Compute(accelerator="cpu", devices=2),
        )


def test_two_processes_of_torchrun_equal_one_with_the_batches_together(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys, toy\ntoy.under_torchrun(sys.argv[1])\n")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            script,
            tmp_path / "found",
        ],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"},
    )
    found = torch.load(tmp_path / "found", weights_only=True)
    together, expected = toy.trained(batch_size=8, steps=5, compute=ON_CPU)
    torch.testing.assert_close(found["weights"], toy.weights(together), rtol=0, atol=1e-6)
    assert found["losses"] == pytest.approx(expected.losses, abs=1e-6)
    assert found["examples"] == 40
    assert found["epoch"] == (4, toy.ROWS)
    assert "must belong to the model" in found["refused"]
    whole, losses, rate = toy.tower(8, ON_CPU)
    torch.testing.assert_close(found["sharded"], toy.weights(whole), rtol=0, atol=1e-5)
    assert found["sharded_losses"] == pytest.approx(losses, abs=1e-5)
    assert found["rate"] == rate == pytest.approx(0.05 * 0.1**2)


def test_batches_of_a_generator_continue_where_training_stopped() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = batches(*toy.data(), batch_size=24, generator=generator)
    model = toy.network()
    first = [fit(model, rows, toy.loss, optimizer=toy.sgd(model), steps=1).losses for _ in range(2)]
    assert first[1] < first[0]
