"""What a paper says, as plain data: its metrics, recipes, arms and claims.

Nothing here runs anything, and nothing here needs torch: `assay list` and `assay show` read only this.
Every name that one part uses of another is checked when the `Paper` is built.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeAlias, get_args

Family = Literal[
    "vision",
    "multimodal",
    "speech",
    "language",
    "distillation",
    "privacy",
    "agents",
    "driving",
    "education",
    "optimization",
    "theory",
]
Role = Literal["method", "baseline", "control", "reference"]
Kind = Literal["sampled", "exact", "rate", "timing", "memory"]
Source = Literal["paper", "code", "reviews", "measured", "recalled", "inferred"]
Better = Literal["higher", "lower"]
Scale = Literal["value", "difference", "ratio"]
Verdict = Literal["supported", "contradicted", "inconclusive"]

FAMILIES: tuple[Family, ...] = get_args(Family)
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
ALL_ARMS = "all"
"""The name under which a recipe's `across` metrics are stored and tested."""

TINY, LAPTOP = "tiny", "laptop"
AFFORDABLE = (LAPTOP, "extended", "public")
"""The presets at which claims are judged without the paper's own data, models and hardware."""
PRESETS = (*AFFORDABLE, "paper", TINY)
"""The names of presets in the order in which their results are shown; an entry may have further ones."""
MIN_SEEDS = 3
"""For a verdict on what varies: two say next to nothing about the spread."""
LARGEST_LOGARITHM = 700
"""Beyond it the ratio is not a finite number."""


# --- what a recipe returns ----------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """A metric that counts: `successes` out of `trials`."""

    successes: int
    trials: int

    def __post_init__(self) -> None:
        for name in ("successes", "trials"):  # numpy's integers are counts too, but JSON has none
            object.__setattr__(self, name, operator.index(getattr(self, name)))
        if not 0 <= self.successes <= self.trials or self.trials == 0:
            raise ValueError(f"a rate needs 0 <= successes <= trials and trials > 0, got {self}")

    @property
    def value(self) -> float:
        """The share of successes, a fraction."""
        return self.successes / self.trials


@dataclass(frozen=True)
class Items:
    """A metric with one value an item (an utterance, a route), paired between arms by id.

    `clusters` names what the items share (a speaker, a student): the bootstrap draws clusters.
    """

    ids: Sequence[str]
    values: Sequence[float]
    clusters: Sequence[str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(str(name) for name in self.ids))
        object.__setattr__(self, "values", tuple(float(value) for value in self.values))
        if self.clusters is not None:
            object.__setattr__(self, "clusters", tuple(str(name) for name in self.clusters))
        lengths = {len(self.ids), len(self.values), len(self.ids if self.clusters is None else self.clusters)}
        if len(lengths) != 1 or not self.ids:
            raise ValueError(f"ids, values and clusters need one length above 0, got {sorted(lengths)}")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("item ids must be unique")

    @property
    def value(self) -> float:
        """The mean over items."""
        return math.fsum(self.values) / len(self.values)


Value: TypeAlias = float | int | Rate | Items | None
"""What a recipe returns for a metric; `None` is a level that was never reached."""


def plain(value: Value) -> float | None:
    """Return a metric's value as one number: the share of a rate, the mean of items."""
    return value.value if isinstance(value, Rate | Items) else value


