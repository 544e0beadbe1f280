"""What each command does: it takes its options and those of a recipe, prints, and returns the exit status."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay import catalogue, checking, options
from assay.catalogue import Entry
from assay.checking import saved
from assay.checking.store import Store
from assay.cli import commands, printing
from assay.cli.arguments import RecipeOption, overrides_of
from assay.cli.printing import ERR, OUT
from assay.errors import InputError, unknown
from assay.paper import FAMILIES, Paper, Recipe, plain

if TYPE_CHECKING:
    from assay.report.live import LiveSite


def list_papers(command: commands.List, given: list[RecipeOption]) -> int:
    """Print the catalogue."""
    _refuse(given)
    if command.family is not None and command.family not in FAMILIES:
        raise unknown("family", command.family, FAMILIES)
    with warnings.catch_warnings(record=True, action="always") as broken:
        papers = catalogue.list_papers(command.family)
    _warn([str(warning.message) for warning in broken])
    results = {paper.slug: _saved(paper) for paper in papers}
    if command.json:
        _print_json([_paper_json(paper, results[paper.slug]) for paper in papers])
    else:
        OUT.print(printing.papers_table(papers, results))
    return 0


def show(command: commands.Show, given: list[RecipeOption]) -> int:
    """Print one paper."""
    _refuse(given)
    entry = catalogue.entry(command.slug)
    results = _saved(entry.paper)
    if command.json:
        _print_json(_paper_json(entry.paper, results) | _entry_json(entry))
    else:
        printing.print_paper(OUT, entry, results)
    return 0


def check(command: commands.Check, given: list[RecipeOption]) -> int:
    """Check papers, one after the other, and print what each check found."""
    planned = {slug: _settings(command, slug, given) for slug in _slugs(command)}
    statuses, printed = [], []
    with _live(command, list(planned)) as site:
        for slug, settings in planned.items():
            with _progress(slug, command.store, site) as report:
                checked = checking.check(slug, replace(settings, report=report))
            statuses.append(checked.exit_status)
            if site is not None:
                site.finish(slug)
            if command.json:
                printed.append(checked.to_json())
            else:
                printing.print_check(OUT, checked, catalogue.entry(slug).paper)
            if command.save:
                ERR.print(f"Saved {saved.save(checked)}", highlight=False)
    if command.json:
        _print_json(printed[0] if len(printed) == 1 else printed)
    else:
        OUT.print(f"Trials and verdicts are kept in {command.store}. `assay report` makes a page of them.")
    return next((status for status in (3, 1, 2) if status in statuses), 0)


def run(command: commands.Run, given: list[RecipeOption]) -> int:
    """Apply a method and print what was written."""
    from assay.cli import running

    entry = catalogue.entry(command.slug)
    name = command.recipe or entry.paper.apply or next(iter(entry.paper.recipes))
    entry.recipe(name)
    if command.out is None:
        raise InputError("--out DIR is missing: name the folder to write the artefact to.")
    with ERR.status(f"{command.slug} {name}") as status:
        ran = running.run(
            command.slug,
            name,
            out=command.out,
            arm=command.arm,
            preset=command.preset,
            overrides=overrides_of(entry, [name], given),
            seed=command.seed,
            device=command.device,
            precision=command.precision,
            overwrite=command.overwrite,
            report=status.update,
        )
    metrics = {key: plain(value) for key, value in ran.metrics.items()}
    if command.json:
        _print_json({"out": str(ran.folder), "files": ran.files, "metrics": metrics})
        return 0
    OUT.print(f"Wrote {ran.folder} in {ran.seconds:.1f} s:", highlight=False)
    for file in ran.files:
        OUT.print(f"  {file}", highlight=False)
    printing.print_metrics(OUT, entry.paper, metrics)
    OUT.print(f'Load it with: assay.load("{command.out}")', highlight=False)
    return 0


def report(command: commands.Report, given: list[RecipeOption]) -> int:
    """Write the web page and print where it is."""
    from assay import report as pages

    _refuse(given)
    with warnings.catch_warnings(record=True, action="always") as troubles:
        page = pages.write(command.out, command.store)
    _warn([str(trouble.message) for trouble in troubles])
    OUT.print(str(page), highlight=False)
    if command.open:
        import webbrowser

        webbrowser.open(page.absolute().as_uri())
    return 0


def new(command: commands.New, given: list[RecipeOption]) -> int:
    """Start an entry and say what to do next."""
    from assay.cli import scaffold

    _refuse(given)
    folder = scaffold.new_entry(command.slug, command.family, command.out)
    OUT.print(f"Wrote {folder}. Fill in paper.py first.", highlight=False, soft_wrap=True)
    if command.out is None:
        OUT.print(f"`assay check {command.slug}` already runs.")
    else:
        point = f'[project.entry-points."{catalogue.PAPERS}"]\n{command.slug} = "{command.slug}"'
        OUT.print(
            f"assay finds it once its package is installed with this entry point:\n\n{point}", markup=False
        )
    return 0


# --- checks -------------------------------------------------------------------------------------


def _slugs(command: commands.Check) -> list[str]:
    slugs = catalogue.slugs() if command.all else list(dict.fromkeys(command.slugs))
    if not slugs:
        raise InputError("Name a paper to check, before the options, or give --all. `assay list` lists them.")
    return slugs


def _settings(command: commands.Check, slug: str, given: list[RecipeOption]) -> checking.Settings:
    entry = catalogue.entry(slug)
    recipes = list(dict.fromkeys(claim.recipe or "" for claim in entry.paper.tested))
    return checking.Settings(
        preset=command.preset,
        overrides=overrides_of(entry, recipes, given),
        seeds=command.seeds,
        first_seed=command.first_seed,
        until_decided=command.until_decided,
        max_seeds=command.max_seeds,
        workers=command.workers,
        ray=_cluster(command),
        store=command.store,
        fresh=command.fresh,
        device=command.device,
        precision=command.precision,
    )


def _cluster(command: commands.Check) -> checking.Cluster | None:
    """Return the cluster that was asked for."""
    if command.ray is None:
        if (command.cores, command.gpus, command.resources) != (1, 0.0, ""):
            raise InputError(
                "--cores, --gpus and --resources say what a trial takes of a cluster: add --ray."
            )
        return None
    resources = {}
    for word in filter(None, command.resources.split(",")):
        name, _, amount = word.partition("=")
        try:
            resources[name.strip()] = float(amount)
        except ValueError:
            raise InputError(
                f"--resources takes NAME=AMOUNT,..., such as big_memory=1, got {word!r}."
            ) from None
    address = command.ray.removeprefix("local") or None
    return checking.Cluster(address, command.cores, command.gpus, resources)


@contextlib.contextmanager
def _live(command: commands.Check, slugs: list[str]) -> Iterator[LiveSite | None]:
    """Serve the report while the check runs, if that was asked for."""
    if command.port and not command.live:
        raise InputError("--port says where --live serves the report; give both.")
    if not command.live:
        yield None
        return
    from assay.report.live import LiveSite

    with LiveSite(command.store, slugs, command.port) as site:
        ERR.print(f"The report is at {site.url} while the check runs.", highlight=False)
        yield site


@contextlib.contextmanager
def _progress(slug: str, folder: Path, site: LiveSite | None) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error, with what the workers say they are doing."""
    store = Store(folder)
    with printing.progress(lambda: [line for line in store.said() if line.startswith(f"{slug} ")]) as bar:
        task = bar.add_task(slug, total=None, doing="")

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if site is not None:
                site.advance(slug, done, total)

        yield report


