"""Applies a method to the user's data and keeps the artefact: `assay run`."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay import catalogue, files, options
from assay.artefact import MANIFEST
from assay.catalogue import Entry
from assay.checking.plan import check_precision
from assay.errors import InputError, unknown
from assay.paper import LAPTOP, Paper, Recipe, Value, plain
from assay.training.compute import Precision


@dataclass(frozen=True)
class Ran:
    """What a run wrote, and its metrics."""

    folder: Path
    files: tuple[str, ...]
    metrics: dict[str, Value]
    seconds: float


def run(
    slug: str,
    recipe: str | None = None,
    *,
    out: str | Path,
    arm: str | None = None,
    preset: str = LAPTOP,
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: Precision = "32-true",
    overwrite: bool = False,
    report: Callable[[str], None] = lambda text: None,
) -> Ran:
    """Run one recipe once and keep what it saves in a folder that `assay.load` reads.

    Args:
        slug: the paper.
        recipe: which recipe; by default the one that the paper names as its application.
        out: the folder to write; it appears whole, when the run has ended well.
        arm: the arm to run; by default the method.
        preset: the size.
        overrides: options of the recipe, such as `{"data": "csv:mine.csv"}`.
        seed: of all randomness.
        device: where to compute, such as `cuda`.
        precision: the number format in which models train, such as `bf16-mixed`.
        overwrite: replace what an earlier run wrote to `out`.
        report: where the recipe's progress goes.

    Raises:
        InputError: something that was given does not exist or does not fit.
        MissingExtraError: a package that the recipe needs is not installed.
        StorageError: `out` cannot be written.
    """
    entry = catalogue.entry(slug)
    name = recipe or entry.paper.apply or next(iter(entry.paper.recipes))
    check_precision(precision)
    config = _config(entry, name, arm, preset, overrides or {})
    target = Path(out).absolute()
    files.refuse_full(target, overwrite)
    start = time.perf_counter()
    from assay.checking import trials  # with torch
    from assay.trial import Trial

    where = trials.device(device)
    with _put_in_place(target) as folder:
        trial = Trial(seed, arm or "", where, precision, out=folder, report=report)
        metrics, cost = trials.metered(entry, name, config, trial)
        assert trial.artefacts is not None
        trial.artefacts.finish(
            {
                "slug": slug,
                "recipe": name,
                "config": options.to_plain(config),
                "seed": seed,
                "metrics": {metric: plain(value) for metric, value in metrics.items()},
                "cost": cost,
                **_origin(entry.paper),
            }
        )
    written = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    return Ran(target, tuple(written), metrics, time.perf_counter() - start)


def _config(entry: Entry, recipe: str, arm: str | None, preset: str, overrides: Mapping[str, Any]) -> Any:
    """Resolve the config: the preset, then the arm, then what the user asked for."""
    described = entry.recipe(recipe)
    layers: list[Mapping[str, Any]] = [_preset_settings(entry, recipe, described, preset, overrides)]
    if arm is not None:
        arms = {item.name: item for item in described.arms}
        if arm not in arms:
            raise unknown(f"arm of {recipe}", arm, arms)
        layers.append(arms[arm].settings)
        clash = sorted(set(overrides) & set(arms[arm].settings))
        if clash:
            raise InputError(f"--{clash[0]} is set by --arm {arm}; leave one of them out.")
    elif described.method is not None:
        layers.append(described.method.settings)
    return options.resolve(entry.config(recipe), *layers, overrides)


def _preset_settings(
    entry: Entry, recipe: str, described: Recipe, preset: str, overrides: Mapping[str, Any]
) -> Mapping[str, Any]:
    if not described.presets:
        return {}
    if preset not in described.presets:
        raise unknown(f"preset of {entry.slug} {recipe}", preset, described.presets)
    return described.presets[preset].settings_for(bool(described.own_data(overrides)))


def _origin(paper: Paper) -> dict[str, Any]:
    return {
        "versions": {name: importlib.metadata.version(name) for name in ("assay", "torch", "numpy")},
        "paper": {"title": paper.title, "authors": paper.authors, "arxiv": paper.arxiv},
        "licence": "Written by assay (Apache-2.0). Data and base models keep their own licences.",
    }


@contextlib.contextmanager
def _put_in_place(target: Path) -> Iterator[Path]:
    """Give a temporary folder, and put it in place of `target` when all went well."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        try:
            temporary.mkdir(parents=True)
        except OSError as error:
            raise files.cannot_write(target, error) from error
        yield temporary
        _swap(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, target: Path) -> None:
    """Put the new folder in place of the old one, which is there until then."""
    old = target.with_name(f".{target.name}.old-{os.getpid()}")
    try:
        if target.exists():
            target.rename(old)
        new.rename(target)
    except OSError as error:
        if old.exists() and not target.exists():
            old.rename(target)
        raise files.cannot_write(target, error) from error
    finally:
        if target.joinpath(MANIFEST).exists():
            shutil.rmtree(old, ignore_errors=True)
