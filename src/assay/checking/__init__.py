"""Checks of papers: what is planned, run, kept and judged. Importing this package loads nothing heavy."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.checking.executors import Cluster as Cluster
    from assay.checking.plan import Settings as Settings
    from assay.checking.results import Checked as Checked
    from assay.checking.run import check as check
else:
    __getattr__, __dir__ = lazy.attach(__name__)
