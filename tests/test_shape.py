"""The shape that every entry has: file names, sizes, signatures, options, and who may open a file."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay import catalogue, options
from assay.catalogue import Entry

OWN = [entry for entry in catalogue.entries() if entry.package.startswith(catalogue.PAPERS)]
PENDING: set[str] = set()
"""Entries that have not got this shape yet."""

FILES = {
    "README.md",
    "__init__.py",
    "artefact.py",
    "baselines.py",
    "config.py",
    "evaluation.py",
    "inputs.py",
    "method.py",
    "paper.py",
    "recipe.py",
    "stages.py",
    "synthetic.py",
    "training.py",
}
FOLDERS = {"inputs", "method", "recipes", "synthetic"}
MOST_LINES = 2500
LONGER: dict[str, tuple[int, str]] = {
    "ecm": (3350, "resistors of four tasks, four sources of results, and a language model that is trained"),
    "eft": (4200, "decoding with the caches and adapters of several models, drafts, and five recipes"),
    "abmilx": (4650, "five kinds of bags, the authors' labels and checkpoints, ten aggregators, survival"),
    "instageo": (3500, "cuts chips out of scenes, distils segmentation models, and predicts for new chips"),
    "ednet": (4600, "a reader of four levels of logs with its shards, and eight models that trace knowledge"),
    "cot_information": (3450, "five classes of programs, exact chains and learners beside the estimator"),
    "ef21w": (2750, "a simulator over dense and sparse rows, the user's objectives, and a hook for DDP"),
}
"""Entries that are allowed more lines, each with the reason."""
MOST_OPTIONS = 40
MOST_PARAMETERS = 6

OPENERS = {
    "open",
    "csv.DictReader",
    "csv.reader",
    "gzip.open",
    "json.load",
    "json.loads",
    "lmdb.open",
    "np.fromfile",
    "np.load",
    "np.loadtxt",
    "pacsv.read_csv",
    "pd.read_csv",
    "pd.read_json",
    "pd.read_parquet",
    "PIL.Image.open",
    "Image.open",
    "pickle.load",
    "safetensors.numpy.load_file",
    "safetensors.torch.load_file",
    "load_file",
    "soundfile.SoundFile",
    "soundfile.read",
    "tarfile.open",
    "torch.load",
    "wave.open",
    "zipfile.ZipFile",
}
"""What opens or parses a user's file; `x.open(...)`, `x.read_text(...)` and `x.read_bytes(...)` count too."""
READS = {"open", "read_bytes", "read_text"}
MAY_OPEN: dict[str, str] = {
    "education/ednet/baselines.py": "the baseline reads as one would without this reader, with pandas",
    "education/ednet/method/members.py": "800,000 files in bounded memory are what this reader is for",
    "education/ednet/method/parsing.py": "parses the students' files by the thousand, from bytes in memory",
    "education/ednet/method/process.py": "speaks with its process in JSON, and reads what memory it took",
    "education/ednet/method/shards.py": "hashes the shards that it wrote",
    "education/ednet/synthetic.py": "writes zips, and opens none",
    "vision/abmilx/inputs/lmdb_files.py": "opens LMDB files, which hold the authors' tiles",
}
"""Files under `papers/` that open files themselves, each with the reason."""

PAPERS = Path(catalogue.__file__).parent / "papers"
by_slug = pytest.mark.parametrize(
    "entry",
    [
        pytest.param(entry, id=entry.slug, marks=pytest.mark.skip("pending") if entry.slug in PENDING else [])
        for entry in OWN
    ],
)


def sources(entry: Entry) -> Iterator[tuple[str, ast.Module]]:
    """Yield each source file of an entry, by its path under `papers/`."""
    for path in sorted(entry.folder.rglob("*.py")):
        yield path.relative_to(PAPERS).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


