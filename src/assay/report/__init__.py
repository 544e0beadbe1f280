"""The web site of everything checked so far: static pages that need no network."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Collection
from pathlib import Path

import jinja2

from assay import catalogue, files
from assay.checking import saved
from assay.checking.saved import Saved
from assay.checking.store import Store
from assay.paper import FAMILIES, VERDICTS, Paper
from assay.report.views import PaperView, ResultView

TEMPLATES = Path(__file__).parent / "templates"


def write(out: Path, store: Path, drawn: Collection[str] | None = None) -> Path:
    """Write `out/index.html` and a page a paper, from the saved results and the store's; the store's win.

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
        results = [ResultView(item, view.paper) for item in view.results]
        page = environment.get_template("paper.html").render(view=view, results=results, **shared)
        files.write_atomic(out / "papers" / f"{view.paper.slug}.html", page)
    index = out / "index.html"
    files.write_atomic(index, environment.get_template("index.html").render(views=views, **shared))
    return index


def _results(paper: Paper, store: Path) -> list[Saved]:
    """Return the results that can be shown; of the others, a warning says why not."""
    found: dict[str, Saved] = {}
    for folder in (saved.FOLDER, Store(store).results):
        results, refused = saved.results_of(paper, folder)
        found |= {item.name: item for item in results}
        for line in refused:
            warnings.warn(line, stacklevel=3)
    return list(found.values())
