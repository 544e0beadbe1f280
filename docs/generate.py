"""Pages that come from the code: the papers' cards, the commands' help, the API."""

import contextlib
import io
import re

import mkdocs_gen_files

from assay import catalogue, cli

OWN = [entry for entry in catalogue.entries() if entry.package.startswith(catalogue.PAPERS)]
API = {
    "assay": ("checking.check", "cli.running.run", "artefact.load", "catalogue.list_papers"),
    "assay.paper": ("paper",),
    "assay.trial": ("trial",),
    "assay.data": ("data.source", "data.table"),
    "assay.models": ("models.source", "models.text", "models.networks", "models.encoders"),
    "assay.training": ("training.compute", "training.loop", "training.loader", "training.language"),
    "assay.records": ("records", "artefact.Artefact"),
    "assay.checking.statistics": ("checking.statistics",),
    "assay.checking.executors": ("checking.executors",),
}


def write(path: str, text: str) -> None:
    """Write a page of the site."""
    with mkdocs_gen_files.open(path, "w") as page:
        page.write(text)


def section(folder: str, title: str, pages: dict[str, str]) -> None:
    """Write the index of a section, and its part of the navigation: what each page is, by its name."""
    entries = [f"[{name}]({name}.md)" for name in pages]
    listed = [f"- {entry}{text}" for entry, text in zip(entries, pages.values(), strict=True)]
    write(f"{folder}/index.md", "\n".join([f"# {title}", "", *listed]) + "\n")
    write(
        f"{folder}/SUMMARY.md", "\n".join(f"- {entry}" for entry in [f"[{title}](index.md)", *entries]) + "\n"
    )


def papers() -> None:
    """Write a page a paper, from its card, and their index."""
    pages = {}
    for entry in OWN:
        paper = entry.paper
        pages[paper.slug] = f" ({paper.family}): {paper.summary}. *{paper.title}*"
        write(f"papers/{paper.slug}.md", entry.card.read_text(encoding="utf-8"))
    section("papers", "Papers", pages)


def commands() -> None:
    """Write what every command prints with `--help`."""
    parts = ["# Commands", ""]
    for command in ("", *cli.COMMANDS):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            cli.main([command, "--help"] if command else [])
        text = re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue()).rstrip()
        parts += [f"## assay {command}".rstrip(), "", "```text", text, "```", ""]
    write("commands.md", "\n".join(parts))


def api() -> None:
    """Write the reference, from the docstrings."""
    parts = API | {entry.package: (entry.package.removeprefix("assay.") + ".method",) for entry in OWN}
    for name, modules in parts.items():
        write(f"api/{name}.md", f"# {name}\n\n" + "".join(f"::: assay.{module}\n\n" for module in modules))
    section("api", "API", dict.fromkeys(parts, ""))


papers()
commands()
api()
