"""The web site of everything checked so far: static pages that need no network."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import jinja2

from assay import catalogue, files
from assay.checking import saved
from assay.errors import StorageError
from assay.paper import FAMILIES, Paper
from assay.report.schema import why_not
from assay.report.views import VERDICTS, PaperView, result_view

TEMPLATES = Path(__file__).parent / "templates"


def write(out: Path, store: Path, drawn: Collection[str] | None = None) -> Path:
    """Write `out/index.html` and a page a paper, from the saved results and the store's; newer ones win.

    Args:
        out: the folder of the site.
        store: a folder of finished checks.
        drawn: the papers whose pages are written; by default all.

    Raises:
        StorageError: the folder cannot be written.
    """
    views = [PaperView(entry.paper, _results(entry.paper, store)) for entry in catalogue.entries()]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shared = {
        "version": importlib.metadata.version("assay"),
        "tests_made": sum(view.tests_made for view in views),
        "families": [family for family in FAMILIES if any(view.paper.family == family for view in views)],
        "verdicts": VERDICTS,
    }
    for view in views:
        if drawn is not None and view.paper.slug not in drawn:
            continue
        page = environment.get_template("paper.html").render(
            view=view, results=[result_view(result, view.paper) for result in view.results], **shared
        )
        files.write_atomic(out / "papers" / f"{view.paper.slug}.html", page)
    index = out / "index.html"
    files.write_atomic(index, environment.get_template("index.html").render(views=views, **shared))
    return index


def _results(paper: Paper, store: Path) -> list[dict[str, Any]]:
    """Return the results that can be shown; of the others, a warning says why not."""
    found = {item.name: item.result for item in saved.results_of(paper)[0]}
    for name, result in _stored(store, paper.slug):
        trouble = why_not(result, paper)
        if trouble is None:
            found[name] = result
        else:
            warnings.warn(f"{name} in {store} cannot be shown ({trouble}).", stacklevel=3)
    return list(found.values())


def _stored(store: Path, slug: str) -> Iterator[tuple[str, Any]]:
    for path in sorted((store / "results").glob(f"{slug}--*.json")):
        try:
            yield path.stem, files.read_json(path)
        except StorageError as error:
            warnings.warn(str(error), stacklevel=4)
