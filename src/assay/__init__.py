"""assay tests what papers claim, and hands their methods over as ordinary PyTorch.

    assay.list_papers()                                the catalogue
    assay.check("ef21w")                               method, baselines and controls, then a verdict a claim
    assay.run("lelp", out="student", overrides={...})  apply a method, keep the artefact
    assay.load("student")                              what `run` wrote

Nothing heavy is imported before it is used.
"""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.artefact import load as load
    from assay.catalogue import list_papers as list_papers
    from assay.checking import check as check
    from assay.cli.running import run as run
else:
    __getattr__, __dir__ = lazy.attach(__name__)
__version__ = "0.1.0"
