"""Model-based generalization: a Q-learner whose transitions come from replay, a learned model or a simulator.

Importing this registers ProcMaze-v0, ButtonGrid-v0, PanFlute-v0 and OpenGrid-v0 in gymnasium.
"""

from assay.errors import MissingExtraError

try:
    import gymnasium as _gymnasium  # noqa: F401
except ModuleNotFoundError:
    raise MissingExtraError("gymnasium", "agents") from None

from assay.papers.model_generalization.method.batched import (
    BatchedEnvironment,
    VectorButtonGrid,
    VectorOpenGrid,
    VectorPanFlute,
    VectorProcMaze,
    draw_mazes,
)
from assay.papers.model_generalization.method.dyna import DynaTrainer, compare_sources, fit_model
from assay.papers.model_generalization.method.environments import (
    ButtonGrid,
    OpenGrid,
    PanFlute,
    ProcMaze,
    register,
)
from assay.papers.model_generalization.method.errors import (
    RolloutError,
    Sequences,
    rollout_error,
    sequences,
)
from assay.papers.model_generalization.method.exact import pan_flute_values
from assay.papers.model_generalization.method.learner import (
    DQNLearner,
    GreedyPolicy,
    SoftmaxPolicy,
    UniformPolicy,
    decoupled_adam,
)
from assay.papers.model_generalization.method.models import (
    BernoulliFactoredModel,
    CategoricalLatentModel,
    GaussianLatentModel,
    GaussianModel,
    TransitionModel,
    check_binary,
    rollout_weights,
)
from assay.papers.model_generalization.method.networks import DenseNet, Heads
from assay.papers.model_generalization.method.permutation import StatePermutation
from assay.papers.model_generalization.method.theorem import (
    FiniteClass,
    Observed,
    ValueSets,
    consistent_value_sets,
    factored_transitions,
    unstructured_transitions,
    value_iteration,
)
from assay.papers.model_generalization.method.transitions import ReplayBuffer, Transitions, stacked
from assay.papers.model_generalization.method.worlds import (
    CopiedWorld,
    SimulatorModel,
    Sizes,
    Step,
    VectorWorld,
    World,
    collect,
    evaluate,
    open_world,
)

register()

__all__ = [
    "BatchedEnvironment",
    "BernoulliFactoredModel",
    "ButtonGrid",
    "CategoricalLatentModel",
    "CopiedWorld",
    "DQNLearner",
    "DenseNet",
    "DynaTrainer",
    "FiniteClass",
    "GaussianLatentModel",
    "GaussianModel",
    "GreedyPolicy",
    "Heads",
    "Observed",
    "OpenGrid",
    "PanFlute",
    "ProcMaze",
    "ReplayBuffer",
    "RolloutError",
    "Sequences",
    "SimulatorModel",
    "Sizes",
    "SoftmaxPolicy",
    "StatePermutation",
    "Step",
    "TransitionModel",
    "Transitions",
    "UniformPolicy",
    "ValueSets",
    "VectorButtonGrid",
    "VectorOpenGrid",
    "VectorPanFlute",
    "VectorProcMaze",
    "VectorWorld",
    "World",
    "check_binary",
    "collect",
    "compare_sources",
    "consistent_value_sets",
    "decoupled_adam",
    "draw_mazes",
    "evaluate",
    "factored_transitions",
    "fit_model",
    "open_world",
    "pan_flute_values",
    "register",
    "rollout_error",
    "rollout_weights",
    "sequences",
    "stacked",
    "unstructured_transitions",
    "value_iteration",
]