# --- tests --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Test:
    """What a claim says of one metric: its effect lies in the region `bounds`.

    The effect is the mean of `effect` over seeds: a value, a difference oriented so that positive is better,
    or the logarithm of a ratio.
    """

    __test__ = False  # for pytest
    scale: ClassVar[Scale] = "difference"
    strict: ClassVar[bool] = False
    """Whether an effect on the bound does not count, even where it has no error."""

    metric: str
    arm: str

    @property
    def other(self) -> str | None:
        """The arm that `arm` is compared with, or `None` for a test of one arm."""
        return None

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that the test reads."""
        return (self.arm,) if self.other is None else (self.arm, self.other)

    @property
    def bounds(self) -> tuple[float, float]:
        """The region in which the effect must lie."""
        raise NotImplementedError

    def holds(self, effect: float) -> bool:
        """Whether an effect that has no error lies in the region."""
        low, high = self.bounds
        return low < effect < high if self.strict else low <= effect <= high

    def effect(self, values: Sequence[float], better: Better) -> float:
        """Return the effect in one seed, from the value of each arm."""
        if len(values) == 1:
            return float(values[0])
        first, second = values
        return float(first - second if better == "higher" else second - first)

    def shown(self, effect: float) -> float:
        """Return an effect, or an end of its interval, as it is printed."""
        return effect


@dataclass(frozen=True)
class Superior(Test):
    """`arm` is better than `over` by more than `by` (in the metric's unit)."""

    strict: ClassVar[bool] = True

    over: str
    by: float = 0.0

    @property
    def other(self) -> str:
        return self.over

    @property
    def bounds(self) -> tuple[float, float]:
        return self.by, math.inf

    def __str__(self) -> str:
        return f"{self.metric}: {self.arm} better than {self.over}" + (f" by {self.by:g}" if self.by else "")


@dataclass(frozen=True)
class NonInferior(Test):
    """`arm` is worse than `to` by less than `within` (in the metric's unit)."""

    to: str
    within: float

    @property
    def other(self) -> str:
        return self.to

    @property
    def bounds(self) -> tuple[float, float]:
        return -self.within, math.inf

    def __str__(self) -> str:
        return f"{self.metric}: {self.arm} at most {self.within:g} worse than {self.to}"


@dataclass(frozen=True)
class Equivalent(Test):
    """`arm` and `to` differ by less than `within` (in the metric's unit)."""

    to: str
    within: float

    @property
    def other(self) -> str:
        return self.to

    @property
    def bounds(self) -> tuple[float, float]:
        return -self.within, self.within

    def __str__(self) -> str:
        return f"{self.metric}: {self.arm} within {self.within:g} of {self.to}"


@dataclass(frozen=True)
class Ratio(Test):
    """The geometric mean of `arm` / `over` is at least, or at most, a bound. Judged on paired log-ratios."""

    scale: ClassVar[Scale] = "ratio"

    over: str
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"Ratio({self.metric!r}) needs exactly one of at_least and at_most")
        if (self.at_least or self.at_most or 0) <= 0:
            raise ValueError(f"Ratio({self.metric!r}) needs a bound above 0")

    @property
    def other(self) -> str:
        return self.over

    @property
    def bounds(self) -> tuple[float, float]:
        """The region of the logarithm."""
        low = -math.inf if self.at_least is None else math.log(self.at_least)
        return low, math.inf if self.at_most is None else math.log(self.at_most)

    def effect(self, values: Sequence[float], better: Better) -> float:
        """Return the logarithm of the ratio in one seed, whatever is better.

        Raises:
            ValueError: a value is not above 0.
        """
        first, second = values
        if first <= 0 or second <= 0:
            raise ValueError(f"{self} needs values above 0, got {first:g} and {second:g}.")
        return math.log(first / second)

    def shown(self, effect: float) -> float:
        """Return a logarithm as the ratio that it stands for."""
        return math.exp(effect) if effect < LARGEST_LOGARITHM else math.inf

    def __str__(self) -> str:
        bound = f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"
        return f"{self.metric}: {self.arm} / {self.over} {bound}"


@dataclass(frozen=True)
class AtLeast(Test):
    """The mean of `arm` is at least `value`."""

    scale: ClassVar[Scale] = "value"

    value: float

    @property
    def bounds(self) -> tuple[float, float]:
        return self.value, math.inf

    def __str__(self) -> str:
        return f"{self.metric}: {self.arm} at least {self.value:g}"


@dataclass(frozen=True)
class AtMost(Test):
    """The mean of `arm` is at most `value`."""

    scale: ClassVar[Scale] = "value"

    value: float

    @property
    def bounds(self) -> tuple[float, float]:
        return -math.inf, self.value

    def __str__(self) -> str:
        return f"{self.metric}: {self.arm} at most {self.value:g}"


# --- a paper ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metric:
    """A number that a recipe returns, and how to judge it.

    `kind`: `sampled` varies with the seed; `exact` must not; `rate` is a `Rate`; `timing` is in seconds and
    makes the checker run the recipe alone; `memory` is what a process of its own took, and may vary as well.
    """

    name: str
    better: Better
    unit: str
    kind: Kind = "sampled"
    description: str = ""


