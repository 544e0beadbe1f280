"""Cost of unlearning one expert against the whole model: `python benchmarks/uoe.py`.

Both unlearn the mixture of experts of the check with the same objective and batches, and take turns in one
run on one thread. The time of a step includes the cost of caching what lies below the trained layer.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import copy
import statistics
import time

import torch

from assay.papers.privacy.uoe.config import SmallModel
from assay.papers.privacy.uoe.inputs import of_facts
from assay.papers.privacy.uoe.method import SelectedExpertUnlearner, Sequences, Unlearning, attribute_experts
from assay.papers.privacy.uoe.synthetic import build_tokenizer, invent_topics, train_model, untrained
from assay.training import Compute

DOCUMENTS, FACTS = 64, 6
STEPS, REPEATS = 10, 7


def trained_model() -> tuple[torch.nn.Module, Sequences, Sequences]:
    """Return the small model, trained, with documents of several facts each to forget and to keep."""
    small, tokenizer = SmallModel(), build_tokenizer(SmallModel())
    generator = torch.Generator().manual_seed(0)
    facts = of_facts(invent_topics(small, generator), tokenizer, 100).sequences.input_ids
    model = untrained(small, len(tokenizer))
    model.load_state_dict(train_model(small, len(tokenizer), facts, Compute(accelerator="cpu")))

    def documents(known: torch.Tensor) -> Sequences:
        rows = torch.randint(len(known), (DOCUMENTS, FACTS), generator=generator)
        return Sequences.of(known[rows].flatten(1).tolist())

    return model.eval(), documents(facts[: small.entities]), documents(facts[small.entities :])


def seconds_of(
    model: torch.nn.Module, targets: object, forget: Sequences, retain: Sequences
) -> tuple[float, float]:
    """Return the seconds of a gradient step, over a short run, and of what is computed once before it."""
    settings = Unlearning("gdiff", learning_rate=1e-4, steps=STEPS, batch_size=16)
    unlearner = SelectedExpertUnlearner(copy.deepcopy(model), settings, targets=targets)
    unlearner.prepare(forget)
    clock = [time.perf_counter()]
    unlearner.fit(forget, retain, stop=lambda step, model: clock.append(time.perf_counter()))
    return (clock[-1] - clock[1]) / STEPS, clock[1] - clock[0]


def optimiser_bytes(model: torch.nn.Module, targets: object, forget: Sequences) -> int:
    """Return the bytes of AdamW's state after a step."""
    part = SelectedExpertUnlearner(model, targets=targets).prepare(forget)
    optimiser = torch.optim.AdamW(part.parameters())
    for weight in part.parameters():
        weight.grad = torch.zeros_like(weight)
    optimiser.step()
    tensors = [value for state in optimiser.state.values() for value in state.values()]
    return sum(value.numel() * value.element_size() for value in tensors)


def main() -> None:
    """Print the time of a step and the memory of the optimiser, as ratios."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, forget, retain = trained_model()
    attributed = attribute_experts(model, forget)
    best_of_layer = {}
    for target in attributed.ranked():
        best_of_layer.setdefault(target[0], target)
    arms = {"whole model": "model"} | {
        f"expert {expert} of layer {layer}": [(layer, expert)]
        for layer, expert in sorted(best_of_layer.values())
    }
    times: dict[str, list[float]] = {name: [] for name in arms}
    before: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(REPEATS):
        for name, targets in arms.items():
            step, once = seconds_of(model, targets, forget, retain)
            times[name].append(step)
            before[name].append(once)
    whole = optimiser_bytes(model, "model", forget)
    tokens = 16 * forget.input_ids.shape[1]
    print(f"a step on {tokens} forget and as many retain tokens; attributed: {attributed.top()[0]}")
    for name, targets in arms.items():
        ratio = statistics.median(a / b for a, b in zip(times[name], times["whole model"], strict=True))
        memory = optimiser_bytes(model, targets, forget) / whole
        milliseconds = min(times[name]) * 1e3
        print(
            f"  {name:<22} {milliseconds:6.1f} ms   time {ratio:.2f}   optimiser memory {memory:.3f}"
            f"   once before: {min(before[name]) * 1e3:.0f} ms"
        )


if __name__ == "__main__":
    main()
