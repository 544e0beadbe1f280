"""Real English text that is already installed: what five packages say about their own functions.

The first paragraph of the docstring of each public function, class and method, read from the source files
without importing them. The label is the package. The names of the packages are masked, in all texts alike,
so that a text does not say which package it is from.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import io
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from assay import files
from assay.errors import InputError, StorageError

if TYPE_CHECKING:
    import pyarrow as pa

PACKAGES = {
    "numpy": "numpy",
    "pandas": "pandas",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "torch": "torch",
}
LEAST_WORDS = 5
MASK = "library"

_NAMES = re.compile(r"scikit[- ]?learn|sklearn|numpy|scipy|pandas|pytorch|torch|\b(np|pd)\b", re.IGNORECASE)
_ROLE = re.compile(r":[a-z:]+:`~?([^`<]*)(<[^`]*>)?`")
_SIGNATURE = re.compile(r"[\w.]+\(.*\)( ?->.*)?")
_NOT_DOCUMENTATION = frozenset(
    {"_testing", "conftest", "externals", "include", "test", "testing", "tests", "thirdparty", "vendored"}
)
_COPIED = re.compile(r"_?(vendor|extern|array_api)|_numpy$")  # code of others inside a package


def read_docstrings() -> pa.Table:
    """Return the rows with the columns text, label (the package), group (the module) and name.

    They are kept as Parquet in the user's cache folder, by version; where that cannot be written they are
    extracted anew (seconds).
    """
    import pyarrow as pa
    import pyarrow.parquet

    kept = cache_folder() / f"docstrings-{_key()}.parquet"
    try:
        return pyarrow.parquet.read_table(kept)
    except (OSError, pa.ArrowInvalid):
        table = extract({label: _folder_of(label) for label in PACKAGES})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    with contextlib.suppress(StorageError):  # keeping it only saves time
        files.write_atomic(kept, buffer.getvalue())
    return table


def cache_folder() -> Path:
    """Return the user's cache folder for assay; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "assay"


def versions() -> list[str]:
    """Return what the rows depend on: the rules of extraction (this file) and the packages' versions."""
    rules = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    return [f"rules {rules}", *(f"{name} {version(name)}" for name in PACKAGES.values())]


def extract(packages: dict[str, Path]) -> pa.Table:
    """Read the docstrings under each package's folder, in the order of packages, modules and lines.

    A text that occurs twice in a package is kept once; one that occurs in two packages is dropped.
    """
    import pyarrow as pa

    rows: list[dict[str, str]] = []
    owners: dict[str, set[str]] = defaultdict(set)
    for label in sorted(packages):
        for row in _rows(label, packages[label]):
            if label not in owners[row["text"]]:
                owners[row["text"]].add(label)
                rows.append(row)
    kept = [row for row in rows if len(owners[row["text"]]) == 1]
    columns = ("text", "label", "group", "name")
    return pa.table({column: pa.array([row[column] for row in kept], pa.string()) for column in columns})


def first_paragraph(docstring: str) -> str:
    """Return the first paragraph on one line, without markup and with the packages' names masked.

    It ends before an example; one that is a directive or a bare signature counts as none.
    """
    paragraph = re.split(r"\n\s*\n|>>>", docstring.strip(), maxsplit=1)[0]
    plain = _ROLE.sub(lambda match: match[1].strip().rpartition(".")[2], paragraph).replace("`", "")
    text = " ".join(plain.split())
    if text.startswith("..") or _SIGNATURE.fullmatch(text):
        return ""
    return _NAMES.sub(MASK, text)


def _rows(label: str, folder: Path) -> Iterator[dict[str, str]]:
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if _is_documentation(label, parts):
            module = ".".join([label, *(part for part in parts if part != "__init__")])
            for name, docstring in _documented(path):
                text = first_paragraph(docstring)
                if len(text.split()) >= LEAST_WORDS:
                    yield {"text": text, "label": label, "group": module, "name": f"{module}.{name}"}


def _is_documentation(label: str, parts: tuple[str, ...]) -> bool:
    if any(part in _NOT_DOCUMENTATION or _COPIED.match(part) for part in parts):
        return False
    if parts[-1].startswith("test_"):
        return False
    # torch keeps its compiler in private packages: half of the source, and hardly a public name in it
    return label != "torch" or not any(part.startswith("_") for part in parts[:-1])


def _documented(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the public functions, classes and methods of a module that have a docstring."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # old escape sequences in code of others
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            return
    yield from _public(tree.body, "")


def _public(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_"):
            continue
        docstring = ast.get_docstring(node)
        if docstring:
            yield prefix + node.name, docstring
        if isinstance(node, ast.ClassDef):
            yield from _public(node.body, f"{prefix}{node.name}.")


def _folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"bundled:docstrings reads the source of {package}, which is not installed.")
    return Path(spec.submodule_search_locations[0])


def _key() -> str:
    return hashlib.sha256("\n".join(versions()).encode()).hexdigest()[:16]
