"""cot_information: how many input-output examples one example with a chain of thought is worth."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.theory.cot_information.method import *
else:
    __getattr__, __dir__ = lazy.attach(__name__, "theory")
