"""EF21 and EF21-W: compressed gradients without divergence, and a step size that needs no tuning."""

from .classifier import LinearClassifier
from .compressors import (
    Blockwise,
    Compressed,
    Compressor,
    FixedGrid,
    Identity,
    RandK,
    ScaledQuantizer,
    SignL1,
    Threshold,
    TopK,
)
from .ddp import EF21WState, ef21w_hook, gather_weights
from .partition import partition_dealt, partition_max_variance, partition_random, partition_sorted
from .problems import (
    BatchedSum,
    FiniteSum,
    FunctionSum,
    L2Penalty,
    LinearModel,
    ModuleSum,
    NonconvexPenalty,
    least_squares,
    logistic_regression,
)
from .rows import DenseRows, SparseRows, divide
from .simulator import EF21, DivergenceError, EF21Result, EF21State, iterate_gap
from .smoothness import (
    FeatureSupport,
    SmoothnessProfile,
    clone_plan,
    estimate_smoothness,
    secant_smoothness,
)
from .stepsize import StepSize, beta, convergence_bound, distortion, ef21_stepsize, theta, xi

__all__ = [
    "EF21",
    "BatchedSum",
    "Blockwise",
    "Compressed",
    "Compressor",
    "DenseRows",
    "DivergenceError",
    "EF21Result",
    "EF21State",
    "EF21WState",
    "FeatureSupport",
    "FiniteSum",
    "FixedGrid",
    "FunctionSum",
    "Identity",
    "L2Penalty",
    "LinearClassifier",
    "LinearModel",
    "ModuleSum",
    "NonconvexPenalty",
    "RandK",
    "ScaledQuantizer",
    "SignL1",
    "SmoothnessProfile",
    "SparseRows",
    "StepSize",
    "Threshold",
    "TopK",
    "beta",
    "clone_plan",
    "convergence_bound",
    "distortion",
    "divide",
    "ef21_stepsize",
    "ef21w_hook",
    "estimate_smoothness",
    "gather_weights",
    "iterate_gap",
    "least_squares",
    "logistic_regression",
    "partition_dealt",
    "partition_max_variance",
    "partition_random",
    "partition_sorted",
    "secant_smoothness",
    "theta",
    "xi",
]
