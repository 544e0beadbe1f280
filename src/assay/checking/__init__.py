"""Checks of papers: what is planned, run, kept and judged. Importing this package loads nothing heavy."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.checking.run import (
        Checked as Checked,
        Cluster as Cluster,
        Settings as Settings,
        check as check,
    )
else:
    __getattr__, __dir__, __all__ = lazy.attach(__name__)
