"""Compute refuses what cannot be, says what can, and stays light."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from typing import Any

import pytest
import torch

from assay.errors import InputError
from assay.training import Compute


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"devices": 0}, "compute.devices must be a positive number or -1 for all, not 0"),
        ({"accumulate": 0}, "compute.accumulate must be at least 1, not 0"),
    ],
)
def test_wrong_numbers_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Compute(**values)


def test_wrong_choices_are_named() -> None:
    code = """
from assay.training import Compute
for values in ({"accelerator": "cpuu"}, {"strategy": "dpp"}, {"precision": "bf16"}):
    try:
        Compute(**values)
    except ValueError as error:
        print(error)
"""
    # In a process of its own, where the types are not checked as they are in the tests.
    lines = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    assert lines[0] == "compute.accelerator is 'cpuu'; use one of auto, cpu, cuda, mps. Did you mean 'cpu'?"
    assert "Did you mean 'ddp'?" in lines[1]
    assert "compute.precision is 'bf16'" in lines[2]


def test_devices_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="cannot train with Compute"):
        Compute(accelerator="cuda", devices=2).fabric()


def test_fabric_gets_the_values() -> None:
    fabric = Compute(accelerator="cpu", precision="bf16-true").fabric()
    assert fabric.device == torch.device("cpu")
    assert fabric.world_size == 1
    assert fabric._precision.precision == "bf16-true"


def test_auto_spawns_unless_torchrun_started_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Compute().resolve_strategy() == "auto"
    assert Compute(devices=2).resolve_strategy() == "ddp_spawn"
    assert Compute(devices=2, strategy="fsdp").resolve_strategy() == "fsdp"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert Compute(devices=2).resolve_strategy() == "ddp"


def test_a_worker_process_does_not_start_the_command_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object())
    with pytest.raises(InputError, match="Use 'ddp_spawn'"):
        Compute(accelerator="cpu", devices=2, strategy="ddp").fabric()


def test_options_need_no_torch() -> None:
    code = "import sys; from assay.training import Compute; Compute(); print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
