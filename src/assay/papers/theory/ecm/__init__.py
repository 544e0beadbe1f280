"""ecm: predict from circuit quantities whether a language model will answer, before it is asked."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.theory.ecm.method import *
else:
    __getattr__, __dir__ = lazy.attach(__name__, "theory")
