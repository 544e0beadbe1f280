"""What a check will run: recipes and data sources, the config of every arm, and the units of work.

What cannot give a verdict is refused here, before anything runs. Nothing heavy is imported.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from assay import files, options
from assay.catalogue import Entry
from assay.checking.executors import Cluster
from assay.checking.store import DEFAULT, Unit
from assay.errors import InputError, unknown
from assay.paper import ALL_ARMS, LAPTOP, MIN_SEEDS, TINY, Claim, Paper, Preset, Recipe
from assay.training.compute import Precision

FIRST_LOOK = 6
"""The number of seeds before `until_decided` looks for the first time."""


@dataclass(frozen=True)
class Settings:
    """How to check: everything but the paper.

    `executor` is any `concurrent.futures.Executor` that can run `run_unit`; without it, processes here or,
    with `ray`, a cluster. `report` is told how many units are done, of how many.
    """

    preset: str = LAPTOP
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seeds: int | None = None
    first_seed: int = 0
    until_decided: bool = False
    max_seeds: int = 60
    workers: int | None = None
    ray: Cluster | None = None
    executor: Executor | None = None
    store: Path = DEFAULT
    fresh: bool = False
    device: str = "cpu"
    precision: str = "32-true"
    report: Callable[[int, int], None] = lambda done, total: None


@dataclass(frozen=True, eq=False)
class Group:
    """A recipe on one data source (empty: the preset's or the user's own), and the claims judged on it.

    `configs` and `inputs` have the plain config of each arm, and what identifies the data and models that
    the config names.
    """

    recipe: str
    data: str
    claims: tuple[Claim, ...]
    code: str
    configs: Mapping[str, Mapping[str, Any]]
    inputs: Mapping[str, Sequence[str]]

    @property
    def key(self) -> tuple[str, str]:
        """What tells a group, and the units of its work, from others."""
        return self.recipe, self.data

    @property
    def label(self) -> str:
        """The recipe, and the data source where it has a name."""
        return f"{self.recipe} on {self.data}" if self.data else self.recipe


@dataclass(frozen=True)
class Plan:
    """What a check will run. `left_out` are the recipes that do not take the user's data."""

    entry: Entry
    settings: Settings
    groups: tuple[Group, ...]
    left_out: tuple[str, ...]
    torch: str
    """The version of torch, which belongs to the keys of trials."""

    def recipe(self, group: Group) -> Recipe:
        """Return the recipe of a group."""
        return self.entry.paper.recipes[group.recipe]

    def preset(self, group: Group) -> Preset:
        """Return the size at which a group is run."""
        return self.recipe(group).presets[self.settings.preset]

    def seeds(self, group: Group) -> range:
        """Return the seeds of a group, where their number was chosen before."""
        first = self.settings.first_seed
        return range(first, first + (self.settings.seeds or self.preset(group).seeds))

    def is_timed(self, group: Group) -> bool:
        """Whether a claim is about time, so that nothing else may run meanwhile."""
        paper = self.entry.paper
        return any(
            paper.metric(test.metric).kind == "timing" for claim in group.claims for test in claim.tests
        )

    @property
    def differs(self) -> list[str]:
        """How the check differs from the paper."""
        overrides = self.settings.overrides
        lines = (
            line
            for group in self.groups
            for line in self.preset(group).differs_for(bool(self.recipe(group).own_data(overrides)))
        )
        return list(dict.fromkeys(lines))

    def unit(self, group: Group, seed: int) -> Unit:
        """Return the work of one seed. Its keys hash all that determines a trial."""
        settings = self.settings
        identity = (self.entry.slug, group.recipe, seed, group.code, settings.device, settings.precision)
        keys = {
            arm: files.digest(identity, arm, config, group.inputs[arm], self.torch)
            for arm, config in group.configs.items()
        }
        if self.recipe(group).across:
            keys[ALL_ARMS] = files.digest(identity, keys)
        return Unit(
            slug=self.entry.slug,
            recipe=group.recipe,
            data=group.data,
            seed=seed,
            configs=group.configs,
            keys=keys,
            store=str(settings.store.absolute()),
            code=group.code,
            device=settings.device,
            precision=settings.precision,
            fresh=settings.fresh,
        )


def refuse(entry: Entry, settings: Settings) -> None:
    """Refuse what cannot give a verdict, as far as that can be known at once.

    Raises:
        InputError: an unknown preset, option or precision, an option that an arm sets, or too few seeds.
    """
    paper = entry.paper
    if not paper.tested:
        raise InputError(f"{paper.slug} has no claim that can be tested here; see `assay show {paper.slug}`.")
    _refuse_too_few(paper, settings)
    check_precision(settings.precision)
    recipes, _ = _recipes(paper, settings)
    _refuse_options(entry, recipes, settings.overrides)


def check_precision(name: str) -> None:
    """Refuse what is no precision, without torch.

    Raises:
        InputError: names the nearest right one.
    """
    if name not in get_args(Precision):
        raise unknown("precision", name, get_args(Precision))


