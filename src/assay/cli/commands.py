"""The commands and their options, as dataclasses that become the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from assay.paper import LAPTOP
from assay.training.compute import Precision


@dataclass(frozen=True)
class List:
    """List the papers: what each does, and the verdicts of its saved results."""

    family: str | None = None
    """Only the papers of this family."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class Show:
    """Show one paper: claims with tests, arms, options with defaults, cost, how to take the method."""

    slug: tyro.conf.Positional[str]
    """The paper."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class Check:
    """Test a paper's claims: method, baselines and controls over paired seeds.

    Any option of the recipes that no arm sets can be given too, such as --data csv:FILE.
    Exit status: 0 all supported, 1 some contradicted, 2 some inconclusive, 3 an error.
    """

    slugs: tyro.conf.Positional[tuple[str, ...]] = ()
    """The papers."""
    all: bool = False
    """Check every paper of the catalogue."""
    preset: str = LAPTOP
    """The size: tiny (never a verdict), laptop, extended, public or paper; see `assay show SLUG`."""
    seeds: int | None = None
    """How many paired seeds; by default as many as the preset says."""
    first_seed: int = 0
    """The first seed. Develop a check on other seeds (1000, say) than it is judged on."""
    until_decided: bool = False
    """Add seeds until every claim is decided, with intervals that allow looking."""
    max_seeds: int = 60
    """With --until-decided: where to stop."""
    workers: int | None = None
    """How many processes; by default one a core. Does not change results."""
    ray: str | None = None
    """Run on a Ray cluster: its address, or nothing to start a local one."""
    cores: int = 1
    """With --ray: cores and threads of each trial."""
    gpus: float = 0.0
    """With --ray: GPUs of each trial; a fraction shares one."""
    resources: str = ""
    """With --ray: what else of the cluster each trial takes, such as big_memory=1,fast_disk=0.5."""
    store: Path = Path(".assay")
    """The folder that keeps finished trials."""
    fresh: bool = False
    """Run everything again, whatever the store has."""
    save: bool = False
    """Keep the verdicts among those that ship with assay."""
    device: str = "cpu"
    """Where trials compute, such as cuda."""
    precision: Precision = "32-true"
    """The number format in which models train."""
    live: bool = False
    """While the check runs, serve the report with its progress on 127.0.0.1."""
    port: int = 0
    """With --live: the port; by default a free one."""
    json: bool = False
    """Print one JSON object (a list for several papers) on standard output."""


@dataclass(frozen=True)
class Run:
    """Apply a paper's method and keep the artefact, which `assay.load` gives back.

    Any option of the recipe can be given too, such as --data csv:FILE.
    """

    slug: tyro.conf.Positional[str]
    """The paper."""
    recipe: tyro.conf.Positional[str] = ""
    """The recipe; by default the paper's own choice."""
    out: Path | None = None
    """The folder to write."""
    arm: str | None = None
    """The arm to run; by default the method."""
    preset: str = LAPTOP
    """The size."""
    seed: int = 0
    """The seed of all randomness."""
    device: str = "cpu"
    """Where to compute, such as cuda."""
    precision: Precision = "32-true"
    """The number format in which models train."""
    overwrite: bool = False
    """Replace what an earlier run wrote."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class Report:
    """Write a web page of everything checked so far."""

    out: Path = Path("report")
    """The folder to write."""
    store: Path = Path(".assay")
    """The folder that keeps finished checks."""
    open: bool = False
    """Open the page in a browser."""


@dataclass(frozen=True)
class New:
    """Start a new entry that runs and already passes the contract test."""

    slug: tyro.conf.Positional[str]
    """The name of the paper: letters, digits and underscores."""
    family: Annotated[str, tyro.conf.arg(metavar="FAMILY")]
    """Which field the paper is from."""
    out: Path | None = None
    """Write the entry to this folder, as a package of its own; by default among assay's own entries."""
