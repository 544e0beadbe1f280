"""abmilx: train a patch encoder and an aggregator together from one label a bag."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.vision.abmilx.artefact import TrainedMIL as TrainedMIL
    from assay.papers.vision.abmilx.method import *
else:
    __getattr__, __dir__ = lazy.attach(__name__, "vision")
