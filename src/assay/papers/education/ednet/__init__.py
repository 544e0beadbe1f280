"""ednet: EdNet's logs as Parquet, own logs in the same form, and knowledge tracing that does not leak."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.education.ednet.method import *
else:
    __getattr__, __dir__ = lazy.attach(__name__, "education")
