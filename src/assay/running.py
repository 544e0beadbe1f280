"""Applies a method to the user's data, keeps the artefact and gives it back: `assay run`, `assay.load`."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay import catalogue, files, options
from assay.artefact import MANIFEST
from assay.catalogue import Entry
from assay.errors import InputError, unknown
from assay.paper import Recipe, Value, plain


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
    preset: str = "laptop",
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "cpu",
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
        overwrite: replace what an earlier run wrote to `out`.
        report: where the recipe's progress goes.

    Raises:
        InputError: something that was given does not exist or does not fit.
        StorageError: `out` cannot be written.
    """
    entry = catalogue.entry(slug)
    name = recipe or entry.paper.apply or next(iter(entry.paper.recipes))
    config = _config(entry, name, arm, preset, overrides or {})
    target = Path(out).absolute()
    files.refuse_full(target, overwrite)
    start = time.perf_counter()
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        try:
            temporary.mkdir(parents=True)
        except OSError as error:
            raise files.cannot_write(target, error) from error
        metrics = _run_into(entry, name, config, temporary, seed, device, arm, report)
        _swap(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    written = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    return Ran(target, tuple(written), metrics, time.perf_counter() - start)


def load(folder: str | Path, name: str | None = None) -> Any:
    """Load what `assay run` wrote to `folder`.

    Args:
        folder: the folder given as `--out`.
        name: which object, where there are several.

    Returns:
        The object; where there are several and none is named, a dict of all of them.

    Raises:
        InputError: the folder is not one that `assay run` finished, or there is no such object.
    """
    folder = Path(folder)
    manifest = folder / MANIFEST
    if not manifest.exists():
        raise InputError(f"{folder} has no {MANIFEST}: give a folder that `assay run --out` has written.")
    objects = _objects(manifest)
    if name is not None:
        if name not in objects:
            raise unknown("object", name, objects)
        return _read(folder, objects[name])
    loaded = {key: _read(folder, entry) for key, entry in objects.items()}
    return next(iter(loaded.values())) if len(loaded) == 1 else loaded


def _objects(manifest: Path) -> dict[str, dict[str, str]]:
    """Return what a manifest says of each object: where it is, of which kind, and of which class."""
    described = files.read_json(manifest)
    objects = described.get("objects") if isinstance(described, dict) else None
    if not isinstance(objects, dict) or not all(
        isinstance(entry, dict) and {"path", "kind"} <= set(entry) for entry in objects.values()
    ):
        raise InputError(
            f"{manifest} was not written by `assay run`: it does not say what objects there are."
        )
    return objects


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


def _run_into(
    entry: Entry,
    recipe: str,
    config: Any,
    folder: Path,
    seed: int,
    device: str,
    arm: str | None,
    report: Callable[[str], None],
) -> dict[str, Value]:
    import torch

    from assay import trial_runner
    from assay.trial import Trial

    trial = Trial(seed=seed, arm=arm or "", device=torch.device(device), out=folder, report=report)
    metrics, cost = trial_runner.metered(entry, recipe, config, trial)
    assert trial.artefacts is not None
    trial.artefacts.finish(
        {
            "slug": entry.slug,
            "recipe": recipe,
            "config": options.to_plain(config),
            "seed": seed,
            "metrics": {name: plain(value) for name, value in metrics.items()},
            "cost": cost,
            "versions": {name: importlib.metadata.version(name) for name in ("assay", "torch", "numpy")},
            "paper": {"title": entry.paper.title, "authors": entry.paper.authors, "arxiv": entry.paper.arxiv},
            "licence": "Written by assay (Apache-2.0). Data and base models keep their own licences.",
        }
    )
    return metrics


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


def _read(folder: Path, entry: dict[str, str]) -> Any:
    path = files.inside(folder, entry["path"])
    if entry["kind"] == "object":
        return _class(entry.get("class", "")).load(path)
    return path / "figure.png" if entry["kind"] == "figure" else files.load_tree(path)


def _class(name: str) -> Any:
    """Find a class by name, in assay and the entries alone: a manifest must not make us import others."""
    module, _, qualified = name.partition(":")
    known = {"assay"} | {package.split(".")[0] for package in catalogue.packages().values()}
    if module.split(".")[0] not in known:
        raise InputError(f"the manifest names the class {name!r}, which is part of no entry of assay.")
    try:
        found: Any = importlib.import_module(module)
        for part in qualified.split("."):
            found = getattr(found, part)
    except (ModuleNotFoundError, AttributeError) as error:
        raise InputError(f"the manifest names the class {name!r}, which is not here ({error}).") from error
    # What a module has imported is within reach of its name, but is not of assay.
    if not isinstance(found, type) or found.__module__ != module:
        raise InputError(f"the manifest names {name!r}, which is no class of an entry of assay.")
    return found
