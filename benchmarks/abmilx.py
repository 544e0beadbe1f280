"""Speed and memory of the global refinement of ABMILX: `python benchmarks/abmilx.py`.

The refinement of 16,384 scores, in training (forward and backward) and evaluation, is compared with the same
formula written with its N x N matrix. They take turns in one run on one thread; the memory of each is what it
adds to a process of its own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import math
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from assay.papers.vision.abmilx.method import GlobalAttentionRefinement
from timing import interleaved

INSTANCES, HEADS, HEAD_DIM = 16_384, 1, 64
REPEATS = 2

Form = Callable[[GlobalAttentionRefinement, Tensor, Tensor], Tensor]


def fused(refinement: GlobalAttentionRefinement, x: Tensor, scores: Tensor) -> Tensor:
    """Refine scores as the method does."""
    return refinement(x, scores)


def explicit(refinement: GlobalAttentionRefinement, x: Tensor, scores: Tensor) -> Tensor:
    """Refine scores with the matrix of all pairs in memory."""
    queries, keys = refinement.qk(refinement.norm_x(x)).chunk(2, dim=-1)
    pairs = (queries @ keys.transpose(-1, -2) / math.sqrt(x.shape[-1])).softmax(dim=-1)
    return scores + (pairs @ (refinement.alpha * scores)[..., None])[..., 0]


FORMS: dict[str, Form] = {"fused": fused, "explicit": explicit}


def work(form: Form, training: bool, instances: int = INSTANCES) -> Callable[[], object]:
    """Return a function that refines the scores of one bag once."""
    torch.manual_seed(0)
    refinement = GlobalAttentionRefinement(HEAD_DIM, alpha_init=1.0)
    x = torch.randn(1, HEADS, instances, HEAD_DIM, requires_grad=training)
    scores = torch.randn(1, HEADS, instances)

    def once() -> object:
        with torch.set_grad_enabled(training):
            refined = form(refinement, x, scores)
        return refined.sum().backward() if training else refined

    return once


def peak_memory() -> int:
    """Return the highest memory of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def memory_of(name: str, training: bool) -> int:
    """Return the bytes that one call adds to a fresh process, after a small one that loads the code."""
    torch.set_num_threads(1)
    work(FORMS[name], training, 64)()
    once, before = work(FORMS[name], training), peak_memory()
    once()
    return peak_memory() - before


def main() -> None:
    """Print times, memory and their ratios."""
    print(f"refinement of {INSTANCES:,} scores, {HEADS} head of width {HEAD_DIM}, one thread")
    for training in (True, False):
        times = interleaved({name: work(form, training) for name, form in FORMS.items()}, REPEATS)
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            memory = dict(zip(FORMS, pool.starmap(memory_of, [(n, training) for n in FORMS], 1), strict=True))
        print("forward and backward" if training else "evaluation")
        for name in FORMS:
            print(f"  {name:<9} {times[name]:6.2f} s   {memory[name] / 2**20:8.0f} MiB")
        faster, smaller = (values["explicit"] / values["fused"] for values in (times, memory))
        print(f"  fused is {faster:.1f} times as fast, in {smaller:.0f} times less memory")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
