"""The options of the toy paper."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Inner:
    """Options of a part."""

    scale: float = 1.0
    """Standard deviation of the draws."""


@dataclass(frozen=True)
class Draw:
    """Options of `draw`."""

    mean: float = 0.0
    """Mean of the draws."""
    rows: int = 20
    """How many draws."""
    copy: bool = False
    """Whether this is the control."""
    inner: Inner = Inner()
    """How the draws are made."""
    fault: Literal["none", "crash", "diverge", "nan", "refuse", "unequal", "undeclared", "missing", "die"] = (
        "none"
    )
    """What goes wrong, in the arm `high` alone."""
    seconds: float = 0.0
    """How long a draw takes."""
    trace: str = ""
    """A file to which each trial adds a line."""
