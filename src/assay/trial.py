"""What a recipe is given to run: named random streams, the split, shared stages, counters and artefacts.

One trial is one arm run with one seed. Trials of one seed are paired: they see the same split, start from
the same random state and share the stages that go through `Trial.once`.
"""

from __future__ import annotations

import base64
import inspect
import io
import math
import shutil
import statistics
import tempfile
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np
import PIL.Image
import torch

from assay import files
from assay.artefact import Artefacts
from assay.errors import DivergedError, InputError
from assay.randomness import derive_seed as derive_seed, random_state as random_state
from assay.stages import Stage, Stages
from assay.training.compute import Compute, Precision

if TYPE_CHECKING:
    import datasets

LARGEST_PICTURE = 200_000
"""Bytes of a picture for the report."""

Result = TypeVar("Result")
Rows = TypeVar("Rows")
Fitted = TypeVar("Fitted")
Candidate = TypeVar("Candidate")


@dataclass(frozen=True)
class Split(Generic[Rows]):
    """Three disjoint parts of the same rows; `validation` is empty unless it was asked for."""

    train: Rows
    validation: Rows
    test: Rows


@dataclass(frozen=True)
class Tuned(Generic[Candidate, Fitted]):
    """The candidate that did best on validation data, what `fit` made of it, and every score."""

    candidate: Candidate
    fitted: Fitted
    score: float
    scores: tuple[float, ...]


