"""Plots as inline SVG: drawn by matplotlib, coloured by the page, so that they follow light and dark mode."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What matplotlib draws in one of these, the page colours by the variable of its style sheet.
VARIABLES = {
    "ink": "#010101",
    "muted": "#020202",
    "line": "#030303",
    "supported": "#040404",
    "contradicted": "#050505",
    "inconclusive": "#060606",
    "method": "#070707",
    "baseline": "#080808",
    "control": "#090909",
    "reference": "#0a0a0a",
    **{f"series-{number}": f"#0b0b{number:02x}" for number in range(1, 9)},
}
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "assay", "axes.linewidth": 0.8}
WIDTH = 7.2
"""Inches; the page scales the drawing."""


@dataclass(frozen=True)
class Row:
    """One judged test, in the units in which it is printed."""

    label: str
    verdict: str
    values: Sequence[float]
    """One a seed, or none where the evidence is many items."""
    effect: float | None
    interval: Sequence[float]
    bound: Sequence[float]
    unit: str
    ratio: bool


def forest(rows: Sequence[Row]) -> Markup:
    """Draw all tests of a check: each seed a dot, the interval a line, the effect a mark, the bound a rule.

    Every test has its own axis, in its own unit.
    """
    drawn = [row for row in rows if _finite([*row.values, *row.interval, *row.bound])]
    if not drawn:
        return Markup("")
    figure, axes = _figure(0.82 * len(drawn), rows=len(drawn), left=0.1, top=0.28, bottom=0.24, between=0.5)
    for axis, row in zip(axes, drawn, strict=True):
        _draw_row(axis, row)
    return _svg(figure, "; ".join(f"{row.label}: {row.verdict}" for row in drawn))


def _draw_row(axis: Axes, row: Row) -> None:
    colour = VARIABLES[row.verdict]
    known = _finite([*row.values, *row.interval, *row.bound])
    if row.ratio and min(known) > 0:
        axis.set_xscale("log")
        low, high = min(known), max(known)
        room = (high / low) ** 0.05 if high > low else 1.1
        axis.set_xlim(low / room, high * room)
    else:
        low, high = min(known), max(known)
        room = 0.05 * (high - low) or abs(high) * 0.1 or 1.0
        axis.set_xlim(low - room, high + room)
    left, right = axis.get_xlim()
    for end in _finite(row.bound):
        axis.axvline(end, color=VARIABLES["muted"], linestyle=(0, (3, 2)), linewidth=1)
    if row.interval:
        ends = [min(max(end, left), right) for end in row.interval]
        axis.plot(ends, [0.72, 0.72], color=colour, linewidth=2, solid_capstyle="butt")
    if row.effect is not None and math.isfinite(row.effect):
        axis.plot([row.effect], [0.72], marker="D", color=colour, markersize=6)
    axis.scatter(
        _finite(row.values), [0.25] * len(_finite(row.values)), s=16, color=VARIABLES["ink"], alpha=0.45
    )
    axis.set_title(f"{row.label} ({row.unit})" if row.unit else row.label, loc="left", fontsize=10)
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    _plain(axis)


def strips(metric: str, unit: str, arms: Mapping[str, tuple[str, Sequence[float]]]) -> Markup:
    """Draw a metric of each arm: every seed a dot, the mean a bar, coloured by the arm's role."""
    known = {name: (role, _finite(values)) for name, (role, values) in arms.items() if _finite(values)}
    if not known:
        return Markup("")
    labels = [f"{name} · {role}" for name, (role, _) in known.items()]
    figure, (axis,) = _figure(0.6 + 0.27 * len(known), left=0.15 + 0.085 * max(map(len, labels)))
    for place, (role, values) in enumerate(known.values()):
        axis.scatter(values, [place] * len(values), s=18, color=VARIABLES[role], alpha=0.5)
        mean = sum(values) / len(values)
        axis.plot([mean, mean], [place - 0.32, place + 0.32], color=VARIABLES[role], linewidth=2)
    axis.set_yticks(range(len(known)), labels)
    axis.set_ylim(len(known) - 0.4, -0.6)
    axis.grid(axis="x", color=VARIABLES["line"], linewidth=0.6)
    axis.set_title(f"{metric} ({unit})" if unit else metric, loc="left", fontsize=10)
    _plain(axis)
    said = ", ".join(f"{name} {sum(values) / len(values):.4g}" for name, (_, values) in known.items())
    return _svg(figure, f"{metric}, mean of each arm: {said}")


def curves(name: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> Markup:
    """Draw what trials logged under a name against the step, a line an arm."""
    if not any(len(points) > 1 for points in lines.values()):
        return Markup("")
    columns = 2 if len(lines) > 3 else 1
    legend = 0.5 + 0.18 * math.ceil(len(lines) / columns)
    figure, (axis,) = _figure(2.5 + legend, left=0.7, bottom=legend)
    for place, (arm, points) in enumerate(lines.items()):
        steps, values = zip(*points, strict=True)
        style = ("-", "--", ":")[place // 8 % 3]
        colour = VARIABLES[f"series-{place % 8 + 1}"]
        axis.plot(steps, values, style, label=arm, color=colour, linewidth=1.4)
    axis.set_title(name, loc="left", fontsize=10)
    axis.set_xlabel("step")
    axis.grid(color=VARIABLES["line"], linewidth=0.6)
    axis.legend(
        frameon=False, fontsize=8, ncols=columns, loc="upper left", bbox_to_anchor=(0, -0.2), borderaxespad=0
    )
    _plain(axis)
    return _svg(figure, f"{name} against the step, for {', '.join(lines)}")


# --- from matplotlib to the page ----------------------------------------------------------------


def _figure(
    height: float,
    rows: int = 1,
    left: float = 0.1,
    top: float = 0.28,
    bottom: float = 0.3,
    between: float = 0.0,
) -> tuple[Figure, list[Axes]]:
    """Return axes one below the other; lengths are inches. A layout engine would take most of the time."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.subplots(rows, squeeze=False)
    each = (height - top - bottom - between * (rows - 1)) / rows
    figure.subplots_adjust(
        left=left / WIDTH,
        right=1 - 0.1 / WIDTH,
        top=1 - top / height,
        bottom=bottom / height,
        hspace=between / each,
    )
    return figure, list(axes[:, 0])


def _plain(axis: Axes) -> None:
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(VARIABLES["muted"])
    axis.tick_params(colors=VARIABLES["ink"], labelsize=8, length=3, width=0.8)
    axis.xaxis.label.set_color(VARIABLES["ink"])
    axis.title.set_color(VARIABLES["ink"])
    for title in (axis._left_title,):  # type: ignore[attr-defined]  # matplotlib has no accessor for it
        title.set_color(VARIABLES["ink"])
    legend = axis.get_legend()
    for text in legend.get_texts() if legend else ():
        text.set_color(VARIABLES["ink"])


def _svg(figure: Figure, label: str) -> Markup:
    """Return the drawing as an element of the page that a screen reader can name."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'<g id="[^"]*">', "<g>", drawing)  # the page has more than one drawing
    drawing = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", drawing)
    for name, colour in VARIABLES.items():
        drawing = drawing.replace(colour, f"var(--{name})")
    size = r'<svg [^>]*?viewBox="([^"]*)"[^>]*>'
    head = f'<svg viewBox="\\1" class="plot" role="img" aria-label="{escape(label)}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return Markup(re.sub(size, lambda found: head.replace("\\1", found[1]), drawing, count=1))


def _finite(values: Sequence[Any]) -> list[float]:
    return [float(value) for value in values if value is not None and math.isfinite(value)]
