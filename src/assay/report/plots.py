"""Plots as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

WIDTH, HEIGHT, MARGIN = 320, 28, 8


def forest(test: Mapping[str, Any]) -> Markup:
    """Draw one judged test: each seed a dot, the interval a line, the effect a mark, the bound a rule."""
    bound = [end for end in test["bound"] if end is not None]
    ends = [end for end in test["interval"] or () if end is not None]
    points = [value for value in test["values"] if value is not None]
    known = [*bound, *ends, *points, *([test["effect"]] if test["effect"] is not None else [])]
    if not known:
        return Markup("")
    low, high = min(known), max(known)
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return float(round(MARGIN + (value - low) / span * (WIDTH - 2 * MARGIN), 1))

    middle = HEIGHT / 2
    rules = "".join(
        f'<line class="bound" x1="{x(end)}" x2="{x(end)}" y1="2" y2="{HEIGHT - 2}"/>' for end in bound
    )
    dots = "".join(f'<circle class="seed" cx="{x(value)}" cy="{middle + 7}" r="2.5"/>' for value in points)
    left, right = (ends[0], ends[-1]) if len(ends) == 2 else (low, high)
    line = (
        f'<line class="interval" x1="{x(left)}" x2="{x(right)}" y1="{middle}" y2="{middle}"/>' if ends else ""
    )
    mark = (
        f'<circle class="effect" cx="{x(test["effect"])}" cy="{middle}" r="4"/>'
        if test["effect"] is not None
        else ""
    )
    return Markup(  # numbers of ours alone go in
        f'<svg class="forest" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        ' aria-label="effect, interval and seeds">'
        f"{rules}{line}{dots}{mark}</svg>"
    )
