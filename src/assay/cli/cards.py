"""Fills the generated blocks of the entries' cards and of the README from the saved results.

`python -m assay.cli.cards` writes them; the tests compare them, so that a card never says what was not
measured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay import catalogue, files
from assay.catalogue import Entry
from assay.checking import saved
from assay.cli import printing
from assay.paper import Paper

README = Path(__file__).parents[3] / "README.md"


def fill(text: str, block: str, content: str) -> str:
    """Replace what stands between `<!-- block:begin -->` and `<!-- block:end -->`."""
    pattern = re.compile(rf"(<!-- {block}:begin -->\n).*?(<!-- {block}:end -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{content}{match[2]}", text)


def card(entry: Entry) -> str:
    """Return the text of an entry's card with its generated blocks up to date."""
    results, _ = saved.results_of(entry.paper)
    text = entry.card.read_text(encoding="utf-8")
    measured = "".join(_measured(item.result, entry.paper, item.stale) for item in results)
    differs = "".join(f"- {line}\n" for line in _differs(entry.paper))
    return fill(fill(text, "measured", measured or "Not checked yet.\n"), "differs", differs or "- nothing\n")


def readme(text: str) -> str:
    """Return the README with its table of papers up to date."""
    rows = ["| paper | claim | measured | 95 % interval | verdict |", "|---|---|---|---|---|"]
    for paper in catalogue.list_papers():
        if not (catalogue.entry(paper.slug).package.startswith(catalogue.PAPERS)):
            continue
        results, _ = saved.results_of(paper)
        for claim in results[0].result["claims"] if results else []:
            sizes = [printing.effect(test, paper) for test in claim["tests"]]
            rows.append(
                f"| [{paper.slug}](src/assay/papers/{paper.slug}/README.md) | {claim['statement']}"
                f" | {'<br>'.join(size for size, _ in sizes)}"
                f" | {'<br>'.join(interval for _, interval in sizes)} | {claim['verdict']} |"
            )
    return fill(text, "papers", "\n".join(rows) + "\n")


def refresh() -> list[Path]:
    """Write all generated blocks; return the files that changed."""
    wanted = {
        entry.card: card(entry)
        for entry in catalogue.entries()
        if entry.package.startswith(catalogue.PAPERS) and entry.card.exists()
    }
    if README.exists():
        wanted[README] = readme(README.read_text(encoding="utf-8"))
    changed = [path for path, text in wanted.items() if path.read_text(encoding="utf-8") != text]
    for path in changed:
        files.write_atomic(path, wanted[path])
    return changed


def _measured(result: Mapping[str, Any], paper: Paper, stale: bool) -> str:
    """Return the block of one saved result: a row a test, then the reason where it was not supported."""
    source = result["provenance"]
    seeds = next(iter(source["seeds"].values()))
    lines = [
        f"**`{result['preset']}`, data: {result['data']}**, {source['date']}, {len(seeds)} seeds,"
        f" {source['cpu_seconds']:.0f} s of CPU time"
        + (" (the claims were edited since)" if stale else "")
        + "\n",
        "| claim | test | effect | 95 % interval | test holds | claim |",
        "|---|---|---|---|---|---|",
    ]
    for claim in result["claims"]:
        for test in claim["tests"]:
            size, interval = printing.effect(test, paper)
            where = f" on {test['data']}" if test["data"] else ""
            lines.append(
                f"| {claim['name']} | {test['test']}{where} | {size} | {interval} | {test['verdict']}"
                f" | {claim['verdict']} |"
            )
    reasons = [
        f"- {claim['name']} is {claim['verdict']}: {claim['reason']}"
        for claim in result["claims"]
        if claim["verdict"] != "supported"
    ]
    return "\n".join([*lines, *([""] if reasons else []), *reasons]) + "\n\n"


def _differs(paper: Paper) -> list[str]:
    sizes = (recipe.presets.get(size) for recipe in paper.recipes.values() for size in ("laptop", "extended"))
    return list(dict.fromkeys(line for preset in sizes if preset for line in preset.differs_for()))


if __name__ == "__main__":
    for path in refresh():
        print(path)
