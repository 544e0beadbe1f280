"""EF21 and EF21-W: compressed gradients without divergence, and a step size that needs no tuning."""

from .compressors import (
    Blockwise as Blockwise,
    Compressed as Compressed,
    Compressor as Compressor,
    FixedGrid as FixedGrid,
    Identity as Identity,
    RandK as RandK,
    ScaledQuantizer as ScaledQuantizer,
    SignL1 as SignL1,
    Threshold as Threshold,
    TopK as TopK,
)
from .ddp import EF21WState as EF21WState, ef21w_hook as ef21w_hook, gather_weights as gather_weights
from .partition import (
    partition_dealt as partition_dealt,
    partition_max_variance as partition_max_variance,
    partition_random as partition_random,
    partition_sorted as partition_sorted,
)
from .problems import (
    BatchedSum as BatchedSum,
    FiniteSum as FiniteSum,
    FunctionSum as FunctionSum,
    L2Penalty as L2Penalty,
    LinearModel as LinearModel,
    ModuleSum as ModuleSum,
    NonconvexPenalty as NonconvexPenalty,
    least_squares as least_squares,
    logistic_regression as logistic_regression,
)
from .rows import DenseRows as DenseRows, SparseRows as SparseRows, divide as divide
from .simulator import (
    EF21 as EF21,
    DivergenceError as DivergenceError,
    EF21Result as EF21Result,
    EF21State as EF21State,
    iterate_gap as iterate_gap,
)
from .smoothness import (
    FeatureSupport as FeatureSupport,
    SmoothnessProfile as SmoothnessProfile,
    clone_plan as clone_plan,
    estimate_smoothness as estimate_smoothness,
    secant_smoothness as secant_smoothness,
)
from .stepsize import (
    StepSize as StepSize,
    beta as beta,
    convergence_bound as convergence_bound,
    distortion as distortion,
    ef21_stepsize as ef21_stepsize,
    rare_stepsize as rare_stepsize,
    theta as theta,
    xi as xi,
)
