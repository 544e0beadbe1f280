"""The contract that every entry keeps: one test a promise, run over the whole catalogue."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import random
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen

import assay
from assay import catalogue, checking, cli, options
from assay.catalogue import Entry
from assay.cli import arguments, cards, running
from assay.errors import InputError
from assay.paper import Recipe

ENTRIES = catalogue.entries()
OWN = [entry for entry in ENTRIES if entry.package.startswith(catalogue.PAPERS)]
CLAIMED = [
    pytest.param(entry, recipe, id=f"{entry.slug}-{recipe}")
    for entry in ENTRIES
    for recipe in dict.fromkeys(claim.recipe or "" for claim in entry.paper.tested)
]
RECIPES = [
    pytest.param(entry, name, id=f"{entry.slug}-{name}") for entry in ENTRIES for name in entry.paper.recipes
]
by_slug = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.slug)
by_slug_together = pytest.mark.parametrize(
    "entry",
    [pytest.param(entry, id=entry.slug, marks=pytest.mark.xdist_group(entry.slug)) for entry in ENTRIES],
)
"""Tests of an entry stay in one process, where several run: they share the smallest check."""
own_by_slug = pytest.mark.parametrize("entry", OWN, ids=lambda entry: entry.slug)


@by_slug
def test_the_entry_has_its_four_parts(entry: Entry) -> None:
    for module in ("paper", "config"):
        assert (entry.folder / f"{module}.py").exists()
    assert entry.paper.slug == entry.slug
    for name in entry.paper.recipes:
        assert inspect.isfunction(entry.function(name))
        assert list(inspect.signature(entry.function(name)).parameters) == ["config", "trial"]


@own_by_slug
def test_the_paper_and_the_config_do_not_import_torch(entry: Entry) -> None:
    for module in ("paper.py", "config.py"):
        tree = ast.parse((entry.folder / module).read_text())
        imported = {
            name.name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for name in node.names
        }
        imported |= {
            (node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
        }
        assert not imported & {"torch", "numpy", "transformers", "datasets", "sklearn"}


@own_by_slug
def test_the_method_knows_nothing_of_how_it_is_run(entry: Entry) -> None:
    files = [entry.folder / "method.py", *(entry.folder / "method").glob("*.py")]
    text = "".join(path.read_text() for path in files if path.exists())
    assert text
    for layer in ("trial", "checking", "catalogue", "paper", "store"):
        assert f"assay.{layer} " not in text
        assert f"assay.{layer}\n" not in text


@by_slug
def test_claims_have_what_makes_them_falsifiable(entry: Entry) -> None:
    for claim in entry.paper.claims:
        assert claim.statement.endswith(".")
        if not claim.tests:
            assert claim.untested
            continue
        recipe = entry.paper.recipes[claim.recipe or ""]
        assert any(arm.role == "control" for arm in recipe.arms)
        assert any(arm.role == "baseline" for arm in recipe.arms)
        assert any(arm.role == "method" for arm in recipe.arms)


@own_by_slug
def test_every_preset_that_carries_a_claim_says_its_cost_and_how_it_differs(entry: Entry) -> None:
    for claim in entry.paper.tested:
        recipe = entry.paper.recipes[claim.recipe or ""]
        assert "tiny" in recipe.presets
        judged = recipe.presets.get("laptop") or recipe.presets["extended"]
        assert judged.cost
        assert judged.differs_for()


@pytest.mark.parametrize(("entry", "recipe"), RECIPES)
def test_what_brings_ones_own_data_is_an_option(entry: Entry, recipe: str) -> None:
    described = entry.recipe(recipe)
    own = {name for name in described.inputs if name != "data"}
    presets = described.presets.values()
    if any(preset.data_settings or preset.data_differs for preset in presets):
        own = set(described.inputs)
    assert own <= set(options.option_names(entry.config(recipe)()))


@pytest.mark.parametrize(("entry", "recipe"), RECIPES)
def test_every_option_is_documented_and_round_trips(entry: Entry, recipe: str) -> None:
    config = entry.config(recipe)
    assert dataclasses.is_dataclass(config)
    assert config.__dataclass_params__.frozen  # type: ignore[attr-defined]
    known = list(options.options(config()))
    for option in known:
        assert option.meaning, f"{option.name} has no text under it"
    names = [option.name for option in known]
    described = entry.recipe(recipe)
    read: set[tuple[str, str]] = set()
    for resolved in resolved_configs(config, described):
        plain = options.to_plain(resolved)
        assert options.from_plain(config, json.loads(json.dumps(plain))) == resolved
        values = {name: value_at(plain, name) for name in names}
        written = {(name, repr(value)) for name, value in values.items()}
        if not written <= read:  # else each of its values has come through the command line
            assert options.from_plain(config, through_the_command_line(entry, recipe, values)) == resolved
            read |= written


@pytest.mark.parametrize(("entry", "recipe"), RECIPES)
def test_a_number_outside_its_bounds_is_refused_by_its_option(entry: Entry, recipe: str) -> None:
    config = entry.config(recipe)
    for name, given, wrong, bound in out_of_bounds(config()):
        with pytest.raises(InputError) as caught:
            options.resolve(config, {name: given})
        message = str(caught.value)
        assert message.startswith(f"--{name.replace('_', '-')}: got {wrong!r}; "), name
        assert bound in message, name


def out_of_bounds(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any, str]]:
    """Yield options with a value just outside of each bound, what is wrong in it, and the bound in words."""
    kinds = get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from out_of_bounds(value, f"{prefix}{field.name}.")
        else:
            for found in outside(kinds[field.name]):
                yield prefix + field.name, *found


def outside(kind: Any) -> Iterator[tuple[Any, Any, str]]:
    """Yield values that a type's bounds leave out, what is wrong in each, and the bound in words."""
    inner, *bounds = get_args(kind) or (kind,)
    if get_origin(kind) is tuple and bounds == [...]:
        yield from (((value,), wrong, bound) for value, wrong, bound in outside(inner))
    elif get_origin(kind) in (Union, UnionType):
        for member in (inner, *bounds):
            yield from outside(member)
    elif get_origin(kind) is Annotated:
        yield from outside(inner)
        for bound in bounds:
            match bound:
                case Gt(edge):
                    wrong, words = inner(edge), f"greater than {edge}"
                case Ge(edge):
                    wrong, words = inner(edge - 1), f"greater than or equal to {edge}"
                case Lt(edge):
                    wrong, words = inner(edge), f"less than {edge}"
                case Le(edge):
                    wrong, words = inner(edge + 1), f"less than or equal to {edge}"
                case MinLen(least):
                    wrong, words = (), f"at least {least} item"
            yield wrong, wrong, words


