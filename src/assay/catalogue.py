"""Finds the entries: a folder `papers/<family>/<slug>/` with a `paper.py` is one, and so is each entry point.

A package from elsewhere brings an entry by an entry point of the group `assay.papers` that names the
package with its `paper.py`. Listing reads only `paper.py`; a recipe and its method are imported when run.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay import lazy
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
        return _folder(self.package)

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

        Comments, docstrings and layout do not count.

        Raises:
            ModuleNotFoundError: the recipe has no source file.
        """
        state = hashlib.sha256()
        modules = _reached(self._recipe_module(recipe))
        if not modules:
            raise ModuleNotFoundError(f"{self._recipe_module(recipe)} has no source file to identify it by")
        for module, meaning in sorted(modules.items()):
            state.update(f"{module}={meaning};".encode())
        return state.hexdigest()[:16]

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
    own = (path.parent for path in _folder(PAPERS).glob("*/*/paper.py"))
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


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not a package")
    return Path(next(iter(spec.submodule_search_locations)))


def _source(module: str) -> Path | None:
    """Return the file of a module without importing it, or `None` where there is none."""
    root, *parts = module.split(".")
    path = _folder(root).joinpath(*parts)
    if (path / "__init__.py").exists():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").exists() else None


def _reached(module: str) -> dict[str, str]:
    """Return what a module runs of assay and its own package when it is imported: module, then its meaning.

    A package with lazy names (see `assay.lazy`) brings in only the modules of the names that are taken from
    it. What only a type checker imports is left out everywhere: it never runs.
    """
    roots = {"assay", module.split(".")[0]}
    meanings: dict[str, str] = {}
    seen: set[tuple[str, tuple[str, ...] | None]] = set()
    waiting: list[tuple[str, tuple[str, ...] | None]] = [(module, None)]
    while waiting:
        name, wanted = waiting.pop()
        path = _source(name) if name.split(".")[0] in roots else None
        if path is None or (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        source = _read(path, path.stat().st_mtime_ns)
        meanings[name] = source.meaning
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting.append((package if package != name else name.rpartition(".")[0], ()))
        for imported in (*source.imports, *source.lazily(wanted)):
            waiting.extend(imported.reached_from(package))
    return meanings


@dataclass(frozen=True)
class _Import:
    """An import statement: `from base import names`, with `level` leading dots, or `import base`."""

    level: int
    base: str
    names: tuple[str, ...]

    def reached_from(self, package: str) -> Iterator[tuple[str, tuple[str, ...] | None]]:
        """Yield each module that it may import, with the names taken from it (`None`: any)."""
        base = self.base
        if self.level:
            outer = package.rsplit(".", self.level - 1)[0] if self.level > 1 else package
            base = f"{outer}.{base}" if base else outer
        yield base, (self.names if self.names and self.names != ("*",) else None)
        yield from ((f"{base}.{name}", None) for name in self.names)


@dataclass(frozen=True)
class _Source:
    """What a source file imports when it runs and when a lazy name is used; and a hash of what it does."""

    imports: tuple[_Import, ...]
    lazy: tuple[_Import, ...]
    meaning: str

    def lazily(self, wanted: tuple[str, ...] | None) -> Iterator[_Import]:
        """Yield the imports that give the `wanted` names of a package with lazy names; `None` wants all."""
        listed = {name for imported in self.lazy for name in imported.names}
        for imported in self.lazy:
            if imported.names == ("*",) and wanted is not None:
                others = tuple(name for name in wanted if name not in listed)
                yield from [_Import(imported.level, imported.base, others)] if others else []
            elif wanted is None or set(wanted) & set(imported.names):
                yield imported


@functools.cache
def _read(path: Path, changed_ns: int) -> _Source:
    """Parse a source file; `changed_ns` makes an edited one a new one."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    typed = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == lazy.TYPED]
    lazily = [found for node in typed for found in _imports(node.body)] if "lazy.attach(" in text else []
    tree.body = [part for node in tree.body for part in (node.orelse if node in typed else [node])]
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body:
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    meaning = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return _Source(tuple(_imports(ast.walk(tree))), tuple(lazily), meaning)


def _imports(nodes: Iterable[ast.AST]) -> Iterator[_Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (_Import(0, name.name, ()) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield _Import(node.level, node.module or "", tuple(name.name for name in node.names))


def _is_text(node: ast.stmt) -> bool:
    value = getattr(node, "value", None)
    return isinstance(node, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str)


def forget() -> None:
    """Drop what was imported of the entries, so that a new or edited one is found."""
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.startswith(f"{PAPERS}.")]:
        del sys.modules[name]


def list_papers(family: str | None = None) -> list[Paper]:
    """Return the papers of the catalogue, or of one family, sorted by slug."""
    return [item.paper for item in entries(family)]
