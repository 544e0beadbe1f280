"""lelp: distil a few-class classifier through pseudo-subclasses from its teacher's embedding space."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.distillation.lelp.method import *
else:
    __getattr__, __dir__ = lazy.attach(__name__, "distillation")
