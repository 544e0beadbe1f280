"""elang: route between a cheap and an accurate model by the free energy of the cheap one's logits."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.language.elang.method import *
else:
    __getattr__, __dir__ = lazy.attach(__name__, "language")
