"""esb: score any speech recogniser on sets of many domains with one protocol that forbids tuning to a set."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.speech.esb.inputs import read_corpus as read_corpus
    from assay.papers.speech.esb.method import *
else:
    __getattr__, __dir__ = lazy.attach(__name__, "speech")
