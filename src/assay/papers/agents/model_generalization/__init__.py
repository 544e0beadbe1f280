"""model_generalization: does a learned one-step model buy more than plain experience replay?"""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.agents.model_generalization.method import *
else:
    __getattr__, __dir__ = lazy.attach(__name__, "agents")
