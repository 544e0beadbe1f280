"""The ranks of the tests of the communication hook: each runs every scenario and saves what came out.

Called as: python ddp_worker.py FOLDER, for a world of 2 ranks and one of 4. The ranks are forked, because
importing what DDP needs takes longer than all scenarios; they meet through a file.
"""

import multiprocessing
import sys
from pathlib import Path

import torch
import torch._dynamo.convert_frame  # DDP would import it in every rank
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from assay.papers.optimization.ef21w.method import (
    EF21WState,
    Identity,
    RandK,
    SignL1,
    TopK,
    ef21w_hook,
    gather_weights,
)

STEP = 0.2
SMALL_BUCKETS = 1e-4  # MiB: some 100 bytes, so that each holds few parameters


class Net(nn.Module):
    """Uses its layers in another order than it declares them, so that DDP's rebuilt buckets differ."""

    def __init__(self):
        super().__init__()
        self.skip_last = False
        self.last, self.first, self.middle = nn.Linear(4, 1), nn.Linear(3, 5), nn.Linear(5, 4)

    def forward(self, inputs):
        hidden = torch.tanh(self.middle(torch.tanh(self.first(inputs))))
        return hidden if self.skip_last else self.last(hidden)


def make_net(dtype=torch.float64):
    torch.manual_seed(0)
    return Net().to(dtype)


def make_data(world_size):
    """Inputs and targets of all clients, [n, b, ...]; later clients see larger inputs."""
    stream = torch.Generator().manual_seed(1)
    inputs = torch.randn(world_size, 10, 3, generator=stream, dtype=torch.float64)
    inputs *= torch.linspace(0.5, 2.0, world_size, dtype=torch.float64)[:, None, None]
    return inputs, torch.randn(world_size, 10, 1, generator=stream, dtype=torch.float64)


def smoothness_of(rank):
    return 1.0 + 2.0 * rank


class Training:
    """A DDP training run of one rank with the hook."""

    def __init__(self, rank, world_size, compressor, hook=ef21w_hook, **settings):
        self.net = make_net()
        self.ddp = DistributedDataParallel(self.net, bucket_cap_mb=SMALL_BUCKETS)
        weights = gather_weights(smoothness_of(rank))
        self.state = EF21WState(self.ddp, compressor, **({"weights": weights} | settings))
        self.buckets = []
        if hook is not None:
            self.ddp.register_comm_hook(self.state, self.recording(hook))
        inputs, targets = make_data(world_size)
        self.inputs, self.targets = inputs[rank], targets[rank]
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=STEP)

    def recording(self, hook):
        def record(state, bucket):
            self.buckets[-1].append(state.names_of(bucket.parameters()))
            return hook(state, bucket)

        return record

    def loss(self, rows=slice(None)):
        return nn.functional.mse_loss(self.ddp(self.inputs[rows]), self.targets[rows])

    def step(self, steps=1):
        for _ in range(steps):
            self.buckets.append([])
            self.optimizer.zero_grad()
            self.loss().backward()
            self.optimizer.step()
        return self

    def parameters(self):
        return nn.utils.parameters_to_vector(self.net.parameters()).detach().clone()

    def gradients(self):
        return torch.cat([parameter.grad.flatten() for parameter in self.net.parameters()]).clone()


def resumed(rank, world_size, folder):
    """Train 10 steps, write the state to a file, and go on for 10 with everything made anew."""
    first = Training(rank, world_size, RandK(0.3)).step(10)
    path = folder / f"state-{rank}.pt"
    torch.save(first.state.state_dict(), path)
    second = Training(rank, world_size, RandK(0.3))
    second.net.load_state_dict(first.net.state_dict())
    second.state.load_state_dict(torch.load(path, weights_only=True))
    return second.step(10)


def accumulated(rank, world_size):
    """Two halves of the batch, the first without synchronising."""
    training = Training(rank, world_size, TopK(0.3))
    for _ in range(5):
        training.buckets.append([])
        training.optimizer.zero_grad()
        with training.ddp.no_sync():
            (0.5 * training.loss(slice(0, 5))).backward()
        (0.5 * training.loss(slice(5, 10))).backward()
        training.optimizer.step()
    return training.parameters()


def error_of(function):
    try:
        function()
    except (ValueError, RuntimeError) as error:
        return str(error)
    return None


def poisoned(rank, world_size, **settings):
    """Ten steps, then one rank's data become infinite."""
    training = Training(rank, world_size, TopK(0.3), **settings).step(2)
    before = {name: tensor.clone() for name, tensor in training.state.memory.items()}
    if rank == 0:
        training.inputs = training.inputs * torch.inf
    training.buckets.append([])
    training.optimizer.zero_grad()
    error = error_of(lambda: training.loss().backward())
    kept = all(torch.equal(before[name], training.state.memory[name]) for name in before)
    return {"error": error, "kept": kept, "gradients": training.gradients()}


