"""What the command line shows: tables of papers, claims and options, and numbers in a reader's units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.paper import Metric, Paper

COLOURS = {"supported": "green", "contradicted": "red", "inconclusive": "yellow"}
MARKS = {"supported": "✓", "contradicted": "✗", "inconclusive": "?"}


class PlainTable(Table):
    """A table in the one style of the command line; what stands in brackets is text, not markup."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row of strings and texts."""
        super().add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def table(*columns: str) -> PlainTable:
    """Return an empty table."""
    made = PlainTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def verdict(name: str, stale: bool = False) -> Text:
    """Return a verdict in its colour."""
    return Text(f"{MARKS[name]} {name}" + (" (stale)" if stale else ""), style=COLOURS[name])


def verdict_counts(verdicts: Iterable[str], stale: bool = False) -> str:
    """Return, for a list of papers, how many claims came out how."""
    found = list(verdicts)
    counts = [f"{found.count(name)} {name}" for name in COLOURS if name in found]
    return (", ".join(counts) or "not checked") + (" (stale)" if stale and found else "")


def number(value: float | None, metric: Metric | None, difference: bool = False, ratio: bool = False) -> str:
    """Show a value of a metric: fractions as percent, differences of fractions as points."""
    if value is None:
        return "-"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if ratio:
        return f"x{value:.3g}"
    sign = "+" if difference else ""
    if metric is not None and metric.unit == "fraction":
        return f"{100 * value:{sign}.2f}" + (" points" if difference else " %")
    return f"{value:{sign}.4g}"


def effect(test: Mapping[str, Any], paper: Paper) -> tuple[str, str]:
    """Return the effect of a judged test and its interval, as shown."""
    metric = paper.metric(test["metric"])
    if test["note"].startswith("share of seeds won"):
        metric, difference, ratio = Metric("won", "higher", "fraction"), False, False
    else:
        ratio = " / " in test["test"]
        difference = test["other"] is not None and not ratio
    shown = number(test["effect"], metric, difference, ratio)
    if test["interval"] is None:
        return shown, test["note"]
    low, high = (
        math.inf * sign if end is None else end for end, sign in zip(test["interval"], (-1, 1), strict=True)
    )
    ends = [
        number(end, metric, difference, ratio).removesuffix(" points").removesuffix(" %")
        for end in (low, high)
    ]
    return shown, f"[{ends[0]}, {ends[1]}]"


def claims_table(result: Mapping[str, Any], paper: Paper) -> PlainTable:
    """Return the table of a check's claims: a row a test, the claim's verdict beside its first."""
    made = table("claim", "test", "effect", "95 % interval", "n", "verdict")
    for claim in result["claims"]:
        for position, test in enumerate(claim["tests"] or [None]):
            first = position == 0
            shown = verdict(claim["verdict"]) if first else Text("")
            name = claim["name"] if first else ""
            if test is None:
                made.add_row(name, claim["reason"], "-", "-", "-", shown)
                continue
            where = f" on {test['data']}" if test["data"] else ""
            mark = Text(MARKS[test["verdict"]] + " ", style=COLOURS[test["verdict"]])
            size, interval = effect(test, paper)
            made.add_row(
                name,
                mark.append(Text(test["test"] + where, style="default")),
                size,
                interval,
                f"{test['n']} {test['unit']}s",
                shown,
            )
        made.add_section()
    return made


def arms_table(result: Mapping[str, Any], paper: Paper) -> PlainTable:
    """Return the table of arms: role, metrics, cost a trial."""
    metrics = [
        metric
        for metric in paper.metrics
        if any(arm["metrics"].get(metric.name) is not None for arm in result["arms"].values())
    ][:5]
    made = table("arm", "role", *(metric.name for metric in metrics), "s a trial")
    for name, arm in result["arms"].items():
        cells = [number(arm["metrics"].get(metric.name), metric) for metric in metrics]
        seconds = arm["cost"].get("seconds")
        made.add_row(name, arm["role"], *cells, "-" if seconds is None else f"{seconds:.2f}")
    return made


def print_check(console: Console, result: Mapping[str, Any], paper: Paper) -> None:
    """Print what a check found."""
    console.print()
    console.print(f"[bold]{paper.slug}[/]  {paper.title}", highlight=False)
    console.print(claims_table(result, paper))
    for claim in result["claims"]:
        if claim["verdict"] != "supported":
            console.print(f"  {claim['name']}: {claim['reason']}", highlight=False, markup=False)
        if claim["reported"]:
            console.print(f"  {claim['name']}: reported: {claim['reported']}", highlight=False, markup=False)
    console.print(arms_table(result, paper))
    for error in result["errors"]:
        console.print(f"error: {error}", style="red", highlight=False, markup=False)
    source = result["provenance"]
    for recipe in source["left_out"]:
        console.print(f"  left out: {recipe}, which takes no data of this kind", highlight=False)
    for line in source["differs"]:
        console.print(f"  differs from the paper: {line}", highlight=False, markup=False)
    console.print(
        f"  {source['tests_made']} tests, {source['seconds']:.0f} s; the trials took"
        f" {source['cpu_seconds']:.0f} s of CPU time",
        highlight=False,
    )


def print_columns(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    """Print name and text in two columns without a frame."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(name, text)
    console.print(grid)