@dataclass(frozen=True)
class Arm:
    """A named setting of a recipe's config with a role. A control says which mechanism it `removes`."""

    name: str
    role: Role
    settings: Mapping[str, Any] = field(default_factory=dict)
    removes: str | None = None

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise ValueError(f"arm {self.name!r}: role {self.role!r} is none of {', '.join(get_args(Role))}")
        if (self.role == "control") != (self.removes is not None):
            raise ValueError(f"arm {self.name!r}: a control, and only a control, says what it removes")
        if self.name == ALL_ARMS:
            raise ValueError(f"an arm cannot be called {ALL_ARMS!r}: the metrics across arms have that name")


@dataclass(frozen=True)
class Preset:
    """A named size of a recipe: settings, how it differs from the paper, what it costs, how many seeds.

    The names: `tiny` for tests, never a verdict; `laptop` for minutes on two cores without a download;
    `extended` for what takes longer there; `public` for a public data set and a real pre-trained model;
    `paper` for the paper's own data, models and settings. `data_settings` and `data_differs` speak of the
    preset's own data and do not apply when the user brings other data (`Recipe.inputs`).
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    differs: tuple[str, ...] = ()
    cost: str = ""
    seeds: int = 10
    data_settings: Mapping[str, Any] = field(default_factory=dict)
    data_differs: tuple[str, ...] = ()

    def settings_for(self, own_data: bool = False) -> dict[str, Any]:
        """Return the settings that hold on the preset's data, or on the user's own."""
        return {**self.settings, **({} if own_data else self.data_settings)}

    def differs_for(self, own_data: bool = False) -> tuple[str, ...]:
        """Return what differs from the paper on the preset's data, or on the user's own."""
        return (() if own_data else self.data_differs) + self.differs


@dataclass(frozen=True)
class Recipe:
    """A function `name(config, trial) -> metrics` of an entry. Without arms it is a command of `run` alone.

    `config` names a class in the entry's `config.py`. With `across=True` the module also has
    `across(arms: dict[str, metrics]) -> metrics`, for what is a function of all arms of a seed. `inputs` are
    the options that bring the user's own data; a check on it leaves out the recipes that do not take it.
    """

    config: str
    arms: tuple[Arm, ...] = ()
    presets: Mapping[str, Preset] = field(default_factory=dict)
    summary: str = ""
    across: bool = False
    inputs: tuple[str, ...] = ("data",)

    def own_data(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of the user's options that bring data to this recipe."""
        return {
            name: value
            for name, value in overrides.items()
            if name.removesuffix(".source").removesuffix(".path") in self.inputs
        }

    def arm(self, name: str) -> Arm:
        """Return the arm called `name`."""
        return next(arm for arm in self.arms if arm.name == name)

    @property
    def method(self) -> Arm | None:
        """The first arm with the role `method`, which a bare `assay run` uses."""
        return next((arm for arm in self.arms if arm.role == "method"), None)


@dataclass(frozen=True)
class Reported:
    """What the paper reports, and where it stands. Only `source="paper"` is printed as the paper's."""

    text: str
    where: str = ""
    source: Source = "paper"

    def __str__(self) -> str:
        if self.source == "paper":
            return f"{self.text} ({self.where})" if self.where else self.text
        return f"{self.text} ({self.source}, not read in the paper)"


