"""Public names that are typed for a checker and an editor, listed once, and imported when first used.

A package writes its public names as imports that only a type checker runs, and attaches them:

    if TYPE_CHECKING:
        from assay.papers.distillation.lelp.method import *
    else:
        __getattr__, __dir__ = lazy.attach(__name__)

`attach` reads those imports from the package's source, so that nothing is listed a second time.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

from assay.errors import MissingExtraError

TYPED = "TYPE_CHECKING"


def attach(package: str, extra: str = "all") -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for a package, from its `if TYPE_CHECKING:` imports.

    Args:
        package: its `__name__`.
        extra: which extra of assay brings what its modules need.
    """

    @functools.cache
    def homes() -> dict[str, str]:
        return dict(_listed(package))  # when first asked: `assay list` asks none of its papers

    def load(name: str) -> Any:
        if name == "__all__":
            return sorted(homes())
        if name.startswith("__") or name not in homes():
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(importlib.import_module(homes()[name]), name)
        except ModuleNotFoundError as error:
            missing = (error.name or "").split(".")[0]
            if missing in {"", package.split(".")[0]}:
                raise
            raise MissingExtraError(missing, extra) from error

    return load, lambda: sorted(homes())


def _listed(module: str) -> Iterator[tuple[str, str]]:
    """Yield what `from module import *` gives a type checker, each name with the module that has it."""
    tree = _parsed(module)
    typed = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == TYPED]
    for node in [*tree.body, *(inner for block in typed for inner in block.body)]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, module
        elif isinstance(node, ast.ImportFrom):
            home = _absolute(node, module)
            if node.names[0].name == "*":
                yield from ((name, home) for name, _ in _listed(home))
            yield from ((name.name, home) for name in node.names if name.asname == name.name)


def _parsed(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    source = spec.loader.get_source(module)  # type: ignore[union-attr]  # so have files and zip archives
    parsed: ast.Module = ast.parse(source)
    return parsed


def _absolute(imported: ast.ImportFrom, package: str) -> str:
    if not imported.level:
        return imported.module or ""
    outer = package.rsplit(".", imported.level - 1)[0] if imported.level > 1 else package
    return f"{outer}.{imported.module}"
