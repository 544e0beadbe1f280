"""The communication hook on 2 and 4 processes against the simulator and against plain DDP."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from assay.papers.optimization.ef21w.method import EF21, Blockwise, EF21WState, ModuleSum, SignL1, TopK

WORKER = Path(__file__).with_name("ddp_worker.py")
worker = runpy.run_path(str(WORKER))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """Run all ranks of both worlds, on the loopback interface."""
    folder = tmp_path_factory.mktemp("worlds")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-W", "error::FutureWarning", str(WORKER), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(params=[2, 4])
def ranks(request, worlds):
    """What every rank found, in a world of 2 and in one of 4."""
    files = [worlds / str(request.param) / f"rank-{rank}.pt" for rank in range(request.param)]
    return [torch.load(file, weights_only=True) for file in files]


def simulate(ranks, compressor, rounds=20, init="full"):
    """Run the simulator on the worker's problem, compressing each parameter by itself."""
    net = worker["make_net"]()
    problem = ModuleSum(net, nn.functional.mse_loss, *worker["make_data"](len(ranks)))
    sizes = tuple(parameter.numel() for parameter in net.parameters())
    method = EF21(
        problem,
        Blockwise(compressor, sizes),
        weights=ranks[0]["weights"],
        stepsize=worker["STEP"],
        init=init,
    )
    return method.run(problem.initial(), rounds)


@pytest.mark.parametrize(
    ("scenario", "compressor", "init"),
    [("topk", TopK(0.3), "full"), ("compressed", TopK(2), "compressed"), ("sign", SignL1(), "full")],
)
def test_all_ranks_follow_the_simulator(ranks, scenario, compressor, init):
    expected = simulate(ranks, compressor, init=init).x
    for rank in ranks:
        torch.testing.assert_close(rank[scenario], expected, rtol=1e-9, atol=1e-12)


def test_bits_are_those_of_the_simulator(ranks):
    expected = simulate(ranks, TopK(0.3)).history["bits"].iloc[-1]
    assert [rank["bits"] for rank in ranks] == [expected] * len(ranks)


def test_weights_are_gathered_from_the_ranks(ranks):
    constants = torch.tensor([worker["smoothness_of"](rank) for rank in range(len(ranks))]).double()
    for rank in ranks:
        torch.testing.assert_close(rank["weights"], constants / constants.sum())


def test_buckets_were_several_and_were_rebuilt(ranks):
    first, second = ranks[0]["buckets"][:2]
    assert len(first) == 1
    assert len(second) == 2
    assert [name for bucket in second for name in bucket] != first[0]
    assert sorted(name for bucket in second for name in bucket) == sorted(first[0])


def test_without_compression_it_is_plain_ddp(ranks):
    for rank in ranks:
        torch.testing.assert_close(rank["identity"], rank["plain"], rtol=1e-12, atol=1e-14)


def test_parameters_that_a_rank_does_not_use_count_as_zero_gradients(ranks):
    for rank in ranks:
        torch.testing.assert_close(rank["partly used"], rank["partly used, plain"], rtol=1e-12, atol=1e-14)


def test_a_run_resumed_from_a_file_continues_the_same(ranks):
    for rank in ranks:
        assert torch.equal(rank["resumed"], rank["straight"])


def test_accumulated_gradients_are_compressed_as_one(ranks):
    for rank in ranks:
        torch.testing.assert_close(rank["accumulated"], rank["five"], rtol=1e-10, atol=1e-13)


def test_a_changing_loss_scale_changes_nothing(ranks):
    for rank in ranks:
        torch.testing.assert_close(rank["scaled"], rank["ten"], rtol=1e-10, atol=1e-13)


def test_infinite_gradients_on_one_rank_raise_on_all(ranks):
    for rank in ranks:
        assert "not finite on some rank" in rank["poisoned"]["error"]
        assert rank["poisoned"]["kept"]


def test_with_a_loss_scale_they_are_handed_to_the_scaler_instead(ranks):
    for rank in ranks:
        assert rank["skipped"]["error"] is None
        assert rank["skipped"]["kept"]
        assert torch.isinf(rank["skipped"]["gradients"]).any()


def test_half_precision_gradients_keep_their_memory_in_single_precision(ranks):
    assert all(rank["half"] == {"torch.float32"} for rank in ranks)


def test_states_and_settings_that_do_not_fit_are_refused_on_all_ranks(ranks):
    for rank in ranks:
        other_rank, other_module, weights, other_k = rank["wrong"]
        assert "this is rank" in other_rank
        assert "the module has" in other_module
        assert "sum 1" in weights
        assert "differ between ranks" in other_k


def test_without_a_process_group_it_says_what_to_do():
    assert not dist.is_initialized()
    with pytest.raises(ValueError, match="init_process_group"):
        EF21WState(nn.Linear(2, 1), TopK(1))
