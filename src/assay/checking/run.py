"""Checks papers: plans the trials, runs them on an executor, keeps each at once and judges the claims.

This process never imports torch: recipes run in workers, and what comes back is plain data.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from assay import catalogue, files, options
from assay.catalogue import Entry
from assay.checking import judging, worker
from assay.checking.executors import ProcessExecutor, RayExecutor, run_all
from assay.checking.judging import ClaimResult
from assay.checking.statistics import MIN_SEEDS
from assay.checking.store import DEFAULT, Store, TrialRecord, Unit
from assay.errors import InputError, unknown
from assay.paper import ALL_ARMS, Claim, Paper, Preset, Recipe, plain

FIRST_LOOK = 6
"""The number of seeds before `until_decided` looks for the first time."""
BATCH = 2
"""How many seeds it adds before it looks again; a fixed number, so that workers do not change results."""


@dataclass(frozen=True)
class Group:
    """A recipe on one data source (empty: the preset's own), with the claims that are judged on it."""

    recipe: str
    data: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Checked:
    """What a check found: the claims' verdicts, the arms' metrics and costs, and where it all comes from."""

    paper: str
    preset: str
    data: str
    claims: tuple[ClaimResult, ...]
    arms: dict[str, dict[str, Any]]
    errors: tuple[str, ...]
    provenance: dict[str, Any]
    curves: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    pictures: list[dict[str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the file that keeps the verdicts: with the user's data, where that was brought."""
        given: dict[str, str] = {}
        for recipe in catalogue.entry(self.paper).paper.recipes.values():
            given |= recipe.own_data(self.provenance["overrides"])
        source = re.sub(r"\W|_", "-", "-".join(given.values())).strip("-")
        return "--".join((self.paper, self.preset, *filter(None, [source[-60:]])))

    @property
    def exit_status(self) -> int:
        """0 all supported, 1 some contradicted, 2 some inconclusive, 3 an error; 3 wins, then 1, then 2."""
        verdicts = {claim.verdict for claim in self.claims}
        if self.errors:
            return 3
        return 1 if "contradicted" in verdicts else 2 if "inconclusive" in verdicts else 0

    def to_json(self) -> dict[str, Any]:
        """Return the contract's JSON object."""
        return {
            "paper": self.paper,
            "preset": self.preset,
            "data": self.data,
            "claims": [claim.to_json() for claim in self.claims],
            "arms": self.arms,
            "errors": list(self.errors),
            "provenance": self.provenance,
            "curves": self.curves,
            "pictures": self.pictures,
        }


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and what each trial takes of it."""

    address: str | None = None
    """Of a running cluster; without it, one is started here."""
    cores: int = 1
    """Cores and threads of each trial."""
    gpus: float = 0.0
    """GPUs of each trial; a fraction shares one."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Custom resources of the cluster, such as `{"big_memory": 1}`."""


@dataclass(frozen=True)
class Settings:
    """How to check: everything but the paper.

    `executor` is any `concurrent.futures.Executor` that can run `run_unit`; without it, processes here or,
    with `ray`, a cluster.
    """

    preset: str = "laptop"
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
    report: Callable[[int, int], None] = lambda done, total: None


def check(slug: str, settings: Settings | None = None, **changes: Any) -> Checked:
    """Run a paper's check: method, baselines and controls over paired seeds, then a verdict a claim.

    Args:
        slug: the paper, such as `ef21w`.
        settings: how to check.
        changes: single fields of `Settings`, such as `preset="tiny"`; `overrides` are options of the
            recipes, such as `{"data": "csv:mine.csv", "data.text": "review"}`.

    Raises:
        InputError: something that was given does not exist, or cannot give a verdict.
        StorageError: the store cannot be written.
    """
    chosen = replace(settings or Settings(), **changes)
    entry = catalogue.entry(slug)
    _refuse_too_few(entry.paper, chosen)
    groups = list(_groups(entry, chosen))
    with _executor(chosen) as executor:
        return _Check(entry, chosen, groups).run(executor)


class _Check:
    """One check on its way."""

    def __init__(self, entry: Entry, settings: Settings, groups: Sequence[Group]) -> None:
        self.entry, self.settings, self.paper, self.groups = entry, settings, entry.paper, groups
        self.store = Store(settings.store)
        self.trials: dict[tuple[str, str], dict[int, dict[str, TrialRecord]]] = {
            (group.recipe, group.data): {} for group in self.groups
        }
        self.codes = {group.recipe: entry.code_fingerprint(group.recipe) for group in self.groups}
        self.configs = {(group.recipe, group.data): self._configs(group) for group in self.groups}
        self.data_prints = {key: _fingerprints(configs) for key, configs in self.configs.items()}

    def run(self, executor: Executor) -> Checked:
        start = time.time()
        self.store.check_writable()
        if self.settings.until_decided:
            self._run_until_decided(executor)
        else:
            first = self.settings.first_seed
            planned = {group: range(first, first + self._seed_count(group)) for group in self.groups}
            self._run_seeds(executor, planned)
        claims = self._judge(anytime=self.settings.until_decided)
        checked = self._assemble(claims, time.time() - start)
        files.write_json(self.store.result(checked.name), checked.to_json())
        return checked

    # --- running --------------------------------------------------------------------------------

    def _seed_count(self, group: Group) -> int:
        return self.settings.seeds or self._preset(self.paper.recipes[group.recipe]).seeds

    def _run_seeds(self, executor: Executor, planned: Mapping[Group, Sequence[int]]) -> None:
        units = [self._unit(group, seed) for group, seeds in planned.items() for seed in seeds]
        waiting = []
        for unit in units:
            done = None if self.settings.fresh else worker.finished(self.store, unit)
            if done is None:
                waiting.append(unit)
            else:
                self._keep(unit, done)
        total = len(units)
        self.settings.report(total - len(waiting), total)
        rounds = self._rounds(waiting)
        parts = sum(map(len, rounds))
        finished = chain.from_iterable(run_all(executor, worker.run_unit, together) for together in rounds)
        for number, (unit, future) in enumerate(finished, start=1):
            error = future.exception()
            lost = [] if error is None else [worker.lost(unit, arm, error) for arm in unit.configs]
            outcome = lost or future.result()
            self._keep(unit, {record.arm: record for record in outcome})
            self.settings.report(total - len(waiting) + len(waiting) * number // parts, total)

    def _rounds(self, waiting: Sequence[Unit]) -> list[list[Unit]]:
        """Part units into those that run at once, and after them, one by one, those whose time counts.

        What is left of the first when all workers have had as many is parted by arms: else one worker would
        be at its last unit while the others wait.
        """
        timed = {
            group.recipe
            for group in self.groups
            if any(_is_timed(self.paper, claim) for claim in group.claims)
        }
        together = [unit for unit in waiting if unit.recipe not in timed]
        rest = len(together) - len(together) % _workers(self.settings)
        shared = [part for unit in together[rest:] for part in self._by_arm(unit)]
        return [[*together[:rest], *shared], *([unit] for unit in waiting if unit.recipe in timed)]

    def _by_arm(self, unit: Unit) -> list[Unit]:
        """Part a unit by arms, unless they are measured together too."""
        if self.paper.recipes[unit.recipe].across:
            return [unit]
        return [
            replace(unit, configs={arm: config}, keys={arm: unit.keys[arm]})
            for arm, config in unit.configs.items()
        ]

    def _keep(self, unit: Unit, records: dict[str, TrialRecord]) -> None:
        refused = next((record for record in records.values() if record.refused), None)
        if refused is not None:
            raise InputError(refused.error or "the recipe refused what it was given")
        self.trials[unit.recipe, unit.data].setdefault(unit.seed, {}).update(records)

    def _run_until_decided(self, executor: Executor) -> None:
        first, count = self.settings.first_seed, FIRST_LOOK
        seeds: Sequence[int] = range(first, first + count)
        open_groups = self.groups
        while open_groups and seeds:
            self._run_seeds(executor, dict.fromkeys(open_groups, seeds))
            _refuse_resplit(self.trials)
            claims = {claim.name: claim for claim in self._judge(anytime=True)}
            open_groups = [
                group
                for group in self.groups
                if any(claims[claim.name].verdict == "inconclusive" for claim in group.claims)
            ]
            following = min(count + BATCH, self.settings.max_seeds)
            seeds, count = range(first + count, first + following), following

    def _unit(self, group: Group, seed: int) -> Unit:
        key = (group.recipe, group.data)
        configs = {name: options.to_plain(config) for name, config in self.configs[key].items()}
        identity = [self.entry.slug, group.recipe, seed, self.codes[group.recipe], self.settings.device]
        versions = importlib.metadata.version("torch")
        keys = {
            name: files.digest(identity, name, config, self.data_prints[key][name], versions)
            for name, config in configs.items()
        }
        if self.paper.recipes[group.recipe].across:
            keys[ALL_ARMS] = files.digest(identity, keys)
        return Unit(
            slug=self.entry.slug,
            recipe=group.recipe,
            data=group.data,
            seed=seed,
            configs=configs,
            keys=keys,
            store=str(self.settings.store.absolute()),
            code=self.codes[group.recipe],
            device=self.settings.device,
            fresh=self.settings.fresh,
        )

    # --- planning -------------------------------------------------------------------------------

    def _preset(self, recipe: Recipe) -> Preset:
        return recipe.presets[self.settings.preset]

    def _configs(self, group: Group) -> dict[str, Any]:
        """Resolve the config of every arm; two arms that come out the same are an error."""
        recipe = self.paper.recipes[group.recipe]
        config = self.entry.config(group.recipe)
        known = options.option_names(config())
        mine = {
            name: value
            for name, value in self.settings.overrides.items()
            if name in known or name.split(".")[0] in known
        }
        preset = self._preset(recipe)
        layers = [
            preset.settings_for(bool(recipe.own_data(mine))),
            {"data": group.data} if group.data else {},
            mine,
        ]
        configs: dict[str, Any] = {
            arm.name: options.resolve(config, *layers, arm.settings) for arm in recipe.arms
        }
        names = list(configs)
        for number, name in enumerate(names):
            for other in names[:number]:
                if configs[name] == configs[other]:
                    raise InputError(
                        f"the arms {other!r} and {name!r} of {group.recipe!r} have the same settings, so"
                        " there is nothing to compare. Change the options that make them equal."
                    )
        return configs

    # --- judging --------------------------------------------------------------------------------

    def _judge(self, anytime: bool) -> list[ClaimResult]:
        results = []
        for claim in self.paper.tested:
            trials = {
                group.data: self.trials[group.recipe, group.data]
                for group in self.groups
                if any(claim.name == other.name for other in group.claims)
            }
            if trials:
                judged = judging.judge_claim(self.paper, claim, trials, anytime)
                results.append(_without_verdict(judged) if self.settings.preset == "tiny" else judged)
        return results

    def _assemble(self, claims: Sequence[ClaimResult], seconds: float) -> Checked:
        errors = tuple(
            f"{recipe}, arm {record.arm!r}, seed {record.seed}: {record.error.strip().splitlines()[-1]}"
            for (recipe, _), seeds in self.trials.items()
            for records in seeds.values()
            for record in records.values()
            if record.error is not None
        )
        several = len(self.trials) > 1
        arms: dict[str, dict[str, Any]] = {}
        curves: dict[str, list[dict[str, float]]] = {}
        pictures: list[dict[str, str]] = []
        for (recipe, data), seeds in self.trials.items():
            for name, summary in _arm_summaries(self.paper.recipes[recipe], seeds).items():
                label = (
                    f"{name} ({' on '.join(part for part in (recipe, data) if part)})" if several else name
                )
                arms[label] = summary
                first = seeds[min(seeds)].get(name)
                if first is not None and first.curve:
                    curves[label] = first.curve
                if first is not None:
                    pictures.extend({"arm": label, **picture} for picture in first.pictures)
        return Checked(
            paper=self.paper.slug,
            preset=self.settings.preset,
            data=", ".join(dict.fromkeys(data for _, data in self.trials if data)) or "default",
            claims=tuple(claims),
            arms=arms,
            errors=errors,
            provenance=self._provenance(claims, seconds),
            curves=curves,
            pictures=pictures,
        )

    def _cpu_seconds(self) -> float:
        """Return what all trials took, those too that were found finished."""
        return sum(
            record.cost.get("cpu_seconds", 0.0)
            for seeds in self.trials.values()
            for records in seeds.values()
            for record in records.values()
        )

    def _provenance(self, claims: Sequence[ClaimResult], seconds: float) -> dict[str, Any]:
        recipes = [self.paper.recipes[group.recipe] for group in self.groups]
        return {
            "date": time.strftime("%Y-%m-%d"),
            "seconds": round(seconds, 2),
            "cpu_seconds": round(self._cpu_seconds(), 1),
            "seeds": {
                " on ".join(part for part in key if part): sorted(seeds) for key, seeds in self.trials.items()
            },
            "until_decided": self.settings.until_decided,
            "overrides": {name: str(value) for name, value in self.settings.overrides.items()},
            "differs": list(
                dict.fromkeys(
                    line
                    for recipe in recipes
                    for line in self._preset(recipe).differs_for(
                        bool(recipe.own_data(self.settings.overrides))
                    )
                )
            ),
            "left_out": _recipes(self.paper, self.settings)[1],
            "tests_made": sum(len(claim.tests) for claim in claims),
            "claims_fingerprint": self.paper.fingerprint(self.settings.preset),
            "code": self.codes,
            "device": self.settings.device,
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
            "versions": {name: importlib.metadata.version(name) for name in ("assay", "torch", "numpy")},
        }


def _executor(settings: Settings) -> AbstractContextManager[Executor]:
    if settings.executor is not None:
        return nullcontext(settings.executor)  # the caller's own, which stays open
    if settings.ray is not None:
        cluster = settings.ray
        return RayExecutor(cluster.address, None, cluster.cores, cluster.gpus, cluster.resources)
    return ProcessExecutor(_workers(settings), initializer=worker.prepare, ahead=True)


def _workers(settings: Settings) -> int:
    """Return how many units run at once here; 1 where that is for others to say."""
    if settings.executor is not None or settings.ray is not None:
        return 1
    return settings.workers or os.cpu_count() or 1


# --- refusing what cannot give a verdict --------------------------------------------------------


def _groups(entry: Entry, settings: Settings) -> Iterator[Group]:
    """Yield each recipe and data source to run, with the claims judged on it.

    Raises:
        InputError: an unknown preset or option, or an option that an arm sets.
    """
    paper = entry.paper
    if not paper.tested:
        raise InputError(f"{paper.slug} has no claim that can be tested here; see `assay show {paper.slug}`.")
    recipes, _ = _recipes(paper, settings)
    _refuse_options(entry, recipes, settings.overrides)
    for recipe in recipes:
        claims = [claim for claim in paper.tested if claim.recipe == recipe]
        own_data = bool(paper.recipes[recipe].own_data(settings.overrides))
        sources: dict[str, list[Claim]] = {}
        for claim in claims:
            for source in ("",) if own_data or not claim.on or settings.preset != "laptop" else claim.on:
                sources.setdefault(source, []).append(claim)
        for source, judged in sources.items():
            yield Group(recipe, source, tuple(judged))


def _recipes(paper: Paper, settings: Settings) -> tuple[list[str], list[str]]:
    """Return the recipes to run, and those left out because the user's data is not for them.

    Raises:
        InputError: no recipe that carries a claim has the preset.
    """
    tested = list(dict.fromkeys(claim.recipe or "" for claim in paper.tested))
    presets = {preset for name in tested for preset in paper.recipes[name].presets}
    if settings.preset not in presets:
        raise unknown(f"preset of {paper.slug}", settings.preset, presets)
    sized = [name for name in tested if settings.preset in paper.recipes[name].presets]
    taking = [name for name in sized if paper.recipes[name].own_data(settings.overrides)] or sized
    return taking, [name for name in sized if name not in taking]


def _refuse_options(entry: Entry, recipes: Sequence[str], overrides: Mapping[str, Any]) -> None:
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
    if settings.seeds is not None and settings.until_decided:
        raise InputError("--seeds and --until-decided exclude each other; use --max-seeds with the latter.")
    if settings.until_decided and any(claim.unit == "item" for claim in paper.tested):
        raise InputError(f"--until-decided adds seeds, but claims on {paper.slug} are judged by item.")
    if settings.until_decided and settings.max_seeds < FIRST_LOOK:
        raise InputError(f"--max-seeds {settings.max_seeds} is too few: the first look is at {FIRST_LOOK}.")
    sampled = any(
        claim.unit == "seed"
        and any(paper.metric(test.metric).kind in ("sampled", "timing", "memory") for test in claim.tests)
        for claim in paper.tested
    )
    if settings.seeds is None or settings.preset == "tiny":
        return
    if settings.seeds < (MIN_SEEDS if sampled else 1):
        raise InputError(
            f"--seeds {settings.seeds} is too few: a verdict on {paper.slug} needs at least"
            f" {MIN_SEEDS if sampled else 1}. Give more, or --preset tiny just to see it run."
        )


def _without_verdict(judged: ClaimResult) -> ClaimResult:
    return replace(judged, verdict="inconclusive", reason="the tiny preset shows that it runs, no more")


def _refuse_resplit(trials: Mapping[Any, Mapping[int, Mapping[str, TrialRecord]]]) -> None:
    for seeds in trials.values():
        if any(record.resplit for records in seeds.values() for record in records.values()):
            raise InputError(
                "--until-decided needs seeds that draw fresh data, but these re-split one data set: more"
                " seeds would only repeat the same rows. Use --seeds N."
            )


def _is_timed(paper: Paper, claim: Claim) -> bool:
    return any(paper.metric(test.metric).kind == "timing" for test in claim.tests)


def _fingerprints(configs: Mapping[str, Any]) -> dict[str, list[str]]:
    """Identify the data and models that each config names, by content."""
    known: dict[Any, str] = {}

    def identify(value: Any) -> str:
        if value not in known:
            known[value] = value.fingerprint()
        return known[value]

    return {
        name: [identify(value) for value in vars(config).values() if hasattr(value, "fingerprint")]
        for name, config in configs.items()
    }


def _arm_summaries(
    recipe: Recipe, seeds: Mapping[int, Mapping[str, TrialRecord]]
) -> dict[str, dict[str, Any]]:
    roles = {arm.name: arm.role for arm in recipe.arms} | ({ALL_ARMS: "reference"} if recipe.across else {})
    summaries = {}
    for name, role in roles.items():
        records = [arms[name] for _, arms in sorted(seeds.items()) if name in arms]
        sound = [record for record in records if record.error is None]
        metrics = list(dict.fromkeys(metric for record in sound for metric in record.metrics))
        values = {metric: [plain(record.metrics.get(metric)) for record in sound] for metric in metrics}
        costs = {cost for record in sound for cost in record.cost}
        summaries[name] = {
            "role": role,
            "metrics": {metric: _mean(found) for metric, found in values.items()},
            "values": values,
            "cost": {cost: _mean([record.cost.get(cost) for record in sound]) for cost in sorted(costs)},
            "counters": sound[0].counters if sound else {},
            "failed": len(records) - len(sound),
        }
    return summaries


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean, or `None` where a level was not always reached."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
