"""Identifies the code that a module runs, by meaning: comments, docstrings and layout do not count.

Followed are the imports in assay and in the module's own package. What source files mean is kept in the
user's cache folder, because parsing some hundred files takes longer than planning a check may.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assay import files, lazy
from assay.errors import AssayError


def fingerprint(module: str) -> str:
    """Identify a module's code, and all that it reaches.

    Raises:
        ModuleNotFoundError: the module has no source file.
    """
    modules = _reached(module)
    if not modules:
        raise ModuleNotFoundError(f"{module} has no source file to identify it by")
    state = hashlib.sha256()
    for name, meaning in sorted(modules.items()):
        state.update(f"{name}={meaning};".encode())
    return state.hexdigest()[:16]


def folder_of(package: str) -> Path:
    """Return the folder of a package without importing it.

    Raises:
        ModuleNotFoundError: there is no such package.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not a package")
    return Path(next(iter(spec.submodule_search_locations)))


def _reached(module: str) -> dict[str, str]:
    """Return what a module runs of assay and its own package when it is imported: module, then its meaning.

    A package with lazy names (see `assay.lazy`) brings in only the modules of the names that are taken from
    it. What only a type checker imports is left out everywhere: it never runs.
    """
    roots = {root: folder_of(root) for root in {"assay", module.split(".")[0]}}
    cache = _Cache()
    found: dict[str, tuple[str, _Source] | None] = {}
    waiting: list[Wanted] = [(module, None)]
    seen: set[Wanted] = set()
    while waiting:
        name, wanted = waiting.pop()
        if name.split(".")[0] not in roots or (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        is_new = name not in found
        if is_new:
            path = _file_of(name, roots)
            package = name if path is not None and path.name == "__init__.py" else name.rpartition(".")[0]
            found[name] = None if path is None else (package, cache.read(path))
        if (known := found[name]) is None:
            continue
        package, source = known
        if is_new:
            waiting.append((name.rpartition(".")[0], ()))  # the package around it runs first
            waiting.extend(each for line in source.imports for each in line.reached_from(package))
        waiting.extend(each for line in source.lazily(wanted) for each in line.reached_from(package))
    cache.keep()
    return {name: known[1].meaning for name, known in found.items() if known is not None}


def _file_of(module: str, roots: Mapping[str, Path]) -> Path | None:
    """Return the file of a module, or `None` where there is none."""
    root, *parts = module.split(".")
    path = roots[root].joinpath(*parts)
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


Wanted = tuple[str, tuple[str, ...] | None]
"""A module, and the names that are taken from it; `None`: any."""


@dataclass(frozen=True)
class _Import:
    """An import statement: `from base import names`, with `level` leading dots, or `import base`."""

    level: int
    base: str
    names: tuple[str, ...]

    def reached_from(self, package: str) -> Iterator[Wanted]:
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

    @classmethod
    def from_json(cls, plain: Any) -> _Source:
        """Read what `asdict` gave."""
        imports, lazily = (
            tuple(_Import(line["level"], line["base"], tuple(line["names"])) for line in plain[name])
            for name in ("imports", "lazy")
        )
        return cls(imports, lazily, str(plain["meaning"]))

    def lazily(self, wanted: tuple[str, ...] | None) -> Iterator[_Import]:
        """Yield the imports that give the `wanted` names of a package with lazy names; `None` wants all."""
        listed = {name for imported in self.lazy for name in imported.names}
        for imported in self.lazy:
            if imported.names == ("*",) and wanted is not None:
                others = tuple(name for name in wanted if name not in listed)
                yield from [_Import(imported.level, imported.base, others)] if others else []
            elif wanted is None or set(wanted) & set(imported.names):
                yield imported


class _Cache:
    """What source files mean, while their size and time of change stay: here and for the next process."""

    def __init__(self) -> None:
        folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        rules = Path(__file__).stat()  # what this module makes of a file counts too
        version = f"{sys.version_info.major}.{sys.version_info.minor}-{rules.st_mtime_ns}"
        self.file = Path(folder) / "assay" / f"sources-{version}.json"
        self.known = dict(_kept(self.file))
        self.is_new = False

    def read(self, path: Path) -> _Source:
        """Return what a file means, parsed only if it has changed."""
        status = path.stat()
        state = (status.st_size, status.st_mtime_ns)
        kept = self.known.get(str(path))
        if kept is not None and kept[0] == state:
            return kept[1]
        source = _parse(path.read_text(encoding="utf-8"))
        self.known[str(path)] = (state, source)
        self.is_new = True
        return source

    def keep(self) -> None:
        """Write what was parsed, where that is possible."""
        if self.is_new:
            _kept.cache_clear()
            with contextlib.suppress(AssayError):
                plain = {path: [state, asdict(source)] for path, (state, source) in self.known.items()}
                files.write_json(self.file, plain, indent=None)


@functools.cache
def _kept(file: Path) -> dict[str, tuple[tuple[int, int], _Source]]:
    """Return what was kept, or nothing where the file is not there or is damaged."""
    try:
        return {
            path: ((size, changed_ns), _Source.from_json(source))
            for path, ((size, changed_ns), source) in files.read_json(file).items()
        }
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        return {}


def _parse(text: str) -> _Source:
    """Find what a source file imports, and hash its syntax tree without docstrings."""
    tree = ast.parse(text)
    typed = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == lazy.TYPED]
    lazily = [found for node in typed for found in _imports(node.body)] if "lazy.attach(" in text else []
    tree.body = [part for node in tree.body for part in (node.orelse if node in typed else [node])]
    nodes = list(ast.walk(tree))
    for node in nodes:
        body = getattr(node, "body", None)
        if isinstance(body, list) and body:
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    meaning = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return _Source(tuple(_imports(nodes)), tuple(lazily), meaning)


def _imports(nodes: Iterable[ast.AST]) -> Iterator[_Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (_Import(0, name.name, ()) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield _Import(node.level, node.module or "", tuple(name.name for name in node.names))


def _is_text(node: ast.stmt) -> bool:
    value = getattr(node, "value", None)
    return isinstance(node, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str)
