"""ecm: predict from circuit quantities whether a language model will answer, before it is asked."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "method": [
            "CallableResistance",
            "CircuitConstants",
            "Demo",
            "DemoRetriever",
            "DifficultyEstimator",
            "DifficultyUnavailable",
            "ElectronicCircuitModel",
            "Item",
            "MathResistance",
            "MedicalResistance",
            "MultiHopResistance",
            "PlanResistance",
            "Strategy",
            "answers_match",
            "arithmetic_difficulty",
            "binned_accuracy",
            "evaluate",
            "flux",
            "majority_vote",
            "parallel",
            "permutation_null",
            "power",
            "render_prompt",
            "series",
        ]
    },
)