def make_plan(entry: Entry, settings: Settings) -> Plan:
    """Plan the check of a paper.

    Raises:
        InputError: the value of an option does not fit, or two arms are the same.
    """
    recipes, left_out = _recipes(entry.paper, settings)
    groups = [group for recipe in recipes for group in _groups(entry, recipe, settings)]
    return Plan(entry, settings, tuple(groups), tuple(left_out), importlib.metadata.version("torch"))


def _recipes(paper: Paper, settings: Settings) -> tuple[list[str], list[str]]:
    """Return the recipes to run, and those left out because they do not take the user's data."""
    tested = list(dict.fromkeys(claim.recipe or "" for claim in paper.tested))
    presets = {preset for name in tested for preset in paper.recipes[name].presets}
    if settings.preset not in presets:
        raise unknown(f"preset of {paper.slug}", settings.preset, presets)
    sized = [name for name in tested if settings.preset in paper.recipes[name].presets]
    taking = [name for name in sized if paper.recipes[name].own_data(settings.overrides)] or sized
    return taking, [name for name in sized if name not in taking]


def _groups(entry: Entry, name: str, settings: Settings) -> Iterator[Group]:
    """Yield a recipe on each data source that its claims are about.

    What the user or the preset brings takes the place of all of them.
    """
    recipe = entry.paper.recipes[name]
    brought = recipe.own_data({**recipe.presets[settings.preset].settings_for(), **settings.overrides})
    sources: dict[str, list[Claim]] = {}
    for claim in entry.paper.tested:
        if claim.recipe == name:
            for source in ("",) if brought or not claim.on else claim.on:
                sources.setdefault(source, []).append(claim)
    code = entry.code_fingerprint(name)
    for source, claims in sources.items():
        configs = _configs(entry, name, source, settings)
        yield Group(
            recipe=name,
            data=source,
            claims=tuple(claims),
            code=code,
            configs={arm: options.to_plain(config) for arm, config in configs.items()},
            inputs=_fingerprints(configs),
        )


def _configs(entry: Entry, name: str, source: str, settings: Settings) -> dict[str, Any]:
    """Resolve the config of every arm; two arms that come out the same are an error."""
    recipe, config = entry.paper.recipes[name], entry.config(name)
    known = options.option_names(config())
    mine = {
        option: value
        for option, value in settings.overrides.items()
        if option in known or option.split(".")[0] in known
    }
    size = recipe.presets[settings.preset].settings_for(bool(recipe.own_data(mine)))
    layers = (size, {"data": source} if source else {}, mine)
    configs: dict[str, Any] = {}
    for arm in recipe.arms:
        made: Any = options.resolve(config, *layers, arm.settings)
        twin = next((other for other, theirs in configs.items() if theirs == made), None)
        if twin is not None:
            raise InputError(
                f"the arms {twin!r} and {arm.name!r} of {name!r} have the same settings, so there is nothing"
                " to compare. Change the options that make them equal."
            )
        configs[arm.name] = made
    return configs


def _fingerprints(configs: Mapping[str, Any]) -> dict[str, list[str]]:
    """Identify the data and models that each config names, by content; one that arms share, once."""
    known: dict[Any, str] = {}

    def identify(value: Any) -> str:
        if value not in known:
            known[value] = value.fingerprint()
        return known[value]

    return {
        name: [identify(value) for value in vars(config).values() if hasattr(value, "fingerprint")]
        for name, config in configs.items()
    }


def _refuse_options(entry: Entry, recipes: Iterable[str], overrides: Mapping[str, Any]) -> None:
    known: dict[str, None] = {}
    set_by_arms: dict[str, str] = {}
    for name in recipes:
        known |= dict.fromkeys(options.option_names(entry.config(name)()))
        for arm in entry.paper.recipes[name].arms:
            set_by_arms |= dict.fromkeys(arm.settings, arm.name)
    for option in overrides:
        if option in set_by_arms:
            raise InputError(
                f"--{option} is set by the arms of {entry.slug} (by {set_by_arms[option]!r}, for one),"
                f" because that is what a check compares. Use `assay run {entry.slug}` to choose it yourself."
            )
        if option not in known:
            raise unknown(f"option of {entry.slug}", option, known)


def _refuse_too_few(paper: Paper, settings: Settings) -> None:
    if settings.until_decided:
        if settings.seeds is not None:
            raise InputError(
                "--seeds and --until-decided exclude each other; use --max-seeds with the latter."
            )
        if any(claim.unit == "item" for claim in paper.tested):
            raise InputError(f"--until-decided adds seeds, but claims on {paper.slug} are judged by item.")
        if settings.max_seeds < FIRST_LOOK:
            raise InputError(
                f"--max-seeds {settings.max_seeds} is too few: the first look is at {FIRST_LOOK}."
            )
    varies = any(
        claim.unit == "seed" and paper.metric(test.metric).kind in ("sampled", "timing", "memory")
        for claim in paper.tested
        for test in claim.tests
    )
    least = MIN_SEEDS if varies and settings.preset != TINY else 1
    if settings.seeds is not None and settings.seeds < least:
        raise InputError(
            f"--seeds {settings.seeds} is too few: a verdict on {paper.slug} needs at least {least}."
            f" Give more, or --preset {TINY} just to see it run."
        )
