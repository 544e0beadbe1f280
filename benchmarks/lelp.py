"""Fit LELP's projector against one scikit-learn PCA a class: time and peak memory, side by side.

    python benchmarks/lelp.py [--rows 200000] [--dimensions 768] [--subclasses 8] [--repeats 3]

Both get the same memory-mapped float32 file of embeddings of two classes, and find the top S principal
directions of each class. scikit-learn's PCA, with its default solver, needs all rows of a class at once: it
gets `embeddings[labels == c]`. SubspaceProjector gets one window of the file after another; it also removes
the logits' directions and rotates. Each run is a fresh child process. Time is from the first read to the last
direction (median over repeats, the two taking turns). Memory is the highest anonymous resident memory in that
time, less what the process held before: neither imports nor the mapped file count, for either side.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

WINDOW = 8192
CLASSES = 2
SIDES = ("ours", "pca")


def write_embeddings(folder: Path, rows: int, dimensions: int) -> None:
    """Write embeddings with a decaying spectrum, their labels and a last layer's weight."""
    generator = np.random.default_rng(0)
    spectrum = np.arange(1, dimensions + 1, dtype=np.float32) ** -0.5
    labels = generator.integers(CLASSES, size=rows)
    centres = generator.standard_normal((CLASSES, dimensions), dtype=np.float32)
    file = np.lib.format.open_memmap(folder / "embeddings.npy", "w+", np.float32, (rows, dimensions))
    for start in range(0, rows, WINDOW):
        part = labels[start : start + WINDOW]
        noise = generator.standard_normal((len(part), dimensions), dtype=np.float32)
        file[start : start + WINDOW] = noise * spectrum + centres[part]
    np.save(folder / "labels.npy", labels)
    np.save(folder / "weight.npy", generator.standard_normal((CLASSES, dimensions), dtype=np.float32))


def prepare_ours(folder: Path, subclasses: int) -> Callable[[], object]:
    """Return a function that streams the file through SubspaceProjector."""
    import torch

    from assay.papers.distillation.lelp.method import SubspaceProjector

    embeddings = np.load(folder / "embeddings.npy", mmap_mode="c")
    labels = torch.from_numpy(np.load(folder / "labels.npy"))
    weight = torch.from_numpy(np.load(folder / "weight.npy"))

    def fit() -> object:
        projector = SubspaceProjector(subclasses)
        for start in range(0, len(labels), WINDOW):
            window = torch.from_numpy(embeddings[start : start + WINDOW])
            projector.partial_fit(window, labels[start : start + WINDOW], weight)
        return projector.transform(window)

    return fit


def prepare_pca(folder: Path, subclasses: int) -> Callable[[], object]:
    """Return a function that fits scikit-learn's PCA to the rows of each class."""
    from sklearn.decomposition import PCA

    embeddings = np.load(folder / "embeddings.npy", mmap_mode="c")
    labels = np.load(folder / "labels.npy")
    return lambda: [PCA(subclasses).fit(embeddings[labels == c]).components_ for c in range(CLASSES)]


def anonymous_memory() -> int:
    """Return this process' anonymous resident memory in bytes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no RssAnon: this benchmark needs Linux.")


def measure(fit: Callable[[], object]) -> dict[str, float]:
    """Run `fit` once and sample the memory it takes every two milliseconds."""
    before, peak, done = anonymous_memory(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    fit()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return {"seconds": seconds, "bytes": peak - before}


def measure_in_child(side: str, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Measure one side in a fresh process."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    command += ["--subclasses", str(arguments.subclasses)]
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(arguments.threads)
    )
    child = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=True)
    return dict(json.loads(child.stdout))


def compare(arguments: argparse.Namespace) -> None:
    """Measure both sides in turn and print the two ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_embeddings(folder, arguments.rows, arguments.dimensions)
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(arguments.repeats):
            for side in SIDES:
                runs[side].append(measure_in_child(side, folder, arguments))
    seconds = {side: statistics.median(run["seconds"] for run in runs[side]) for side in SIDES}
    memory = {side: statistics.median(run["bytes"] for run in runs[side]) / 2**20 for side in SIDES}
    times, bytes_ = seconds["ours"] / seconds["pca"], memory["ours"] / memory["pca"]
    print(f"{arguments.rows:,} rows of {arguments.dimensions}, {CLASSES} classes, S = {arguments.subclasses}")
    print(f"SubspaceProjector   {seconds['ours']:6.2f} s  {memory['ours']:7.0f} MiB")
    print(f"PCA per class       {seconds['pca']:6.2f} s  {memory['pca']:7.0f} MiB")
    print(f"ratio               {times:6.2f}    {bytes_:7.2f}")


def main() -> None:
    """Compare the two sides, or measure one of them when called by a comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--subclasses", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side is None:
        compare(arguments)
        return
    prepare = prepare_ours if arguments.side == "ours" else prepare_pca
    print(json.dumps(measure(prepare(arguments.folder, arguments.subclasses))))


if __name__ == "__main__":
    main()
