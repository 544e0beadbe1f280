"""The web page of everything checked so far: one file, no network."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2

from assay import catalogue, console, files, saved
from assay.errors import StorageError
from assay.paper import Paper
from assay.report.plots import forest

TEMPLATES = Path(__file__).parent / "templates"


def write(out: Path, store: Path) -> Path:
    """Write `out/index.html` from the saved results and those of the store, newer ones winning.

    Raises:
        StorageError: the folder cannot be written.
    """
    papers: list[dict[str, Any]] = []
    for paper in catalogue.list_papers():
        results = {item.name: item.result for item in saved.results_of(paper)[0]}
        results |= dict(_stored(store, paper.slug))
        papers.append({"paper": paper, "results": [_view(result, paper) for result in results.values()]})
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    page = environment.get_template("index.html").render(
        papers=papers,
        tests_made=sum(view["tests_made"] for item in papers for view in item["results"]),
        version=importlib.metadata.version("assay"),
    )
    path = out / "index.html"
    files.write_atomic(path, page)
    return path


def _stored(store: Path, slug: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((store / "results").glob(f"{slug}--*.json")):
        try:
            yield path.stem, files.read_json(path)
        except StorageError:
            continue


def _view(result: dict[str, Any], paper: Paper) -> dict[str, Any]:
    """Return what the template shows of one result."""
    metrics = [metric.name for metric in paper.metrics]
    return {
        **result,
        "tests_made": result["provenance"]["tests_made"],
        "claims": [
            claim
            | {
                "tests": [
                    test
                    | dict(zip(("shown", "shown_interval"), console.effect(test, paper), strict=True))
                    | {"plot": forest(test)}
                    for test in claim["tests"]
                ]
            }
            for claim in result["claims"]
        ],
        "metrics": [
            name
            for name in metrics
            if any(arm["metrics"].get(name) is not None for arm in result["arms"].values())
        ],
        "number": lambda name, value: console.number(value, paper.metric(name)),
    }
