"""Model-based generalization: a Q-learner whose transitions come from replay, a learned model or a simulator.

Importing this registers ProcMaze-v0, ButtonGrid-v0, PanFlute-v0 and OpenGrid-v0 in gymnasium.
"""

from assay.papers.agents.dqn import (
    DQNLearner as DQNLearner,
    GreedyPolicy as GreedyPolicy,
    SoftmaxPolicy as SoftmaxPolicy,
    UniformPolicy as UniformPolicy,
    decoupled_adam as decoupled_adam,
)
from assay.papers.agents.environments import (
    ButtonGrid as ButtonGrid,
    OpenGrid as OpenGrid,
    PanFlute as PanFlute,
    ProcMaze as ProcMaze,
    VectorButtonGrid as VectorButtonGrid,
    VectorOpenGrid as VectorOpenGrid,
    VectorPanFlute as VectorPanFlute,
    VectorProcMaze as VectorProcMaze,
    register as register,
)
from assay.papers.agents.evaluation import collect as collect, evaluate as evaluate
from assay.papers.agents.exact import (
    pan_flute_values as pan_flute_values,
    value_iteration as value_iteration,
)
from assay.papers.agents.grids import draw_mazes as draw_mazes
from assay.papers.agents.networks import DenseNet as DenseNet, Heads as Heads
from assay.papers.agents.permutation import StatePermutation as StatePermutation
from assay.papers.agents.simulator import SimulatorModel as SimulatorModel
from assay.papers.agents.transitions import (
    ReplayBuffer as ReplayBuffer,
    Sequences as Sequences,
    Transitions as Transitions,
    sequences as sequences,
    stacked as stacked,
)
from assay.papers.agents.vectorised import BatchedEnvironment as BatchedEnvironment
from assay.papers.agents.worlds import (
    CopiedWorld as CopiedWorld,
    Sizes as Sizes,
    Step as Step,
    VectorWorld as VectorWorld,
    World as World,
    open_world as open_world,
)

from .comparison import OnlineTraining as OnlineTraining, compare_sources as compare_sources
from .dyna import DynaTrainer as DynaTrainer
from .fitting import ModelTraining as ModelTraining, fit_model as fit_model
from .models import (
    BernoulliFactoredModel as BernoulliFactoredModel,
    CategoricalLatentModel as CategoricalLatentModel,
    GaussianLatentModel as GaussianLatentModel,
    GaussianModel as GaussianModel,
    RolloutError as RolloutError,
    TransitionModel as TransitionModel,
    check_binary as check_binary,
    rollout_error as rollout_error,
    rollout_weights as rollout_weights,
)
from .theorem import (
    FiniteClass as FiniteClass,
    Observed as Observed,
    ValueSets as ValueSets,
    consistent_value_sets as consistent_value_sets,
    factored_transitions as factored_transitions,
    unstructured_transitions as unstructured_transitions,
)
