"""Running the commands that a card shows."""

from __future__ import annotations

import re
import shlex

import pytest

from assay import catalogue, cli


def run_commands(slug: str, start: str, *added: str) -> None:
    """Run the commands of a card that begin with `assay` and `start`, with some options added."""
    card = catalogue.entry(slug).card.read_text(encoding="utf-8")
    commands = re.findall(rf"^    assay ({re.escape(start)}.*)$", card, re.MULTILINE)
    assert commands, f"the card of {slug} shows no command that begins with: assay {start}"
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            cli.main([*shlex.split(command, comments=True), *added])
        assert not ended.value.code, command