@by_slug
def test_its_files_have_the_names_that_all_entries_use(entry: Entry) -> None:
    there = {path.name for path in entry.folder.iterdir() if path.name != "__pycache__"}
    folders = {path.name for path in entry.folder.iterdir() if path.is_dir()} - {"__pycache__"}
    assert there - folders <= FILES
    assert folders <= FOLDERS
    assert not {"recipe.py", "recipes"} <= there
    assert not {"method.py", "method"} <= there


@by_slug
def test_it_is_one_product(entry: Entry) -> None:
    lines = sum(len(path.read_text().splitlines()) for path in entry.folder.rglob("*.py"))
    most, _ = LONGER.get(entry.slug, (MOST_LINES, ""))
    assert lines <= most, f"{lines} lines of source"


@by_slug
def test_its_recipes_have_few_options(entry: Entry) -> None:
    for name in entry.paper.recipes:
        assert len(options.option_names(entry.config(name)())) <= MOST_OPTIONS, name


@by_slug
def test_one_preset_has_the_papers_settings(entry: Entry) -> None:
    assert sum("paper" in recipe.presets for recipe in entry.paper.recipes.values()) <= 1


@by_slug
def test_its_functions_take_few_parameters(entry: Entry) -> None:
    """Six at most; an estimator's `__init__` may take more, by name, since `get_params` wants them flat."""
    long = []
    for path, tree in sources(entry):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                given = [*node.args.posonlyargs, *node.args.args]
                given += [] if node.name == "__init__" else node.args.kwonlyargs
                names = [argument.arg for argument in given if argument.arg not in ("self", "cls")]
                if len(names) > MOST_PARAMETERS:
                    long.append(f"{path}:{node.lineno} {node.name} ({len(names)})")
    assert not long


@by_slug
def test_it_does_not_look_where_its_artefacts_go(entry: Entry) -> None:
    """What `run` does and `check` does not is an option with a name."""
    for path, tree in sources(entry):
        looked = [node.lineno for node in ast.walk(tree) if ast.unparse(node) == "trial.out"]
        assert not looked, f"{path}: lines {looked}"


@by_slug
def test_it_opens_no_file_itself(entry: Entry) -> None:
    opened = []
    for path, tree in sources(entry):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                reads = isinstance(node.func, ast.Attribute) and node.func.attr in READS
                if (name in OPENERS or reads) and path not in MAY_OPEN:
                    opened.append(f"{path}:{node.lineno} {name}")
    assert not opened, "read it with assay.data, or give the reason in MAY_OPEN"


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the modules that a file imports, by their full names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{name.name}" for name in node.names)


@by_slug
def test_it_imports_no_other_entry_and_no_other_family(entry: Entry) -> None:
    family = entry.package.rpartition(".")[0]
    entries = {other.package for other in OWN} - {entry.package}
    for path, tree in sources(entry):
        for name in imported(tree):
            if name.startswith(f"{catalogue.PAPERS}."):
                assert name.startswith(f"{family}."), f"{path} imports {name}"
                assert not any(name.startswith(f"{other}.") for other in entries), f"{path} imports {name}"


def test_what_a_family_shares_knows_none_of_its_entries() -> None:
    folders = {entry.folder for entry in OWN}
    for path in PAPERS.rglob("*.py"):
        if not folders & set(path.parents):
            for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
                assert not any(name.startswith(f"{entry.package}.") for entry in OWN), (
                    f"{path} imports {name}"
                )


@by_slug
def test_its_stages_return_what_has_a_type(entry: Entry) -> None:
    untyped = []
    for path, tree in sources(entry):
        calls = (
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("trial.once")
        )
        module = ".".join(("assay", "papers", *Path(path).with_suffix("").parts))
        for call in calls:
            function = _resolve(module, ast.unparse(call.args[1]))
            returned = inspect.signature(function).return_annotation
            if returned is inspect.Signature.empty or "Any" in str(returned):
                untyped.append(f"{path}:{call.lineno} {function.__name__} -> {returned}")
    assert not untyped


def _resolve(module: str, name: str) -> Any:
    import importlib

    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return inspect.unwrap(found)
