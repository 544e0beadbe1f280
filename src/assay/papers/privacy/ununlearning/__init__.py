"""ununlearning: audit whether what a language model has unlearned comes back in context."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.privacy.ununlearning.method import *
else:
    __getattr__, __dir__ = lazy.attach(__name__, "privacy")