def scaled_losses(rank, world_size):
    """Losses multiplied by a scale that changes, as gradient scalers do; gradients divided by it after."""
    scale = [1024.0]
    training = Training(rank, world_size, TopK(0.3), loss_scale=lambda: scale[0])
    for step in range(10):
        scale[0] = 1024.0 * 2.0**step
        training.buckets.append([])
        training.optimizer.zero_grad()
        (scale[0] * training.loss()).backward()
        for parameter in training.net.parameters():
            parameter.grad /= scale[0]
        training.optimizer.step()
    return training.parameters()


def partly_used(rank, world_size, hook):
    """Gradients after two passes in which only rank 0 uses the last layer."""
    net = make_net()
    ddp = DistributedDataParallel(net, find_unused_parameters=True)
    if hook is not None:
        ddp.register_comm_hook(EF21WState(ddp, Identity()), hook)
    inputs, _ = make_data(world_size)
    for _ in range(2):
        net.zero_grad()
        net.skip_last = rank > 0
        ddp(inputs[rank]).square().mean().backward()
    return torch.cat([parameter.grad.flatten() for parameter in net.parameters()])


def half_precision_memory(rank, world_size):
    net = make_net(torch.bfloat16)
    ddp = DistributedDataParallel(net)
    state = EF21WState(ddp, TopK(0.5))
    ddp.register_comm_hook(state, ef21w_hook)
    inputs, targets = make_data(world_size)
    for _ in range(2):
        nn.functional.mse_loss(ddp(inputs[rank].bfloat16()), targets[rank].bfloat16()).backward()
    return {str(tensor.dtype) for tensor in state.memory.values()}


def wrong_states(rank, world_size):
    training = Training(rank, world_size, TopK(0.3)).step()
    other_rank = training.state.state_dict() | {"rank": rank + 1}
    saved = training.state.state_dict()
    other_module = saved | {"memory": {"weight": torch.zeros(3)}}
    return [
        error_of(lambda: training.state.load_state_dict(other_rank)),
        error_of(lambda: training.state.load_state_dict(other_module)),
        error_of(lambda: EF21WState(training.net, TopK(1), weights=torch.ones(world_size))),
        error_of(lambda: EF21WState(training.net, TopK(rank + 1))),
    ]


def run_all(rank, world_size, folder):
    trained = Training(rank, world_size, TopK(0.3)).step(20)
    found = {
        "weights": gather_weights(smoothness_of(rank)),
        "topk": trained.parameters(),
        "buckets": trained.buckets,
        "bits": trained.state.bits_sent,
        "compressed": Training(rank, world_size, TopK(2), init="compressed").step(20).parameters(),
        "sign": Training(rank, world_size, SignL1()).step(20).parameters(),
        "identity": Training(rank, world_size, Identity()).step(20).parameters(),
        "plain": Training(rank, world_size, Identity(), hook=None).step(20).parameters(),
        "straight": Training(rank, world_size, RandK(0.3)).step(20).parameters(),
        "accumulated": accumulated(rank, world_size),
        "five": Training(rank, world_size, TopK(0.3)).step(5).parameters(),
        "ten": Training(rank, world_size, TopK(0.3)).step(10).parameters(),
        "scaled": scaled_losses(rank, world_size),
        "skipped": poisoned(rank, world_size, loss_scale=lambda: 1.0),
        "partly used": partly_used(rank, world_size, ef21w_hook),
        "partly used, plain": partly_used(rank, world_size, None),
        "half": half_precision_memory(rank, world_size),
        "wrong": wrong_states(rank, world_size),
    }
    found["resumed"] = resumed(rank, world_size, folder).parameters()
    found["poisoned"] = poisoned(rank, world_size)  # last: the reducer is left in the middle of a pass
    return found


def run_rank(rank, world_size, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world_size)
    torch.save(run_all(rank, world_size, folder), folder / f"rank-{rank}.pt")
    dist.destroy_process_group()


def main():
    fork = multiprocessing.get_context("fork")
    for world_size in (2, 4):
        folder = Path(sys.argv[1]) / str(world_size)
        folder.mkdir()
        ranks = [fork.Process(target=run_rank, args=(rank, world_size, folder)) for rank in range(world_size)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
        if any(process.exitcode for process in ranks):
            sys.exit(1)


if __name__ == "__main__":
    main()
