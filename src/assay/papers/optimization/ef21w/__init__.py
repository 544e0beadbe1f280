"""ef21w: EF21 and EF21-W, compressed gradients with a step size that needs no tuning."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.optimization.ef21w.artefact import LinearClassifier as LinearClassifier
    from assay.papers.optimization.ef21w.method import *
else:
    __getattr__, __dir__ = lazy.attach(__name__, "optimization")
