"""Finds the entries: a folder `papers/<family>/<slug>/` with a `paper.py` is one, and so is each entry point.

A package from elsewhere brings an entry by an entry point of the group `assay.papers` that names the
package with its `paper.py`. Listing reads only `paper.py`; a recipe and its method are imported when run.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay import code
from assay.errors import InputError, MissingExtraError, unknown
from assay.paper import Paper, Recipe

PAPERS = "assay.papers"


@dataclass(frozen=True)
class Entry:
    """One paper of the catalogue: its data, and where its code is."""

    package: str
    paper: Paper

    @property
    def slug(self) -> str:
        """The entry's short name."""
        return self.paper.slug

    @property
    def folder(self) -> Path:
        """The folder that holds the entry."""
        return code.folder_of(self.package)

    def config(self, recipe: str) -> type:
        """Return the config class of a recipe."""
        module = importlib.import_module(f"{self.package}.config")
        config: type = getattr(module, self.recipe(recipe).config)
        return config

    def recipe(self, name: str) -> Recipe:
        """Return a recipe by name.

        Raises:
            InputError: the entry has no such recipe.
        """
        if name not in self.paper.recipes:
            raise unknown(f"recipe of {self.slug}", name, self.paper.recipes)
        return self.paper.recipes[name]

    def function(self, recipe: str) -> Callable[..., Any]:
        """Import and return the function of a recipe."""
        return self._from_recipe_module(recipe, recipe)

    def across(self, recipe: str) -> Callable[..., Any]:
        """Import and return the function that turns all arms of a seed into metrics."""
        return self._from_recipe_module(recipe, "across")

    def _from_recipe_module(self, recipe: str, name: str) -> Callable[..., Any]:
        try:
            module = importlib.import_module(self._recipe_module(recipe))
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if missing.split(".")[0] in {"assay", self.package.split(".")[0]}:
                raise
            raise MissingExtraError(missing, self.paper.family) from error
        function: Callable[..., Any] = getattr(module, name)
        return function

    def _recipe_module(self, recipe: str) -> str:
        grown = self.folder / "recipes" / f"{recipe}.py"
        return f"{self.package}.recipes.{recipe}" if grown.exists() else f"{self.package}.recipe"

    def code_fingerprint(self, recipe: str) -> str:
        """Identify the code that a recipe runs: its module and all of assay that it imports, by meaning.

        Raises:
            ModuleNotFoundError: the recipe has no source file.
        """
        return code.fingerprint(self._recipe_module(recipe))

    @property
    def card(self) -> Path:
        """The entry's README."""
        return self.folder / "README.md"


def slugs() -> list[str]:
    """Return the slugs of all entries, sorted."""
    return sorted(packages())


def entry(slug: str) -> Entry:
    """Return one entry.

    Raises:
        InputError: there is no such paper, and the nearest right slug; or another package brings it and is
            broken.
    """
    known = packages()
    if slug not in known:
        raise InputError(f"{unknown('paper', slug, known)} `assay new` starts an entry of your own.")
    package = known[slug]
    try:
        return Entry(package, importlib.import_module(f"{package}.paper").PAPER)
    except Exception as error:
        if package.startswith(PAPERS):
            raise
        raise InputError(
            f"The paper {slug!r} comes from {package}, which cannot be loaded"
            f" ({type(error).__name__}: {error}). Mend or remove that package."
        ) from error


def packages() -> dict[str, str]:
    """Return the package of every entry by its slug; an entry of assay's own wins over one from elsewhere."""
    found = {point.name: point.value for point in importlib.metadata.entry_points(group=PAPERS)}
    own = (path.parent for path in code.folder_of(PAPERS).glob("*/*/paper.py"))
    return found | {folder.name: f"{PAPERS}.{folder.parent.name}.{folder.name}" for folder in own}


def entries(family: str | None = None) -> list[Entry]:
    """Return all entries, or those of one family, sorted by slug; a broken one is left out with a warning."""
    found = []
    for slug in slugs():
        try:
            found.append(entry(slug))
        except InputError as error:
            warnings.warn(str(error), stacklevel=2)
    return [item for item in found if family is None or item.paper.family == family]


def forget() -> None:
    """Drop what was imported of the entries, so that a new or edited one is found."""
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.startswith(f"{PAPERS}.")]:
        del sys.modules[name]


def list_papers(family: str | None = None) -> list[Paper]:
    """Return the papers of the catalogue, or of one family, sorted by slug."""
    return [item.paper for item in entries(family)]
