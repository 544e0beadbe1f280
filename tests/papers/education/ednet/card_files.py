"""What the code on the card reads: a log and a tracer, made by the card's own commands."""

from pathlib import Path

import numpy as np
import pandas as pd

from assay.papers.education.ednet.synthetic import synthesize
from card_commands import run_commands

QUICK = {
    "candidates": 1,
    "optimisation.epochs": 2,
    "architecture.width": 8,
    "architecture.seq_len": 16,
}


def prepare(folder: Path) -> None:
    """Write a small EdNet and the answers of other learners; run all commands on them."""
    write_ednet(folder)
    write_answers(folder)
    for recipe in ("ingest", "stats", "project", "detect"):
        run_commands("ednet", f"run ednet {recipe}")
    run_commands("ednet", "run ednet train", *(f"--{name}={value}" for name, value in QUICK.items()))


def write_ednet(folder):
    """KT1 and KT3 of a small EdNet, with its contents."""
    made = synthesize(students=30, seed=3, bundles=30, sessions=8)
    made.write_contents(folder / "contents")
    made.write_zip(folder / "KT3.zip", 3)
    made.write_folder(folder / "KT1", 1)
    return folder


def write_answers(folder):
    """A table in CSV: learners, times, tasks with topics, and whether they were right."""
    random = np.random.default_rng(0)
    rows = [
        (f"s{learner}", time, f"t{random.integers(9)}", f"k{random.integers(3)}", int(random.random() < 0.6))
        for learner in range(40)
        for time in range(12)
    ]
    frame = pd.DataFrame(rows, columns=["student", "when", "task", "topic", "right"])
    frame.sample(frac=1, random_state=0).to_csv(folder / "answers.csv", index=False)
    return folder / "answers.csv"
