"""assay tests what papers claim, and hands their methods over as ordinary PyTorch.

    assay.list_papers()                                the catalogue
    assay.check("ef21w")                               method, baselines and controls, then a verdict a claim
    assay.run("lelp", out="student", overrides={...})  apply a method, keep the artefact
    assay.load("student")                              what `run` wrote

Nothing heavy is imported before it is used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "catalogue": ["list_papers"],
        "checking": ["check"],
        "running": ["load", "run"],
    },
)
__version__ = "0.1.0"
