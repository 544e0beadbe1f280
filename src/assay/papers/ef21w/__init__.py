"""ef21w: EF21 and EF21-W, compressed gradients with a step size that needs no tuning."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "method": [
            "EF21",
            "EF21WState",
            "FixedGrid",
            "Identity",
            "LinearClassifier",
            "ModuleSum",
            "NonconvexPenalty",
            "RandK",
            "ScaledQuantizer",
            "SignL1",
            "SmoothnessProfile",
            "Threshold",
            "TopK",
            "divide",
            "ef21_stepsize",
            "ef21w_hook",
            "estimate_smoothness",
            "gather_weights",
            "least_squares",
            "logistic_regression",
            "partition_max_variance",
            "partition_sorted",
        ]
    },
)