@dataclass(frozen=True)
class Claim:
    """A falsifiable sentence.

    It is supported when all `tests` are and contradicted when any is. `requires` must hold for the check
    to mean anything; the counters in `equal` must agree between the compared arms. `on` names the data
    sources that it is about, judged one by one, where neither the preset nor the user brings other data.
    `untested` says why there is no test.
    """

    name: str
    statement: str
    recipe: str | None = None
    reported: Reported | None = None
    tests: tuple[Test, ...] = ()
    requires: tuple[Test, ...] = ()
    equal: tuple[str, ...] = ()
    unit: Literal["seed", "item"] = "seed"
    on: tuple[str, ...] = ()
    untested: str | None = None

    def __post_init__(self) -> None:
        if (self.untested is None) == (not self.tests):
            raise ValueError(f"claim {self.name!r} needs either tests or the reason why it is untested")
        if self.tests and self.recipe is None:
            raise ValueError(f"claim {self.name!r} has tests but names no recipe")

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that the tests and requirements read, each once, in order."""
        names = (name for test in (*self.tests, *self.requires) for name in test.arms)
        return tuple(dict.fromkeys(names))

    @property
    def compared(self) -> tuple[str, ...]:
        """The arms that the tests compare with one another: those whose `equal` counters must agree."""
        names = (name for test in self.tests if test.other for name in test.arms)
        return tuple(name for name in dict.fromkeys(names) if name != ALL_ARMS)


@dataclass(frozen=True)
class Paper:
    """A published system: who wrote it, what can be run, and what it claims."""

    slug: str
    family: Family
    title: str
    authors: str
    year: int
    summary: str
    metrics: tuple[Metric, ...]
    recipes: Mapping[str, Recipe]
    claims: tuple[Claim, ...]
    arxiv: str | None = None
    code: str | None = None
    apply: str | None = None

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise ValueError(f"paper {self.slug!r}: " + "; ".join(problems))

    def metric(self, name: str) -> Metric:
        """Return the metric called `name`."""
        return next(metric for metric in self.metrics if metric.name == name)

    @property
    def tested(self) -> tuple[Claim, ...]:
        """The claims that have tests."""
        return tuple(claim for claim in self.claims if claim.tests)

    def fingerprint(self, preset: str) -> str:
        """Identify the claims as they are judged at `preset`: tests, requirements, arms, settings.

        What the paper reports and what only explains (a claim's sentence, a metric's description, what a
        control removes, a preset's cost) do not count.
        """
        judged = {
            "claims": [_plain(replace(claim, statement="", reported=None)) for claim in self.tested],
            "metrics": [_plain(replace(metric, description="")) for metric in self.metrics],
            "recipes": {
                name: [
                    [_plain(arm) | {"removes": None} for arm in recipe.arms],
                    recipe.presets[preset].settings_for(),
                ]
                for name, recipe in self.recipes.items()
                if preset in recipe.presets
            },
        }
        return hashlib.sha256(json.dumps(judged, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _plain(item: Any) -> dict[str, Any]:
    plain = {"type": type(item).__name__, **dataclasses.asdict(item)}
    if isinstance(item, Claim):
        plain |= {name: [_plain(test) for test in getattr(item, name)] for name in ("tests", "requires")}
    return plain


def _problems(paper: Paper) -> Iterable[str]:
    """Yield everything that is wrong with the names in a paper."""
    if paper.family not in FAMILIES:
        yield f"family {paper.family!r} is none of {', '.join(FAMILIES)}"
    yield from _duplicates("metric", [metric.name for metric in paper.metrics])
    yield from _duplicates("claim", [claim.name for claim in paper.claims])
    if paper.apply is not None and paper.apply not in paper.recipes:
        yield f"apply names the recipe {paper.apply!r}, which is none of {', '.join(paper.recipes)}"
    for name, recipe in paper.recipes.items():
        yield from _duplicates(f"arm of {name}", [arm.name for arm in recipe.arms])
    for claim in paper.tested:
        yield from _claim_problems(paper, claim)


def _claim_problems(paper: Paper, claim: Claim) -> Iterable[str]:
    where = f"claim {claim.name!r}"
    recipe = paper.recipes.get(claim.recipe or "")
    if recipe is None:
        yield f"{where} names the recipe {claim.recipe!r}, which is none of {', '.join(paper.recipes)}"
        return
    arms = {arm.name for arm in recipe.arms} | ({ALL_ARMS} if recipe.across else set())
    metrics = {metric.name for metric in paper.metrics}
    for test in (*claim.tests, *claim.requires):
        if test.metric not in metrics:
            yield f"{where} tests the metric {test.metric!r}, which is not declared"
        for name in test.arms:
            if name not in arms:
                yield f"{where} tests the arm {name!r}, which the recipe {claim.recipe!r} does not have"
    if claim.equal and not claim.compared:
        yield f"{where} wants {claim.equal[0]!r} equal, but its tests compare no arms with one another"
    if not any(arm.role == "control" for arm in recipe.arms):
        yield f"{where} needs a control in the recipe {claim.recipe!r}: an arm that removes the mechanism"
    if TINY not in recipe.presets or not set(AFFORDABLE) & set(recipe.presets):
        needed = f"needs the preset {TINY} and one of {', '.join(AFFORDABLE)}"
        yield f"the recipe {claim.recipe!r} carries a claim and {needed}"


def _duplicates(kind: str, names: Sequence[str]) -> Iterable[str]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{kind} {name!r} is declared twice"
