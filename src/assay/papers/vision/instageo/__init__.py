"""instageo: labelled points and raw satellite scenes to chips, a small distilled model and a map."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.vision.instageo.artefact import PredictionMap as PredictionMap, Segmenter as Segmenter
    from assay.papers.vision.instageo.method import *
else:
    __getattr__, __dir__ = lazy.attach(__name__, "vision")
