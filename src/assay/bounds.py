"""Types of options that are numbers within bounds. `assay.options` refuses what lies outside.

epochs: PositiveInt = 30
dropout: ShareBelowOne = 0.1
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt, MinLen

INFINITY = float("inf")

PositiveInt = Annotated[int, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0), Lt(INFINITY)]
PositiveFloats = Annotated[tuple[PositiveFloat, ...], MinLen(1)]
"""One or more."""
NonNegativeFloat = Annotated[float, Ge(0), Lt(INFINITY)]
Share = Annotated[float, Ge(0), Le(1)]
"""From none to all."""
PositiveShare = Annotated[float, Gt(0), Le(1)]
"""From something to all."""
ShareBelowOne = Annotated[float, Ge(0), Lt(1)]
"""From none to less than all."""
OpenShare = Annotated[float, Gt(0), Lt(1)]
"""Something, and it leaves something."""
