"""Speed of scoring and of drafting: `python benchmarks/eft.py`.

Scoring 256 texts with three parallel passes is compared with loops over tokens. Drafting is counted in passes
of the large model a token, with a family that is trained for a third of the check's steps. All take turns in
one run on one thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dataclasses
import warnings
from typing import Any

import torch

from assay.models.tiny import START
from assay.papers.language.eft.config import Draft, Family
from assay.papers.language.eft.method import Delta, EmulatedFineTuning
from assay.papers.language.eft.stages import TrainedFamily
from assay.papers.language.eft.training import shape
from assay.trial import Trial
from timing import interleaved

TEXTS, TOKENS = 256, 48
FAMILY = Family(steps=250, tuning_steps=60, tuning_learning_rates=(2e-3,))


def scoring() -> None:
    """Print how long scoring takes in parallel and token by token."""
    torch.manual_seed(0)
    tuned, small, large = (shape(Family(), size).untrained().eval() for size in ("small", "small", "large"))
    model = EmulatedFineTuning(large, Delta(tuned, small), check_ancestors=False)
    ids = torch.randint(3, 512, (TEXTS, TOKENS))
    mask = torch.ones_like(ids).bool()
    mask[:, 0] = False

    def by_token() -> torch.Tensor:
        streams, total = model.streams(TEXTS), torch.zeros(TEXTS)
        for place in range(TOKENS - 1):
            logits = model.next_logits(ids[:, place : place + 1], streams=streams)
            total += logits.log_softmax(-1).gather(-1, ids[:, place + 1 : place + 2]).squeeze(-1)
        return total

    def one_text_by_token() -> None:
        streams = model.streams(1)
        for place in range(TOKENS - 1):
            model.next_logits(ids[:1, place : place + 1], streams=streams)

    assert torch.allclose(model.logprobs(ids, mask).sum(-1), by_token(), atol=1e-2)
    times = interleaved(
        {
            "parallel": lambda: model.logprobs(ids, mask),
            "token loop, all texts at once": by_token,
            "token loop, one text": one_text_by_token,
        },
        3,
    )
    times["token loop, text by text"] = times.pop("token loop, one text") * TEXTS
    print(f"scoring {TEXTS} texts of {TOKENS} tokens, three models:")
    for name, seconds in times.items():
        print(f"  {name:<32} {seconds * 1e3:8.0f} ms   {seconds / times['parallel']:5.1f} times parallel")


def drafting() -> None:
    """Print acceptance and passes of the large model a token for several sizes of a draft."""
    config = dataclasses.replace(Draft(), family=FAMILY)
    family = TrainedFamily.of(config.data, config.fact_table, config.family, Trial(seed=1000))
    domain = family.domain(0, 300, config.test)
    weights = family.tuned("domain", "small", domain.train, domain.validation).weights
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = EmulatedFineTuning(
            family.model("large", family.base("large")),
            Delta(family.model("small", weights), family.model("small", family.base("small"))),
        )
    starts = [
        [START, *ids[: config.prompt_tokens]] for _, ids in domain.test if len(ids) > config.prompt_tokens
    ]
    print(f"drafting, a family trained for {FAMILY.steps} steps; the large model's passes a token:")
    settings: dict[str, Any] = {"max_new_tokens": config.max_new_tokens, "eos": []}
    for block_size in (0, 2, 4, 8):
        settings["generator"] = torch.Generator().manual_seed(0)
        if block_size:
            stats = model.speculative_generate(starts[:32], block_size=block_size, **settings).stats
        else:
            stats = model.generate(starts[:32], **settings).stats
        acceptance = (
            "" if stats.acceptance is None else f"   {stats.acceptance:.0%} of drafted tokens accepted"
        )
        reached = (
            "" if not block_size else " (under 0.6)" if stats.forwards_per_token < 0.6 else " (not under 0.6)"
        )
        print(f"  drafts of {block_size}: {stats.forwards_per_token:.2f}{reached}{acceptance}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    scoring()
    drafting()