# --- printing -----------------------------------------------------------------------------------


def _refuse(given: Sequence[RecipeOption]) -> None:
    if given:
        raise InputError(f"This command has no option --{given[0].name}; see its --help.")


def _warn(lines: Sequence[str]) -> None:
    for line in lines:
        ERR.print(f"warning: {line}", style="yellow", highlight=False, markup=False)


def _saved(paper: Paper) -> list[saved.Saved]:
    results, refused = saved.results_of(paper)
    _warn(refused)
    return results


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def _paper_json(paper: Paper, results: Sequence[saved.Saved]) -> dict[str, Any]:
    return {
        "slug": paper.slug,
        "family": paper.family,
        "title": paper.title,
        "authors": paper.authors,
        "year": paper.year,
        "arxiv": paper.arxiv,
        "summary": paper.summary,
        "verdicts": [
            {
                "preset": item.result.preset,
                "data": item.result.data,
                "stale": item.stale,
                "date": item.result.provenance.date,
                "claims": item.verdicts,
            }
            for item in results
        ],
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    claims = [
        {
            "name": claim.name,
            "statement": claim.statement,
            "reported": str(claim.reported) if claim.reported else None,
            "tests": [str(test) for test in claim.tests],
            "requires": [str(test) for test in claim.requires],
            "equal": list(claim.equal),
            "untested": claim.untested,
        }
        for claim in entry.paper.claims
    ]
    recipes = {name: _recipe_json(entry, name, recipe) for name, recipe in entry.paper.recipes.items()}
    return {"claims": claims, "recipes": recipes}


def _recipe_json(entry: Entry, name: str, recipe: Recipe) -> dict[str, Any]:
    return {
        "summary": recipe.summary,
        "arms": {arm.name: {"role": arm.role, "removes": arm.removes} for arm in recipe.arms},
        "presets": {
            key: {"cost": preset.cost, "seeds": preset.seeds, "differs": list(preset.differs_for())}
            for key, preset in recipe.presets.items()
        },
        "options": [asdict(option) for option in options.options(entry.config(name)())],
    }
