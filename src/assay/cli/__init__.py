"""The command line: reads the words, hands them to a command, and turns errors into one line and a status."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from assay.cli import handlers
from assay.cli.arguments import RecipeOption, parse, separate
from assay.cli.commands import Check, List, New, Report, Run, Show
from assay.cli.printing import ERR
from assay.errors import AssayError, unknown

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

COMMANDS: dict[str, tuple[type, Callable[[Any, list[RecipeOption]], int]]] = {
    "list": (List, handlers.list_papers),
    "show": (Show, handlers.show),
    "check": (Check, handlers.check),
    "run": (Run, handlers.run),
    "report": (Report, handlers.report),
    "new": (New, handlers.new),
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
    command, handler = COMMANDS[name]
    own, others = separate(command, rest)
    return handler(parse(command, own, f"assay {name}"), others)
