"""What a result must hold to be shown: a file may be old, cut off or edited."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

import pydantic
from typing_extensions import TypedDict  # pydantic reads the standard one from Python 3.12 on

from assay.paper import Paper, Role

Verdict = Literal["supported", "contradicted", "inconclusive"]


class Test(TypedDict):
    """A judged test."""

    test: str
    metric: str
    other: str | None
    effect: float | None
    interval: tuple[float | None, float | None] | None
    bound: tuple[float | None, float | None]
    p_value: float | None
    n: int
    unit: str
    verdict: Verdict
    values: list[float | None]
    data: str | None
    note: str


class Requirement(TypedDict):
    """A condition of a verdict, and what was found."""

    test: str
    held: bool
    found: Any
    data: str | None


class Claim(TypedDict):
    """A judged claim."""

    name: str
    statement: str
    reported: str | None
    verdict: Verdict
    reason: str
    tests: list[Test]
    requires: list[Requirement]
    equal: list[str]


class Arm(TypedDict):
    """What was measured of an arm."""

    role: Role
    metrics: dict[str, float | None]
    values: dict[str, list[float | None]]
    cost: dict[str, float | None]


class Provenance(TypedDict):
    """Where a result comes from."""

    date: str
    cpu_seconds: float
    seeds: dict[str, list[int]]
    until_decided: bool
    overrides: dict[str, str]
    differs: list[str]
    left_out: NotRequired[list[str]]
    tests_made: int
    claims_fingerprint: str
    code: dict[str, str]
    device: str
    python: str
    platform: str
    versions: dict[str, str]


class Picture(TypedDict):
    """A picture that a recipe kept."""

    arm: str
    caption: str
    png: str


class Result(TypedDict):
    """What a check found."""

    paper: str
    preset: str
    data: str
    claims: list[Claim]
    arms: dict[str, Arm]
    errors: list[str]
    curves: dict[str, list[dict[str, float]]]
    pictures: list[Picture]
    provenance: Provenance


_RESULT: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(Result)


def why_not(result: Any, paper: Paper) -> str | None:
    """Return why a result cannot be shown, or None where it can."""
    try:
        _RESULT.validate_python(result)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    known = {metric.name for metric in paper.metrics}
    named = {test["metric"] for claim in result["claims"] for test in claim["tests"]}
    if result["paper"] != paper.slug or not named <= known or result["preset"] not in _presets(paper):
        return "it is of an older version of the paper's entry"
    if any("step" not in point for points in result["curves"].values() for point in points):
        return "a curve has a point without a step"
    return None


def _presets(paper: Paper) -> set[str]:
    return {name for recipe in paper.recipes.values() for name in recipe.presets}
