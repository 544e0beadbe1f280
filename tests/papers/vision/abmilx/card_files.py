"""What the code on the card reads: a model of a table of bags, made by the card's own command."""

from pathlib import Path

import numpy as np
import pytest

from assay.papers.vision.abmilx import evaluation
from card_commands import run_commands
from papers.vision.abmilx.bag_files import write_csv


def prepare(folder: Path) -> None:
    """Write sixteen molecules of a few rows each, and train on them."""
    random = np.random.default_rng(0)
    rows = [
        {"molecule": f"m{number}", "musk": number % 2}
        | {f"f{place}": value for place, value in enumerate(random.normal(number % 2, 1.0, 4))}
        for number in range(16)
        for _ in range(2 + number % 3)
    ]
    write_csv(folder / "musk.csv", rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "RESAMPLES", 20)  # a thousand take ten seconds
        run_commands("abmilx", "run abmilx --data csv:musk.csv", "--preset", "tiny")
