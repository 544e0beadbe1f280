"""t2ue: noise that keeps pictures from being learnt, made from their captions alone."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.privacy.t2ue.method import *
else:
    __getattr__, __dir__ = lazy.attach(__name__, "privacy")
