"""What the code on the card reads: a circuit calibrated on a model's results, by the card's own command."""

import json
from pathlib import Path

import numpy as np

from card_commands import run_commands


def prepare(folder: Path) -> None:
    """Write the results, and calibrate."""
    write_results(folder)
    run_commands("ecm", "run ecm --records results.jsonl")


def annotated(random, steps):
    """Return a question of so many equations, and its annotated solution."""
    total, words, lines = int(random.integers(2, 9)), [], []
    for _ in range(steps):
        factor = int(random.integers(2, 9))
        words.append(f"times {factor}")
        lines.append(f"<<{total}*{factor}={total * factor}>>{total * factor}")
        total *= factor
    return f"Take {lines[0][2]} {' '.join(words)}.", "\n".join([*lines, f"#### {total}"])


def write_lines(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def write_results(folder):
    """Results of a made-up model, which fails at long questions and is helped by demonstrations."""
    random = np.random.default_rng(0)
    pool = [dict(zip(("question", "answer"), annotated(random, 2), strict=True)) for _ in range(6)]
    rows = []
    for _ in range(110):
        steps, way = int(random.integers(1, 6)), str(random.choice(["cot", "direct"]))
        question, solution = annotated(random, steps)
        demos = pool[: int(random.integers(3))]
        logit = 3.0 - steps + 0.8 * len(demos) - (1.0 if way == "direct" else 0.0)
        correct = bool(random.random() < 1 / (1 + np.exp(-logit)))
        rows.append(
            {"question": question, "solution": solution, "demos": demos, "way": way, "correct": correct}
        )
    return write_lines(folder / "results.jsonl", rows)
