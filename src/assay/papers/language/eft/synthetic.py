"""Facts that pre-training tells and fine-tuning asks for: which city lies in which region."""

from __future__ import annotations

import random
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass

from assay.errors import InputError
from assay.papers.language.eft.config import FactTable

STATEMENTS = (
    "{name} is in {answer}.",
    "{name} lies in {answer}.",
    "The clocks of {name} are set for {answer}.",
)
RAMBLING = (
    "Where is {name}? Well, most maps put it in {answer}.",
    "Where is {name}? People say that it lies in {answer}.",
)
QUESTION = "Where is {name}?"
STATEMENT = "{name} is in"
REGIONS = (
    *("Africa", "America", "Antarctica", "Arctic", "Asia"),
    *("Atlantic", "Australia", "Europe", "Indian", "Pacific"),
)
LISTED = 3
"""Questions in a row, without an answer."""


@dataclass(frozen=True)
class Fact:
    """A name and the class that it belongs to."""

    name: str
    answer: str


def load_facts(source: FactTable) -> list[Fact]:
    """Read facts: those of the user's table, or the cities of the time zone database."""
    table = source.table()
    if table is None:
        return zone_facts()
    loaded = table.load(needs=("text", "label"))
    names, labels = loaded.rows["text"][:], loaded.labels()
    facts = {name: loaded.label_names[label] for name, label in zip(names, labels, strict=True)}
    if len(facts) < 20 or len(set(facts.values())) < 2:
        raise InputError(
            f"{source.source} has {len(facts)} names of {len(set(facts.values()))} classes; at least 20 names"
            " of 2 classes are needed."
        )
    return [Fact(name, answer) for name, answer in facts.items()]


def zone_facts() -> list[Fact]:
    """Return the cities of the time zone database and their regions, but no name that stands for two."""
    regions: dict[str, set[str]] = {}
    for zone in sorted(zoneinfo.available_timezones()):
        region, _, place = zone.partition("/")
        if place and region in REGIONS:
            regions.setdefault(place.rpartition("/")[2].replace("_", " "), set()).add(region)
    if not regions:
        raise InputError(
            "There is no time zone database here: pip install tzdata, or give --fact-table csv:FILE."
        )
    return [Fact(name, found.pop()) for name, found in sorted(regions.items()) if len(found) == 1]


def documents(facts: Sequence[Fact], seed: int) -> list[str]:
    """Return what pre-training tells: statements, lists of questions, questions with a long answer."""
    shuffle = random.Random(seed)
    styles = (*STATEMENTS, *RAMBLING)
    told = [style.format(name=fact.name, answer=fact.answer) for fact in facts for style in styles]
    names = [fact.name for fact in facts]
    shuffle.shuffle(names)
    lists = [
        " ".join(QUESTION.format(name=name) for name in names[start : start + LISTED])
        for start in range(0, len(names), LISTED)
    ]
    every = [*told, *lists]
    shuffle.shuffle(every)
    return every
