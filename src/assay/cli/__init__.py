"""The command line: arguments and printing, nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.text import Text

from assay import catalogue, options
from assay.catalogue import Entry
from assay.checking import saved
from assay.cli import printing
from assay.cli.arguments import Given, overrides_of, parse, separate
from assay.errors import AssayError, InputError, unknown
from assay.paper import FAMILIES, Paper, plain

if TYPE_CHECKING:
    from assay import checking
    from assay.report.live import LiveSite

OUT = Console(width=None if sys.stdout.isatty() else 140)
ERR = Console(stderr=True)

USAGE = """\
assay tests what papers claim.

  assay list                         the catalogue and its last verdicts
  assay show SLUG                    one paper: claims, arms, options, cost
  assay check SLUG [SLUG ...]        method, baselines and controls over paired seeds: verdicts
  assay run SLUG [RECIPE] --out DIR  apply the method, keep the artefact
  assay report                       a web page of everything checked so far
  assay new SLUG --family F          start a new entry

`assay COMMAND --help` lists the options of a command, `assay show SLUG` those of a paper.
Add --debug to see where an error came from.
"""


@dataclass(frozen=True)
class List:
    """List the papers: what each does, and its last saved verdicts."""

    family: str | None = None
    """Only the papers of this family."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class Show:
    """Show one paper: claims with tests, arms, options with defaults, cost, how to take the method."""

    slug: tyro.conf.Positional[str]
    """The paper."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class Check:
    """Test a paper's claims: method, baselines and controls over paired seeds.

    Any option of the recipes that no arm sets can be given too, such as --data csv:FILE.
    Exit status: 0 all supported, 1 some contradicted, 2 some inconclusive, 3 an error.
    """

    slugs: tyro.conf.Positional[tuple[str, ...]] = ()
    """The papers."""
    all: bool = False
    """Check every paper of the catalogue."""
    preset: str = "laptop"
    """The size: tiny (never a verdict worth keeping), laptop or paper."""
    seeds: int | None = None
    """How many paired seeds; by default as many as the preset says."""
    first_seed: int = 0
    """The first seed. Develop a check on other seeds (1000, say) than it is judged on."""
    until_decided: bool = False
    """Add seeds until every claim is decided, with intervals that allow looking."""
    max_seeds: int = 60
    """With --until-decided: where to stop."""
    workers: int | None = None
    """How many processes; by default one a core. Does not change results."""
    ray: str | None = None
    """Run on a Ray cluster: its address, or nothing to start a local one."""
    cores: int = 1
    """With --ray: cores and threads of each trial."""
    gpus: float = 0.0
    """With --ray: GPUs of each trial; a fraction shares one."""
    resources: str = ""
    """With --ray: what else of the cluster each trial takes, such as big_memory=1,fast_disk=0.5."""
    store: Path = Path(".assay")
    """The folder that keeps finished trials."""
    fresh: bool = False
    """Run everything again, whatever the store has."""
    save: bool = False
    """Keep the verdicts among those that ship with assay."""
    device: str = "cpu"
    """Where trials compute, such as cuda."""
    live: bool = False
    """While the check runs, serve the report with its progress on 127.0.0.1."""
    port: int = 0
    """With --live: the port; by default a free one."""
    json: bool = False
    """Print one JSON object (a list for several papers) on standard output."""


@dataclass(frozen=True)
class Run:
    """Apply a paper's method and keep the artefact, which `assay.load` gives back.

    Any option of the recipe can be given too, such as --data csv:FILE.
    """

    slug: tyro.conf.Positional[str]
    """The paper."""
    recipe: tyro.conf.Positional[str] = ""
    """The recipe; by default the paper's own choice."""
    out: Path | None = None
    """The folder to write."""
    arm: str | None = None
    """The arm to run; by default the method."""
    preset: str = "laptop"
    """The size."""
    seed: int = 0
    """The seed of all randomness."""
    device: str = "cpu"
    """Where to compute, such as cuda."""
    overwrite: bool = False
    """Replace what an earlier run wrote."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class Report:
    """Write a web page of everything checked so far."""

    out: Path = Path("report")
    """The folder to write."""
    store: Path = Path(".assay")
    """The folder that keeps finished checks."""
    open: bool = False
    """Open the page in a browser."""


@dataclass(frozen=True)
class New:
    """Start a new entry that already passes the contract test."""

    slug: tyro.conf.Positional[str]
    """The name of the paper: letters, digits and underscores."""
    family: Annotated[str, tyro.conf.arg(metavar="FAMILY")]
    """Which field the paper is from."""


COMMANDS: dict[str, type] = {
    "list": List,
    "show": Show,
    "check": Check,
    "run": Run,
    "report": Report,
    "new": New,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        status = _dispatch(words)
    except KeyboardInterrupt:
        ERR.print("\nStopped. What was finished is kept: run the same command again to go on.")
        status = 130
    except AssayError as error:
        if debug:
            raise
        ERR.print(f"assay: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        status = 3
    except BrokenPipeError:
        sys.stderr.close()
        status = 0
    sys.exit(status)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if words[0] == "--version":
        from assay import __version__

        print(__version__)
        return 0
    name, *rest = words
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    own, others = separate(COMMANDS[name], rest)
    command = parse(COMMANDS[name], own, f"assay {name}")
    handler: Callable[[Any, list[Given]], int] = HANDLERS[COMMANDS[name]]
    return handler(command, others)


# --- commands -----------------------------------------------------------------------------------


def _list(command: List, given: list[Given]) -> int:
    _refuse(given)
    if command.family is not None and command.family not in FAMILIES:
        raise unknown("family", command.family, FAMILIES)
    with warnings.catch_warnings(record=True, action="always") as broken:
        papers = catalogue.list_papers(command.family)
    _warn([str(warning.message) for warning in broken])
    if command.json:
        print(json.dumps([_paper_json(paper) for paper in papers], indent=1, ensure_ascii=False))
        return 0
    made = printing.table("slug", "family", "year", "what it does", "verdicts")
    for paper in papers:
        results, damaged = saved.results_of(paper)
        _warn(damaged)
        counts = (
            printing.verdict_counts(results[0].verdicts.values(), results[0].stale)
            if results
            else "not checked"
        )
        made.add_row(paper.slug, paper.family, str(paper.year), paper.summary, counts)
    OUT.print(made)
    return 0


def _show(command: Show, given: list[Given]) -> int:
    _refuse(given)
    entry = catalogue.entry(command.slug)
    if command.json:
        print(json.dumps(_paper_json(entry.paper, entry), indent=1, ensure_ascii=False, default=str))
        return 0
    _print_paper(entry)
    return 0


def _check(command: Check, given: list[Given]) -> int:
    from assay import checking

    planned = {slug: _settings(command, slug, given) for slug in _slugs(command)}
    statuses, printed = [], []
    with _live(command, list(planned)) as site:
        for slug, settings in planned.items():
            with _progress(slug, command.store, site) as report:
                checked = checking.check(slug, dataclasses.replace(settings, report=report))
            result = checked.to_json()
            printed.append(result)
            statuses.append(checked.exit_status)
            if site is not None:
                site.finish(slug)
            if not command.json:
                printing.print_check(OUT, result, catalogue.entry(slug).paper)
            if command.save:
                path = saved.save(checked.name, result)
                ERR.print(f"Saved {path}", highlight=False)
    if command.json:
        print(json.dumps(printed[0] if len(printed) == 1 else printed, indent=1, ensure_ascii=False))
    else:
        OUT.print(f"Trials and verdicts are kept in {command.store}. `assay report` makes a page of them.")
    return next((status for status in (3, 1, 2) if status in statuses), 0)


def _slugs(command: Check) -> list[str]:
    slugs = catalogue.slugs() if command.all else list(dict.fromkeys(command.slugs))
    if not slugs:
        raise InputError("Name a paper to check, before the options, or give --all. `assay list` lists them.")
    return slugs


def _settings(command: Check, slug: str, given: list[Given]) -> checking.Settings:
    from assay import checking

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
    )


def _cluster(command: Check) -> checking.Cluster | None:
    """Return the cluster that was asked for."""
    from assay import checking

    if command.ray is None:
        if (command.cores, command.gpus, command.resources) != (1, 0.0, ""):
            raise InputError(
                "--cores, --gpus and --resources say what a trial takes of a cluster: add --ray."
            )
        return None
    resources = {}
    for given in filter(None, command.resources.split(",")):
        name, _, amount = given.partition("=")
        try:
            resources[name.strip()] = float(amount)
        except ValueError:
            raise InputError(
                f"--resources takes NAME=AMOUNT,..., such as big_memory=1, got {given!r}."
            ) from None
    address = command.ray.removeprefix("local") or None
    return checking.Cluster(address, command.cores, command.gpus, resources)


@contextlib.contextmanager
def _live(command: Check, slugs: list[str]) -> Iterator[LiveSite | None]:
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


def _run(command: Run, given: list[Given]) -> int:
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
            overwrite=command.overwrite,
            report=status.update,
        )
    metrics = {key: plain(value) for key, value in ran.metrics.items()}
    if command.json:
        print(json.dumps({"out": str(ran.folder), "files": ran.files, "metrics": metrics}, indent=1))
        return 0
    OUT.print(f"Wrote {ran.folder} in {ran.seconds:.1f} s:", highlight=False)
    for file in ran.files:
        OUT.print(f"  {file}", highlight=False)
    declared = {metric.name: metric for metric in entry.paper.metrics}
    printing.print_columns(
        OUT, [(key, printing.number(value, declared.get(key))) for key, value in metrics.items()]
    )
    OUT.print(f'Load it with: assay.load("{command.out}")', highlight=False)
    return 0


def _report(command: Report, given: list[Given]) -> int:
    from assay import report

    _refuse(given)
    with warnings.catch_warnings(record=True, action="always") as troubles:
        page = report.write(command.out, command.store)
    _warn([str(trouble.message) for trouble in troubles])
    OUT.print(str(page), highlight=False)
    if command.open:
        import webbrowser

        webbrowser.open(page.absolute().as_uri())
    return 0


def _new(command: New, given: list[Given]) -> int:
    from assay.cli import scaffold

    _refuse(given)
    folder = scaffold.new_entry(command.slug, command.family)
    OUT.print(f"Wrote {folder}. Fill in paper.py first; `assay check {command.slug}` already runs.")
    return 0


HANDLERS: dict[type, Any] = {
    List: _list,
    Show: _show,
    Check: _check,
    Run: _run,
    Report: _report,
    New: _new,
}


# --- printing -----------------------------------------------------------------------------------


def _refuse(given: Sequence[Given]) -> None:
    if given:
        raise InputError(f"This command has no option --{given[0].name}; see its --help.")


def _warn(lines: Sequence[str]) -> None:
    for line in lines:
        ERR.print(f"warning: {line}", style="yellow", highlight=False, markup=False)


@contextlib.contextmanager
def _progress(slug: str, store: Path, site: LiveSite | None) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error, with what the workers say they are doing."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from assay.checking.store import Store

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("seeds"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}", style="dim"),
    )
    kept = Store(store)

    class Live(Progress):
        def get_renderables(self) -> Any:
            doing = "; ".join(line for line in kept.said() if line.startswith(slug))
            for task in self.tasks:
                task.fields["doing"] = doing[:100]
            return super().get_renderables()

    with Live(*columns, console=ERR, transient=True, disable=not ERR.is_terminal) as bar:
        task = bar.add_task(slug, total=None, doing="")

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if site is not None:
                site.advance(slug, done, total)

        yield report


def _paper_json(paper: Paper, entry: Entry | None = None) -> dict[str, Any]:
    results, damaged = saved.results_of(paper)
    _warn(damaged)
    plain: dict[str, Any] = {
        "slug": paper.slug,
        "family": paper.family,
        "title": paper.title,
        "authors": paper.authors,
        "year": paper.year,
        "arxiv": paper.arxiv,
        "summary": paper.summary,
        "verdicts": [
            {
                "preset": item.result["preset"],
                "data": item.result["data"],
                "stale": item.stale,
                "date": item.result["provenance"]["date"],
                "claims": item.verdicts,
            }
            for item in results
        ],
    }
    if entry is not None:
        plain["claims"] = [
            {
                "name": claim.name,
                "statement": claim.statement,
                "reported": str(claim.reported) if claim.reported else None,
                "tests": [str(test) for test in claim.tests],
                "requires": [str(test) for test in claim.requires],
                "equal": list(claim.equal),
                "untested": claim.untested,
            }
            for claim in paper.claims
        ]
        plain["recipes"] = {
            name: {
                "summary": recipe.summary,
                "arms": {arm.name: {"role": arm.role, "removes": arm.removes} for arm in recipe.arms},
                "presets": {
                    key: {"cost": preset.cost, "seeds": preset.seeds, "differs": list(preset.differs_for())}
                    for key, preset in recipe.presets.items()
                },
                "options": [dataclasses.asdict(option) for option in options.options(entry.config(name)())],
            }
            for name, recipe in paper.recipes.items()
        }
    return plain


def _print_paper(entry: Entry) -> None:
    paper = entry.paper
    OUT.print(f"[bold]{paper.slug}[/]  {paper.title}", highlight=False)
    OUT.print(
        f"{paper.authors} ({paper.year})" + (f", arXiv {paper.arxiv}" if paper.arxiv else ""), highlight=False
    )
    OUT.print(paper.summary, highlight=False)
    results, damaged = saved.results_of(paper)
    _warn(damaged)
    verdicts = results[0].verdicts if results else {}
    claims = printing.table("claim", "what must hold", "reported", "last verdict")
    for claim in paper.claims:
        holds = "\n".join([str(test) for test in claim.tests] or [f"untested: {claim.untested}"])
        needs = "".join(f"\nrequires {test}" for test in claim.requires)
        last = printing.verdict(verdicts[claim.name], results[0].stale) if claim.name in verdicts else "-"
        claims.add_row(
            Text(claim.name, style="bold").append(f"\n{claim.statement}", style="not bold"),
            holds + needs,
            str(claim.reported or "-"),
            last,
        )
    OUT.print(claims)
    for name, recipe in paper.recipes.items():
        OUT.print(f"[bold]recipe {name}[/]  {recipe.summary}", highlight=False)
        for key, preset in recipe.presets.items():
            OUT.print(f"  {key}: {preset.cost or 'cost unknown'}, {preset.seeds} seeds", highlight=False)
        arms = printing.table("arm", "role", "what it removes")
        for arm in recipe.arms:
            arms.add_row(arm.name, arm.role, arm.removes or "")
        if recipe.arms:
            OUT.print(arms)
        made = printing.table("option", "type", "default", "meaning")
        for option in options.options(entry.config(name)()):
            flag = option.name.replace("_", "-")
            made.add_row(f"--{flag}", option.type, str(option.default), option.meaning)
        OUT.print(made)
    OUT.print(
        f"Take the method: from {entry.package} import ...   (see {entry.card})",
        highlight=False,
        soft_wrap=True,
    )
