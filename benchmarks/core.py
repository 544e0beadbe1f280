"""The core's speed: start-up, two workers against one, and a check against a plain loop.

Each figure is a ratio, or a time against its limit, from this one run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLAIN_LOOP = """
import pathlib, tempfile, torch
torch.set_num_threads(1)
from assay import catalogue, options
from assay.trial import Trial
entry = catalogue.entry({slug!r})
with tempfile.TemporaryDirectory() as stages:
    for name in dict.fromkeys(claim.recipe for claim in entry.paper.tested):
        recipe, config, function = entry.paper.recipes[name], entry.config(name), entry.function(name)
        for seed in range(1000, 1000 + {seeds}):
            for arm in recipe.arms:
                torch.manual_seed(seed)
                resolved = options.resolve(config, recipe.presets["laptop"].settings, arm.settings)
                function(resolved, Trial(seed=seed, arm=arm.name, stages=pathlib.Path(stages)))
"""


def seconds(words: list[str]) -> float:
    """Run a command and return how long it took."""
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1, 2), done.stderr
    return time.perf_counter() - start


def check(slug: str, workers: int, seeds: int) -> float:
    """Time a check in a fresh store."""
    with tempfile.TemporaryDirectory() as store:
        options = ["--workers", str(workers), "--seeds", str(seeds), "--first-seed", "1000", "--store", store]
        return seconds([sys.executable, "-m", "assay", "check", slug, *options])


def main() -> None:
    """Print every figure of the core."""
    for words in (["list"], ["show", "ef21w"]):
        fastest = min(seconds([str(Path(sys.executable).with_name("assay")), *words]) for _ in range(5))
        print(f"assay {' '.join(words)}: {fastest:.2f} s (limit 0.3 s)")
    slug, seeds = "ef21w", 8
    one, two = check(slug, 1, seeds), check(slug, 2, seeds)
    print(f"check {slug}, {seeds} seeds: 1 worker {one:.1f} s, 2 workers {two:.1f} s, {one / two:.2f} times")
    script = PLAIN_LOOP.format(slug=slug, seeds=seeds)
    loop = seconds([sys.executable, "-c", script])
    print(f"plain loop {loop:.1f} s, check {one:.1f} s: {100 * (one / loop - 1):+.1f} % (limit +3 %)")


if __name__ == "__main__":
    main()
