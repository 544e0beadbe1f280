"""Pages that come from the code: the papers' cards, the commands' help, the API."""

import contextlib
import io
import re

import mkdocs_gen_files

from assay import catalogue, cli

API = {
    "assay": ("checking.check", "running.run", "running.load", "catalogue.list_papers"),
    "assay.paper": ("paper",),
    "assay.trial": ("trial",),
    "assay.data": ("data.source", "data.table"),
    "assay.models": ("models.source", "models.text", "models.networks", "models.encoders"),
    "assay.training": ("training.compute", "training.loop", "training.loader", "training.language"),
    "assay.checking.statistics": ("statistics",),
    "assay.checking.executors": ("executors",),
}


def write(path: str, text: str) -> None:
    """Write a page of the site."""
    with mkdocs_gen_files.open(path, "w") as page:
        page.write(text)


def papers() -> None:
    """Write a page a paper, from its card, and their index."""
    lines = ["# Papers", ""]
    for entry in catalogue.entries():
        if not entry.package.startswith(catalogue.PAPERS):
            continue
        paper = entry.paper
        lines.append(f"- [{paper.slug}]({paper.slug}.md) ({paper.family}): {paper.summary}. *{paper.title}*")
        write(f"papers/{paper.slug}.md", entry.card.read_text(encoding="utf-8"))
    write("papers/index.md", "\n".join(lines) + "\n")


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
    lines = ["# API", ""]
    for name, parts in API.items():
        lines.append(f"- [{name}]({name}.md)")
        write(f"api/{name}.md", f"# {name}\n\n" + "".join(f"::: assay.{part}\n\n" for part in parts))
    for entry in catalogue.entries():
        if entry.package.startswith(catalogue.PAPERS):
            lines.append(f"- [{entry.package}]({entry.package}.md)")
            write(f"api/{entry.package}.md", f"# {entry.package}\n\n::: {entry.package}.method\n")
    write("api/index.md", "\n".join(lines) + "\n")


papers()
commands()
api()
