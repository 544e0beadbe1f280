"""uoe: unlearn a topic from a mixture-of-experts language model by changing one expert."""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.privacy.uoe.method import *
else:
    __getattr__, __dir__ = lazy.attach(__name__, "privacy")
