"""eft: a large language model with the fine-tuning of a small one, at the time of decoding."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.language.eft.artefact import Emulator as Emulator
    from assay.papers.language.eft.method import *
else:
    __getattr__, __dir__ = lazy.attach(__name__, "language")
