"""Fills the generated blocks of the entries' cards and of the README, and the page of results.

`python -m assay.cli.cards` writes them; the tests compare them, so that a card never says what was not
measured.
"""

from __future__ import annotations

import re
from pathlib import Path

from assay import catalogue, files
from assay.catalogue import Entry
from assay.checking import saved, wording
from assay.checking.results import ClaimResult
from assay.checking.saved import Saved
from assay.paper import AFFORDABLE, Paper

README = Path(__file__).parents[3] / "README.md"
RESULTS = README.parent / "docs" / "results.md"
PUBLISHED = 43
"""How many papers there are in all."""


def fill(text: str, block: str, content: str) -> str:
    """Replace what stands between `<!-- block:begin -->` and `<!-- block:end -->`."""
    pattern = re.compile(rf"(<!-- {block}:begin -->\n).*?(<!-- {block}:end -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{content}{match[2]}", text)


def card(entry: Entry) -> str:
    """Return the text of an entry's card with its generated blocks up to date."""
    results, _ = saved.results_of(entry.paper)
    measured = "".join(_measured(item, entry.paper) for item in results)
    differs = "".join(f"- {line}\n" for line in _differs(entry.paper))
    text = fill(entry.card.read_text(encoding="utf-8"), "measured", measured or "Not checked yet.\n")
    return fill(text, "differs", differs or "- nothing\n")


def readme(text: str) -> str:
    """Return the README with its table of papers up to date: what each does, and how its claims came out."""
    entries = _own()
    rows = [
        f"{len(entries)} of the {PUBLISHED} work today.\n",
        "| paper | what it does | claims |",
        "|---|---|---|",
    ]
    for entry in entries:
        paper, link = entry.paper, entry.card.relative_to(README.parent).as_posix()
        counts = wording.counts(saved.verdicts(saved.results_of(paper)[0]).values())
        marks = " ".join(f"{wording.MARKS[name]}&nbsp;{count}" for name, count in counts.items())
        rows.append(f"| [{paper.slug}]({link}): {paper.title} | {paper.summary} | {marks or 'not checked'} |")
    return fill(text, "papers", "\n".join(rows) + "\n")


def results() -> str:
    """Return the page of all claims that were checked, each with its effects and intervals."""
    rows = ["| paper | claim | measured | 95 % interval | verdict |", "|---|---|---|---|---|"]
    for entry in _own():
        paper, seen = entry.paper, set[str]()
        statements = {claim.name: claim.statement for claim in paper.claims}
        for item in saved.results_of(paper)[0]:
            for claim in item.result.claims:
                if claim.name not in seen:
                    sizes, intervals = _sizes(claim, paper)
                    sentence = statements.get(claim.name, claim.statement)
                    rows.append(f"| {paper.slug} | {sentence} | {sizes} | {intervals} | {claim.verdict} |")
            seen |= set(item.verdicts)
    return (
        "# Results\n\nWhat was measured of every claim, at the smallest size at which it was checked.\n\n"
        + ("\n".join(rows) + "\n")
    )


def refresh() -> list[Path]:
    """Write all generated blocks and pages; return the files that changed."""
    wanted = {entry.card: card(entry) for entry in _own() if entry.card.exists()}
    if README.exists():
        wanted |= {README: readme(README.read_text(encoding="utf-8")), RESULTS: results()}
    changed = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in changed:
        files.write_atomic(path, wanted[path])
    return changed


def _own() -> list[Entry]:
    return [entry for entry in catalogue.entries() if entry.package.startswith(catalogue.PAPERS)]


def _sizes(claim: ClaimResult, paper: Paper) -> tuple[str, str]:
    shown = [(test, paper.metric(test.metric)) for test in claim.tests]
    effects = [wording.effect(test, metric) for test, metric in shown]
    intervals = [wording.interval(test, metric) for test, metric in shown]
    return "<br>".join(effects), "<br>".join(intervals)


def _measured(item: Saved, paper: Paper) -> str:
    """Return the block of one saved result: a row a test, then the reason where it was not supported."""
    result, source = item.result, item.result.provenance
    seeds = next(iter(source.seeds.values()))
    lines = [
        f"**`{result.preset}`, data: {result.data}**, {source.date}, {len(seeds)} seeds,"
        f" {source.cpu_seconds:.0f} s of CPU time"
        + (" (the claims were edited since)" if item.stale else "")
        + "\n",
        "| claim | test | effect | 95 % interval | test holds | claim |",
        "|---|---|---|---|---|---|",
    ]
    for claim in result.claims:
        for test in claim.tests:
            metric = paper.metric(test.metric)
            size, interval = wording.effect(test, metric), wording.interval(test, metric)
            lines.append(
                f"| {claim.name} | {test.label} | {size} | {interval} | {test.verdict} | {claim.verdict} |"
            )
    reasons = [
        f"- {claim.name} is {claim.verdict}: {claim.reason}"
        for claim in result.claims
        if claim.verdict != "supported"
    ]
    return "\n".join([*lines, *([""] if reasons else []), *reasons]) + "\n\n"


def _differs(paper: Paper) -> list[str]:
    sizes = (recipe.presets.get(size) for recipe in paper.recipes.values() for size in AFFORDABLE)
    return list(dict.fromkeys(line for preset in sizes if preset for line in preset.differs_for()))


if __name__ == "__main__":
    for path in refresh():
        print(path)
