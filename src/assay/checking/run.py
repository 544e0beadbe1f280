"""Checks papers: runs what was planned, keeps each trial at once, judges the claims and assembles the result.

This process never imports torch: recipes run in workers, and what comes back is plain data.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import chain
from typing import Any

from assay import catalogue, files
from assay.checking import worker
from assay.checking.executors import ProcessExecutor, RayExecutor, run_all
from assay.checking.plan import FIRST_LOOK, Group, Plan, Settings, make_plan, refuse
from assay.checking.results import ArmSummary, Checked, ClaimResult, Picture, Provenance
from assay.checking.store import Store, TrialRecord, Unit
from assay.errors import InputError
from assay.paper import ALL_ARMS, TINY, Recipe, Role, plain

BATCH = 2
"""How many seeds `until_decided` adds before it looks again; fixed, so that workers do not change results."""

Seeds = dict[int, dict[str, TrialRecord]]
"""The trials of a group: seed, then arm."""


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
    refuse(entry, chosen)
    with _executor(chosen) as executor:  # whose workers load torch while this process plans
        return _Check(make_plan(entry, chosen), executor).run()


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


class _Check:
    """A check that is running."""

    def __init__(self, plan: Plan, executor: Executor) -> None:
        self.plan, self.executor, self.settings, self.paper = plan, executor, plan.settings, plan.entry.paper
        self.store = Store(self.settings.store)
        self.trials: dict[tuple[str, str], Seeds] = {group.key: {} for group in plan.groups}

    def run(self) -> Checked:
        start = time.time()
        self.store.check_writable()
        if self.settings.until_decided:
            self._run_until_decided()
        else:
            self._run_seeds({group: self.plan.seeds(group) for group in self.plan.groups})
        claims = self._judge(anytime=self.settings.until_decided)
        checked = self._assemble(claims, time.time() - start)
        files.write_json(self.store.result(checked.name), checked.to_json())
        return checked

    # --- running --------------------------------------------------------------------------------

    def _run_seeds(self, planned: Mapping[Group, Sequence[int]]) -> None:
        units = [self.plan.unit(group, seed) for group, seeds in planned.items() for seed in seeds]
        waiting = []
        for unit in units:
            done = None if self.settings.fresh else worker.finished(self.store, unit)
            if done is None:
                waiting.append(unit)
            else:
                self._keep(unit, done.values())
        total = len(units)
        self.settings.report(total - len(waiting), total)
        rounds = self._rounds(waiting)
        parts = sum(map(len, rounds))
        finished = chain.from_iterable(run_all(self.executor, worker.run_unit, units) for units in rounds)
        for number, (unit, future) in enumerate(finished, start=1):
            error = future.exception()
            lost = [] if error is None else [worker.lost(unit, arm, error) for arm in unit.configs]
            self._keep(unit, lost or future.result())
            self.settings.report(total - len(waiting) + len(waiting) * number // parts, total)

    def _rounds(self, waiting: Sequence[Unit]) -> list[list[Unit]]:
        """Divide units into those that run at once, and after them, one by one, those whose time counts.

        Of the first, those that are left when every worker has had as many are divided by arms: otherwise
        one worker would be at its last unit while the others wait.
        """
        timed = {group.recipe for group in self.plan.groups if self.plan.is_timed(group)}
        together = [unit for unit in waiting if unit.recipe not in timed]
        rest = len(together) - len(together) % _workers(self.settings)
        shared = [part for unit in together[rest:] for part in self._by_arm(unit)]
        return [[*together[:rest], *shared], *([unit] for unit in waiting if unit.recipe in timed)]

    def _by_arm(self, unit: Unit) -> list[Unit]:
        """Divide a unit by arms, unless they are measured together too."""
        if self.paper.recipes[unit.recipe].across:
            return [unit]
        return [
            replace(unit, configs={arm: config}, keys={arm: unit.keys[arm]})
            for arm, config in unit.configs.items()
        ]

    def _keep(self, unit: Unit, records: Iterable[TrialRecord]) -> None:
        kept = self.trials[unit.recipe, unit.data].setdefault(unit.seed, {})
        for record in records:
            if record.refused:
                raise InputError(record.error or "the recipe refused what it was given")
            kept[record.arm] = record

    def _run_until_decided(self) -> None:
        first, count = self.settings.first_seed, FIRST_LOOK
        seeds: Sequence[int] = range(first, first + count)
        open_groups: Sequence[Group] = self.plan.groups
        while open_groups and seeds:
            self._run_seeds(dict.fromkeys(open_groups, seeds))
            if any(record.resplit for _, record in self._records()):
                raise InputError(
                    "--until-decided needs seeds that draw fresh data, but these re-split one data set: more"
                    " seeds would only repeat the same rows. Use --seeds N."
                )
            verdicts = {claim.name: claim.verdict for claim in self._judge(anytime=True)}
            open_groups = [
                group
                for group in self.plan.groups
                if any(verdicts[claim.name] == "inconclusive" for claim in group.claims)
            ]
            following = min(count + BATCH, self.settings.max_seeds)
            seeds, count = range(first + count, first + following), following

    def _records(self) -> Iterator[tuple[str, TrialRecord]]:
        """Yield all trials so far, each with its recipe."""
        for (recipe, _), seeds in self.trials.items():
            for arms in seeds.values():
                yield from ((recipe, record) for record in arms.values())

    # --- judging and assembling -----------------------------------------------------------------

    def _judge(self, anytime: bool) -> list[ClaimResult]:
        from assay.checking import judging  # its statistics take longer to load than a plan to make

        results = []
        for claim in self.paper.tested:
            groups = [group for group in self.plan.groups if claim in group.claims]
            if groups:
                trials = {group.data: self.trials[group.key] for group in groups}
                results.append(judging.judge_claim(self.paper, claim, trials, anytime))
        if self.settings.preset != TINY:
            return results
        reason = f"the {TINY} preset shows that it runs, no more"
        return [replace(result, verdict="inconclusive", reason=reason) for result in results]

    def _assemble(self, claims: Sequence[ClaimResult], seconds: float) -> Checked:
        groups = self.plan.groups
        several = len(groups) > 1
        arms: dict[str, ArmSummary] = {}
        curves: dict[str, list[dict[str, float]]] = {}
        pictures: list[Picture] = []
        for group in groups:
            seeds = self.trials[group.key]
            for name, summary in _summaries(self.plan.recipe(group), seeds).items():
                label = f"{name} ({group.label})" if several else name
                arms[label] = summary
                first = seeds[min(seeds)].get(name)
                if first is not None:
                    curves |= {label: first.curve} if first.curve else {}
                    pictures.extend(Picture(label, **picture) for picture in first.pictures)
        return Checked(
            paper=self.paper.slug,
            preset=self.settings.preset,
            data=", ".join(dict.fromkeys(group.data for group in groups if group.data)) or "default",
            claims=tuple(claims),
            arms=arms,
            errors=tuple(
                f"{recipe}, arm {record.arm!r}, seed {record.seed}: {record.error.strip().splitlines()[-1]}"
                for recipe, record in self._records()
                if record.error is not None
            ),
            provenance=self._provenance(claims, seconds),
            curves=curves,
            pictures=tuple(pictures),
        )

    def _provenance(self, claims: Sequence[ClaimResult], seconds: float) -> Provenance:
        settings, groups = self.settings, self.plan.groups
        cpu_seconds = sum(record.cost.get("cpu_seconds", 0.0) for _, record in self._records())
        return Provenance(
            date=time.strftime("%Y-%m-%d"),
            seconds=round(seconds, 2),
            cpu_seconds=round(cpu_seconds, 1),
            seeds={group.label: sorted(self.trials[group.key]) for group in groups},
            until_decided=settings.until_decided,
            overrides={name: str(value) for name, value in settings.overrides.items()},
            differs=self.plan.differs,
            left_out=list(self.plan.left_out),
            tests_made=sum(len(claim.tests) for claim in claims),
            claims_fingerprint=self.paper.fingerprint(settings.preset),
            code={group.recipe: group.code for group in groups},
            device=settings.device,
            precision=settings.precision,
            python=platform.python_version(),
            platform=f"{platform.system()} {platform.machine()}",
            versions={name: importlib.metadata.version(name) for name in ("assay", "torch", "numpy")},
        )


def _summaries(recipe: Recipe, seeds: Seeds) -> dict[str, ArmSummary]:
    """Summarise each arm, and what is measured across arms, over the seeds."""
    roles = {arm.name: arm.role for arm in recipe.arms}
    if recipe.across:
        roles[ALL_ARMS] = "reference"
    return {
        name: _summary(role, [arms[name] for _, arms in sorted(seeds.items()) if name in arms])
        for name, role in roles.items()
    }


def _summary(role: Role, records: Sequence[TrialRecord]) -> ArmSummary:
    sound = [record for record in records if record.error is None]
    metrics = dict.fromkeys(metric for record in sound for metric in record.metrics)
    values = {metric: [plain(record.metrics.get(metric)) for record in sound] for metric in metrics}
    costs = sorted({cost for record in sound for cost in record.cost})
    return ArmSummary(
        role=role,
        metrics={metric: _mean(found) for metric, found in values.items()},
        values=values,
        cost={cost: _mean([record.cost.get(cost) for record in sound]) for cost in costs},
        counters=sound[0].counters if sound else {},
        failed=len(records) - len(sound),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean, or `None` where a level was not always reached."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
