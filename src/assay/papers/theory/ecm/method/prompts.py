"""The prompt that the paper sends: demonstrations, the question, and a nudge to reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

REASON = "Let's think step-by-step!"


class Demo(NamedTuple):
    """A solved example."""

    question: str
    answer: str


def render_prompt(question: str, demos: Sequence[Demo] = (), reason: bool = False) -> str:
    """Return the prompt of section 3.5 of the authors' code.

    Args:
        question: what is asked.
        demos: solved examples, in the order in which they are shown.
        reason: end with "Let's think step-by-step!", as zero-shot chain of thought does.
    """
    shown = "".join(f"[QUESTION]\n{demo.question}\n[ANSWER]\n{demo.answer}\n\n" for demo in demos)
    return f"{shown}[QUESTION]\n{question}" + (f"\n{REASON}" if reason else "")
