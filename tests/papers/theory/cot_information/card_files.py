"""What the code on the card reads: a report on examples and candidates, made by the card's own command."""

import json
from pathlib import Path

from card_commands import run_commands


def prepare(folder: Path) -> None:
    """Write examples and candidates, and the report."""
    write_pool(folder)
    run_commands("cot_information", "run cot_information --tr")


def write_pool(folder: Path) -> None:
    """Write examples and three candidates: the same, other traces, other answers."""
    candidates = folder / "candidates"
    candidates.mkdir()
    write_jsonl(folder / "mine.jsonl", rows_of(1))
    write_jsonl(candidates / "same.jsonl", rows_of(1))
    write_jsonl(candidates / "traces.jsonl", list(reversed(rows_of(2))))
    write_jsonl(candidates / "answers.jsonl", rows_of(1, wrong=range(10)) + rows_of(1, [99]))


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(offset, inputs=range(40), wrong=()):
    """A candidate that adds `offset` in its trace and is wrong on some inputs."""
    return [
        {"input": f"q {x}", "cot": [x, x + offset], "answer": x % 3 + (7 if x in wrong else 0)}
        for x in inputs
    ]
