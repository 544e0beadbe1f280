"""Runs one arm: seeds it, meters it, checks what it returns."""

from __future__ import annotations

import math
import resource
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from assay import options
from assay.catalogue import Entry
from assay.checking.store import Store, TrialRecord, Unit
from assay.errors import AssayError, DivergedError, InputError, MissingExtraError, StorageError
from assay.paper import ALL_ARMS, Items, Paper, Rate, Value
from assay.trial import Trial, derive_seed, random_state


def run_arm(entry: Entry, unit: Unit, arm: str, store: Store) -> TrialRecord:
    """Run one arm with one seed; an error is part of the record, and does not lose the other arms.

    Raises:
        StorageError: the store cannot be written, which is no fault of the arm.
    """
    plain = unit.configs[arm]
    label = f"{unit.slug}-{unit.recipe}-{unit.seed}"
    store.say(label, f"{unit.slug} seed {unit.seed}: {arm}")
    known: dict[str, Any] = {
        "slug": unit.slug,
        "recipe": unit.recipe,
        "arm": arm,
        "seed": unit.seed,
        "config": dict(plain),
        "provenance": {
            "code": unit.code,
            "torch": str(torch.__version__),
            "device": unit.device,
            "precision": unit.precision,
        },
    }
    try:
        trial = Trial(
            seed=unit.seed,
            arm=arm,
            device=device(unit.device),
            precision=unit.precision,  # type: ignore[arg-type]  # it was checked when the check was planned
            stages=store.stages,
            code=unit.code,
            report=lambda text: store.say(label, f"{unit.slug} seed {unit.seed} {arm}: {text}"),
        )
        config: Any = options.from_plain(entry.config(unit.recipe), plain)
        metrics, cost = metered(entry, unit.recipe, config, trial)
    except StorageError:
        raise
    except DivergedError as error:
        return TrialRecord(**known, error=str(error))
    except AssayError as error:
        return TrialRecord(**known, error=str(error), refused=True)
    except Exception:
        return TrialRecord(**known, error=traceback.format_exc())
    finally:
        store.hush(label)
    return TrialRecord(
        **known,
        metrics=metrics,
        counters=trial.counters,
        curve=trial.curve(),
        pictures=trial.pictures,
        resplit=trial.resplit,
        cost=cost,
    )


def metered(
    entry: Entry, recipe: str, config: Any, trial: Trial
) -> tuple[dict[str, Value], dict[str, float]]:
    """Run a recipe under its seed; return its checked metrics and what it cost.

    Raises:
        MissingExtraError: a package that it needs is not installed.
    """
    _reset_peak_memory(trial.device)
    try:
        function = entry.function(recipe)
        with random_state(derive_seed(trial.seed, "trial")):
            start, cpu = time.perf_counter(), time.process_time()
            metrics = function(config, trial)
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in {"", "assay", entry.package.split(".")[0]}:
            raise
        raise MissingExtraError(package, entry.paper.family) from error
    cost = {
        "seconds": seconds + trial.shared_seconds,
        "cpu_seconds": cpu_seconds,
        "peak_memory_bytes": float(_peak_memory(trial.device)),
    }
    if entry.paper.recipes[recipe].arms:
        check_metrics(entry.paper, metrics)
    return metrics, cost


def device(name: str) -> torch.device:
    """Return the device called `name`.

    Raises:
        InputError: there is no such device here.
    """
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError):
        raise InputError(
            f"There is no device {name!r} here; give one such as cpu, cuda, cuda:1 or mps."
        ) from None
    return found


def run_across(entry: Entry, unit: Unit, records: Mapping[str, TrialRecord]) -> TrialRecord:
    """Compute the metrics that are a function of all arms of a seed."""
    known: dict[str, Any] = {
        "slug": unit.slug,
        "recipe": unit.recipe,
        "arm": ALL_ARMS,
        "seed": unit.seed,
        "resplit": max(record.resplit for record in records.values()),
    }
    failed = [name for name, record in records.items() if record.error is not None]
    if failed:
        return TrialRecord(**known, error=f"these arms failed: {', '.join(failed)}")
    try:
        metrics = entry.across(unit.recipe)({name: record.metrics for name, record in records.items()})
        check_metrics(entry.paper, metrics)
    except Exception:
        return TrialRecord(**known, error=traceback.format_exc())
    return TrialRecord(**known, metrics=metrics)


def check_metrics(paper: Paper, metrics: Mapping[str, Value]) -> None:
    """Refuse metrics that are not declared, not of their kind, or not numbers.

    Raises:
        ValueError: says which metric, and what it was.
    """
    if not isinstance(metrics, Mapping):
        raise ValueError(f"a recipe must return a dict of metrics, not a {type(metrics).__name__}")
    declared = {metric.name: metric for metric in paper.metrics}
    for name, value in metrics.items():
        if name not in declared:
            raise ValueError(f"the recipe returned {name!r}, which is not among the declared metrics")
        if declared[name].kind == "rate" and not isinstance(value, Rate | None):
            raise ValueError(f"the metric {name!r} is a rate and must be a Rate, not {value!r}")
        if not isinstance(value, Rate | Items | int | float | None):
            raise ValueError(f"the metric {name!r} must be a number, Rate, Items or None, not {value!r}")
        numbers = value.values if isinstance(value, Items) else [value]
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise ValueError(
                f"the metric {name!r} is not finite ({numbers}); return None for a level that was never"
                " reached"
            )


def _reset_peak_memory(device: torch.device) -> None:
    """Start a new high-water mark, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_memory(device: torch.device) -> int:
    """Return the high-water mark in bytes: of the device, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