@dataclass
class Trial:
    """One arm with one seed.

    Args:
        seed: the seed that all arms of this trial's pair share.
        arm: the name of the arm.
        device: where the recipe should put its tensors.
        precision: the number format in which models train.
        out: a folder for artefacts, or `None` when nothing is to be kept.
        stages: a folder for stages that arms share, or `None` to share nothing.
        code: a fingerprint of the code that `once` may run; part of a stage's key.
        fresh_since: stages computed before are computed again, in seconds since the epoch.
        report: where `progress` sends its text.
    """

    seed: int
    arm: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Precision = "32-true"
    out: Path | None = None
    stages: Path | None = None
    code: str = ""
    fresh_since: float = 0.0
    report: Callable[[str], None] = lambda text: None

    def __post_init__(self) -> None:
        self.counters: dict[str, float] = {}
        self.resplit: float = 0.0
        self.shared_seconds: float = 0.0
        self.pictures: list[dict[str, str]] = []
        self._curve: list[dict[str, float]] = []
        self._booked: set[str] = set()
        self.artefacts = Artefacts(self.out) if self.out is not None else None

    @property
    def compute(self) -> Compute:
        """Where and how models train: one device and a precision, as plain values, so that stages take it."""
        kind = self.device.type
        return Compute(accelerator=kind, precision=self.precision)  # type: ignore[arg-type]  # it is checked

    # --- randomness -----------------------------------------------------------------------------

    def generator(self, name: str) -> torch.Generator:
        """Return a fresh torch generator on the CPU for the stream `name` of this seed."""
        return torch.Generator().manual_seed(derive_seed(self.seed, name))

    def numpy(self, name: str) -> np.random.Generator:
        """Return a fresh numpy generator for the stream `name` of this seed."""
        return np.random.default_rng(derive_seed(self.seed, name))

    # --- data -----------------------------------------------------------------------------------

    def split(
        self,
        rows: Any,
        test: float = 0.25,
        validation: float = 0.0,
        group: str | Sequence[Any] | None = None,
        stratify: str | Sequence[Any] | None = None,
        fresh: bool = False,
    ) -> Split[Any]:
        """Split rows at random into train, validation and test, the same for all arms of the seed.

        The ratio of test to training rows is recorded: the checker widens its intervals by it, because
        seeds that re-split one data set are not independent.

        Args:
            rows: a `datasets.Dataset`, or a number of rows (the parts are then sorted index arrays).
            test: the share of rows in the test part.
            validation: the share of all rows in the validation part.
            group: a column name or one value a row; rows of one group stay together.
            stratify: a column name or one class a row; the parts keep the class shares. Together with
                `group`, the share of a part is rounded to one in a whole number.
            fresh: the rows were drawn for this seed alone, so the seeds are independent.

        Raises:
            InputError: there are too few rows, groups or rows of a class for the parts.
        """
        total = rows if isinstance(rows, int) else len(rows)
        if not (0 < test < 1 and 0 <= validation < 1 and test + validation < 1):
            raise ValueError(f"test={test} and validation={validation} must leave a share for training")
        groups, classes = _column(rows, group), _column(rows, stratify)
        seed = derive_seed(self.seed, "split")
        rest, test_rows = _cut(np.arange(total), test, groups, classes, seed)
        validation_rows = rest[:0]
        train_rows = rest
        if validation:
            train_rows, validation_rows = _cut(rest, validation / (1 - test), groups, classes, seed + 1)
        if not fresh:
            self.resplit = max(self.resplit, len(test_rows) / len(rest))
        parts = (train_rows, validation_rows, test_rows)
        if isinstance(rows, int):
            return Split(*parts)
        return Split(*(rows.select(part) for part in parts))

    def deal(self, total: int, size: int) -> tuple[np.ndarray, bool]:
        """Give this seed rows of a large table, and say whether no other seed has any of them.

        All rows are shuffled and divided among the seeds 0, 1, ...; when none are left they are shuffled and
        divided again, and those parts are not fresh: pass what comes second to `split`.

        Returns:
            Sorted row numbers [size], and whether they are of the first round.
        """
        if not 0 < size <= total:
            raise ValueError(f"{size} rows cannot be taken from {total}")
        round_, hand = divmod(self.seed, total // size)
        shuffled = np.random.default_rng(round_).permutation(total)
        return np.sort(shuffled[hand * size : (hand + 1) * size]), round_ == 0

    # --- stages that arms share -----------------------------------------------------------------

    def once(
        self, name: str, function: Callable[..., Result], *arguments: Any, seedless: bool = False
    ) -> Result:
        """Compute a stage that the arms of this seed share, or load it if one of them has computed it.

        The stage runs under its own random stream and leaves the caller's untouched. Its result always
        comes from the saved copy, so that it does not matter which arm computed it, or when. What it cost
        is booked to every arm that uses it.

        Args:
            name: names the stage and its random stream.
            function: a function at module level; all that it depends on must be in `arguments`.
            arguments: plain values, containers, dataclasses, arrays, tensors or tables.
            seedless: all seeds share the stage, whose random stream is then that of no seed: a frozen
                encoder, say, or one model for all.

        Returns:
            What `function` returned: a record, see `assay.records`, such as a dataclass over tensors. For a
            module, return and load its `state_dict()`.
        """
        if not _is_at_module_level(function):
            raise TypeError(
                f"once({name!r}) needs a function at module level: what a closure or an object holds cannot"
                " be part of the stage's key. Pass it as an argument."
            )
        qualified = f"{function.__module__}.{function.__qualname__}"
        seed = None if seedless else self.seed
        stage = Stage(name, seed or 0, function, arguments)
        key = files.digest(name, qualified, seed, self.code, torch.__version__, self.device.type, arguments)
        if self.stages is None:
            return stage.alone()
        result, seconds, is_new = Stages(self.stages, self.fresh_since, self.report).get(key, stage)
        if key not in self._booked and not is_new:  # else this arm's own clock ran
            self.shared_seconds += seconds
        self._booked.add(key)
        return result

    @property
    def replies(self) -> Path | None:
        """The folder that keeps replies of text models, so that a check on a server resumes and replays."""
        return None if self.stages is None else self.stages.parent / "replies"

    # --- bookkeeping ----------------------------------------------------------------------------

    def count(self, name: str, amount: float = 1) -> None:
        """Add to a counter (gradient steps, candidates, tokens) that `Claim.equal` may compare."""
        self.counters[name] = self.counters.get(name, 0) + float(amount)

    def log(self, step: float, **values: float) -> None:
        """Record a point of the learning curve."""
        self._curve.append({"step": float(step)} | {name: float(value) for name, value in values.items()})

    def curve(self) -> list[dict[str, float]]:
        """Return the points logged so far."""
        return list(self._curve)

    def show(self, picture: Any, caption: str) -> None:
        """Keep a small picture for the report: a heat map, a map, a sample.

        Args:
            picture: a PIL picture, or an array uint8 [h, w] or [h, w, 3].
            caption: says what is to be seen, also to those who cannot see it.

        Raises:
            ValueError: it takes more than 200 kB as PNG, or has no caption.
        """
        if not caption.strip():
            raise ValueError("a picture needs a caption")
        image = PIL.Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
        if buffer.tell() > LARGEST_PICTURE:
            size = buffer.tell()
            raise ValueError(f"the picture {caption!r} takes {size} bytes; {LARGEST_PICTURE} is the most")
        self.pictures.append({"caption": caption, "png": base64.b64encode(buffer.getvalue()).decode()})

    def progress(self, text: str) -> None:
        """Say in a few words what is going on."""
        self.report(text)

    def tune(
        self,
        candidates: Iterable[Candidate],
        fit: Callable[[Candidate], Fitted],
        metric: Callable[[Fitted], float],
        better: str = "higher",
    ) -> Tuned[Candidate, Fitted]:
        """Fit every candidate from the same random state and keep the best on validation data.

        Args:
            candidates: what to try; the first wins a tie.
            fit: makes something of a candidate; one whose training diverges has the score NaN.
            metric: scores it, on validation data.
            better: `higher` or `lower`.

        Raises:
            ValueError: there is no candidate.
            DivergedError: every score is NaN.
        """
        sign = {"higher": 1.0, "lower": -1.0}[better]
        tried: list[tuple[Candidate, float]] = []
        best: tuple[Candidate, Fitted, float] | None = None
        for candidate in candidates:
            score = math.nan
            with suppress(DivergedError):
                with random_state(derive_seed(self.seed, "tune")):
                    fitted = fit(candidate)
                score = float(metric(fitted))
            tried.append((candidate, score))
            self.count("candidates")
            if not math.isnan(score) and (best is None or sign * score > sign * best[2]):
                best = (candidate, fitted, score)
        if not tried:
            raise ValueError("there is no candidate to fit.")
        if best is None:
            raise DivergedError(
                f"none of {len(tried)} candidates has a score: {tried}. Each diverged, or scored NaN on the"
                " validation data; give others."
            )
        return Tuned(*best, scores=tuple(score for _, score in tried))

    def timed(self, function: Callable[[], Any], repeats: int = 5) -> float:
        """Return the median time of a call in seconds, after one call that is not counted."""
        function()
        return statistics.median(self._once_timed(function) for _ in range(repeats))

    def _once_timed(self, function: Callable[[], Any]) -> float:
        self._synchronise()
        start = time.perf_counter()
        function()
        self._synchronise()
        return time.perf_counter() - start

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def save(self, name: str, value: Any) -> None:
        """Keep an artefact under `out`, so that `assay.load` gives it back; without `out`, do nothing.

        Args:
            name: of the artefact, and of its folder.
            value: a record (see `assay.records`), an object with `save(folder)` and a class method
                `load(folder)`, or a matplotlib figure. Where making it takes time, a function that returns
                it, which is called only if it is kept.
        """
        if self.artefacts is not None:
            self.artefacts.save(name, value() if inspect.isfunction(value) else value)

    def folder(self, name: str) -> Path:
        """Return an empty folder for files that the method itself writes, such as chips or a map.

        It is part of what `assay run` keeps; without `out`, it goes when the trial goes.
        """
        if self.out is None:
            temporary = tempfile.mkdtemp()
            weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
            return Path(temporary)
        folder = files.inside(self.out, name)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def at_level(log: Sequence[dict[str, float]], y: str, x: str, level: float) -> float | None:
    """Read `y` where `x` first reaches `level`, between two logged points by linear interpolation.

    Points that lack `x` or `y` are skipped. The level counts as reached from whichever side the first
    point lies on. Returns `None` when it never is.
    """
    points = [(point[x], point[y]) for point in log if x in point and y in point]
    if not points:
        return None
    rising = points[0][0] <= level
    previous = points[0]
    for point in points:
        if (point[0] >= level) if rising else (point[0] <= level):
            if point[0] == previous[0]:
                return point[1]
            share = (level - previous[0]) / (point[0] - previous[0])
            return previous[1] + share * (point[1] - previous[1])
        previous = point
    return None


def _is_at_module_level(function: Callable[..., Any]) -> bool:
    """Whether all that a function depends on is in its module; what decorates it is there too."""
    inner = inspect.unwrap(function)
    functions = inspect.isfunction(function) and inspect.isfunction(inner)
    return functions and "<locals>" not in inner.__qualname__


def _column(rows: datasets.Dataset | int, column: str | Sequence[Any] | None) -> np.ndarray | None:
    """Return one value a row for a column name or a sequence."""
    if column is None:
        return None
    if isinstance(column, str):
        return np.asarray(cast("datasets.Dataset", rows)[column][:])
    total = rows if isinstance(rows, int) else len(rows)
    if len(column) != total:
        raise ValueError(f"got {len(column)} groups or classes for {total} rows; give one a row")
    return np.asarray(column)


def _cut(
    rows: np.ndarray, share: float, groups: np.ndarray | None, classes: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut `share` of the rows off; return the rest and the cut part, both sorted."""
    from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold, train_test_split

    seed %= 2**32
    try:
        if groups is not None and classes is not None:
            folds = StratifiedGroupKFold(round(1 / share), shuffle=True, random_state=seed)
            with warnings.catch_warnings(action="error"):  # a class with fewer rows than folds
                kept, cut = next(folds.split(rows, classes[rows], groups[rows]))
        elif groups is not None:
            shuffle = GroupShuffleSplit(1, test_size=share, random_state=seed)
            kept, cut = next(shuffle.split(rows, groups=groups[rows]))
        else:
            labels = None if classes is None else classes[rows]
            kept, cut = train_test_split(
                np.arange(len(rows)), test_size=share, stratify=labels, random_state=seed
            )
    except (ValueError, UserWarning) as error:
        raise InputError(f"{len(rows)} rows cannot be split with a share of {share:.2g}: {error}") from None
    return np.sort(rows[kept]), np.sort(rows[cut])
