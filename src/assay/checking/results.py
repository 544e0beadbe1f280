"""What a check found, typed, and as the JSON that `assay check --json` prints and the store keeps."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import pydantic

from assay import catalogue
from assay.paper import Role, Verdict

Kind = Literal["value", "difference", "ratio", "wins"]
"""What an effect is. `wins`: the share of seeds won, where a level was not always reached."""

Lower = Annotated[float, pydantic.BeforeValidator(lambda end: -math.inf if end is None else end)]
Upper = Annotated[float, pydantic.BeforeValidator(lambda end: math.inf if end is None else end)]
"""Ends of an interval: JSON has no infinity, so `null` stands for it."""

LONGEST_SOURCE = 60
"""Characters of a data source in the name of a result."""


def _with_kind(test: Any) -> Any:
    """Add to a test of an older result what kind it is, which that tells only in words."""
    if not isinstance(test, dict) or "kind" in test:
        return test
    kind = "value" if test.get("other") is None else "difference"
    if " / " in str(test.get("test")):
        kind = "ratio"
    if str(test.get("note")).startswith("share of seeds won"):
        kind = "wins"
    return {**test, "kind": kind}


@dataclass(frozen=True)
class TestResult:
    """One test of a claim, judged. `unit` is what `n` counts; `values` has one effect a seed."""

    __test__ = False  # for pytest

    test: str
    metric: str
    arm: str
    other: str | None
    effect: float | None
    interval: tuple[Lower, Upper] | None
    bound: tuple[Lower, Upper]
    p_value: float | None
    n: int
    unit: str
    verdict: Verdict
    seeds_needed: int | None
    kind: Kind
    values: tuple[float | None, ...] = ()
    data: str | None = None
    note: str = ""

    @property
    def label(self) -> str:
        """The test in words, with the data source where it has a name."""
        return f"{self.test} on {self.data}" if self.data else self.test


@dataclass(frozen=True)
class Requirement:
    """A condition of a verdict, and what was found."""

    test: str
    held: bool
    found: float | None
    data: str | None


@dataclass(frozen=True)
class ClaimResult:
    """A claim, judged."""

    name: str
    statement: str
    reported: str | None
    verdict: Verdict
    reason: str
    recipe: str = ""
    tests: tuple[Annotated[TestResult, pydantic.BeforeValidator(_with_kind)], ...] = ()
    requires: tuple[Requirement, ...] = ()
    equal: tuple[str, ...] = ()
    on: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArmSummary:
    """What was measured of an arm: means over seeds, the value of each seed, and what a trial cost."""

    role: Role
    metrics: dict[str, float | None] = field(default_factory=dict)
    values: dict[str, list[float | None]] = field(default_factory=dict)
    cost: dict[str, float | None] = field(default_factory=dict)
    counters: dict[str, float] = field(default_factory=dict)
    failed: int = 0


@dataclass(frozen=True)
class Picture:
    """A picture that an arm kept in the first seed, as PNG in base64."""

    arm: str
    caption: str
    png: str


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from."""

    date: str
    seconds: float
    cpu_seconds: float
    seeds: dict[str, list[int]]
    until_decided: bool
    overrides: dict[str, str]
    differs: list[str]
    tests_made: int
    claims_fingerprint: str
    code: dict[str, str]
    device: str
    python: str
    platform: str
    versions: dict[str, str]
    left_out: list[str] = field(default_factory=list)
    precision: str = "32-true"


@dataclass(frozen=True)
class Checked:
    """What a check found: the claims' verdicts, the arms' metrics and costs, and where it all comes from."""

    paper: str
    preset: str
    data: str
    claims: tuple[ClaimResult, ...]
    arms: dict[str, ArmSummary]
    errors: tuple[str, ...]
    provenance: Provenance
    curves: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()

    @property
    def name(self) -> str:
        """The name of the file that keeps the result: with the user's data, where that was brought."""
        given: dict[str, str] = {}
        for recipe in catalogue.entry(self.paper).paper.recipes.values():
            given |= recipe.own_data(self.provenance.overrides)
        source = re.sub(r"\W|_", "-", "-".join(given.values())).strip("-")
        return "--".join((self.paper, self.preset, *filter(None, [source[-LONGEST_SOURCE:]])))

    @property
    def exit_status(self) -> int:
        """0 all supported, 1 some contradicted, 2 some inconclusive, 3 an error; 3 wins, then 1, then 2."""
        verdicts = {claim.verdict for claim in self.claims}
        if self.errors:
            return 3
        return 1 if "contradicted" in verdicts else 2 if "inconclusive" in verdicts else 0

    def to_json(self) -> dict[str, Any]:
        """Return the contract's JSON object."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain

    @classmethod
    def from_json(cls, plain: Any) -> Checked:
        """Read what `to_json` gave, today or earlier.

        Raises:
            ValueError: it is no result; says where it is not.
        """
        try:
            checked: Checked = _adapter().validate_python(plain)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        if any("step" not in point for points in checked.curves.values() for point in points):
            raise ValueError("a curve has a point without a step")
        return checked


@functools.cache
def _adapter() -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(Checked)


def _finite(value: Any) -> Any:
    """Replace infinite ends by `None`, because JSON has no infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