def resolved_configs(config: type, recipe: Recipe) -> Iterator[Any]:
    yield config()
    for preset in recipe.presets.values():
        for arm in recipe.arms:
            yield options.resolve(config, preset.settings_for(), arm.settings)


def value_at(plain: Any, name: str) -> Any:
    """Return the value of a dotted option, or its source where it is an input."""
    for part in name.split("."):
        plain = plain[part]
    return plain[options.shorthand(plain)] if isinstance(plain, dict) else plain


def through_the_command_line(entry: Entry, recipe: str, values: dict[str, Any]) -> dict[str, Any]:
    """Write the values of all options as flags, read them back, and return plain values."""
    words = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else off(name))
        else:
            words += [flag, *(map(str, value) if isinstance(value, list) else [str(value)])]
    given = arguments.separate(cli.Run, ["slug", *words])[1]
    return options.to_plain(
        options.resolve(entry.config(recipe), arguments.overrides_of(entry, [recipe], given))
    )


def off(name: str) -> str:
    outer, dot, last = name.rpartition(".")
    return f"--{outer}{dot}no-{last}".replace("_", "-")


@pytest.mark.parametrize(("entry", "recipe"), CLAIMED)
def test_arms_differ(entry: Entry, recipe: str) -> None:
    described = entry.paper.recipes[recipe]
    for preset in described.presets.values():
        configs = [
            options.resolve(entry.config(recipe), preset.settings_for(), arm.settings)
            for arm in described.arms
        ]
        assert len({json.dumps(options.to_plain(config), sort_keys=True) for config in configs}) == len(
            configs
        )


