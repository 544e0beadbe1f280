"""bayes_unlearnable: move pictures, invisibly, to where the Bayes error of learning from them is larger."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.privacy.bayes_unlearnable.artefact import PublishedPictures as PublishedPictures
    from assay.papers.privacy.bayes_unlearnable.method import *
else:
    __getattr__, __dir__ = lazy.attach(__name__, "privacy")
