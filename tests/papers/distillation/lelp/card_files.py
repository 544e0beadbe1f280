"""What the code on the card reads: a student of reviews, made by the card's own command."""

from pathlib import Path

import pandas as pd

from card_commands import run_commands

GOOD, BAD = ("great", "superb", "lovely"), ("awful", "dull", "poor")
THINGS = ("film", "cast", "plot", "score", "book", "meal")


def prepare(folder: Path) -> None:
    """Write the reviews and train the student."""
    reviews().to_csv(folder / "reviews.csv", index=False)
    run_commands("lelp", "run lelp --data csv:reviews.csv --data.text", "--preset", "tiny")


def reviews(rows=60):
    """Short texts with stars as labels, and what they are about as subclass."""
    words = {"5": GOOD, "1": BAD}
    table = [
        {
            "review": f"a {words[stars][n % 3]} {THINGS[n % 6]} number {n}",
            "stars": stars,
            "about": THINGS[n % 2],
        }
        for n in range(rows // 2)
        for stars in ("5", "1")
    ]
    return pd.DataFrame(table)
