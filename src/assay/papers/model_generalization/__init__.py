"""model_generalization: does a learned one-step model buy more than plain experience replay?"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "method": [
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
            "Observed",
            "OpenGrid",
            "PanFlute",
            "ProcMaze",
            "ReplayBuffer",
            "SimulatorModel",
            "SoftmaxPolicy",
            "StatePermutation",
            "TransitionModel",
            "Transitions",
            "UniformPolicy",
            "VectorButtonGrid",
            "VectorOpenGrid",
            "VectorPanFlute",
            "VectorProcMaze",
            "collect",
            "compare_sources",
            "consistent_value_sets",
            "evaluate",
            "factored_transitions",
            "fit_model",
            "open_world",
            "pan_flute_values",
            "rollout_error",
            "sequences",
            "unstructured_transitions",
        ]
    },
)