@cache
def tiny(slug: str) -> checking.Checked:
    return run_tiny(slug)


def run_tiny(slug: str) -> checking.Checked:
    with ThreadPoolExecutor(1) as executor, tempfile.TemporaryDirectory() as folder:
        return checking.check(slug, preset="tiny", seeds=1, store=Path(folder), executor=executor)


@by_slug_together
def test_the_smallest_check_runs_and_gives_no_verdict(entry: Entry) -> None:
    checked = tiny(entry.slug)
    assert not checked.errors
    assert {claim.verdict for claim in checked.claims} == {"inconclusive"}
    json.dumps(checked.to_json(), allow_nan=False)


@by_slug_together
def test_the_order_of_arms_does_not_change_metrics(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tiny(entry.slug)
    shuffled = shuffle_arms(entry)
    monkeypatch.setattr(catalogue, "entry", lambda slug: shuffled)
    second = run_tiny(entry.slug)
    timed = {metric.name for metric in entry.paper.metrics if metric.kind in ("timing", "memory")}
    for name, arm in first.arms.items():
        for metric, value in arm.metrics.items():
            if metric not in timed:
                assert second.arms[name].metrics[metric] == value, f"{name}: {metric}"


def shuffle_arms(entry: Entry) -> Entry:
    recipes = {}
    for name, recipe in entry.paper.recipes.items():
        arms = list(recipe.arms)
        random.Random(1).shuffle(arms)
        recipes[name] = dataclasses.replace(recipe, arms=tuple(arms))
    return Entry(entry.package, dataclasses.replace(entry.paper, recipes=recipes))


@by_slug_together
def test_a_run_writes_an_artefact_that_loads_again(entry: Entry, tmp_path: Path) -> None:
    assert entry.paper.apply in entry.paper.recipes
    ran = running.run(entry.slug, out=tmp_path / "out", preset="tiny")
    assert "assay.json" in ran.files
    assert len(ran.files) > 1, "nothing but the manifest was written"
    assert assay.load(tmp_path / "out") is not None
    assert not list((tmp_path / "out").rglob("*.pkl")) + list((tmp_path / "out").rglob("*.pt"))


@own_by_slug
def test_the_card_is_complete_and_its_generated_blocks_are_current(entry: Entry) -> None:
    text = entry.card.read_text(encoding="utf-8")
    for block in ("measured", "differs"):
        assert f"<!-- {block}:begin -->" in text
        assert f"<!-- {block}:end -->" in text
    assert text == cards.card(entry), "run `make cards`"


def test_the_readme_table_is_current() -> None:
    text = cards.README.read_text(encoding="utf-8")
    assert text == cards.readme(text), "run `make cards`"


def same_meaning(first: Any, other: Any) -> bool:
    """Whether two types are one, or inputs whose common options are: bags may add theirs to a table's."""
    if first == other or not (dataclasses.is_dataclass(first) and dataclasses.is_dataclass(other)):
        return str(first) == str(other)
    kinds, others = get_type_hints(first), get_type_hints(other)
    common = kinds.keys() & others.keys()
    return "source" in common and all(str(kinds[name]) == str(others[name]) for name in common)


def test_one_name_means_one_thing_in_all_entries() -> None:
    metrics: dict[str, tuple[str, str, str]] = {}
    fields: dict[str, tuple[Any, str]] = {}
    for entry in OWN:
        for metric in entry.paper.metrics:
            meaning = (metric.better, metric.unit, metric.kind)
            assert metrics.setdefault(metric.name, meaning) == meaning, (
                f"metric {metric.name} of {entry.slug}"
            )
        for name in entry.paper.recipes:
            for field, kind in get_type_hints(entry.config(name)).items():
                if "Literal" not in str(kind):  # the choices of an option are an entry's own
                    first, owner = fields.setdefault(field, (kind, entry.slug))
                    assert same_meaning(first, kind), f"option {field} of {entry.slug} and of {owner}"


def test_importing_assay_is_light() -> None:
    assert importlib.import_module("assay").__version__
    with pytest.raises(AttributeError):
        assay.no_such_name  # noqa: B018
