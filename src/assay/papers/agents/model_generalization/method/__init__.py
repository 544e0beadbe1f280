"""Model-based generalization: a Q-learner whose transitions come from replay, a learned model or a simulator.

Importing this registers ProcMaze-v0, ButtonGrid-v0, PanFlute-v0 and OpenGrid-v0 in gymnasium.
"""

from assay.errors import MissingExtraError

try:
    import gymnasium as _gymnasium  # noqa: F401
except ModuleNotFoundError:
    raise MissingExtraError("gymnasium", "agents") from None

from assay.papers.agents.model_generalization.method.batched import (
    BatchedEnvironment as BatchedEnvironment,
    VectorButtonGrid as VectorButtonGrid,
    VectorOpenGrid as VectorOpenGrid,
    VectorPanFlute as VectorPanFlute,
    VectorProcMaze as VectorProcMaze,
    draw_mazes as draw_mazes,
)
from assay.papers.agents.model_generalization.method.dyna import (
    DynaTrainer as DynaTrainer,
    compare_sources as compare_sources,
    fit_model as fit_model,
)
from assay.papers.agents.model_generalization.method.environments import (
    ButtonGrid as ButtonGrid,
    OpenGrid as OpenGrid,
    PanFlute as PanFlute,
    ProcMaze as ProcMaze,
    register as register,
)
from assay.papers.agents.model_generalization.method.errors import (
    RolloutError as RolloutError,
    Sequences as Sequences,
    rollout_error as rollout_error,
    sequences as sequences,
)
from assay.papers.agents.model_generalization.method.exact import pan_flute_values as pan_flute_values
from assay.papers.agents.model_generalization.method.learner import (
    DQNLearner as DQNLearner,
    GreedyPolicy as GreedyPolicy,
    SoftmaxPolicy as SoftmaxPolicy,
    UniformPolicy as UniformPolicy,
    decoupled_adam as decoupled_adam,
)
from assay.papers.agents.model_generalization.method.models import (
    BernoulliFactoredModel as BernoulliFactoredModel,
    CategoricalLatentModel as CategoricalLatentModel,
    GaussianLatentModel as GaussianLatentModel,
    GaussianModel as GaussianModel,
    TransitionModel as TransitionModel,
    check_binary as check_binary,
    rollout_weights as rollout_weights,
)
from assay.papers.agents.model_generalization.method.networks import DenseNet as DenseNet, Heads as Heads
from assay.papers.agents.model_generalization.method.permutation import StatePermutation as StatePermutation
from assay.papers.agents.model_generalization.method.theorem import (
    FiniteClass as FiniteClass,
    Observed as Observed,
    ValueSets as ValueSets,
    consistent_value_sets as consistent_value_sets,
    factored_transitions as factored_transitions,
    unstructured_transitions as unstructured_transitions,
    value_iteration as value_iteration,
)
from assay.papers.agents.model_generalization.method.transitions import (
    ReplayBuffer as ReplayBuffer,
    Transitions as Transitions,
    stacked as stacked,
)
from assay.papers.agents.model_generalization.method.worlds import (
    CopiedWorld as CopiedWorld,
    SimulatorModel as SimulatorModel,
    Sizes as Sizes,
    Step as Step,
    VectorWorld as VectorWorld,
    World as World,
    collect as collect,
    evaluate as evaluate,
    open_world as open_world,
)

register()
