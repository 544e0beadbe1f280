"""What the command line shows: tables of papers, claims and options, and the progress of a check."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay import options
from assay.catalogue import Entry
from assay.checking import saved, wording
from assay.checking.results import Checked, ClaimResult
from assay.checking.saved import Saved
from assay.paper import Claim, Paper

if TYPE_CHECKING:
    from rich.progress import Progress

OUT = Console(width=None if sys.stdout.isatty() else 140)
ERR = Console(stderr=True)
COLOURS = {"supported": "green", "contradicted": "red", "inconclusive": "yellow"}
METRICS_SHOWN = 5


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
    return Text(f"{wording.MARKS[name]} {name}" + (" (stale)" if stale else ""), style=COLOURS[name])


# --- the catalogue ------------------------------------------------------------------------------


def papers_table(papers: Sequence[Paper], results: Mapping[str, Sequence[Saved]]) -> PlainTable:
    """Return the table of papers, with the verdicts of their saved results."""
    made = table("slug", "family", "year", "what it does", "verdicts")
    for paper in papers:
        found = results[paper.slug]
        stale = any(item.stale for item in found)
        counts = wording.verdict_counts(saved.verdicts(found).values(), stale)
        made.add_row(paper.slug, paper.family, str(paper.year), paper.summary, counts)
    return made


def print_paper(console: Console, entry: Entry, results: Sequence[Saved]) -> None:
    """Print one paper: claims with their last verdicts, recipes with sizes, arms and options."""
    paper = entry.paper
    console.print(f"[bold]{paper.slug}[/]  {paper.title}", highlight=False)
    arxiv = f", arXiv {paper.arxiv}" if paper.arxiv else ""
    console.print(f"{paper.authors} ({paper.year}){arxiv}", highlight=False)
    console.print(paper.summary, highlight=False)
    claims = table("claim", "what must hold", "reported", "last verdict")
    for claim in paper.claims:
        claims.add_row(*_claim_cells(claim, results))
    console.print(claims)
    for name, recipe in paper.recipes.items():
        console.print(f"[bold]recipe {name}[/]  {recipe.summary}", highlight=False)
        for key, preset in recipe.presets.items():
            console.print(f"  {key}: {preset.cost or 'cost unknown'}, {preset.seeds} seeds", highlight=False)
        arms = table("arm", "role", "what it removes")
        for arm in recipe.arms:
            arms.add_row(arm.name, arm.role, arm.removes or "")
        if recipe.arms:
            console.print(arms)
        made = table("option", "type", "default", "meaning")
        for option in options.options(entry.config(name)()):
            flag = option.name.replace("_", "-")
            made.add_row(f"--{flag}", option.type, str(option.default), option.meaning)
        console.print(made)
    console.print(
        f"Take the method: from {entry.package} import ...   (see {entry.card})",
        highlight=False,
        soft_wrap=True,
    )


def _claim_cells(claim: Claim, results: Sequence[Saved]) -> tuple[Text, str, str, Text | str]:
    holds = [str(test) for test in claim.tests] or [f"untested: {claim.untested}"]
    needs = [f"requires {test}" for test in claim.requires]
    last = next((item for item in results if claim.name in item.verdicts), None)
    return (
        Text(claim.name, style="bold").append(f"\n{claim.statement}", style="not bold"),
        "\n".join(holds + needs),
        str(claim.reported or "-"),
        "-" if last is None else verdict(last.verdicts[claim.name], last.stale),
    )


# --- a check ------------------------------------------------------------------------------------


def progress(doing: Callable[[], Sequence[str]]) -> Progress:
    """Return a bar on standard error that also shows what `doing` says; nothing where that is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    class Live(Progress):
        def get_renderables(self) -> Any:
            for task in self.tasks:
                task.fields["doing"] = "; ".join(doing())[:100]
            return super().get_renderables()

    return Live(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("seeds"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}", style="dim"),
        console=ERR,
        transient=True,
        disable=not ERR.is_terminal,
    )


def print_check(console: Console, checked: Checked, paper: Paper) -> None:
    """Print what a check found."""
    console.print()
    console.print(f"[bold]{paper.slug}[/]  {paper.title}", highlight=False)
    console.print(claims_table(checked.claims, paper))
    for claim in checked.claims:
        if claim.verdict != "supported":
            console.print(f"  {claim.name}: {claim.reason}", highlight=False, markup=False)
        if claim.reported:
            console.print(f"  {claim.name}: reported: {claim.reported}", highlight=False, markup=False)
    console.print(arms_table(checked, paper))
    for error in checked.errors:
        console.print(f"error: {error}", style="red", highlight=False, markup=False)
    source = checked.provenance
    for recipe in source.left_out:
        console.print(f"  left out: {recipe}, which takes no data of this kind", highlight=False)
    for line in source.differs:
        console.print(f"  differs from the paper: {line}", highlight=False, markup=False)
    console.print(
        f"  {source.tests_made} tests, {source.seconds:.0f} s; the trials took"
        f" {source.cpu_seconds:.0f} s of CPU time",
        highlight=False,
    )


def claims_table(claims: Sequence[ClaimResult], paper: Paper) -> PlainTable:
    """Return the table of a check's claims: a row a test, the claim's verdict beside its first."""
    made = table("claim", "test", "effect", "95 % interval", "n", "verdict")
    for claim in claims:
        lead: tuple[str, Text | str] = (claim.name, verdict(claim.verdict))
        for test in claim.tests:
            metric = paper.metric(test.metric)
            mark = Text(wording.MARKS[test.verdict] + " ", style=COLOURS[test.verdict])
            made.add_row(
                lead[0],
                mark.append(Text(test.label, style="default")),
                wording.effect(test, metric),
                wording.interval(test, metric),
                f"{test.n} {test.unit}s",
                lead[1],
            )
            lead = ("", "")
        if not claim.tests:
            made.add_row(lead[0], claim.reason, "-", "-", "-", lead[1])
        made.add_section()
    return made


def arms_table(checked: Checked, paper: Paper) -> PlainTable:
    """Return the table of arms: role, metrics, cost a trial."""
    arms = checked.arms.values()
    metrics = [
        metric for metric in paper.metrics if any(arm.metrics.get(metric.name) is not None for arm in arms)
    ][:METRICS_SHOWN]
    made = table("arm", "role", *(metric.name for metric in metrics), "s a trial")
    for name, arm in checked.arms.items():
        cells = [wording.number(arm.metrics.get(metric.name), metric.unit) for metric in metrics]
        seconds = arm.cost.get("seconds")
        made.add_row(name, arm.role, *cells, "-" if seconds is None else f"{seconds:.2f}")
    return made


def print_metrics(console: Console, paper: Paper, metrics: Mapping[str, float | None]) -> None:
    """Print the metrics of a run, in their units."""
    units = {metric.name: metric.unit for metric in paper.metrics}
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for name, value in metrics.items():
        grid.add_row(name, wording.number(value, units.get(name, "")))
    console.print(grid)
