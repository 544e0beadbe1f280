"""Speed and memory of the CoT-information curve: `python benchmarks/cot_information.py`.

The curve of 65,536 shuffle ideals on 4,000 words of 32 symbols is computed whole in a child process, whose
peak memory is read. The naive way, which keeps all traces, is run on a part of the class, also in a child
process, and scaled up. Both take turns in one run on one thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import resource
import subprocess
import sys
import time

ALPHABET, PATTERN, LENGTH, WORDS, REFERENCE = 4, 8, 32, 4000, 12345
NAIVE_PART = 512
REPEATS = 3


def curve() -> tuple[float, int]:
    """Return the seconds of the whole curve, and how many hypotheses it is for."""
    import numpy as np

    from assay.papers.theory.cot_information.method import ShuffleIdeals, cot_information, uniform_words

    words = uniform_words(WORDS, LENGTH, ALPHABET, np.random.default_rng(0))
    start = time.perf_counter()
    found = cot_information(ShuffleIdeals(ALPHABET, PATTERN), REFERENCE, words)
    return time.perf_counter() - start, found.hypotheses


def naive() -> tuple[float, int]:
    """Return the seconds of keeping and comparing all traces of a part of the class, and the part's size."""
    import numpy as np

    from assay.papers.theory.cot_information.method import ShuffleIdeals, uniform_words

    words = uniform_words(WORDS, LENGTH, ALPHABET, np.random.default_rng(0))
    patterns = ShuffleIdeals(ALPHABET, PATTERN).patterns
    rows = np.concatenate([[REFERENCE], np.arange(NAIVE_PART - 1)])
    start = time.perf_counter()
    padded = np.pad(patterns[rows], ((0, 0), (0, 1)), constant_values=-1)  # the last state never moves on
    state = np.zeros((NAIVE_PART, WORDS), dtype=np.int64)
    traces = np.empty((NAIVE_PART, WORDS, LENGTH), dtype=np.int8)
    for step in range(LENGTH):
        state += np.take_along_axis(padded, state, 1) == words[:, step]
        traces[:, :, step] = state
    agree = (traces == traces[0]).all(2).mean(1)
    errors = ((state == PATTERN) != (state[0] == PATTERN)).mean(1)
    for eps in np.unique(errors):
        bad = errors > eps
        np.min(-np.log(np.maximum(agree[bad], 1e-300)), initial=np.inf)
    return time.perf_counter() - start, NAIVE_PART


def child(name: str) -> dict[str, float]:
    """Run one of the two in a process of its own; return its seconds, hypotheses and peak memory in MB."""
    out = subprocess.run([sys.executable, __file__, name], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(out.stdout)
    return found


def main() -> None:
    """Print seconds a whole class, peak memory, and their ratios."""
    runs: dict[str, list[dict[str, float]]] = {"curve": [], "naive": []}
    for _ in range(REPEATS):
        for name, found in runs.items():
            found.append(child(name))
    hypotheses = ALPHABET**PATTERN
    seconds, memory = {}, {}
    for name, found in runs.items():
        best = min(found, key=lambda run: run["seconds"])
        seconds[name] = best["seconds"] * hypotheses / best["hypotheses"]
        memory[name] = best["megabytes"]
    kept = hypotheses * WORDS * LENGTH / 1e9
    print(f"CoT information of {hypotheses:,} hypotheses on {WORDS:,} words of {LENGTH} symbols")
    print(f"  whole curve with limits: {seconds['curve']:.2f} s, peak {memory['curve']:.0f} MB")
    print(
        f"  all traces, naively:     {seconds['naive']:.2f} s from {NAIVE_PART} of them, {kept:.1f} GB kept"
    )
    print(f"  {seconds['naive'] / seconds['curve']:.1f} times as fast")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        taken, count = {"curve": curve, "naive": naive}[sys.argv[1]]()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(json.dumps({"seconds": taken, "hypotheses": count, "megabytes": peak}))
    else:
        main()
